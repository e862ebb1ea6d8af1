//! Equal token requests and verifications are sent once and shared.

use std::time::Duration;

use serde_json::json;
use support::api_server::Kind;
use support::tenant::{Client, Fault, Route, Script};

use crate::world::{CLIENT_SECRET, HOUR, LIFE, World, pass};

/// Contexts in ten namespaces with the same credential. Each namespace has its own Secret.
fn shared(world: &World, count: usize, changes: &serde_json::Value) {
    world.tenant.add_client(Client::new("shared").secret(CLIENT_SECRET).lifetime(LIFE));
    for n in 0..10 {
        world.put_credential(&format!("ns{n}"), "oauth", "shared", CLIENT_SECRET);
    }
    for n in 0..count {
        world.put_context(&format!("ns{}", n % 10), &format!("c{n}"), "oauth", changes);
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_contexts_with_one_credential_cost_one_token_request_and_one_check_for_each_renewal() {
    let mut world = World::new();
    shared(&world, 1000, &json!({"verifyInterval": "0s"}));
    world.start();
    pass(Duration::from_mins(1)).await;
    assert_eq!((world.issued(), world.cloud.ledger(|ledger| ledger.at(Route::UsersMe))), (1, 1));
    let token = world.token("ns0", "c0").unwrap();
    assert!((0..1000).all(|n| world.token(&format!("ns{}", n % 10), &format!("c{n}")).as_ref() == Some(&token)));
    pass(5 * HOUR).await;
    assert_eq!((world.issued(), world.cloud.ledger(|ledger| ledger.at(Route::UsersMe))), (2, 2));
    let token = world.token("ns0", "c0").unwrap();
    assert!((0..1000).all(|n| world.token(&format!("ns{}", n % 10), &format!("c{n}")).as_ref() == Some(&token)));
}

#[tokio::test(start_paused = true)]
async fn verifications_are_shared_as_well() {
    let mut world = World::new();
    shared(&world, 50, &json!({"verifyInterval": "10m"}));
    world.start();
    pass(HOUR + Duration::from_mins(1)).await;
    let checks = world.cloud.ledger(|ledger| ledger.at(Route::UsersMe));
    assert!((6..=7).contains(&checks), "{checks} for 50 contexts in an hour");
    assert_eq!(world.issued(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_wrong_secret_shared_by_many_is_tried_once_for_all() {
    let mut world = World::new();
    world.tenant.add_client(Client::new("shared").secret(CLIENT_SECRET));
    for n in 0..50 {
        world.put_credential(&format!("ns{n}"), "oauth", "shared", "planted-wrong-secret");
        world.put_context(&format!("ns{n}"), "acme", "oauth", &json!({}));
    }
    world.start();
    pass(HOUR).await;
    // A client that never worked gets three more attempts within two minutes, because it may have been created a moment
    // ago.
    assert!(world.token_requests() <= 10, "{} token requests in the first hour", world.token_requests());
    assert!((0..50).all(|n| world.ready(&format!("ns{n}"), "acme") == "False/InvalidClient"));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_request_renews_the_token_of_all_contexts_that_share_it_at_most_once_a_minute() {
    let mut world = World::new();
    shared(&world, 20, &json!({}));
    world.start();
    pass(Duration::from_mins(2)).await;
    let request = |name: &str, namespace: &str, value: &str| {
        world
            .api
            .edit(Kind::QlikContext, namespace, name, |context| {
                context["metadata"]["annotations"]["qlikcontext.dev/refresh-requested-at"] = value.into();
            })
            .unwrap();
    };
    let handled = |namespace: &str, name: &str| {
        world.api.get(Kind::QlikContext, namespace, name).unwrap()["status"]["lastHandledRefreshRequest"].clone()
    };
    request("c0", "ns0", "one");
    pass(Duration::from_secs(5)).await;
    assert_eq!((world.issued(), handled("ns0", "c0")), (2, json!("one")));
    // Continuous refresh requests still lead to one token a minute.
    for flip in 0..300 {
        request("c1", "ns1", &format!("flip-{flip}"));
        pass(Duration::from_secs(1)).await;
    }
    assert!(world.issued() <= 2 + 6, "{}", world.issued());
    pass(Duration::from_mins(2)).await;
    assert_eq!(handled("ns1", "c1"), json!("flip-299"), "the last value is handled");
    assert_eq!(handled("ns0", "c0"), json!("one"));
    let quiet = world.issued();
    pass(HOUR).await;
    assert_eq!(world.issued(), quiet, "a handled request is not handled again");
}

#[tokio::test(start_paused = true)]
async fn one_token_request_serves_all_refresh_requests_that_were_seen_before_it() {
    let mut world = World::new();
    shared(&world, 10, &json!({}));
    for n in 0..10 {
        let annotate = |context: &mut serde_json::Value| {
            context["metadata"]["annotations"]["qlikcontext.dev/refresh-requested-at"] = format!("request-{n}").into();
        };
        world.api.edit(Kind::QlikContext, &format!("ns{n}"), &format!("c{n}"), annotate).unwrap();
    }
    world.start();
    pass(Duration::from_mins(3)).await;
    assert_eq!(world.issued(), 1);
    for n in 0..10 {
        let context = world.api.get(Kind::QlikContext, &format!("ns{n}"), &format!("c{n}")).unwrap();
        assert_eq!(context["status"]["lastHandledRefreshRequest"], format!("request-{n}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_request_that_cannot_be_echoed_is_ignored_and_reported() {
    let mut world = World::new();
    world.add("a", "acme", LIFE, &json!({}));
    world.start();
    pass(Duration::from_secs(5)).await;
    for value in ["", &"x".repeat(65), "line\nbreak"] {
        let annotation = |context: &mut serde_json::Value| {
            context["metadata"]["annotations"]["qlikcontext.dev/refresh-requested-at"] = value.into();
        };
        world.api.edit(Kind::QlikContext, "a", "acme", annotation).unwrap();
        pass(Duration::from_mins(2)).await;
    }
    assert_eq!(world.issued(), 1);
    let events = world.api.list(Kind::Event, None);
    assert!(events.iter().any(|event| event["reason"] == "RefreshRequestIgnored"), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn a_revoked_token_of_many_contexts_is_verified_once_and_renewed_once() {
    let mut world = World::new();
    shared(&world, 50, &json!({"verifyInterval": "10m"}));
    world.start();
    pass(Duration::from_mins(1)).await;
    world.cloud.clear_ledger();
    world.tenant.revoke_all();
    pass(Duration::from_mins(11)).await;
    let (issued, checks) = world.cloud.ledger(|ledger| (ledger.issued, ledger.at(Route::UsersMe)));
    assert_eq!(
        (issued, checks),
        (1, 2),
        "one failed verification, one token request, one verification of the new token"
    );
    assert!((0..50).all(|n| world.ready(&format!("ns{}", n % 10), &format!("c{n}")) == "True/TokenValid"));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_value_that_was_used_before_another_one_is_handled_again() {
    let mut world = World::new();
    world.add("a", "acme", LIFE, &json!({}));
    world.start();
    pass(Duration::from_secs(5)).await;
    for (round, value) in ["one", "two", "one"].into_iter().enumerate() {
        let annotate = |context: &mut serde_json::Value| {
            context["metadata"]["annotations"]["qlikcontext.dev/refresh-requested-at"] = value.into();
        };
        world.api.edit(Kind::QlikContext, "a", "acme", annotate).unwrap();
        pass(Duration::from_mins(2)).await;
        assert_eq!(world.issued(), 2 + round as u64);
        let context = world.api.get(Kind::QlikContext, "a", "acme").unwrap();
        assert_eq!(context["status"]["lastHandledRefreshRequest"], value);
    }
}

#[tokio::test(start_paused = true)]
async fn a_verification_leaves_each_secret_the_times_of_its_own_token() {
    let mut world = World::new();
    let life = Duration::from_mins(30);
    world.add("a", "shared", life, &json!({"verifyInterval": "1m"}));
    world.put_context("a", "renewed", "shared", &json!({"verifyInterval": "0s"}));
    world.start();
    pass(Duration::from_mins(1)).await;
    let suspend = |world: &World, suspended: bool| {
        let edit = |context: &mut serde_json::Value| context["spec"]["suspend"] = suspended.into();
        world.api.edit(Kind::QlikContext, "a", "shared", edit).unwrap();
    };
    // The tenant issues the same token once more, and only one of the Secrets gets its new times.
    suspend(&world, true);
    pass(Duration::from_mins(1)).await;
    world.cloud.script(Script::at(Route::Token, Fault::SameToken).once());
    let annotate = |context: &mut serde_json::Value| {
        context["metadata"]["annotations"]["qlikcontext.dev/refresh-requested-at"] = "now".into();
    };
    world.api.edit(Kind::QlikContext, "a", "renewed", annotate).unwrap();
    pass(Duration::from_mins(1)).await;
    let issued_at = |world: &World, name: &str| {
        let secret = world.api.get(Kind::Secret, "a", &format!("{name}-token")).unwrap();
        secret["metadata"]["annotations"]["qlikcontext.dev/issued-at"].to_string()
    };
    let before = issued_at(&world, "renewed");
    assert!(before > issued_at(&world, "shared"));
    assert_eq!(world.token("a", "renewed"), world.token("a", "shared"));
    world.start();
    suspend(&world, false);
    pass(Duration::from_mins(3)).await;
    // Its Secret is written again.
    let label = |context: &mut serde_json::Value| context["spec"]["target"] = json!({"labels": {"team": "a"}});
    world.api.edit(Kind::QlikContext, "a", "renewed", label).unwrap();
    pass(Duration::from_mins(1)).await;
    assert_eq!(issued_at(&world, "renewed"), before);
}
