//! API keys and private keys over time.

use std::time::Duration;

use serde_json::json;
use support::api_server::{Fault, Kind, Script, Verb};
use support::tenant::{self, Algorithm, Client, FaultBody, PublicKey, Route, UserStatus};

use crate::world::{HOUR, LIFE, World, pass};

const DAY: Duration = Duration::from_hours(24);

fn put(world: &World, kind: &str, name: &str, field: &str, content: &serde_json::Value) {
    let version = if kind == "Secret" { "v1" } else { "qlikcontext.dev/v1alpha1" };
    let object = json!({
        "apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "a"}, field: content,
    });
    world.api.put(object).unwrap();
}

fn with_api_key(interval: &str) -> World {
    let mut world = World::new();
    world.tenant.add_user("auth0|ada", "Ada");
    let key = world.tenant.api_key("auth0|ada", 60 * DAY);
    put(&world, "Secret", "k", "stringData", &json!({"api-key": key}));
    let auth = json!({"apiKey": {"secretRef": {"name": "k"}}});
    let spec = json!({"tenantUrl": world.tenant.url(), "auth": auth, "verifyInterval": interval});
    put(&world, "QlikContext", "acme", "spec", &spec);
    world.start();
    world
}

#[tokio::test(start_paused = true)]
async fn an_api_key_that_is_accepted_again_is_still_checked() {
    let world = with_api_key("15m");
    pass(Duration::from_mins(1)).await;
    for _ in 0..2 {
        assert_eq!(world.ready("a", "acme"), "True/TokenValid");
        world.tenant.edit_user("auth0|ada", |user| user.status = UserStatus::Disabled);
        pass(HOUR).await;
        assert!(world.ready("a", "acme").starts_with("False/"), "{}", world.ready("a", "acme"));
        world.tenant.edit_user("auth0|ada", |user| user.status = UserStatus::Active);
        pass(HOUR).await;
    }
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
}

/// Three contexts with one API key.
#[tokio::test(start_paused = true)]
async fn an_api_key_that_is_rejected_for_one_context_is_verified_for_all_before_it_is_written_again() {
    let world = with_api_key("24h");
    let spec = world.api.get(Kind::QlikContext, "a", "acme").unwrap()["spec"].clone();
    for name in ["same", "other"] {
        put(&world, "QlikContext", name, "spec", &spec);
    }
    pass(Duration::from_mins(1)).await;
    let names = ["acme", "same", "other"];
    assert!(names.iter().all(|name| world.ready("a", name) == "True/TokenValid"));
    let key = world.token("a", "acme").unwrap();
    let rejected = tenant::Fault::Answer { status: 401, body: FaultBody::Qlik };
    world.cloud.script(tenant::Script::at(Route::UsersMe, rejected));
    let annotate = |context: &mut serde_json::Value| {
        context["metadata"]["annotations"]["qlikcontext.dev/refresh-requested-at"] = "now".into();
    };
    world.api.edit(Kind::QlikContext, "a", "other", annotate).unwrap();
    pass(Duration::from_secs(10)).await;
    for name in names {
        assert!(world.ready("a", name).starts_with("False/"), "{name}: {}", world.ready("a", name));
        let tamper = |secret: &mut serde_json::Value| secret["data"]["token"] = "dGFtcGVyZWQ=".into();
        world.api.edit(Kind::Secret, "a", &format!("{name}-token"), tamper).unwrap();
    }
    pass(HOUR).await;
    assert!(names.iter().all(|name| world.token("a", name).as_ref() != Some(&key)), "it was written again");
    world.cloud.clear_scripts();
    pass(HOUR).await;
    for name in names {
        assert_eq!((world.ready("a", name).as_str(), world.token("a", name).as_ref()), ("True/TokenValid", Some(&key)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_key_that_is_a_month_old_is_used_like_a_new_one() {
    let world = with_api_key("24h");
    pass(31 * DAY).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
    let down = tenant::Fault::Answer { status: 503, body: FaultBody::Html };
    world.cloud.script(tenant::Script::at(Route::UsersMe, down));
    pass(DAY).await;
    assert_eq!(world.ready("a", "acme"), "True/RenewalFailing");
}

#[tokio::test(start_paused = true)]
async fn an_api_key_that_a_user_refreshes_keeps_its_time_of_issue() {
    let world = with_api_key("24h");
    pass(HOUR).await;
    let token_of = |world: &World| world.api.get(Kind::QlikContext, "a", "acme").unwrap()["status"]["token"].clone();
    let before = token_of(&world);
    let annotate = |context: &mut serde_json::Value| {
        context["metadata"]["annotations"]["qlikcontext.dev/refresh-requested-at"] = "now".into();
    };
    world.api.edit(Kind::QlikContext, "a", "acme", annotate).unwrap();
    pass(Duration::from_mins(1)).await;
    assert_eq!(token_of(&world), before, "workloads are restarted when it changes");
    let status = world.api.get(Kind::QlikContext, "a", "acme").unwrap()["status"].clone();
    assert_eq!(status["lastHandledRefreshRequest"], "now");
}

#[tokio::test(start_paused = true)]
async fn another_key_id_leads_to_another_token_request() {
    let mut world = World::new();
    let key =
        |name: &str| std::fs::read_to_string(format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let public = PublicKey::new("right", Algorithm::RS256, &key("rsa-public.pem"));
    world.tenant.add_client(Client::new("pk").key(public).lifetime(LIFE));
    let credential = json!({"client-id": "pk", "private-key": key("rsa-pkcs8.pem")});
    put(&world, "Secret", "k", "stringData", &credential);
    let auth = json!({"privateKeyJwt": {"keyId": "wrong", "secretRef": {"name": "k"}}});
    put(&world, "QlikContext", "acme", "spec", &json!({"tenantUrl": world.tenant.url(), "auth": auth}));
    world.start();
    for (key_id, ready) in [("wrong", "False/"), ("right", "True/TokenValid"), ("wrong again", "False/")] {
        let edit = |context: &mut serde_json::Value| context["spec"]["auth"]["privateKeyJwt"]["keyId"] = key_id.into();
        world.api.edit(Kind::QlikContext, "a", "acme", edit).unwrap();
        pass(Duration::from_secs(10)).await;
        assert!(world.ready("a", "acme").starts_with(ready), "{key_id}: {}", world.ready("a", "acme"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_status_write_does_not_make_the_token_unverified() {
    let mut world = World::new();
    world.add("a", "acme", LIFE, &json!({"verifyInterval": "0s"}));
    world.api.script(Script::on(Verb::Patch, Kind::QlikContext, Fault::Forbidden).status().once());
    world.start();
    pass(3 * HOUR).await;
    assert_eq!((world.ready("a", "acme").as_str(), world.issued()), ("True/TokenValid", 1));
    let down = tenant::Fault::Answer { status: 503, body: FaultBody::Html };
    world.cloud.script(tenant::Script::at(Route::Token, down));
    pass(HOUR + Duration::from_mins(30)).await;
    assert_eq!(world.ready("a", "acme"), "True/RenewalFailing");
}

#[tokio::test(start_paused = true)]
async fn a_status_that_another_client_changed_is_corrected_at_the_next_reconciliation() {
    let mut world = World::new();
    world.add("a", "acme", LIFE, &json!({}));
    world.start();
    pass(Duration::from_mins(1)).await;
    world.api.edit(Kind::QlikContext, "a", "acme", |context| context["status"] = json!({"conditions": []})).unwrap();
    pass(Duration::from_mins(16)).await;
    assert_eq!((world.ready("a", "acme").as_str(), world.issued()), ("True/TokenValid", 1));
}
