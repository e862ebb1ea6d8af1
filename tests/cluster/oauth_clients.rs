//! QlikOAuthClients on a real API server: the schema, permissions, deletion, and the steps from two objects to a token.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use qlik_context_operator::api::QlikOAuthClient;
use serde_json::{Value, json};
use support::tenant::{Client, Consent, Record};

use crate::world::{CLIENT_SECRET, Case, conditions};

const PATIENCE: Duration = Duration::from_mins(1);

impl Case {
    fn oauth_clients(&self) -> Api<QlikOAuthClient> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A context called `admin` that can manage OAuth clients.
    async fn admin(&self) {
        let client = Client::new("admin").secret(CLIENT_SECRET).scopes(&["admin_classic", "user_default"]);
        self.tenant.add_client(client);
        self.put_secret("admin-oauth", &[("client-id", "admin"), ("client-secret", CLIENT_SECRET)]).await;
        self.apply("admin", &json!({"auth": {"clientSecret": {"secretRef": {"name": "admin-oauth"}}}})).await;
        self.wait_for("admin", "Ready=True/TokenValid").await;
    }

    fn declaration(&self, name: &str, changes: &Value) -> Value {
        let mut spec = json!({"adminContextRef": {"name": "admin"}, "scopes": ["user_default"]});
        spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        json!({
            "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikOAuthClient",
            "metadata": {"name": name, "namespace": self.namespace}, "spec": spec,
        })
    }

    async fn declare(&self, name: &str, changes: &Value) -> Result<QlikOAuthClient, kube::Error> {
        let params = PatchParams::apply("a-user").force();
        self.oauth_clients().patch(name, &params, &Patch::Apply(self.declaration(name, changes))).await
    }

    /// Requests a new credential, or just a reconciliation.
    async fn annotate(&self, name: &str, annotation: &str, value: &str) {
        let patch = json!({"metadata": {"annotations": {annotation: value}}});
        self.oauth_clients().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    async fn wait_client(&self, name: &str, holds: impl Fn(&QlikOAuthClient) -> bool) -> QlikOAuthClient {
        let begin = Instant::now();
        loop {
            let object = self.oauth_clients().get_opt(name).await.unwrap();
            match object {
                Some(object) if holds(&object) => return object,
                object if begin.elapsed() > PATIENCE => {
                    let status = object.map(|object| serde_json::to_string_pretty(&object.status).unwrap());
                    panic!("{name} is not as expected: {}\n{}", status.unwrap_or_default(), self.log());
                }
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn wait_client_for(&self, name: &str, condition: &str) -> QlikOAuthClient {
        self.wait_client(name, |object| said(object).iter().any(|held| held == condition)).await
    }

    /// The clients in the tenant that were created for objects.
    fn made(&self) -> Vec<Client> {
        let marked =
            |client: &Client| client.description.as_deref().is_some_and(|text| text.contains("qlikcontext.dev"));
        self.tenant.clients().into_iter().filter(marked).collect()
    }
}

fn said(object: &QlikOAuthClient) -> Vec<String> {
    let conditions = object.status.iter().flat_map(|status| &status.conditions);
    let current = conditions.filter(|condition| condition.observed_generation == object.metadata.generation);
    current.map(|condition| format!("{}={}/{}", condition.type_, condition.status, condition.reason)).collect()
}

#[tokio::test]
async fn two_objects_lead_to_a_token_and_rotations_without_interruption() {
    for (method, auth) in [("ClientSecret", "clientSecret"), ("PrivateKeyJwt", "privateKeyJwt")] {
        let case = Case::new("qoauth").await;
        case.admin().await;
        case.declare("reporting", &json!({"authMethod": method, "rotation": {"overlap": "10s"}})).await.unwrap();
        case.apply("reporting", &json!({"auth": {auth: {"secretRef": {"name": "reporting-oauth"}}}})).await;
        case.wait_client_for("reporting", "Ready=True/ClientReady").await;
        case.wait_for("reporting", "Ready=True/TokenValid").await;
        let mut seen = vec![
            case.metadata("reporting-oauth").await.annotations.unwrap()["qlikcontext.dev/credential-hint"].clone(),
        ];
        for value in ["1", "2", "3"] {
            case.annotate("reporting", "qlikcontext.dev/rotate-requested-at", value).await;
            let handled = |object: &QlikOAuthClient| {
                object.status.as_ref().and_then(|status| status.last_handled_rotate_request.as_deref()) == Some(value)
            };
            let begin = Instant::now();
            let done = case.oauth_clients();
            while !handled(&done.get("reporting").await.unwrap()) {
                let reader = case.contexts().get("reporting").await.unwrap();
                assert!(conditions(&reader).contains(&"Ready=True/TokenValid".into()), "{:?}", conditions(&reader));
                assert!(begin.elapsed() < PATIENCE, "{}", case.log());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            seen.push(
                case.metadata("reporting-oauth").await.annotations.unwrap()["qlikcontext.dev/credential-hint"].clone(),
            );
            // Waits until the old credentials are removed, because the number of credentials is limited.
            let alone =
                |object: &QlikOAuthClient| object.status.as_ref().is_some_and(|status| status.previous.is_empty());
            case.wait_client("reporting", alone).await;
        }
        seen.dedup();
        assert_eq!(seen.len(), 4, "{method}: a new credential each time");
        let reader = case.wait_for("reporting", "Ready=True/TokenValid").await;
        assert!(reader.status.unwrap().failure.is_none());
        let made = case.made();
        assert_eq!((made.len(), made[0].consent), (1, Consent::Trusted));
        assert_eq!(made[0].secrets.len() + made[0].public_keys.len(), 1, "{method}");
    }
}

#[tokio::test]
async fn readers_never_get_a_rejected_token_during_repeated_credential_rotations() {
    let case = Case::new("rotations").await;
    case.admin().await;
    case.declare("reporting", &json!({"rotation": {"interval": "1m", "overlap": "10s"}})).await.unwrap();
    let spec = json!({"auth": {"clientSecret": {"secretRef": {"name": "reporting-oauth"}}}, "verifyInterval": "10s"});
    case.apply("reporting", &spec).await;
    case.wait_client_for("reporting", "Ready=True/ClientReady").await;
    case.wait_for("reporting", "Ready=True/TokenValid").await;
    let (begin, mut seen, mut tokens, mut looks) = (Instant::now(), BTreeSet::new(), BTreeSet::new(), 0);
    let mut requested = None;
    while begin.elapsed() < Duration::from_secs(30) {
        // A rotation every six seconds, while at most three overlaps are in progress.
        let turn = begin.elapsed().as_secs() / 6;
        if requested != Some(turn) {
            case.annotate("reporting", "qlikcontext.dev/rotate-requested-at", &turn.to_string()).await;
            requested = Some(turn);
        }
        let (credential, token) = (case.data("reporting-oauth").await, case.data("reporting-token").await);
        seen.insert(credential["client-secret"].clone());
        let authorization = format!("Bearer {}", token["token"]);
        let call = http::Request::get("/api/v1/users/me").header("host", case.tenant.host());
        let call = call.header("authorization", authorization).body(bytes::Bytes::new()).unwrap();
        let status = case.tenant.cloud().exchange(&call).await.unwrap().status();
        assert!(status.is_redirection() || status.is_success(), "after {:?}: {status}", begin.elapsed());
        let client = case.made().remove(0);
        assert!(client.secrets.contains(&credential["client-secret"]), "after {:?}", begin.elapsed());
        let reader = case.contexts().get("reporting").await.unwrap();
        assert!(conditions(&reader).contains(&"Ready=True/TokenValid".into()), "{:?}", conditions(&reader));
        tokens.insert(token["token"].clone());
        looks += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("{looks} looks, {} credentials, {} tokens", seen.len(), tokens.len());
    assert!(seen.len() >= 4 && tokens.len() >= 4 && looks >= 50, "{} {} {looks}", seen.len(), tokens.len());
    let made = case.made();
    assert!(made.len() == 1 && made[0].secrets.len() <= 4, "{}", made[0].secrets.len());
}

#[tokio::test]
async fn a_hundred_objects_created_at_once_get_one_client_each_within_the_limits_of_their_tenants() {
    let cases = [Case::new("many").await, Case::new("many-more").await];
    for case in &cases {
        case.admin().await;
    }
    let begin = Instant::now();
    let names: Vec<_> = (0..50).map(|n| format!("c{n}")).collect();
    for case in &cases {
        let declared = names.iter().map(|name| async move { case.declare(name, &json!({})).await.map(drop) });
        futures::future::try_join_all(declared).await.unwrap();
    }
    for case in &cases {
        loop {
            let all = case.oauth_clients().list(&ListParams::default()).await.unwrap();
            let ready = all.iter().filter(|object| said(object).contains(&"Ready=True/ClientReady".into())).count();
            if ready == names.len() {
                break;
            }
            assert!(begin.elapsed() < 2 * PATIENCE, "{ready} of {} are ready\n{}", names.len(), case.log());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    println!("100 objects after {:.1} s", begin.elapsed().as_secs_f64());
    for case in &cases {
        let made = case.made();
        let owners: BTreeSet<_> = made.iter().filter_map(|client| client.description.clone()).collect();
        assert_eq!((made.len(), owners.len()), (50, 50), "one client for each object");
        assert!(made.iter().all(|client| client.secrets.len() == 1));
        let limited = |record: &&Record| record.host == case.tenant.host() && record.status == 429;
        let limited = case.world.cloud.ledger(|ledger| ledger.records.iter().filter(limited).count());
        assert_eq!(limited, 0, "the operator's own budget is smaller than the tenant's limit");
    }
}

#[tokio::test]
async fn an_admin_context_that_loses_and_regains_its_permissions_is_reported_and_used_again() {
    let case = Case::new("rights").await;
    case.admin().await;
    case.declare("reporting", &json!({})).await.unwrap();
    case.wait_client_for("reporting", "Ready=True/ClientReady").await;
    case.tenant.edit_user("qlikbot\\admin", |user| user.admin = false);
    case.annotate("reporting", "look", "1").await;
    case.wait_client_for("reporting", "Ready=True/SyncFailing").await;
    case.wait_client_for("reporting", "ClientSynced=False/AdminNotPermitted").await;
    case.declare("second", &json!({})).await.unwrap();
    case.wait_client_for("second", "Stalled=True/AdminNotPermitted").await;
    case.tenant.edit_user("qlikbot\\admin", |user| user.admin = true);
    for name in ["reporting", "second"] {
        case.annotate(name, "look", "2").await;
        case.wait_client_for(name, "Ready=True/ClientReady").await;
    }
}

#[tokio::test]
async fn a_client_changed_by_hand_is_repaired_a_deleted_one_reported_and_the_object_deletes_its_client() {
    let case = Case::new("hand").await;
    case.admin().await;
    case.declare("reporting", &json!({"deletionPolicy": "Delete"})).await.unwrap();
    case.wait_client_for("reporting", "Ready=True/ClientReady").await;
    let before = case.made().remove(0);
    case.tenant.edit_client(&before.client_id, |client| {
        client.name = "renamed".into();
        client.allowed_scopes = vec!["admin_classic".into()];
        client.secrets.push("planted-by-hand".into());
        client.consent = Consent::Required;
    });
    case.annotate("reporting", "look", "1").await;
    let begin = Instant::now();
    loop {
        let after = case.made().remove(0);
        if (&after.name, &after.allowed_scopes, &after.secrets, after.consent)
            == (&before.name, &before.allowed_scopes, &before.secrets, before.consent)
        {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "{}", case.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    case.tenant.remove_client(&before.client_id);
    case.annotate("reporting", "look", "2").await;
    case.wait_client_for("reporting", "Stalled=True/ClientGone").await;
    case.annotate("reporting", "qlikcontext.dev/rotate-requested-at", "again").await;
    case.wait_client_for("reporting", "Ready=True/ClientReady").await;
    assert_eq!(case.made().len(), 1);
    // The garbage collector deletes the Secret, the finalizer deletes the client.
    case.oauth_clients().delete("reporting", &DeleteParams::default()).await.unwrap();
    let begin = Instant::now();
    while case.oauth_clients().get_opt("reporting").await.unwrap().is_some() || !case.made().is_empty() {
        assert!(begin.elapsed() < PATIENCE, "{}", case.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn the_schema_rejects_invalid_objects_with_our_own_messages() {
    let case = Case::new("qoauth-schema").await;
    let mistakes = [
        (json!({"scopes": []}), "scopes must name at least one scope"),
        (json!({"scopes": ["two words"]}), "without whitespace or quotes"),
        (json!({"clientName": " x"}), "must be a name on one line"),
        (json!({"clientName": "a\nb"}), "must be a name on one line"),
        (json!({"description": "x [qlikcontext.dev uid=1]"}), "must not contain [qlikcontext.dev"),
        (json!({"rotation": {"interval": "30s"}}), "rotation.interval must be a duration from 1m"),
        (json!({"rotation": {"interval": "1h", "overlap": "2h"}}), "rotation.overlap must not be longer"),
        (json!({"rotation": {"overlap": "1s"}}), "rotation.overlap must be a duration from 10s"),
        (json!({"adopt": {"clientId": "../x"}}), "must be the id of an OAuth client"),
        (json!({"secret": {"name": "No"}}), "must be the name of a Secret"),
        (json!({"adminContextRef": {"name": "No"}}), "must be the name of a QlikContext"),
        (json!({"authMethod": "None"}), "Unsupported value"),
        (json!({"deletionPolicy": "Orphan"}), "Unsupported value"),
    ];
    for (changes, sentence) in mistakes {
        let error = case.declare("bad", &changes).await.unwrap_err().to_string();
        assert!(error.contains(sentence), "{changes}: {error}");
    }
    let long = "n".repeat(64);
    assert!(case.declare(&long, &json!({})).await.unwrap_err().to_string().contains("at most 63 characters"));
    let fixed = [
        (json!({"adminContextRef": {"name": "other"}}), "adminContextRef cannot be changed"),
        (json!({"authMethod": "PrivateKeyJwt"}), "authMethod cannot be changed"),
        (json!({"secret": {"name": "other"}}), "cannot be changed, since QlikContexts read it"),
        (json!({"adopt": {"clientId": "x"}}), "adopt cannot be added"),
    ];
    let newborn = case.declare("good", &json!({})).await.unwrap();
    assert!(newborn.status.is_none_or(|status| status.observed_generation == Some(-1)));
    for (changes, sentence) in fixed {
        let error = case.declare("good", &changes).await.unwrap_err().to_string();
        assert!(error.contains(sentence), "{changes}: {error}");
    }
    // An explicit default is equal to an absent field.
    let same = json!({"authMethod": "ClientSecret", "secret": {"name": "good-oauth"}});
    case.declare("good", &same).await.unwrap();
    case.wait_client_for("good", "Ready=False/AdminContextNotFound").await;
    let table = case.kubectl(&["get", "qoauth", "-o", "wide"]).await;
    for column in ["READY", "REASON", "CLIENT", "SECRET", "CONTEXT", "MESSAGE"] {
        assert!(table.contains(column), "{table}");
    }
    let selected =
        case.kubectl(&["get", "qoauth", "--field-selector", "spec.adminContextRef.name=admin", "-o", "name"]).await;
    assert_eq!(selected.trim(), "qlikoauthclient.qlikcontext.dev/good");
}
