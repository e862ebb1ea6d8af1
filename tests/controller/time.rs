//! Days without failures.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use support::api_server::Kind;

use crate::world::{HOUR, LIFE, World, pass};

#[tokio::test(start_paused = true)]
async fn in_a_day_of_renewals_no_token_expires_and_no_unnecessary_request_is_sent() {
    let mut world = World::new();
    world.add("a", "acme", LIFE, &json!({"verifyInterval": "0s"}));
    world.start();
    pass(Duration::from_secs(5)).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
    for minute in 0..24 * 60 {
        pass(Duration::from_mins(1)).await;
        assert!(world.expiry("a", "acme").unwrap() > world.clock.now(), "expired after {minute} min");
    }
    // A renewal every 3.6 to 4.02 h.
    assert!((6..=7).contains(&world.issued()), "{}", world.issued());
    assert_eq!(world.secret_writes() as u64, world.issued());
    assert_eq!(
        world.cloud.ledger(|ledger| ledger.requests),
        world.issued() * 3,
        "a token request, users/me and the user"
    );
    assert!(world.metrics.render(world.clock.now()).unwrap().contains("expired_served_seconds_total 0.0"));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_while_nothing_changes() {
    let mut world = World::new();
    for n in 0..20 {
        world.add("a", &format!("c{n}"), LIFE, &json!({}));
    }
    world.start();
    pass(Duration::from_mins(1)).await;
    world.api.clear_log();
    let issued = world.issued();
    pass(3 * HOUR).await;
    assert_eq!(world.api.log(support::api_server::Log::writes), 0);
    assert_eq!(world.issued(), issued);
    let verified = world.cloud.ledger(|ledger| ledger.at(support::tenant::Route::UsersMe));
    assert!((20 * 11..=20 * 13 + 20).contains(&verified), "checked every 15 min: {verified}");
}

#[tokio::test(start_paused = true)]
async fn contexts_created_at_once_are_renewed_at_different_times() {
    let mut world = World::new();
    for n in 0..100 {
        world.add("a", &format!("c{n}"), LIFE, &json!({"verifyInterval": "0s"}));
    }
    world.start();
    pass(HOUR).await;
    let times: Vec<k8s_openapi::jiff::Timestamp> = (0..100)
        .map(|n| {
            let context = world.api.get(Kind::QlikContext, "a", &format!("c{n}")).unwrap();
            context["status"]["token"]["renewalTime"].as_str().unwrap().parse().unwrap()
        })
        .collect();
    let span = times.iter().max().unwrap().duration_since(*times.iter().min().unwrap());
    assert!(span.as_secs() > 15 * 60, "spread over {span:?}");
    assert!(times.iter().collect::<BTreeSet<_>>().len() > 80, "few contexts are renewed in the same second");
}

#[tokio::test(start_paused = true)]
async fn tokens_with_a_short_lifetime_are_renewed_in_time() {
    for seconds in [20, 30, 60, 400] {
        let mut world = World::new();
        world.add("a", "acme", Duration::from_secs(seconds), &json!({"renewBeforePercentage": 5}));
        world.start();
        pass(Duration::from_secs(2)).await;
        for _ in 0..2000 {
            pass(Duration::from_millis(500)).await;
            assert!(world.expiry("a", "acme").unwrap() > world.clock.now(), "a lifetime of {seconds} s");
        }
        // Half the lifetime, or all but three minutes of it, less a tenth; at least 10 s.
        let wait = if seconds >= 360 { seconds - 180 } else { seconds / 2 };
        let most = 1000 / (wait * 9 / 10).max(10) + 2;
        assert!(
            world.issued() <= most,
            "{} tokens for a lifetime of {seconds} s, at most {most} expected",
            world.issued()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_requests_no_token_and_spreads_the_verifications() {
    let mut world = World::new();
    for n in 0..50 {
        world.add("a", &format!("c{n}"), LIFE, &json!({}));
    }
    world.start();
    pass(HOUR).await;
    let secrets = world.api.list(Kind::Secret, None);
    world.cloud.clear_ledger();
    world.start();
    pass(Duration::from_secs(5)).await;
    assert!(world.cloud.ledger(|ledger| ledger.requests) < 5, "the verifications are not sent all at once");
    pass(Duration::from_mins(15)).await;
    assert_eq!(
        world.cloud.ledger(|ledger| ledger.at(support::tenant::Route::UsersMe)),
        50,
        "each token is verified once within the interval"
    );
    assert_eq!(world.issued(), 0);
    assert_eq!(world.api.list(Kind::Secret, None), secrets);
}
