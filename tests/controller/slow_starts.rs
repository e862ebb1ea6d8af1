//! Credentials, clients and tenants that work only after some time, and tokens that are revoked before they expire.

use std::time::Duration;

use serde_json::{Value, json};
use support::tenant::{Client, Fault, FaultBody, Route, Script};

use crate::world::{CLIENT_SECRET, HOUR, LIFE, World, pass};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

fn is_stalled(world: &World) -> bool {
    world.condition("a", "acme", "Stalled")["status"] == "True"
}

fn answer(status: u16) -> Fault {
    Fault::Answer { status, body: FaultBody::Qlik }
}

#[tokio::test(start_paused = true)]
async fn an_empty_value_that_is_set_soon_never_stalls_the_context() {
    let mut world = World::new();
    world.add("a", "acme", LIFE, &json!({}));
    world.put_credential("a", "acme", "acme", "");
    world.start();
    for second in 0..20 {
        pass(SECOND).await;
        assert_eq!(world.ready("a", "acme"), "False/CredentialMalformed");
        assert!(!is_stalled(&world), "after {second} s");
    }
    assert_eq!(world.condition("a", "acme", "Reconciling")["status"], "True");
    world.put_credential("a", "acme", "acme", CLIENT_SECRET);
    pass(3 * SECOND).await;
    assert_eq!((world.ready("a", "acme").as_str(), world.token_requests()), ("True/TokenValid", 1));
}

#[tokio::test(start_paused = true)]
async fn an_empty_value_stalls_the_context_after_five_minutes() {
    let mut world = World::new();
    world.add("a", "acme", LIFE, &json!({}));
    world.put_credential("a", "acme", "acme", "");
    world.start();
    pass(4 * MINUTE + 55 * SECOND).await;
    assert!(!is_stalled(&world));
    pass(10 * SECOND).await;
    assert!(is_stalled(&world), "{}", world.reported("a", "acme", "Ready"));
    assert_eq!(world.token_requests(), 0);
    world.put_credential("a", "acme", "acme", CLIENT_SECRET);
    pass(3 * SECOND).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_works_after_thirty_seconds_makes_its_context_ready_within_two_minutes_without_a_stall() {
    let mut world = World::new();
    world.put_credential("a", "acme", "acme", CLIENT_SECRET);
    world.put_context("a", "acme", "acme", &json!({}));
    world.start();
    for second in 0..120 {
        if second == 30 {
            world.tenant.add_client(Client::new("acme").secret(CLIENT_SECRET).lifetime(LIFE));
        }
        pass(SECOND).await;
        assert!(!is_stalled(&world), "after {second} s: {}", world.reported("a", "acme", "Stalled"));
    }
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
    assert!(world.token_requests() <= 4, "{}", world.token_requests());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_works_stalls_its_context_within_three_minutes_and_gets_at_most_ten_requests_an_hour() {
    let mut world = World::new();
    world.put_credential("a", "acme", "acme", CLIENT_SECRET);
    world.put_context("a", "acme", "acme", &json!({}));
    world.start();
    pass(3 * MINUTE).await;
    assert_eq!(world.ready("a", "acme"), "False/InvalidClient");
    assert!(is_stalled(&world));
    pass(HOUR - 3 * MINUTE).await;
    assert!((4..=10).contains(&world.token_requests()), "{}", world.token_requests());
}

#[tokio::test(start_paused = true)]
async fn a_verified_token_that_is_rejected_with_any_code_is_renewed_once() {
    for status in [401, 403] {
        let mut world = World::new();
        world.add("a", "acme", LIFE, &json!({"verifyInterval": "1m"}));
        world.start();
        pass(30 * SECOND).await;
        let before = world.token("a", "acme").unwrap();
        world.cloud.script(Script::at(Route::UsersMe, answer(status)).once());
        pass(MINUTE).await;
        assert_eq!((world.ready("a", "acme").as_str(), world.issued()), ("True/TokenValid", 2), "HTTP {status}");
        assert_ne!(world.token("a", "acme").unwrap(), before, "HTTP {status}");
    }
}

#[tokio::test(start_paused = true)]
async fn consecutive_rejected_tokens_do_not_cause_endless_requests() {
    let mut world = World::new();
    world.add("a", "acme", LIFE, &json!({"verifyInterval": "1m"}));
    world.start();
    pass(30 * SECOND).await;
    world.cloud.script(Script::at(Route::UsersMe, answer(403)));
    pass(2 * MINUTE).await;
    assert_eq!(world.ready("a", "acme"), "False/AccessDenied");
    assert_eq!(world.issued(), 2, "renewed once");
    pass(HOUR).await;
    assert_eq!(world.issued(), 2, "only the verification of that token is repeated");
    assert!(world.cloud.ledger(|ledger| ledger.at(Route::UsersMe)) <= 12);
    world.cloud.clear_scripts();
    pass(11 * MINUTE).await;
    assert_eq!((world.ready("a", "acme").as_str(), world.issued()), ("True/TokenValid", 2));
}

/// For how many seconds from now an expired token is served.
async fn served_expired(world: &World) -> usize {
    let mut seconds = 0;
    while world.expiry("a", "acme").unwrap() <= world.clock.now() {
        assert!(seconds < 300, "still expired: {}", world.reported("a", "acme", "Ready"));
        pass(SECOND).await;
        seconds += 1;
    }
    seconds
}

fn down(world: &World, client: &str) {
    let fault = Fault::Answer { status: 503, body: FaultBody::Html };
    world.cloud.script(Script { at: None, ..Script::at(Route::Token, fault).client(client) });
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_replaced_within_twenty_seconds_after_its_tenant_recovers() {
    for (life, outage) in [(30, 40), (30, 300), (600, 900), (3600, 5400)] {
        let mut world = World::new();
        world.add("a", "acme", Duration::from_secs(life), &json!({"verifyInterval": "0s"}));
        world.start();
        pass(2 * SECOND).await;
        down(&world, "acme");
        pass(Duration::from_secs(outage)).await;
        assert!(world.ready("a", "acme").starts_with("False/"), "{}", world.ready("a", "acme"));
        world.cloud.clear_scripts();
        let served = served_expired(&world).await;
        assert!(served <= 20, "{served} s after an outage of {outage} s, lifetime {life} s");
        pass(2 * SECOND).await;
        assert_eq!(world.ready("a", "acme"), "True/TokenValid");
    }
}

#[tokio::test(start_paused = true)]
async fn while_an_expired_token_is_served_the_tenant_is_tried_at_most_five_times_a_minute() {
    let mut world = World::new();
    world.add("a", "acme", MINUTE, &json!({"verifyInterval": "0s"}));
    world.start();
    pass(2 * SECOND).await;
    down(&world, "acme");
    pass(5 * MINUTE).await;
    let before = world.token_requests();
    pass(HOUR).await;
    let tries = world.token_requests() - before;
    // The circuit breaker sends a probe every ten seconds.
    assert!((200..=361).contains(&tries), "{tries} in an hour");
}

#[tokio::test(start_paused = true)]
async fn the_first_success_at_a_host_that_was_down_wakes_all_contexts_that_wait_for_it() {
    let mut world = World::new();
    for n in 0..20 {
        world.add("a", &format!("c{n}"), 2 * HOUR, &json!({"verifyInterval": "0s"}));
    }
    world.start();
    pass(MINUTE).await;
    let down = Fault::Answer { status: 503, body: FaultBody::Html };
    world.cloud.script(Script { at: None, ..Script::at(Route::Token, down) });
    // The tokens are valid for some minutes more, so the back-off of their contexts is long by now.
    pass(110 * MINUTE).await;
    assert!((0..20).all(|n| world.ready("a", &format!("c{n}")) == "True/RenewalFailing"));
    world.cloud.clear_scripts();
    pass(45 * SECOND).await;
    let ready = (0..20).filter(|n| world.ready("a", &format!("c{n}")) == "True/TokenValid").count();
    assert_eq!(ready, 20, "45 s after the tenant came back");
}

#[tokio::test(start_paused = true)]
async fn events_name_the_pod_that_wrote_them() {
    let mut world = World::new();
    world.add("a", "acme", LIFE, &json!({}));
    world.start();
    pass(5 * SECOND).await;
    let events = world.api.list(support::api_server::Kind::Event, None);
    assert!(!events.is_empty());
    for event in events {
        let who = [&event["reportingInstance"], &event["reportingController"]].map(Value::clone);
        assert_eq!(who, [json!("operator-0"), json!("qlik-context-operator")]);
    }
}
