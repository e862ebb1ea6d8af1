//! Tenants that reject requests, fail or limit the rate, a missing admin context, and many objects at once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use support::api_server::{self, Kind, Verb};
use support::tenant::{Client, Fault, Pacing, RetryAfter, Route, Script};

use super::{MINUTE, world};
use crate::world::{HOUR, World, pass};

#[tokio::test(start_paused = true)]
async fn without_its_admin_context_an_object_waits_and_is_reconciled_when_the_context_is_ready() {
    let mut world = World::new();
    world.oauth_clients = true;
    world.start();
    world.declare("reporting", &json!({}));
    pass(MINUTE).await;
    assert_eq!(world.client_ready("reporting"), "False/AdminContextNotFound");
    world.tenant.add_client(Client::new("admin").secret(crate::world::CLIENT_SECRET).scopes(&["admin_classic"]));
    world.put_context("a", "admin", "admin", &json!({}));
    pass(HOUR).await;
    assert_eq!(world.client_ready("reporting"), "False/AdminContextNotReady");
    world.put_credential("a", "admin", "admin", crate::world::CLIENT_SECRET);
    pass(Duration::from_secs(10)).await;
    assert_eq!(world.client_ready("reporting"), "True/ClientReady");
}

#[tokio::test(start_paused = true)]
async fn an_admin_without_permissions_is_reported_and_the_secret_is_kept() {
    let world = world().await;
    world.declare("reporting", &json!({"rotation": {"interval": "1h", "overlap": "10m"}}));
    world.put_context("a", "reports", "reporting-oauth", &json!({}));
    pass(MINUTE).await;
    let credential = world.credential("reporting", "client-secret");
    world.tenant.edit_user("qlikbot\\admin", |user| user.admin = false);
    pass(3 * HOUR).await;
    assert_eq!(world.client_ready("reporting"), "True/SyncFailing");
    assert_eq!(world.client_condition("reporting", "ClientSynced"), "False/AdminNotPermitted");
    assert_eq!(world.client_condition("reporting", "Stalled"), "-/-", "the object is still ready");
    assert_eq!(world.credential("reporting", "client-secret"), credential);
    assert_eq!(world.ready("a", "reports"), "True/TokenValid");
    world.tenant.edit_user("qlikbot\\admin", |user| user.admin = true);
    pass(15 * MINUTE).await;
    assert_eq!(world.client_ready("reporting"), "True/ClientReady");
    assert_ne!(world.credential("reporting", "client-secret"), credential, "the overdue rotation happened at once");
    world.declare("second", &json!({}));
    world.tenant.edit_user("qlikbot\\admin", |user| user.admin = false);
    pass(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn an_object_without_a_credential_whose_admin_cannot_manage_clients_is_stalled_and_names_the_fix() {
    let world = world().await;
    world.tenant.edit_user("qlikbot\\admin", |user| user.admin = false);
    world.declare("reporting", &json!({}));
    pass(MINUTE).await;
    assert_eq!(world.client_condition("reporting", "Stalled"), "True/AdminNotPermitted");
    let reported = world.declared("reporting")["status"].to_string();
    assert!(reported.contains("admin_classic") && reported.contains("TenantAdmin"), "{reported}");
}

#[tokio::test(start_paused = true)]
async fn limits_of_the_tenant_are_reported_with_a_fix() {
    let world = world().await;
    for n in 0..199 {
        world.tenant.add_client(Client::new(&format!("c{n}")));
    }
    world.declare("reporting", &json!({}));
    pass(MINUTE).await;
    assert_eq!(world.client_ready("reporting"), "False/ClientLimitReached");
    world.tenant.remove_client("c0");
    pass(11 * MINUTE).await;
    assert_eq!(world.client_ready("reporting"), "True/ClientReady");
    let secrets = ["planted-1", "planted-2", "planted-3", "planted-4"];
    let full = secrets.into_iter().fold(Client::new("full"), support::tenant::Client::secret);
    world.tenant.remove_client("c1");
    world.tenant.add_client(full);
    world.declare("adopting", &json!({"adopt": {"clientId": "full"}}));
    pass(MINUTE).await;
    assert_eq!(world.client_ready("adopting"), "False/SecretLimitReached");
    world.tenant.edit_client("full", |client| client.secrets.truncate(3));
    pass(11 * MINUTE).await;
    assert_eq!(world.client_ready("adopting"), "True/ClientReady");
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_the_tenant_rejects_is_reported() {
    let world = world().await;
    world
        .cloud
        .script(Script::at(Route::CreateClient, Fault::Answer { status: 400, body: support::tenant::FaultBody::Qlik }));
    world.declare("reporting", &json!({}));
    pass(MINUTE).await;
    assert_eq!(world.client_ready("reporting"), "False/ClientRejected");
    assert_eq!(world.made().len(), 0);
    world.cloud.clear_scripts();
    let edit = |object: &mut Value| object["spec"]["scopes"] = json!(["spaces:read"]);
    world.api.edit(Kind::QlikOAuthClient, "a", "reporting", edit).unwrap();
    pass(Duration::from_secs(20)).await;
    assert_eq!(world.client_ready("reporting"), "True/ClientReady", "at once after the edit");
}

#[tokio::test(start_paused = true)]
async fn after_any_single_failure_of_any_request_there_is_one_client_and_nothing_is_lost() {
    let routes = [
        Route::ListClients,
        Route::CreateClient,
        Route::GetClient,
        Route::GetConsent,
        Route::AddSecret,
        Route::DeleteSecret,
        Route::Token,
        Route::UsersMe,
    ];
    let faults = [
        Fault::Delivery(Pacing::Hangup),
        Fault::Delivery(Pacing::Silent),
        Fault::Page { status: 503, bytes: 9, retry_after: None, pacing: Pacing::default() },
        Fault::RateLimited(RetryAfter::Seconds(13)),
    ];
    for route in routes {
        for fault in &faults {
            let world = world().await;
            world.cloud.script(Script::at(route, fault.clone()).once());
            world.declare("reporting", &json!({"rotation": {"overlap": "10m"}}));
            pass(5 * MINUTE).await;
            world.secret_works("reporting");
            world.rotate("reporting", "1");
            pass(25 * MINUTE).await;
            assert_eq!(world.client_ready("reporting"), "True/ClientReady", "{route:?} {fault:?}");
            assert_eq!(world.only().secrets.len(), 1, "{route:?} {fault:?}");
            world.secret_works("reporting");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_foreign_secret_is_never_changed_and_no_client_is_created_for_it() {
    let world = world().await;
    world.put_credential("a", "reporting-oauth", "theirs", "planted-theirs");
    world.declare("reporting", &json!({}));
    pass(MINUTE).await;
    assert_eq!(world.client_ready("reporting"), "False/SecretNotOwned");
    assert_eq!((world.made().len(), world.credential("reporting", "client-id").as_deref()), (0, Some("theirs")));
    world.api.delete(Kind::Secret, "a", "reporting-oauth");
    pass(Duration::from_secs(10)).await;
    assert_eq!(world.client_ready("reporting"), "True/ClientReady", "the change is noticed at once");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_write_is_reported_and_the_same_credential_is_written_later() {
    let world = world().await;
    let refuse =
        api_server::Script::on(Verb::Patch, Kind::Secret, api_server::Fault::Forbidden).name("reporting-oauth");
    world.api.script(refuse);
    world.declare("reporting", &json!({}));
    pass(5 * MINUTE).await;
    assert_eq!(world.client_ready("reporting"), "False/WriteRejected");
    assert_eq!(world.only().secrets.len(), 1, "the same value is written later");
    world.api.clear_scripts();
    pass(2 * MINUTE).await;
    assert_eq!(world.client_ready("reporting"), "True/ClientReady");
    assert_eq!(world.only().secrets.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_keeps_failing_is_abandoned_and_reported() {
    let world = world().await;
    for name in ["down", "orphan"] {
        world.declare(name, &json!({"deletionPolicy": "Delete"}));
    }
    pass(MINUTE).await;
    world.cloud.script(Script::at(
        Route::DeleteClient,
        Fault::Page { status: 503, bytes: 9, retry_after: None, pacing: Pacing::default() },
    ));
    world.api.delete(Kind::QlikOAuthClient, "a", "down");
    pass(4 * MINUTE).await;
    assert!(world.declared("down").is_object(), "the deletion is retried until then");
    pass(2 * MINUTE).await;
    assert!(world.declared("down").is_null());
    assert_eq!((world.made().len(), world.notes("ClientNotDeleted").len()), (2, 1));
    world.cloud.clear_scripts();
    world.api.delete(Kind::QlikContext, "a", "admin");
    world.api.delete(Kind::QlikOAuthClient, "a", "orphan");
    pass(Duration::from_secs(5)).await;
    assert!(world.declared("orphan").is_null(), "at once when the context is gone");
    assert_eq!(world.notes("ClientNotDeleted").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_objects_at_once_stay_within_the_limits_of_the_tenant() {
    let world = world().await;
    world.cloud.clear_ledger();
    for n in 0..100 {
        world.declare(&format!("c{n}"), &json!({}));
    }
    let mut seconds = 0;
    while (0..100).any(|n| world.client_ready(&format!("c{n}")) != "True/ClientReady") {
        pass(Duration::from_secs(1)).await;
        seconds += 1;
    }
    // Two requests of tier 2 for each object. A hundred can be sent in a minute, and at first half of them are reserved
    // for others.
    assert!((60..=120).contains(&seconds), "{seconds} s");
    pass(10 * MINUTE).await;
    for n in 0..100 {
        assert_eq!(world.client_ready(&format!("c{n}")), "True/ClientReady", "c{n}");
        world.secret_works(&format!("c{n}"));
    }
    assert_eq!(world.made().len(), 100);
    let limited = world.cloud.ledger(|ledger| ledger.records.iter().filter(|record| record.status == 429).count());
    assert_eq!(limited, 0, "the operator's own budget is smaller than the tenant's limit");
    let created = world.cloud.ledger(|ledger| ledger.at(Route::CreateClient));
    assert_eq!(created, 100);
}

#[tokio::test(start_paused = true)]
async fn every_reason_of_an_oauth_client_is_reached_by_a_test_here() {
    let tests = [include_str!("lifecycle.rs"), include_str!("tenant_ways.rs"), include_str!("trouble.rs")];
    for reason in crate::reasons::OF_OAUTH_CLIENTS {
        let reported = format!("/{reason}\"");
        let good = ["ClientInSync", "CredentialConfirmed"].contains(&&*reason.to_string());
        assert!(good || tests.iter().any(|text| text.contains(&reported)), "{reason}");
    }
    let world = world().await;
    world.declare("reporting", &json!({}));
    pass(MINUTE).await;
    assert_eq!(world.client_condition("reporting", "ClientSynced"), "True/ClientInSync");
    assert_eq!(world.client_condition("reporting", "CredentialVerified"), "True/CredentialConfirmed");
    let client = world.only();
    // The response to a creation is lost, so the result is unknown.
    world.cloud.script(
        Script::at(
            Route::CreateClient,
            Fault::Page { status: 503, bytes: 9, retry_after: None, pacing: Pacing::default() },
        )
        .once(),
    );
    world.declare("unclear", &json!({}));
    pass(Duration::from_secs(10)).await;
    assert_eq!(world.client_ready("unclear"), "False/ClientCreating");
    pass(2 * MINUTE).await;
    assert_eq!(world.client_ready("unclear"), "True/ClientReady");
    for (edit, reason) in [
        ((|client: &mut Client| client.app_type = "spa".into()) as fn(&mut Client), "False/ClientNotSuitable"),
        (|client| client.app_type = "web".into(), "True/ClientReady"),
        (|client| client.disabled = true, "False/ClientNotSuitable"),
        (|client| client.disabled = false, "True/ClientReady"),
    ] {
        world.tenant.edit_client(&client.client_id, edit);
        pass(16 * MINUTE).await;
        assert_eq!(world.client_ready("reporting"), reason);
    }
    let conflict = Fault::Answer { status: 409, body: support::tenant::FaultBody::Qlik };
    world.cloud.script(Script::at(Route::PatchClient, conflict));
    world.tenant.edit_client(&client.client_id, |client| client.name = "x".into());
    pass(16 * MINUTE).await;
    assert_eq!(world.client_condition("reporting", "ClientSynced"), "False/ClientConflict");
    world.cloud.clear_scripts();
    pass(6 * MINUTE).await;
    assert_eq!(world.client_ready("reporting"), "True/ClientReady");
    world
        .cloud
        .script(Script::at(Route::GetClient, Fault::Answer { status: 401, body: support::tenant::FaultBody::Qlik }));
    pass(16 * MINUTE).await;
    assert_eq!(world.client_condition("reporting", "ClientSynced"), "False/AdminTokenRejected");
}

/// Requests for OAuth clients that this host received.
fn asked(world: &World, host: &str) -> usize {
    let about = |path: &str| path.starts_with("/api/v1/oauth-clients");
    world
        .cloud
        .ledger(|ledger| ledger.records.iter().filter(|record| record.host == host && about(&record.path)).count())
}

#[tokio::test(start_paused = true)]
async fn only_a_token_that_matches_its_context_manages_clients() {
    let world = world().await;
    // Nothing is repaired while it is suspended.
    let suspend = |object: &mut Value| object["spec"]["suspend"] = true.into();
    world.api.edit(Kind::QlikContext, "a", "admin", suspend).unwrap();
    pass(Duration::from_secs(5)).await;
    let edits: [fn(&mut Value); 4] = [
        |secret| secret["data"]["token"] = "cGxhbnRlZC1vdGhlcg==".into(),
        |secret| secret["metadata"]["annotations"]["qlikcontext.dev/issued-at"] = "2026-11-22T01:00:00Z".into(),
        |secret| secret["metadata"]["ownerReferences"][0]["uid"] = "another".into(),
        |secret| secret["metadata"]["annotations"]["qlikcontext.dev/token-binding"] = "v1.x.y".into(),
    ];
    let stored = world.api.get(Kind::Secret, "a", "admin-token").unwrap();
    for (n, edit) in edits.into_iter().enumerate() {
        let restored = |secret: &mut Value| {
            for field in ["data", "metadata"] {
                secret[field] = stored[field].clone();
            }
            edit(secret);
        };
        world.api.edit(Kind::Secret, "a", "admin-token", restored).unwrap();
        world.declare(&format!("c{n}"), &json!({}));
        pass(MINUTE).await;
        assert_eq!(world.client_ready(&format!("c{n}")), "False/AdminContextNotReady", "{n}");
        assert_eq!(asked(&world, "acme.eu.qlikcloud.com"), 0, "{n}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_admin_token_is_sent_only_to_the_tenant_of_its_context() {
    let world = world().await;
    world.cloud.tenant("other.eu.qlikcloud.com");
    world.cloud.tenant("elsewhere.example");
    for (host, reason) in [
        // The Secret still holds the token of the first tenant.
        ("other.eu.qlikcloud.com", "False/AdminContextNotReady"),
        ("elsewhere.example", "False/AdminContextNotReady"),
    ] {
        let turn = |object: &mut Value| object["spec"]["tenantUrl"] = format!("https://{host}").into();
        world.api.edit(Kind::QlikContext, "a", "admin", turn).unwrap();
        world.declare(&host.replace('.', "-"), &json!({}));
        pass(MINUTE).await;
        assert_eq!(world.client_ready(&host.replace('.', "-")), reason);
        assert_eq!(asked(&world, host), 0, "{host}");
    }
    // The credential's list of hosts also applies to a token that was issued for it and is still valid.
    let back = |object: &mut Value| object["spec"]["tenantUrl"] = "https://acme.eu.qlikcloud.com".into();
    world.api.edit(Kind::QlikContext, "a", "admin", back).unwrap();
    let narrow = |secret: &mut Value| {
        secret["metadata"]["annotations"]["qlikcontext.dev/allowed-hosts"] = "other.eu.qlikcloud.com".into();
    };
    world.api.edit(Kind::Secret, "a", "admin", narrow).unwrap();
    let before = asked(&world, "acme.eu.qlikcloud.com");
    world.declare("narrow", &json!({}));
    pass(MINUTE).await;
    assert_eq!(world.client_ready("narrow"), "False/AdminContextNotReady");
    assert_eq!(asked(&world, "acme.eu.qlikcloud.com"), before);
}

#[tokio::test(start_paused = true)]
async fn the_status_of_an_object_that_cannot_be_parsed_is_written_by_a_merge_patch() {
    let world = world().await;
    world.declare("reporting", &json!({}));
    pass(MINUTE).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    world.api.observe(Arc::new(move |change| {
        let Some(object) = change.after.filter(|_| change.kind == Kind::QlikOAuthClient) else { return };
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let is_true = |name: &str| conditions.iter().any(|found| found["type"] == name && found["status"] == "True");
        let dated = conditions.iter().all(|condition| condition["lastTransitionTime"].is_string());
        kept.lock().unwrap().push((is_true("Ready"), is_true("Stalled"), dated));
    }));
    let patches = |content_type: &str| {
        world
            .api
            .log(|log| log.count_if(|call| call.kind == Kind::QlikOAuthClient && call.content_type == content_type))
    };
    let applies = patches("application/apply-patch+yaml");
    for scopes in [json!("no list"), json!(["user_default"]), json!("no list"), json!(["user_default"])] {
        let edit = |object: &mut Value| object["spec"]["scopes"] = scopes.clone();
        world.api.edit(Kind::QlikOAuthClient, "a", "reporting", edit).unwrap();
        pass(Duration::from_secs(10)).await;
        let wanted = if scopes.is_array() { "True/ClientReady" } else { "False/SpecInvalid" };
        assert_eq!(world.client_ready("reporting"), wanted);
    }
    assert_eq!(patches("application/apply-patch+yaml"), applies, "a real server cannot apply over such an object");
    assert!(patches("application/merge-patch+json") >= 4);
    let seen = seen.lock().unwrap();
    assert!(seen.iter().all(|(ready, stalled, dated)| *dated && !(*ready && *stalled)), "{seen:?}");
}
