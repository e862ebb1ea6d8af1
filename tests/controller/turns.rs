//! A context that waits for its turn loses no known status, misses nothing that is due meanwhile, and delays no other
//! context.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use support::api_server::{self, Kind, Verb};
use support::tenant::{Client, Fault, RetryAfter, Route, Script};

use crate::world::{CLIENT_SECRET, HOUR, LIFE, World, pass};

const MINUTE: Duration = Duration::from_mins(1);

fn quiet() -> Value {
    json!({"verifyInterval": "0s"})
}

/// A context that its tenant will reject.
fn add_refused(world: &World, namespace: &str, name: &str) {
    world.tenant.add_client(Client::new(name).secret(CLIENT_SECRET));
    world.put_credential(namespace, name, name, "planted-wrong-secret");
    world.put_context(namespace, name, name, &quiet());
}

/// Clients in the order of their token requests.
fn askers(world: &World) -> Vec<String> {
    world.cloud.ledger(|ledger| {
        let asked = ledger.records.iter().filter(|record| record.route == Route::Token);
        asked.filter_map(|record| record.client_id.clone()).collect()
    })
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_a_failure_stays_reported_and_is_retried_last() {
    let mut world = World::new();
    world.limits.host_tokens_per_minute = 4;
    for n in 0..20 {
        add_refused(&world, "a", &format!("refused-{n}"));
    }
    world.start();
    pass(15 * MINUTE).await;
    world.start();
    for _ in 0..30 {
        pass(Duration::from_secs(2)).await;
        for n in 0..20 {
            assert_eq!(world.ready("a", &format!("refused-{n}")), "False/InvalidClient");
        }
    }
    world.cloud.clear_ledger();
    for n in 0..5 {
        world.add("a", &format!("new-{n}"), LIFE, &quiet());
    }
    pass(15 * MINUTE).await;
    let order = askers(&world);
    let last = order.iter().rposition(|client| client.starts_with("new")).unwrap();
    let before = order[..last].iter().filter(|client| client.starts_with("refused")).count();
    assert!(before <= 2, "{order:?}");
}

#[tokio::test(start_paused = true)]
async fn repeated_retry_after_responses_to_one_namespace_let_no_token_of_another_expire() {
    let mut world = World::new();
    for n in 0..20 {
        world.add("victim", &format!("victim-{n}"), Duration::from_mins(30), &quiet());
        world.add("hostile", &format!("own-{n}"), LIFE, &json!({"verifyInterval": "10s"}));
    }
    world.start();
    pass(2 * MINUTE).await;
    for n in 0..20 {
        let fault = Fault::RateLimited(RetryAfter::Seconds(300));
        world.cloud.script(Script::at(Route::UsersMe, fault).client(&format!("own-{n}")));
    }
    for minute in 0..2 * 60 {
        pass(MINUTE).await;
        for n in 0..20 {
            let name = format!("victim-{n}");
            assert!(world.expiry("victim", &name).unwrap() > world.clock.now(), "{name} lapsed in minute {minute}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_context_is_removed_from_the_queue() {
    let mut world = World::new();
    for n in 0..500 {
        world.add("a", &format!("many-{n}"), LIFE, &quiet());
    }
    world.start();
    pass(10 * Duration::from_secs(1)).await;
    for n in 0..500 {
        world.api.delete(Kind::QlikContext, "a", &format!("many-{n}"));
    }
    pass(10 * Duration::from_secs(1)).await;
    world.add("a", "one", LIFE, &quiet());
    pass(10 * Duration::from_secs(1)).await;
    assert_eq!(world.ready("a", "one"), "True/TokenValid");
}

#[tokio::test(start_paused = true)]
async fn credentials_that_change_continuously_delay_no_new_context_of_another_namespace() {
    let mut world = World::new();
    for n in 0..20 {
        world.add("hostile", &format!("own-{n}"), LIFE, &quiet());
    }
    world.start();
    pass(2 * MINUTE).await;
    for second in 0..300 {
        for n in 0..20 {
            world.put_credential(
                "hostile",
                &format!("own-{n}"),
                &format!("own-{n}"),
                &format!("planted-wrong-{second}"),
            );
        }
        if second == 180 {
            world.add("good", "acme", LIFE, &quiet());
        }
        pass(Duration::from_secs(1)).await;
    }
    assert_eq!(world.ready("good", "acme"), "True/TokenValid");
}

#[tokio::test(start_paused = true)]
async fn a_published_token_is_still_reconciled_while_its_tenant_responds_with_retry_after() {
    let mut world = World::new();
    world.add("a", "acme", LIFE, &json!({"verifyInterval": "10m"}));
    world.start();
    pass(3 * HOUR).await;
    world.cloud.script(Script::at(Route::Token, Fault::RateLimited(RetryAfter::Seconds(300))));
    pass(2 * HOUR).await;
    assert_eq!(world.ready("a", "acme"), "True/RenewalFailing");
    world.tenant.revoke_all();
    pass(20 * MINUTE).await;
    assert_eq!(world.ready("a", "acme"), "False/RateLimited");
}

#[tokio::test(start_paused = true)]
async fn contexts_that_wait_to_verify_one_token_do_not_wake_each_other_again_and_again() {
    let mut world = World::new();
    world.limits.host_requests_per_minute = 8;
    world.add("a", "shared", LIFE, &quiet());
    world.start();
    pass(5 * MINUTE).await;
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = reads.clone();
    world.api.intercept(Some(Arc::new(move |call| {
        let is_read = call.verb == Verb::Get && call.kind == Kind::Secret;
        let count = counted.fetch_add(usize::from(is_read), Ordering::Relaxed);
        // Virtual time does not pass in an endless loop: this ends it.
        (count > 1000).then_some(api_server::Fault::Silence)
    })));
    // These use up the budget of requests, so that the next ones have to wait for their verification.
    for n in 0..4 {
        world.add("a", &format!("other-{n}"), LIFE, &quiet());
    }
    for n in 0..4 {
        world.put_context("a", &format!("sharing-{n}"), "shared", &quiet());
    }
    pass(5 * MINUTE).await;
    let reads = reads.load(Ordering::Relaxed);
    assert!(reads < 60, "{reads} Secrets were read for 8 new contexts");
    assert!((0..4).all(|n| world.ready("a", &format!("sharing-{n}")) == "True/TokenValid"));
}
