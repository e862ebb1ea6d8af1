//! A wall clock that is set, and a machine that was suspended.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use qlik_context_operator::clock::{Clock, SignedDuration, Timestamp};
use serde_json::{Value, json};
use support::api_server::Kind;
use support::tenant::{Algorithm, Client, Fault, FaultBody, Pacing, PublicKey, RetryAfter, Route, Script};

use crate::world::{HOUR, LIFE, World, pass};

/// A world in which the operator's wall clock can be set independently of all other time.
fn moved() -> (World, Arc<AtomicI64>) {
    let mut world = World::new();
    let (offset, true_time) = (Arc::new(AtomicI64::new(0)), world.clock.clone());
    let read = offset.clone();
    world.clock = Clock::from_wall(move || true_time.now() + SignedDuration::from_secs(read.load(Ordering::SeqCst)));
    (world, offset)
}

/// The same, with a context that got its token an hour ago.
async fn an_hour_old() -> (World, Arc<AtomicI64>) {
    let (mut world, offset) = moved();
    world.add("a", "acme", LIFE, &json!({}));
    world.start();
    pass(HOUR).await;
    (world, offset)
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_back_delays_no_renewal() {
    let (world, offset) = an_hour_old().await;
    offset.store(-24 * 3600, Ordering::SeqCst);
    pass(4 * HOUR).await;
    assert_eq!(world.issued(), 2, "the renewal is due by the monotonic clock");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_renewed_after_the_wall_clock_was_set_back_replaces_the_one_before() {
    let (world, offset) = an_hour_old().await;
    let before = world.token("a", "acme");
    offset.store(-24 * 3600, Ordering::SeqCst);
    pass(5 * HOUR).await;
    assert_ne!(world.token("a", "acme"), before, "its time of issue is later, but it was issued before");
    assert_eq!((world.issued(), world.secret_writes()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_waits_for_its_verification_is_not_requested_again_after_the_wall_clock_was_set_back() {
    let (world, offset) = an_hour_old().await;
    let before = world.token("a", "acme");
    offset.store(-24 * 3600, Ordering::SeqCst);
    pass(HOUR * 5 / 2).await;
    let down = Fault::Answer { status: 503, body: FaultBody::Html };
    world.cloud.script(Script::at(Route::UsersMe, down));
    pass(2 * HOUR).await;
    world.cloud.clear_scripts();
    pass(HOUR / 3).await;
    assert_eq!(world.issued(), 2, "its expiry is earlier than that of the one before, but it is valid");
    assert_ne!(world.token("a", "acme"), before);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_verified_after_the_wall_clock_was_set_back_is_renewed_in_time() {
    let (mut world, offset) = moved();
    let down = Fault::Answer { status: 503, body: FaultBody::Html };
    world.cloud.script(Script::at(Route::UsersMe, down));
    world.add("a", "acme", LIFE, &json!({}));
    world.start();
    pass(Duration::from_mins(1)).await;
    offset.store(-24 * 3600, Ordering::SeqCst);
    world.cloud.clear_scripts();
    pass(HOUR / 3).await;
    assert_eq!((world.issued(), world.ready("a", "acme").as_str()), (1, "True/TokenValid"));
    pass(5 * HOUR).await;
    assert_eq!(world.issued(), 2, "its times are from the clock before");
}

#[tokio::test(start_paused = true)]
async fn a_token_of_an_earlier_process_whose_clock_was_ahead_is_replaced() {
    let (mut world, offset) = moved();
    offset.store(180, Ordering::SeqCst);
    world.add("a", "acme", LIFE, &json!({}));
    world.start();
    pass(Duration::from_mins(1)).await;
    let before = world.token("a", "acme");
    offset.store(0, Ordering::SeqCst);
    world.start();
    pass(Duration::from_secs(1)).await;
    let refresh = |context: &mut Value| {
        context["metadata"]["annotations"]["qlikcontext.dev/refresh-requested-at"] = "now".into();
    };
    world.api.edit(Kind::QlikContext, "a", "acme", refresh).unwrap();
    pass(Duration::from_mins(1)).await;
    assert_ne!(world.token("a", "acme"), before, "its time of issue is later, but it was issued before");
    assert_eq!((world.issued(), world.secret_writes()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_ahead_as_after_a_suspend_is_noticed_within_seconds() {
    let (world, offset) = an_hour_old().await;
    assert_eq!(world.issued(), 1);
    offset.store(5 * 3600, Ordering::SeqCst);
    pass(Duration::from_secs(15)).await;
    assert_eq!(world.issued(), 2, "the renewal is due by the wall clock");
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_ahead_ends_no_pause_that_the_tenant_requested() {
    let (mut world, offset) = moved();
    world.add("a", "acme", LIFE, &json!({}));
    world.cloud.script(Script::at(Route::Token, Fault::RateLimited(RetryAfter::Seconds(120))).once());
    world.start();
    pass(Duration::from_secs(5)).await;
    assert_eq!((world.ready("a", "acme").as_str(), world.token_requests()), ("False/RateLimited", 1));
    offset.store(600, Ordering::SeqCst);
    pass(Duration::from_secs(110)).await;
    assert_eq!(world.token_requests(), 1);
    pass(Duration::from_secs(30)).await;
    assert_eq!((world.ready("a", "acme").as_str(), world.token_requests()), ("True/TokenValid", 2));
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_ten_seconds_ahead_stops_no_private_key() {
    let (mut world, offset) = moved();
    offset.store(10, Ordering::SeqCst);
    add_with_key(&world, "acme");
    world.start();
    pass(Duration::from_secs(5)).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid", "signed by the tenant's clock");
}

/// A client with a private key, the Secret with that key, and a context, all called `name`.
fn add_with_key(world: &World, name: &str) {
    let (private, public) = (include_str!("../keys/p384-pkcs8.pem"), include_str!("../keys/p384-public.pem"));
    let key = PublicKey::new("key", Algorithm::ES384, public);
    world.tenant.add_client(Client::new(name).key(key).lifetime(LIFE));
    let object = |version: &str, kind: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"namespace": "a", "name": name}});
    let mut secret = object("v1", "Secret");
    secret["stringData"] = json!({"client-id": name, "private-key": private, "key-id": "key"});
    world.api.put(secret).unwrap();
    let mut context = object("qlikcontext.dev/v1alpha1", "QlikContext");
    let auth = json!({"privateKeyJwt": {"secretRef": {"name": name}}});
    context["spec"] = json!({"tenantUrl": world.tenant.url(), "auth": auth});
    world.api.put(context).unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_age_of_a_token_counts_from_the_first_request_even_if_that_is_signed_again() {
    let (mut world, offset) = moved();
    offset.store(10, Ordering::SeqCst);
    add_with_key(&world, "acme");
    world.cloud.script(Script::at(Route::Token, Fault::Delivery(Pacing::Late { millis: 4500 })).once());
    let begun = world.clock.now();
    world.start();
    pass(Duration::from_secs(15)).await;
    assert_eq!((world.ready("a", "acme").as_str(), world.token_requests()), ("True/TokenValid", 2));
    let status = world.api.get(Kind::QlikContext, "a", "acme").unwrap()["status"].clone();
    let issued_at: Timestamp = status["token"]["issuedAt"].as_str().unwrap().parse().unwrap();
    assert!(issued_at.duration_since(begun) < SignedDuration::from_secs(2), "{issued_at}, {begun}");
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_signed_again_count_against_the_budget() {
    let (mut world, offset) = moved();
    offset.store(10, Ordering::SeqCst);
    world.limits.host_tokens_per_minute = 4;
    for n in 0..40 {
        add_with_key(&world, &format!("c{n}"));
    }
    world.start();
    pass(Duration::from_mins(10)).await;
    let (requests, issued) = (world.token_requests(), world.issued());
    assert!(requests <= 44, "{requests} requests in ten minutes, and the budget is 4 for each");
    assert!(requests.abs_diff(issued * 2) <= 1, "each of {issued} tokens is requested twice: {requests} requests");
    assert!(issued >= 15, "{issued}");
}
