//! Token Secrets that are restored from a backup or lose their owner reference, and Secrets that imitate one.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qlik_context_operator::api::QlikContext;
use qlik_context_operator::binding;
use qlik_context_operator::controller::scope::{Scope, selector};
use qlik_context_operator::desired::Desired;
use qlik_context_operator::oauth::token::{AccessToken, Token};
use serde_json::{Value, json};
use support::api_server::{Kind, Verb};
use support::tenant::Route;

use crate::world::{CLIENT_SECRET, LIFE, World, pass};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// A context that was ready, and its Secret as in a backup: with labels and annotations, without owner reference and
/// uid.
async fn backup() -> (World, Value) {
    let mut world = World::new();
    world.add("a", "acme", LIFE, &json!({"verifyInterval": "0s"}));
    world.start();
    pass(5 * SECOND).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
    let stored = world.api.get(Kind::Secret, "a", "acme-token").unwrap();
    let meta = &stored["metadata"];
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": stored["data"],
        "metadata": {
            "name": "acme-token", "namespace": "a", "labels": meta["labels"], "annotations": meta["annotations"],
        },
    });
    (world, secret)
}

/// Deletes the namespace. A backup tool restores the objects with new uids.
async fn restore(world: &mut World, secret: Value, restart: bool) {
    world.api.delete(Kind::QlikContext, "a", "acme");
    world.api.collect_garbage();
    assert!(world.api.get(Kind::Secret, "a", "acme-token").is_none());
    pass(MINUTE).await;
    world.cloud.clear_ledger();
    if restart {
        world.start();
        pass(2 * SECOND).await;
    }
    world.api.put(secret).unwrap();
    world.put_context("a", "acme", "acme", &json!({"verifyInterval": "0s"}));
    pass(5 * SECOND).await;
}

fn owner(world: &World) -> Value {
    world.api.get(Kind::Secret, "a", "acme-token").unwrap()["metadata"]["ownerReferences"][0]["uid"].clone()
}

fn uid(world: &World) -> Value {
    world.api.get(Kind::QlikContext, "a", "acme").unwrap()["metadata"]["uid"].clone()
}

fn checks(world: &World) -> u64 {
    world.cloud.ledger(|ledger| ledger.at(Route::UsersMe))
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_was_restored_with_its_context_is_adopted_with_its_token_after_one_check() {
    for restart in [false, true] {
        let (mut world, secret) = backup().await;
        let (token, before) = (world.token("a", "acme"), uid(&world));
        restore(&mut world, secret, restart).await;
        assert_ne!(uid(&world), before, "a new uid");
        assert_eq!(world.ready("a", "acme"), "True/TokenValid", "restart: {restart}");
        assert_eq!((world.issued(), checks(&world)), (0, 1), "restart: {restart}");
        assert_eq!((world.token("a", "acme"), owner(&world)), (token, uid(&world)), "restart: {restart}");
        world.api.delete(Kind::QlikContext, "a", "acme");
        world.api.collect_garbage();
        assert!(world.api.get(Kind::Secret, "a", "acme-token").is_none(), "the restored Secret is garbage-collected");
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_lost_its_owner_reference_gets_it_back_and_keeps_its_token() {
    let (world, _) = backup().await;
    pass(MINUTE).await;
    let token = world.token("a", "acme");
    let disown = |secret: &mut Value| secret["metadata"]["ownerReferences"] = json!([]);
    world.api.edit(Kind::Secret, "a", "acme-token", disown).unwrap();
    pass(3 * SECOND).await;
    assert_eq!(owner(&world), uid(&world));
    assert_eq!((world.issued(), world.token("a", "acme")), (1, token));
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
}

#[tokio::test(start_paused = true)]
async fn a_restored_secret_with_a_revoked_token_is_adopted_with_a_new_token() {
    let (mut world, secret) = backup().await;
    let dead = world.token("a", "acme").unwrap();
    world.tenant.revoke_all();
    restore(&mut world, secret, true).await;
    assert_eq!((world.ready("a", "acme").as_str(), world.issued()), ("True/TokenValid", 1));
    assert_ne!(world.token("a", "acme").unwrap(), dead);
    assert_eq!(owner(&world), uid(&world));
}

#[tokio::test(start_paused = true)]
async fn a_secret_without_all_three_marks_or_with_another_controller_is_foreign_and_not_changed() {
    type Change = (&'static str, fn(&mut Value));
    let changes: [Change; 7] = [
        ("no managed-by label", |secret| secret["metadata"]["labels"][MANAGED_BY] = Value::Null),
        ("another managed-by label", |secret| secret["metadata"]["labels"][MANAGED_BY] = "Helm".into()),
        ("no context label", |secret| secret["metadata"]["labels"]["qlikcontext.dev/context"] = Value::Null),
        ("another's context label", |secret| secret["metadata"]["labels"]["qlikcontext.dev/context"] = "other".into()),
        ("no binding", |secret| secret["metadata"]["annotations"]["qlikcontext.dev/token-binding"] = Value::Null),
        ("no real binding", |secret| {
            secret["metadata"]["annotations"]["qlikcontext.dev/token-binding"] = "v1.a.b".into();
        }),
        ("another controller", |secret| {
            secret["metadata"]["ownerReferences"] = json!([{
                "apiVersion": "apps/v1", "kind": "Deployment", "name": "acme", "uid": "u", "controller": true,
            }]);
        }),
    ];
    for (what, change) in changes {
        let (mut world, mut secret) = backup().await;
        change(&mut secret);
        for map in ["labels", "annotations"] {
            secret["metadata"][map].as_object_mut().unwrap().retain(|_, value| !value.is_null());
        }
        restore(&mut world, secret, true).await;
        let before = world.api.get(Kind::Secret, "a", "acme-token");
        pass(30 * MINUTE).await;
        assert_eq!(world.ready("a", "acme"), "False/SecretNotOwned", "{what}");
        assert_eq!(world.condition("a", "acme", "Stalled")["status"], "True", "{what}");
        assert_eq!(world.api.get(Kind::Secret, "a", "acme-token"), before, "{what}");
        assert_eq!((world.issued(), checks(&world)), (0, 0), "{what}: its token is not used");
    }
}

/// A Secret with all three marks and a valid binding, created by someone who knows the credential.
fn forged(world: &World, token: &str) -> Value {
    let context: QlikContext = serde_json::from_value(world.api.get(Kind::QlikContext, "a", "acme").unwrap()).unwrap();
    let now = world.clock.now();
    let times = [now, now.checked_add(qlik_context_operator::clock::SignedDuration::from_hours(6)).unwrap()];
    let [issued_at, expires_at] = times;
    let access_token = AccessToken::parse(token).unwrap();
    let held = Token { access_token, issued_at, expires_at: Some(expires_at), scopes: None };
    let inputs = Desired::parse(&context).unwrap().binding_inputs();
    let sent = ["acme", CLIENT_SECRET].map(Into::into);
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": {"token": STANDARD.encode(token)},
        "metadata": {
            "name": "acme-token", "namespace": "a",
            "labels": {MANAGED_BY: "qlik-context-operator", "qlikcontext.dev/context": "acme"},
            "annotations": {
                "qlikcontext.dev/issued-at": issued_at.to_string(),
                "qlikcontext.dev/expires-at": expires_at.to_string(),
                "qlikcontext.dev/token-binding": binding::bind(&held, &inputs, &sent),
            },
        },
    })
}

#[tokio::test(start_paused = true)]
async fn a_forged_token_in_a_secret_with_all_marks_is_verified_and_replaced() {
    let (mut world, _) = backup().await;
    let secret = forged(&world, "forged-token-that-no-tenant-issued");
    restore(&mut world, secret, true).await;
    assert_eq!((world.ready("a", "acme").as_str(), world.issued()), ("True/TokenValid", 1));
    assert_eq!(checks(&world), 2, "the forged one and the new one were verified");
    assert_ne!(world.token("a", "acme").as_deref(), Some("forged-token-that-no-tenant-issued"));
    assert_eq!(owner(&world), uid(&world));
}

#[tokio::test(start_paused = true)]
async fn a_forged_token_is_not_adopted_while_the_tenant_cannot_be_reached() {
    let (mut world, _) = backup().await;
    let secret = forged(&world, "forged-token-that-no-tenant-issued");
    let down = support::tenant::Fault::Answer { status: 503, body: support::tenant::FaultBody::Html };
    world.cloud.script(support::tenant::Script { at: None, ..support::tenant::Script::at(Route::Token, down) });
    restore(&mut world, secret, true).await;
    pass(10 * MINUTE).await;
    assert_eq!(world.ready("a", "acme"), "False/TenantUnavailable");
    assert_eq!(owner(&world), Value::Null, "nothing was written");
    world.cloud.clear_scripts();
    pass(6 * MINUTE).await;
    assert_eq!((world.ready("a", "acme").as_str(), world.issued()), ("True/TokenValid", 1));
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_replaced_during_its_adoption_is_checked_again() {
    let (world, secret) = backup().await;
    let foreign = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "acme-token", "namespace": "a"},
        "stringData": {"token": "somebody-elses"},
    });
    world.api.delete(Kind::QlikContext, "a", "acme");
    world.api.collect_garbage();
    pass(MINUTE).await;
    world.api.put(secret).unwrap();
    world.put_context("a", "acme", "acme", &json!({"verifyInterval": "0s"}));
    // While the request to users/me is in flight.
    pass(Duration::from_millis(400)).await;
    world.api.delete(Kind::Secret, "a", "acme-token");
    world.api.put(foreign).unwrap();
    pass(5 * SECOND).await;
    assert_eq!(world.ready("a", "acme"), "False/SecretNotOwned");
    assert_eq!(world.token("a", "acme").as_deref(), Some("somebody-elses"));
}

/// The steps of docs/migrate.md.
#[tokio::test(start_paused = true)]
async fn a_migration_that_keeps_the_name_of_the_secret_requests_one_token() {
    let mut world = World::new();
    let old = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "kept-token", "namespace": "a"},
        "stringData": {"access_token": "of-a-cron-job"},
    });
    world.api.put(old).unwrap();
    let before = world.api.get(Kind::Secret, "a", "kept-token").unwrap();
    world.add("a", "acme", LIFE, &json!({}));
    world.start();
    pass(5 * SECOND).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");

    world.put_context("a", "kept", "acme", &json!({"target": {"data": {"access_token": "$(token)"}}}));
    pass(10 * MINUTE).await;
    assert_eq!(world.ready("a", "kept"), "False/SecretNotOwned");
    assert_eq!(world.api.get(Kind::Secret, "a", "kept-token").unwrap(), before);

    world.api.delete(Kind::Secret, "a", "kept-token");
    pass(2 * SECOND).await;
    assert_eq!(world.ready("a", "kept"), "True/TokenValid");
    assert_eq!(world.token("a", "kept"), world.token("a", "acme"));
    let kept = world.api.get(Kind::Secret, "a", "kept-token").unwrap();
    assert_eq!(kept["data"]["access_token"], kept["data"]["token"]);
    assert_eq!(world.issued(), 1);
}

/// An instance that watches only Secrets with a label.
fn selecting(labels: &str) -> Scope {
    Scope { credentials: selector::parse(labels).unwrap(), ..Scope::default() }
}

#[tokio::test(start_paused = true)]
async fn a_credential_without_the_selected_label_is_found_within_a_minute_and_the_message_names_the_label() {
    let mut world = World::new();
    world.scope = selecting("mark=yes");
    world.start();
    world.tenant.add_client(support::tenant::Client::new("acme").secret(CLIENT_SECRET).lifetime(LIFE));
    world.put_context("a", "acme", "acme", &json!({}));
    pass(10 * MINUTE).await;
    let reported = world.reported("a", "acme", "Ready");
    assert!(reported.starts_with("False/SecretNotFound: "), "{reported}");
    assert!(reported.contains("mark=yes"), "{reported}");
    assert!(!reported.contains("as soon as"), "{reported}");
    world.put_credential("a", "acme", "acme", CLIENT_SECRET);
    pass(70 * SECOND).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
}

#[tokio::test(start_paused = true)]
async fn with_a_selector_the_deletion_of_a_foreign_secret_is_noticed_within_a_minute() {
    let mut world = World::new();
    world.scope = selecting("mark=yes");
    let foreign = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "acme-token", "namespace": "a"}});
    world.api.put(foreign).unwrap();
    world.add("a", "acme", LIFE, &json!({}));
    world.start();
    pass(10 * MINUTE).await;
    assert_eq!(world.ready("a", "acme"), "False/SecretNotOwned");
    world.api.delete(Kind::Secret, "a", "acme-token");
    pass(70 * SECOND).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
}

#[tokio::test(start_paused = true)]
async fn without_a_secret_to_adopt_a_read_every_minute_writes_nothing() {
    let mut world = World::new();
    world.scope = selecting("mark=yes");
    world.put_context("a", "acme", "acme", &json!({}));
    world.start();
    pass(5 * MINUTE).await;
    world.api.clear_log();
    pass(60 * MINUTE).await;
    let (reads, writes) = world.api.log(|log| (log.count(Verb::Get, Kind::Secret), log.writes()));
    assert!((55..=125).contains(&reads), "{reads} reads in an hour");
    assert_eq!(writes, 0);
}
