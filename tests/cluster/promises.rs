//! Guarantees during edits, rotations and outages: no token is lost, none is requested without need, and the status is
//! true.

use std::time::{Duration, Instant};

use kube::api::DeleteParams;
use qlik_context_operator::api::QlikContext;
use serde_json::json;
use support::tenant::{Client, Fault, FaultBody, Route, Script};

use crate::world::{CLIENT_ID, CLIENT_SECRET, Case, conditions, message};

fn issued_at(context: &QlikContext) -> Option<k8s_openapi::jiff::Timestamp> {
    context.status.as_ref()?.token.as_ref()?.issued_at.as_ref().map(|time| time.0)
}

impl Case {
    /// Token requests that this case's tenant has seen.
    fn minted(&self) -> usize {
        self.world.cloud.ledger(|ledger| {
            ledger.records.iter().filter(|seen| seen.host == self.tenant.host() && seen.route == Route::Token).count()
        })
    }

    /// Requests of any kind.
    fn asked(&self) -> Option<u64> {
        self.world.cloud.ledger(|ledger| ledger.hosts.get(self.tenant.host()).copied())
    }

    async fn ready(&self, changes: &serde_json::Value) -> QlikContext {
        self.put_credential().await;
        self.apply("acme", changes).await;
        self.wait_for("acme", "Ready=True/TokenValid").await
    }

    async fn token(&self) -> String {
        self.data("acme-token").await["token"].clone()
    }

    fn short_lived(&self, seconds: u64) {
        let client = Client::new(CLIENT_ID).secret(CLIENT_SECRET).lifetime(Duration::from_secs(seconds));
        self.tenant.add_client(client);
    }

    fn down(&self) {
        let fault = Fault::Answer { status: 503, body: FaultBody::Html };
        self.world
            .cloud
            .script(Script { at: None, ..Script::at(Route::Token, fault) }.host(self.tenant.host()).times(40));
    }
}

#[tokio::test]
async fn an_edit_of_the_scopes_or_the_tenant_leads_to_a_token_that_matches() {
    let case = Case::new("edit").await;
    case.tenant.add_client(Client::new(CLIENT_ID).secret(CLIENT_SECRET).scopes(&["user_default", "admin.apps"]));
    case.ready(&json!({"scopes": ["user_default"]})).await;
    let first = case.token().await;
    case.apply("acme", &json!({"scopes": ["admin.apps"]})).await;
    let context = case.wait_for("acme", "Ready=True/TokenValid").await;
    assert_eq!(context.status.unwrap().token.unwrap().scopes.unwrap(), ["admin.apps"]);
    let second = case.token().await;
    assert_ne!(first, second);
    let other = case.world.cloud.tenant(&format!("other-{}", case.tenant.host()));
    other.add_client(Client::new(CLIENT_ID).secret(CLIENT_SECRET));
    case.apply("acme", &json!({"tenantUrl": other.url()})).await;
    case.wait_for("acme", "Ready=True/TokenValid").await;
    let data = case.data("acme-token").await;
    assert_eq!(data["host"], other.host());
    assert_ne!(data["token"], second, "a token of one tenant is never published with the URL of another");
}

#[tokio::test]
async fn a_rotated_credential_leads_to_a_new_token_within_seconds_and_the_old_one_is_served_until_then() {
    let case = Case::new("rotate").await;
    case.ready(&json!({})).await;
    let old = case.token().await;
    case.tenant.edit_client(CLIENT_ID, |client| client.secrets.push("planted-second-secret".into()));
    let late = Fault::Delivery(support::tenant::Pacing::Late { millis: 1000 });
    case.world.cloud.script(Script::at(Route::User, late).host(case.tenant.host()).once());
    let begin = Instant::now();
    case.put_secret("acme-oauth", &[("client-secret", "planted-second-secret")]).await;
    let mut seen_old = 0;
    while case.token().await == old {
        seen_old += 1;
        assert!(begin.elapsed() < Duration::from_secs(5), "the new credential was not used\n{}", case.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(seen_old > 5, "the old token is served while the new one is verified");
    case.wait_for("acme", "Ready=True/TokenValid").await;
    assert_eq!(case.minted(), 2);
}

#[tokio::test]
async fn a_label_edit_of_the_credential_requests_no_token() {
    let case = Case::new("label").await;
    case.ready(&json!({})).await;
    let before = case.asked();
    case.kubectl(&["label", "secret", "acme-oauth", "team=bi"]).await;
    case.kubectl(&["annotate", "secret", "acme-oauth", "note=free"]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(case.asked(), before);
}

#[tokio::test]
async fn during_an_outage_the_old_token_is_served_its_expiry_is_reported_and_recovery_is_automatic() {
    let case = Case::new("outage").await;
    case.short_lived(20);
    case.ready(&json!({})).await;
    case.down();
    let context = case.wait_for("acme", "Ready=True/RenewalFailing").await;
    assert!(message(&context, "Ready").contains("works until"), "{}", message(&context, "Ready"));
    assert!(!conditions(&context).iter().any(|held| held.starts_with("Stalled") || held.starts_with("Reconciling")));
    assert_eq!(context.status.unwrap().failure.unwrap().reason, "TenantUnavailable");
    let context = case.wait_for("acme", "Ready=False/TokenExpired").await;
    assert!(conditions(&context).contains(&"Reconciling=True/TokenExpired".into()));
    case.world.cloud.clear_scripts();
    let context = case.wait_for("acme", "Ready=True/TokenValid").await;
    assert!(context.status.unwrap().failure.is_none());
}

#[tokio::test]
async fn after_a_rotation_to_a_wrong_secret_the_old_token_is_served_and_the_status_says_until_when() {
    let case = Case::new("mistake").await;
    let context = case.ready(&json!({})).await;
    let (token, until) = (case.token().await, context.status.unwrap().token.unwrap().expires_at.unwrap().0);
    case.put_secret("acme-oauth", &[("client-secret", "planted-wrong-secret")]).await;
    let context = case.wait_for("acme", "Ready=True/RenewalFailing").await;
    assert!(message(&context, "Ready").contains(&until.to_string()));
    assert!(conditions(&context).contains(&"TokenIssued=False/InvalidClient".into()));
    assert_eq!(case.token().await, token);
}

#[tokio::test]
async fn a_failing_edit_that_the_token_does_not_match_is_not_ready_and_leaves_the_secret_alone() {
    let case = Case::new("misfit").await;
    case.ready(&json!({})).await;
    let before = case.secrets().get("acme-token").await.unwrap();
    case.apply("acme", &json!({"scopes": ["not.the.clients"]})).await;
    let context = case.wait_for("acme", "Ready=False/InvalidScope").await;
    assert!(message(&context, "Ready").contains("still holds an earlier token"), "{}", message(&context, "Ready"));
    assert_eq!(case.secrets().get("acme-token").await.unwrap(), before);
    // The edit is reverted: the token in the Secret matches the spec again.
    case.apply("acme", &json!({})).await;
    case.contexts()
        .patch("acme", &kube::api::PatchParams::default(), &kube::api::Patch::Merge(json!({"spec": {"scopes": null}})))
        .await
        .unwrap();
    let minted = case.minted();
    case.wait_for("acme", "Ready=True/TokenValid").await;
    assert_eq!(case.minted(), minted);
}

#[tokio::test]
async fn a_context_deleted_and_created_again_waits_until_the_old_secret_is_deleted() {
    let case = Case::new("again").await;
    case.ready(&json!({})).await;
    let old = case.metadata("acme-token").await.uid;
    case.contexts().delete("acme", &DeleteParams::default()).await.unwrap();
    case.apply("acme", &json!({})).await;
    case.wait_for("acme", "Ready=True/TokenValid").await;
    let secret = case.metadata("acme-token").await;
    assert_ne!(secret.uid, old);
    let uid = case.contexts().get("acme").await.unwrap().metadata.uid.unwrap();
    assert_eq!(secret.owner_references.unwrap()[0].uid, uid);
}

#[tokio::test]
async fn of_two_contexts_with_one_target_the_second_reports_a_conflict_and_the_first_continues() {
    let case = Case::new("two").await;
    case.ready(&json!({})).await;
    case.apply("second", &json!({"target": {"name": "acme-token"}})).await;
    let context = case.wait_for("second", "SecretSynced=False/SecretNotOwned").await;
    assert!(message(&context, "Ready").contains("acme-token"));
    case.wait_for("acme", "Ready=True/TokenValid").await;
}

#[tokio::test]
async fn kubectl_wait_returns_only_for_the_current_generation() {
    let case = Case::new("wait").await;
    case.tenant.add_client(Client::new(CLIENT_ID).secret(CLIENT_SECRET).scopes(&["user_default", "admin.apps"]));
    case.ready(&json!({"scopes": ["user_default"]})).await;
    let late = Fault::Delivery(support::tenant::Pacing::Late { millis: 1500 });
    case.world.cloud.script(Script::at(Route::Token, late).host(case.tenant.host()).once());
    case.apply("acme", &json!({"scopes": ["admin.apps"]})).await;
    case.kubectl(&["wait", "--for=condition=Ready", "qctx/acme", "--timeout=20s"]).await;
    let context = case.contexts().get("acme").await.unwrap();
    assert_eq!(context.status.unwrap().token.unwrap().scopes.unwrap(), ["admin.apps"]);
}

#[tokio::test]
async fn a_refresh_request_is_echoed_only_when_the_new_token_is_in_the_secret() {
    let case = Case::new("refresh").await;
    case.ready(&json!({})).await;
    let old = case.token().await;
    case.kubectl(&["annotate", "qctx", "acme", "qlikcontext.dev/refresh-requested-at=2026-11-22T10:00:00Z"]).await;
    let echoed = |value: &'static str| {
        move |context: &QlikContext| {
            context.status.as_ref().and_then(|status| status.last_handled_refresh_request.as_deref()) == Some(value)
        }
    };
    case.wait_until("acme", echoed("2026-11-22T10:00:00Z")).await;
    let new = case.token().await;
    assert_ne!(old, new);
    assert_eq!(
        case.metadata("acme-token").await.annotations.unwrap()["qlikcontext.dev/refreshed-for"],
        "2026-11-22T10:00:00Z"
    );
    assert_eq!(case.minted(), 2);
    // A second request within a minute waits. The current token stays valid.
    case.kubectl(&["annotate", "--overwrite", "qctx", "acme", "qlikcontext.dev/refresh-requested-at=again"]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((case.minted(), case.token().await), (2, new));
    case.wait_for("acme", "Ready=True/TokenValid").await;
}

#[tokio::test]
async fn while_suspended_no_request_is_sent() {
    let case = Case::new("suspend").await;
    case.ready(&json!({})).await;
    case.apply("acme", &json!({"suspend": true})).await;
    let context = case.wait_for("acme", "Ready=True/Suspended").await;
    assert!(!conditions(&context).iter().any(|held| held.starts_with("Stalled") || held.starts_with("Reconciling")));
    let before = case.asked();
    case.delete_secret("acme-token").await;
    case.put_secret("acme-oauth", &[("client-secret", "planted-other-secret")]).await;
    case.kubectl(&["annotate", "qctx", "acme", "qlikcontext.dev/refresh-requested-at=now"]).await;
    case.wait_for("acme", "Ready=False/Suspended").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(case.asked(), before);
    assert!(case.secrets().get_opt("acme-token").await.unwrap().is_none());
    case.put_credential().await;
    case.contexts()
        .patch(
            "acme",
            &kube::api::PatchParams::default(),
            &kube::api::Patch::Merge(json!({"spec": {"suspend": false}})),
        )
        .await
        .unwrap();
    case.wait_for("acme", "Ready=True/TokenValid").await;
}

#[tokio::test]
async fn a_revoked_token_is_found_and_renewed_once() {
    let case = Case::new("revoked").await;
    let context = case.ready(&json!({"verifyInterval": "10s"})).await;
    let (before, old) = (issued_at(&context), case.token().await);
    case.tenant.revoke(&old);
    case.wait_until("acme", |context| issued_at(context) != before).await;
    assert_ne!(case.token().await, old);
    case.wait_for("acme", "Ready=True/TokenValid").await;
    assert_eq!(case.minted(), 2);
}

#[tokio::test]
async fn each_transition_is_reported_by_one_event() {
    let case = Case::new("events").await;
    case.apply("acme", &json!({})).await;
    case.wait_for("acme", "Ready=False/SecretNotFound").await;
    case.put_secret("acme-oauth", &[("client-id", CLIENT_ID), ("client-secret", &format!("{CLIENT_SECRET}\n"))]).await;
    case.wait_for("acme", "Ready=True/TokenValid").await;
    let begin = Instant::now();
    loop {
        let columns = "custom-columns=TYPE:.type,REASON:.reason";
        let events = case.kubectl(&["get", "events.events.k8s.io", "--no-headers", "-o", columns]).await;
        let mut events: Vec<_> =
            events.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        events.sort();
        if events == ["Normal CredentialTrimmed", "Normal TokenValid", "Warning SecretNotFound"] {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(5), "{events:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
