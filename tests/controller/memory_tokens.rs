//! A token in memory may have been revoked. It is verified before it is published.

use std::time::Duration;

use serde_json::{Value, json};
use support::api_server::{Kind, Verb};
use support::tenant::{Client, Route};

use crate::world::{CLIENT_SECRET, HOUR, LIFE, World, pass};

const MINUTE: Duration = Duration::from_mins(1);
/// Verification intervals: none, one shorter and one longer than the time of the tests.
const INTERVALS: [&str; 3] = ["0s", "10s", "15m"];

/// During this time, the Secrets of these contexts never contain this token.
async fn never_holds(world: &World, contexts: &[(&str, &str)], dead: &str, time: Duration) {
    let step = Duration::from_millis(20);
    for at in 0..time.as_millis() / step.as_millis() {
        for (namespace, name) in contexts {
            let held = world.token(namespace, name);
            assert_ne!(held.as_deref(), Some(dead), "{namespace}/{name} after {} ms", at * step.as_millis());
        }
        pass(step).await;
    }
}

fn checks(world: &World) -> u64 {
    world.cloud.ledger(|ledger| ledger.at(Route::UsersMe))
}

fn spec(interval: &str, scopes: &[&str]) -> Value {
    json!({"verifyInterval": interval, "scopes": scopes})
}

/// One client with two scopes, and a context with one of them that has been ready for some time.
async fn one_context(interval: &str, age: Duration) -> World {
    let mut world = World::new();
    let client = Client::new("acme").secret(CLIENT_SECRET).scopes(&["user_default", "apps"]);
    world.tenant.add_client(client.lifetime(LIFE));
    world.put_credential("a", "acme", "acme", CLIENT_SECRET);
    world.put_context("a", "acme", "acme", &spec(interval, &["user_default"]));
    world.start();
    pass(age).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
    world
}

fn set_scopes(world: &World, scopes: &[&str]) {
    world.api.edit(Kind::QlikContext, "a", "acme", |context| context["spec"]["scopes"] = json!(scopes)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_context_that_is_deleted_and_applied_again_does_not_get_its_revoked_token_back() {
    for interval in INTERVALS {
        let world = one_context(interval, 2 * MINUTE + Duration::from_secs(19)).await;
        let dead = world.token("a", "acme").unwrap();
        world.tenant.revoke_all();
        world.api.delete(Kind::QlikContext, "a", "acme");
        world.api.collect_garbage();
        pass(Duration::from_secs(1)).await;
        world.put_context("a", "acme", "acme", &spec(interval, &["user_default"]));
        never_holds(&world, &[("a", "acme")], &dead, Duration::from_secs(5)).await;
        assert_eq!(world.ready("a", "acme"), "True/TokenValid", "{interval}");
        assert_eq!(world.issued(), 2, "{interval}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_context_with_the_same_credential_does_not_get_a_revoked_token() {
    // With a short interval the tenant confirmed the token shortly before, which is sufficient.
    for interval in ["0s", "15m"] {
        let world = one_context(interval, 2 * MINUTE).await;
        let dead = world.token("a", "acme").unwrap();
        world.tenant.revoke_all();
        world.put_credential("b", "acme", "acme", CLIENT_SECRET);
        world.put_context("b", "second", "acme", &spec(interval, &["user_default"]));
        never_holds(&world, &[("b", "second")], &dead, Duration::from_secs(5)).await;
        for (namespace, name) in [("a", "acme"), ("b", "second")] {
            assert_eq!(world.ready(namespace, name), "True/TokenValid", "{interval}");
            assert_ne!(world.token(namespace, name).unwrap(), dead, "{namespace}/{name}, {interval}");
        }
        assert_eq!(world.issued(), 2, "{interval}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_context_with_the_same_credential_gets_the_token_from_memory_after_one_check() {
    let world = one_context("0s", 2 * MINUTE).await;
    world.cloud.clear_ledger();
    world.put_credential("b", "acme", "acme", CLIENT_SECRET);
    world.put_context("b", "second", "acme", &spec("0s", &["user_default"]));
    pass(Duration::from_secs(3)).await;
    assert_eq!(world.ready("b", "second"), "True/TokenValid");
    assert_eq!((world.issued(), checks(&world)), (0, 1), "verified before it is published in another Secret");
    world.put_credential("c", "acme", "acme", CLIENT_SECRET);
    world.put_context("c", "third", "acme", &spec("0s", &["user_default"]));
    pass(Duration::from_secs(3)).await;
    assert_eq!(world.ready("c", "third"), "True/TokenValid");
    assert_eq!((world.issued(), checks(&world)), (0, 1), "the tenant confirmed it shortly before");
}

#[tokio::test(start_paused = true)]
async fn scopes_that_are_edited_and_reverted_do_not_replace_a_working_token_with_a_revoked_one() {
    for interval in INTERVALS {
        let world = one_context(interval, 2 * MINUTE).await;
        // Another context keeps the first token in memory.
        world.put_credential("b", "acme", "acme", CLIENT_SECRET);
        world.put_context("b", "second", "acme", &spec("0s", &["user_default"]));
        pass(MINUTE).await;
        let dead = world.token("a", "acme").unwrap();
        set_scopes(&world, &["user_default", "apps"]);
        pass(MINUTE).await;
        assert_ne!(world.token("a", "acme").unwrap(), dead);
        assert!(world.tenant.revoke(&dead));
        set_scopes(&world, &["user_default"]);
        never_holds(&world, &[("a", "acme")], &dead, Duration::from_secs(5)).await;
        assert_eq!(world.ready("a", "acme"), "True/TokenValid", "{interval}");
        assert_eq!(world.issued(), 3, "{interval}");
        assert_ne!(world.token("b", "second").unwrap(), dead, "the other context is reconciled, too: {interval}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_scopes_are_edited_and_reverted_the_unused_token_is_dropped_from_memory() {
    let world = one_context("0s", 2 * MINUTE).await;
    let first = world.token("a", "acme").unwrap();
    set_scopes(&world, &["user_default", "apps"]);
    pass(MINUTE).await;
    world.tenant.revoke_all();
    set_scopes(&world, &["user_default"]);
    never_holds(&world, &[("a", "acme")], &first, Duration::from_secs(5)).await;
    assert_eq!((world.ready("a", "acme").as_str(), world.issued()), ("True/TokenValid", 3));
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_was_deleted_or_changed_gets_its_token_back_at_once_and_it_is_verified_right_after() {
    // With a short interval the tenant confirmed the token shortly before, which is sufficient.
    for interval in ["0s", "15m"] {
        for deleted in [true, false] {
            let world = one_context(interval, 2 * MINUTE + Duration::from_secs(5)).await;
            let token = world.token("a", "acme").unwrap();
            world.cloud.clear_ledger();
            if deleted {
                world.api.delete(Kind::Secret, "a", "acme-token");
            } else {
                let change = |secret: &mut Value| secret["data"]["token"] = "dGFtcGVyZWQ=".into();
                world.api.edit(Kind::Secret, "a", "acme-token", change).unwrap();
            }
            pass(Duration::from_millis(200)).await;
            assert_eq!(world.token("a", "acme").as_ref(), Some(&token), "{interval}, deleted: {deleted}");
            assert_eq!(checks(&world), 0, "the Secret was written without a request to the tenant");
            pass(Duration::from_secs(2)).await;
            assert_eq!((world.issued(), checks(&world)), (0, 1), "{interval}, deleted: {deleted}");
            assert_eq!(world.ready("a", "acme"), "True/TokenValid");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_revoked_token_that_is_restored_to_its_secret_is_detected_at_once_and_renewed() {
    for interval in INTERVALS {
        let world = one_context(interval, 2 * MINUTE + Duration::from_secs(5)).await;
        let dead = world.token("a", "acme").unwrap();
        world.tenant.revoke_all();
        world.api.delete(Kind::Secret, "a", "acme-token");
        pass(Duration::from_secs(5)).await;
        assert_eq!((world.ready("a", "acme").as_str(), world.issued()), ("True/TokenValid", 2), "{interval}");
        assert_ne!(world.token("a", "acme"), Some(dead), "{interval}");
    }
}

/// Two token requests of one client. Their contexts share nothing else.
async fn two_requests() -> World {
    let world = one_context("1m", Duration::from_secs(5)).await;
    world.put_credential("b", "acme", "acme", CLIENT_SECRET);
    world.put_context("b", "second", "acme", &spec("0s", &["apps"]));
    pass(2 * MINUTE).await;
    assert_eq!((world.ready("b", "second").as_str(), world.issued()), ("True/TokenValid", 2));
    world
}

#[tokio::test(start_paused = true)]
async fn when_one_token_of_a_client_is_rejected_the_others_are_verified_before_use() {
    let world = two_requests().await;
    let dead = world.token("b", "second").unwrap();
    world.tenant.revoke_all();
    pass(MINUTE + Duration::from_secs(10)).await;
    for (namespace, name) in [("a", "acme"), ("b", "second")] {
        assert_eq!(world.ready(namespace, name), "True/TokenValid");
    }
    assert_ne!(world.token("b", "second").unwrap(), dead, "although this token has no verification interval");
    assert_eq!(world.issued(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_still_works_is_kept_when_another_one_of_its_client_is_rejected() {
    let world = two_requests().await;
    let (first, second) = (world.token("a", "acme").unwrap(), world.token("b", "second").unwrap());
    world.api.clear_log();
    assert!(world.tenant.revoke(&first));
    pass(MINUTE + Duration::from_secs(10)).await;
    assert_ne!(world.token("a", "acme").unwrap(), first);
    assert_eq!(world.token("b", "second").unwrap(), second);
    assert_eq!(world.issued(), 3);
    let written =
        world.api.log(|log| log.count_if(|call| call.verb == Verb::Patch && call.namespace.as_deref() == Some("b")));
    assert_eq!(written, 0, "a confirmed token is not written again");
    pass(HOUR).await;
    assert_eq!(world.issued(), 3);
}
