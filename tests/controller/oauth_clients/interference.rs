//! Another client that keeps changing the operator's objects, and a Kubernetes API that fails: the requests that this
//! causes, and how it is reported.

use std::time::Duration;

use qlik_context_operator::secret::oauth_credential::{Held, IssuedCredential, Proof, credential_secret};
use serde_json::{Value, json};
use support::api_server::{ApiServer, Fault, Kind, Script, Verb};
use support::tenant::{Client, Consent, Route};
use tokio::task::AbortHandle;

use super::{MINUTE, world};
use crate::world::{HOUR, World, pass};

const SECOND: Duration = Duration::from_secs(1);

async fn ready(changes: &Value) -> World {
    let world = world().await;
    world.declare("reporting", changes);
    pass(MINUTE).await;
    assert_eq!(world.client_ready("reporting"), "True/ClientReady");
    world.api.clear_log();
    world.cloud.clear_ledger();
    world
}

impl World {
    /// Requests to the API server, without watches.
    fn kubernetes_requests(&self) -> usize {
        self.api.log(|log| log.count_if(|call| !matches!(call.verb, Verb::List | Verb::Watch)))
    }

    fn client_message(&self, name: &str, condition: &str) -> String {
        let conditions = self.declared(name)["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.into_iter().find(|reported| reported["type"] == condition).unwrap_or_default();
        found["message"].as_str().unwrap_or_default().to_owned()
    }

    fn client_metric(&self, name: &str) -> Option<String> {
        let series = format!("qlik_context_oauth_client_ready{{namespace=\"a\",name=\"{name}\"}} ");
        let metrics = self.metrics.render(self.clock.now()).unwrap();
        metrics.lines().find_map(|line| line.strip_prefix(&series)).map(str::to_owned)
    }
}

/// The change that another client makes.
type Change = fn(&mut Value);

/// Makes the change again, shortly after each repair of the Secret. `None` deletes the Secret.
fn fight(api: &ApiServer, change: Option<Change>) -> AbortHandle {
    let api = api.clone();
    #[expect(clippy::disallowed_methods, reason = "another client runs beside the test")]
    let task = tokio::spawn(async move {
        loop {
            pass(Duration::from_millis(50)).await;
            let Some(secret) = api.get(Kind::Secret, "a", "reporting-oauth") else { continue };
            let Some(change) = change else {
                api.delete(Kind::Secret, "a", "reporting-oauth");
                continue;
            };
            let mut wanted = secret.clone();
            change(&mut wanted);
            if wanted != secret {
                api.put(wanted).unwrap();
            }
        }
    });
    task.abort_handle()
}

#[tokio::test(start_paused = true)]
async fn repairs_of_a_secret_that_another_client_keeps_changing_back_off_and_one_event_names_the_manager() {
    let changes: [(&str, Option<Change>); 3] = [
        ("another secret", Some(|secret| secret["data"]["client-secret"] = "cGxhbnRlZC0=".into())),
        (
            "another hint",
            Some(|secret| secret["metadata"]["annotations"]["qlikcontext.dev/credential-hint"] = "x".into()),
        ),
        ("none", None),
    ];
    for (what, change) in changes {
        let world = ready(&json!({})).await;
        let fighter = fight(&world.api, change);
        pass(10 * MINUTE).await;
        let made = world.cloud.ledger(|ledger| ledger.at(Route::AddSecret));
        assert!((3..=12).contains(&made), "{what}: {made} secrets in ten minutes");
        assert!(world.secret_writes() <= 12, "{what}: {} writes in ten minutes", world.secret_writes());
        let before = (made, world.kubernetes_requests());
        pass(HOUR).await;
        let made = world.cloud.ledger(|ledger| ledger.at(Route::AddSecret)) - before.0;
        assert!((11..=13).contains(&made), "{what}: {made} secrets in an hour");
        let requests = world.kubernetes_requests() - before.1;
        assert!(requests <= 30 * 13, "{what}: {requests} requests in an hour");
        assert!(world.only().secrets.len() <= 3, "{what}");
        let notes = world.notes("SecretContested");
        assert_eq!(notes.len(), 1, "{what}: {notes:?}");
        assert!(change.is_none() || notes[0].contains("Field managers seen in it: test."), "{what}: {notes:?}");
        assert_eq!(world.client_ready("reporting"), "False/SecretContested", "{what}");
        fighter.abort();
        pass(6 * MINUTE).await;
        assert_eq!(world.client_ready("reporting"), "True/ClientReady", "{what}");
        world.secret_works("reporting");
    }
}

#[tokio::test(start_paused = true)]
async fn repairs_of_a_label_that_another_client_keeps_changing_back_off_and_need_no_credential() {
    let world = ready(&json!({})).await;
    let credential = world.credential("reporting", "client-secret");
    let _fighter =
        fight(&world.api, Some(|secret| secret["metadata"]["labels"]["qlikcontext.dev/oauth-client"] = "x".into()));
    pass(10 * MINUTE).await;
    assert!((3..=12).contains(&world.secret_writes()), "{} writes in ten minutes", world.secret_writes());
    assert_eq!(world.cloud.ledger(|ledger| ledger.at(Route::AddSecret)), 0);
    assert_eq!(
        (world.client_ready("reporting").as_str(), world.notes("SecretContested").len()),
        ("True/ClientReady", 1)
    );
    world.rotate("reporting", "now");
    pass(10 * SECOND).await;
    assert_ne!(world.credential("reporting", "client-secret"), credential, "a rotation does not wait for a repair");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_someone_keeps_changing_in_the_tenant_is_repaired_within_bounds_and_reported_once() {
    for change in
        [(|client| client.name = "theirs".into()) as fn(&mut Client), |client| client.consent = Consent::Required]
    {
        let world = ready(&json!({})).await;
        let id = world.only().client_id;
        // The client is changed again at once, and an annotation triggers a reconciliation every second.
        for second in 0..600 {
            world.tenant.edit_client(&id, change);
            let touch = |object: &mut Value| object["metadata"]["annotations"]["look"] = second.to_string().into();
            world.api.edit(Kind::QlikOAuthClient, "a", "reporting", touch).unwrap();
            pass(SECOND).await;
        }
        let repairs = world.cloud.ledger(|ledger| ledger.at(Route::PatchClient) + ledger.at(Route::SetConsent));
        assert!((3..=11).contains(&repairs), "{repairs} repairs in ten minutes");
        assert_eq!(world.client_condition("reporting", "ClientSynced"), "False/ClientConflict");
        assert_eq!(world.notes("ClientContested").len(), 1);
        assert!(world.notes("ClientRepaired").len() <= 2);
        // A change every 15 minutes is repaired every time.
        pass(6 * HOUR).await;
        assert_eq!(world.client_ready("reporting"), "True/ClientReady");
        world.cloud.clear_ledger();
        for _ in 0..4 {
            world.tenant.edit_client(&id, change);
            pass(16 * MINUTE).await;
            assert_eq!(world.client_ready("reporting"), "True/ClientReady");
        }
        let repairs = world.cloud.ledger(|ledger| ledger.at(Route::PatchClient) + ledger.at(Route::SetConsent));
        assert_eq!((repairs, world.notes("ClientContested").len()), (4, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn while_its_admin_context_is_not_ready_an_object_backs_off() {
    let world = ready(&json!({})).await;
    let spoil = |object: &mut Value| object["spec"]["tenantUrl"] = "https://other.eu.qlikcloud.com".into();
    world.api.edit(Kind::QlikContext, "a", "admin", spoil).unwrap();
    pass(HOUR).await;
    assert_eq!(world.client_condition("reporting", "ClientSynced"), "False/AdminContextNotReady");
    world.api.clear_log();
    pass(HOUR).await;
    let looks = world.api.log(|log| log.count(Verb::Get, Kind::QlikOAuthClient));
    // Every five minutes, and each time that the status of its context changes.
    assert!(looks <= 20, "{looks} in an hour");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_the_tenant_never_keeps_is_retried_with_a_back_off() {
    let world = ready(&json!({})).await;
    let body = support::tenant::FaultBody::Empty;
    world
        .cloud
        .script(support::tenant::Script::at(Route::PatchClient, support::tenant::Fault::Answer { status: 204, body }));
    world.tenant.edit_client(&world.only().client_id, |client| client.name = "theirs".into());
    pass(HOUR).await;
    assert_eq!(world.client_condition("reporting", "ClientSynced"), "False/ClientConflict");
    assert!(world.declared("reporting")["status"]["failure"]["count"].as_i64().unwrap() > 3);
    world.cloud.clear_ledger();
    pass(HOUR).await;
    let tried = world.cloud.ledger(|ledger| ledger.at(Route::PatchClient));
    assert!((11..=13).contains(&tried), "{tried} in an hour");
}

fn answers(code: u16) -> Fault {
    Fault::Status { code, reason: "Refused", retry_after: None }
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_of_the_secret_is_reported_within_a_minute_in_status_event_and_metric() {
    for code in [403, 429, 500, 503] {
        let world = world().await;
        world.api.script(Script::on(Verb::Patch, Kind::Secret, answers(code)).name("reporting-oauth"));
        world.declare("reporting", &json!({}));
        pass(MINUTE).await;
        for condition in ["SecretSynced", "Ready"] {
            assert_eq!(world.client_condition("reporting", condition), "False/WriteRejected", "HTTP {code}");
            assert!(world.client_message("reporting", condition).contains(&format!("HTTP {code}")), "HTTP {code}");
        }
        assert_eq!(world.client_condition("reporting", "CredentialVerified"), "True/CredentialConfirmed");
        assert_eq!(world.client_metric("reporting").as_deref(), Some("0"), "HTTP {code}");
        pass(10 * MINUTE).await;
        assert_eq!(world.notes("WriteRejected").len(), 1, "HTTP {code}: reported once");
        let writes = world.api.log(|log| log.count(Verb::Patch, Kind::Secret));
        assert!(writes <= 30, "HTTP {code}: {writes} writes in eleven minutes");
        world.api.clear_scripts();
        pass(MINUTE).await;
        assert_eq!(world.client_ready("reporting"), "True/ClientReady", "HTTP {code}");
        assert_eq!(world.only().secrets.len(), 1, "HTTP {code}: no second credential was created");
    }
}

#[tokio::test(start_paused = true)]
async fn failed_reads_are_reported_within_a_minute_in_status_event_and_metric() {
    for (kind, code) in
        [(Kind::Secret, 403), (Kind::Secret, 500), (Kind::QlikContext, 403), (Kind::QlikOAuthClient, 500)]
    {
        let world = world().await;
        world.api.script(Script::on(Verb::Get, kind, answers(code)));
        world.declare("reporting", &json!({}));
        pass(MINUTE).await;
        for condition in ["ClientSynced", "Ready"] {
            assert_eq!(world.client_condition("reporting", condition), "False/SecretNotReadable", "{kind:?} {code}");
            assert!(world.client_message("reporting", condition).contains(&format!("HTTP {code}")), "{kind:?}");
        }
        assert_eq!(world.client_metric("reporting").as_deref(), Some("0"), "{kind:?} {code}");
        assert_eq!((world.notes("SecretNotReadable").len(), world.made().len()), (1, 0), "{kind:?} {code}");
        world.api.clear_scripts();
        pass(MINUTE).await;
        assert_eq!(world.client_ready("reporting"), "True/ClientReady", "{kind:?} {code}");
        // Later the credential still works, and the status says so.
        world.api.script(Script::on(Verb::Get, kind, answers(code)));
        pass(17 * MINUTE).await;
        assert_eq!(world.client_ready("reporting"), "True/SyncFailing", "{kind:?} {code}");
        assert_eq!(world.client_condition("reporting", "ClientSynced"), "False/SecretNotReadable", "{kind:?} {code}");
        assert_eq!(world.client_condition("reporting", "SecretSynced"), "True/SecretPublished", "{kind:?} {code}");
        assert_eq!(world.client_metric("reporting").as_deref(), Some("1"), "{kind:?} {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_that_cannot_be_written_is_reported_and_no_client_is_created() {
    let world = world().await;
    world.api.script(Script::on(Verb::Patch, Kind::QlikOAuthClient, answers(403)).object());
    world.declare("reporting", &json!({"deletionPolicy": "Delete"}));
    pass(MINUTE).await;
    assert_eq!(world.client_ready("reporting"), "False/WriteRejected");
    assert!(world.client_message("reporting", "Ready").contains("writing the finalizer"));
    assert_eq!(world.made().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_webhook_for_secrets_is_waited_for_and_the_credential_written_once() {
    for seconds in [6, 12, 29] {
        let world = world().await;
        let slow = Fault::Delay(Duration::from_secs(seconds));
        world.api.script(Script::on(Verb::Patch, Kind::Secret, slow).name("reporting-oauth"));
        world.declare("reporting", &json!({}));
        pass(Duration::from_secs(seconds + 10)).await;
        assert_eq!(world.client_ready("reporting"), "True/ClientReady", "{seconds} s");
        assert_eq!(world.only().secrets.len(), 1, "{seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn the_status_names_no_credential_that_was_never_created() {
    let world = world().await;
    world.put_credential("a", "reporting-oauth", "theirs", "planted-theirs");
    world.declare("reporting", &json!({}));
    pass(MINUTE).await;
    assert_eq!(world.client_ready("reporting"), "False/SecretNotOwned");
    assert_eq!(world.client_condition("reporting", "CredentialVerified"), "-/-");
    assert_eq!(world.client_condition("reporting", "ClientSynced"), "-/-");
}

#[tokio::test(start_paused = true)]
async fn after_a_rotation_whose_write_got_no_response_everything_is_in_order() {
    for fault in [Fault::DoneThenBroken, Fault::DoneThenSilence] {
        let world = ready(&json!({"rotation": {"overlap": "10m"}})).await;
        world.api.script(Script::on(Verb::Patch, Kind::Secret, fault).name("reporting-oauth").once());
        world.rotate("reporting", "now");
        pass(5 * MINUTE).await;
        assert_eq!(world.client_ready("reporting"), "True/ClientReady");
        assert_eq!(world.declared("reporting")["status"]["lastHandledRotateRequest"], "now");
        assert_eq!(world.only().secrets.len(), 2, "the new credential, and the one that it has replaced");
        pass(10 * MINUTE).await;
        assert_eq!(world.only().secrets.len(), 1);
        world.secret_works("reporting");
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_parsed_any_more_does_not_block_its_own_deletion() {
    let edits: [fn(&mut Value); 2] = [
        |object| object["spec"]["rotation"] = json!({"interval": "soon"}),
        |object| object["spec"]["scopes"] = "no list".into(),
    ];
    for edit in edits {
        let world = ready(&json!({"deletionPolicy": "Delete"})).await;
        world.api.edit(Kind::QlikOAuthClient, "a", "reporting", edit).unwrap();
        pass(10 * SECOND).await;
        assert_eq!(world.client_ready("reporting"), "False/SpecInvalid");
        world.api.delete(Kind::QlikOAuthClient, "a", "reporting");
        pass(10 * SECOND).await;
        assert!(world.declared("reporting").is_null());
        assert_eq!((world.made().len(), world.notes("ClientNotDeleted").len()), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_names_another_client_does_not_make_the_operator_adopt_that_client() {
    let world = ready(&json!({})).await;
    world.tenant.add_client(Client::new("victim").secret("planted-victim-1").secret("planted-victim-2"));
    let victim = |world: &World| world.made().into_iter().find(|client| client.client_id == "victim").unwrap();
    let before = victim(&world);
    // Anyone can create such a Secret, because its binding is keyed by the value in it.
    let credential = IssuedCredential {
        client_id: "victim".into(),
        hint: victim(&world).hints().pop_first().unwrap(),
        issued_at: world.clock.now(),
        proof: Proof::ClientSecret("planted-victim-1".into()),
    };
    let held = Held { credential, previous: Vec::new(), rotated_for: None };
    let object = serde_json::from_value(world.declared("reporting")).unwrap();
    let tenant = world.tenant.url().parse().unwrap();
    let forged = json!(credential_secret(&object, "reporting-oauth", &tenant, &held, None));
    let forge = |secret: &mut Value| {
        secret["data"] = forged["data"].clone();
        secret["metadata"]["annotations"] = forged["metadata"]["annotations"].clone();
    };
    world.api.edit(Kind::Secret, "a", "reporting-oauth", forge).unwrap();
    pass(MINUTE).await;
    assert_eq!(world.client_ready("reporting"), "False/ClientNotOwned");
    assert_eq!((victim(&world).name, victim(&world).secrets), (before.name, before.secrets));
    world.api.delete(Kind::Secret, "a", "reporting-oauth");
    pass(MINUTE).await;
    assert_eq!(world.client_ready("reporting"), "True/ClientReady", "as the message says");
    world.secret_works("reporting");
}

#[tokio::test(start_paused = true)]
async fn keys_with_names_of_any_kind_survive_an_adoption_until_the_rotation() {
    let world = world().await;
    let key = |kid: &str| {
        support::tenant::PublicKey::new(
            kid,
            support::tenant::Algorithm::ES384,
            include_str!("../../keys/p384-public.pem"),
        )
    };
    let names = ["my key, of 2026", "a]b", "[qlikcontext.dev uid=%41]"];
    let client = names.iter().fold(Client::new("old"), |client, kid| client.key(key(kid)));
    world.tenant.add_client(client);
    world.declare(
        "reporting",
        &json!({"adopt": {"clientId": "old"}, "authMethod": "PrivateKeyJwt", "rotation": {"overlap": "1h"}}),
    );
    pass(2 * HOUR).await;
    assert_eq!(world.client_ready("reporting"), "True/ClientReady");
    assert_eq!(world.only().public_keys.len(), 4);
    world.rotate("reporting", "now");
    pass(MINUTE).await;
    // At most four keys: the rotation waits until a person removes one.
    assert_eq!(world.client_condition("reporting", "ClientSynced"), "False/SecretLimitReached");
    world.tenant.edit_client("old", |client| drop(client.public_keys.remove(0)));
    pass(11 * MINUTE).await;
    assert_eq!((world.client_ready("reporting").as_str(), world.only().public_keys.len()), ("True/ClientReady", 4));
    pass(HOUR).await;
    assert_eq!(world.only().public_keys.len(), 1);
    world.secret_works("reporting");
}
