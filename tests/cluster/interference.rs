//! Other clients of the cluster: admission webhooks that fail or are slow, controllers that revert changes, and
//! restores of backups.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use support::operator;
use support::tenant::{Client, Route};

use crate::world::{CLIENT_ID, CLIENT_SECRET, Case, message};

/// A webhook for writes of Secrets in the namespace of one test. [`Webhook::remove`] deletes it.
struct Webhook {
    all: Api<ValidatingWebhookConfiguration>,
    name: String,
}

impl Webhook {
    async fn add(case: &Case, url: &str, failure_policy: &str, timeout_seconds: u32) -> Self {
        let name = format!("{}-secrets", case.namespace);
        let webhook = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [{
                "name": "secrets.example.com", "clientConfig": {"url": url}, "failurePolicy": failure_policy,
                "timeoutSeconds": timeout_seconds, "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": case.namespace}},
                "rules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                    "resources": ["secrets"], "scope": "Namespaced",
                }],
            }],
        });
        let all: Api<ValidatingWebhookConfiguration> = Api::all(case.client.clone());
        all.create(&PostParams::default(), &serde_json::from_value(webhook).unwrap()).await.unwrap();
        let webhook = Self { all, name };
        webhook.until_it_is_called(case, timeout_seconds).await;
        webhook
    }

    /// The API server takes a moment to use a new webhook.
    async fn until_it_is_called(&self, case: &Case, timeout_seconds: u32) {
        let probe: Secret = serde_json::from_value(json!({"metadata": {"generateName": "probe-"}})).unwrap();
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let begin = Instant::now();
        loop {
            let asked = Instant::now();
            let answer = case.secrets().create(&params, &probe).await;
            if answer.is_err() || asked.elapsed() >= Duration::from_secs(timeout_seconds.into()) {
                return;
            }
            assert!(begin.elapsed() < Duration::from_secs(30), "{} is not called", self.name);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn remove(self) {
        self.all.delete(&self.name, &DeleteParams::default()).await.unwrap();
    }
}

impl Case {
    /// The operator's writes of this test's token Secret, from the audit log of the API server.
    fn secret_writes(&self) -> usize {
        let account = format!("system:serviceaccount:{}:{}", operator::NAMESPACE, operator::RELEASE);
        let log = std::fs::read_to_string(self.world.control_plane.audit_log()).unwrap();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let secret = |line: &Value| {
            let object = &line["objectRef"];
            line["user"]["username"] == account.as_str()
                && line["verb"] == "patch"
                && line["stage"] == "ResponseComplete"
                && object["resource"] == "secrets"
                && object["namespace"] == self.namespace.as_str()
        };
        lines.filter(secret).count()
    }

    fn token_requests(&self) -> usize {
        self.world.cloud.ledger(|ledger| {
            ledger.records.iter().filter(|seen| seen.host == self.tenant.host() && seen.route == Route::Token).count()
        })
    }
}

#[tokio::test]
async fn while_a_webhook_is_down_the_status_reports_it_and_ready_turns_false_when_the_token_expires() {
    let case = Case::new("webhook-down").await;
    case.tenant.add_client(Client::new(CLIENT_ID).secret(CLIENT_SECRET).lifetime(Duration::from_secs(40)));
    case.put_credential().await;
    case.apply("acme", &json!({})).await;
    case.wait_for("acme", "Ready=True/TokenValid").await;
    // No process listens there.
    let webhook = Webhook::add(&case, "https://127.0.0.1:1/validate", "Fail", 5).await;
    case.apply("second", &json!({"scopes": ["user_default"]})).await;

    let second = case.wait_for("second", "Ready=False/WriteRejected").await;
    assert!(message(&second, "SecretSynced").contains("HTTP 500"), "{}", message(&second, "SecretSynced"));
    let events = case.kubectl(&["get", "events.events.k8s.io", "-o", "json"]).await;
    assert!(events.contains("WriteRejected"), "{events}");
    let first = case.wait_for("acme", "Ready=True/RenewalFailing").await;
    assert!(message(&first, "SecretSynced").contains("HTTP 500"), "{}", message(&first, "SecretSynced"));
    let first = case.wait_for("acme", "Ready=False/TokenExpired").await;
    let expired = first.status.unwrap().token.unwrap().expires_at.unwrap().0;
    let now = k8s_openapi::jiff::Timestamp::now();
    assert!((0..5).contains(&now.duration_since(expired).as_secs()), "reported at {now}, expired at {expired}");

    webhook.remove().await;
    for name in ["acme", "second"] {
        case.wait_for(name, "Ready=True/TokenValid").await;
    }
}

#[tokio::test]
async fn a_write_that_a_webhook_delays_for_six_seconds_is_sent_once() {
    let case = Case::new("webhook-slow").await;
    case.put_credential().await;
    // Accepts connections and never responds: the API server times out after six seconds and allows the write.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/validate", silent.local_addr().unwrap());
    let webhook = Webhook::add(&case, &url, "Ignore", 6).await;
    let begin = Instant::now();
    case.apply("acme", &json!({})).await;
    case.wait_for("acme", "Ready=True/TokenValid").await;
    assert!(begin.elapsed() >= Duration::from_secs(6), "{:?}", begin.elapsed());
    assert_eq!((case.secret_writes(), case.token_requests()), (1, 1));
    webhook.remove().await;
}

#[tokio::test]
async fn a_client_that_keeps_resetting_a_label_is_named_in_an_event_and_causes_few_writes() {
    let case = Case::new("fight").await;
    case.put_credential().await;
    case.apply("acme", &json!({})).await;
    case.wait_for("acme", "Ready=True/TokenValid").await;
    let token = case.data("acme-token").await["token"].clone();
    let before = case.secret_writes();
    let secrets = case.secrets();
    let fighter = tokio::spawn(async move {
        let params = PatchParams { field_manager: Some("fighter".into()), ..PatchParams::default() };
        let wanted = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "fighter"}}});
        loop {
            let stored = secrets.get("acme-token").await.unwrap();
            if stored.metadata.labels.unwrap_or_default()["app.kubernetes.io/managed-by"] != "fighter" {
                secrets.patch("acme-token", &params, &Patch::Merge(&wanted)).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    tokio::time::sleep(Duration::from_secs(30)).await;
    // At once, then 1, 2, 4, 8 and 16 s apart.
    let writes = case.secret_writes() - before;
    assert!((3..=6).contains(&writes), "{writes} writes in 30 s\n{}", case.log());
    let events = case.kubectl(&["get", "events.events.k8s.io", "-o", "json"]).await;
    let events: Value = serde_json::from_str(&events).unwrap();
    let events = events["items"].as_array().unwrap().iter().filter(|event| event["reason"] == "SecretContested");
    let notes: Vec<_> = events.map(|event| event["note"].as_str().unwrap().to_owned()).collect();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("fighter"), "{notes:?}");
    fighter.abort();
    assert_eq!(case.data("acme-token").await["token"], token);
    assert_eq!(case.token_requests(), 1);
}

#[tokio::test]
async fn a_secret_that_outlived_its_context_is_adopted_by_the_restored_context_with_its_token() {
    let case = Case::new("restore").await;
    case.put_credential().await;
    let old = case.apply("acme", &json!({})).await;
    case.wait_for("acme", "Ready=True/TokenValid").await;
    let token = case.data("acme-token").await["token"].clone();
    // The garbage collector removes the owner reference and keeps the Secret.
    case.contexts()
        .delete(
            "acme",
            &DeleteParams { propagation_policy: Some(kube::api::PropagationPolicy::Orphan), ..DeleteParams::default() },
        )
        .await
        .unwrap();
    let begin = Instant::now();
    while case.contexts().get_opt("acme").await.unwrap().is_some() {
        assert!(begin.elapsed() < Duration::from_secs(30), "not deleted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(case.metadata("acme-token").await.owner_references.unwrap_or_default().is_empty(), "orphaned");

    let new = case.apply("acme", &json!({})).await;
    assert_ne!(new.metadata.uid, old.metadata.uid);
    case.wait_for("acme", "Ready=True/TokenValid").await;
    assert_eq!(case.data("acme-token").await["token"], token);
    assert_eq!(case.token_requests(), 1, "the token was verified, not replaced");
    let owners = case.metadata("acme-token").await.owner_references.unwrap();
    assert_eq!(owners.len(), 1);
    assert_eq!((Some(&owners[0].uid), owners[0].controller), (new.metadata.uid.as_ref(), Some(true)));

    // A real backup tool creates the Secret again, too.
    let stored = case.secrets().get("acme-token").await.unwrap();
    case.contexts().delete("acme", &DeleteParams::foreground()).await.unwrap();
    let begin = Instant::now();
    while case.secrets().get_opt("acme-token").await.unwrap().is_some()
        || case.contexts().get_opt("acme").await.unwrap().is_some()
    {
        assert!(begin.elapsed() < Duration::from_secs(30), "not garbage-collected");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let restored = Secret {
        metadata: kube::api::ObjectMeta {
            name: stored.metadata.name,
            labels: stored.metadata.labels,
            annotations: stored.metadata.annotations,
            ..kube::api::ObjectMeta::default()
        },
        data: stored.data,
        ..Secret::default()
    };
    case.secrets().create(&PostParams::default(), &restored).await.unwrap();
    let new = case.apply("acme", &json!({})).await;
    case.wait_for("acme", "Ready=True/TokenValid").await;
    assert_eq!((case.data("acme-token").await["token"].clone(), case.token_requests()), (token, 1));
    let owners = case.metadata("acme-token").await.owner_references.unwrap();
    assert_eq!(Some(&owners[0].uid), new.metadata.uid.as_ref());
}
