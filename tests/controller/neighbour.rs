//! Many contexts on one tenant, some of them broken or hostile: the others are not delayed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use qlik_context_operator::clock::Timestamp;
use qlik_context_operator::oauth::transport::TransportFailure;
use serde_json::{Value, json};
use support::api_server::Kind;
use support::tenant::{Client, Fault, FaultBody, Pacing, RetryAfter, Route, Script};

use crate::world::{CLIENT_SECRET, HOUR, LIFE, World, pass};

const MINUTE: Duration = Duration::from_mins(1);

fn quiet() -> Value {
    json!({"verifyInterval": "0s"})
}

/// Contexts that share only the tenant.
fn crowd(world: &World, namespace: &str, count: usize, life: Duration) {
    for n in 0..count {
        world.add(namespace, &format!("{namespace}-{n}"), life, &quiet());
    }
}

fn time(context: &Value, field: &str) -> Option<Timestamp> {
    context["status"]["token"][field].as_str()?.parse().ok()
}

/// A field of `status.token` of every context in a namespace.
fn times(world: &World, namespace: &str, field: &str) -> BTreeMap<String, Timestamp> {
    let contexts = world.api.list(Kind::QlikContext, Some(namespace));
    let named = |context: &Value| Some((context["metadata"]["name"].as_str()?.to_owned(), time(context, field)?));
    contexts.iter().filter_map(named).collect()
}

/// By how many seconds each renewal in a namespace was late, sorted.
async fn lateness(world: &World, namespace: &str, within: Duration) -> Vec<i64> {
    let planned = times(world, namespace, "renewalTime");
    pass(within).await;
    let renewed = times(world, namespace, "issuedAt");
    let mut late: Vec<_> = planned.iter().map(|(name, at)| renewed[name].duration_since(*at).as_secs()).collect();
    late.sort_unstable();
    late
}

/// The arrival times of requests, in milliseconds after `begin`.
fn arrivals(world: &World, begin: SystemTime) -> Vec<u128> {
    let since = |at: SystemTime| at.duration_since(begin).unwrap_or_default().as_millis();
    world.cloud.ledger(|ledger| ledger.records.iter().map(|record| since(record.at)).collect())
}

fn refresh(world: &World, namespace: &str, name: &str, value: &str) {
    let annotate = |context: &mut Value| {
        context["metadata"]["annotations"]["qlikcontext.dev/refresh-requested-at"] = value.into();
    };
    world.api.edit(Kind::QlikContext, namespace, name, annotate).unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_wrong_secret_among_a_thousand_delays_no_context_and_causes_ten_requests_an_hour() {
    let mut late = Vec::new();
    for broken in [false, true] {
        let mut world = World::new();
        crowd(&world, "good", 1000, LIFE);
        world.start();
        pass(20 * MINUTE).await;
        assert_eq!(times(&world, "good", "issuedAt").len(), 1000, "all have a token");
        if broken {
            world.tenant.add_client(Client::new("broken").secret(CLIENT_SECRET));
            world.put_credential("bad", "broken", "broken", "planted-wrong-secret");
            world.put_context("bad", "broken", "broken", &quiet());
            pass(HOUR).await;
            let tried = world.cloud.ledger(|ledger| ledger.by("broken", Route::Token));
            // A client that never worked gets three more attempts within two minutes, because it may have been created
            // a moment ago.
            assert!((1..=10).contains(&tried), "{tried} token requests in the first hour");
            assert_eq!(world.ready("bad", "broken"), "False/InvalidClient");
        } else {
            pass(HOUR).await;
        }
        late.push(lateness(&world, "good", 4 * HOUR).await);
        assert_eq!(late.last().unwrap().len(), 1000);
    }
    let p99 = |late: &[i64]| late[late.len() * 99 / 100];
    let (without, with) = (&late[0], &late[1]);
    assert!(with[0] >= 0 && p99(with) <= p99(without) + 1, "p99 {} s, not {} s", p99(with), p99(without));
    assert!(with[999] <= without[999] + 1 && with[999] < 60, "at most {} s, not {} s", with[999], without[999]);
}

#[tokio::test(start_paused = true)]
async fn a_hostile_namespace_delays_no_renewal_of_another_past_its_expiry() {
    let mut world = World::new();
    let life = Duration::from_mins(30);
    crowd(&world, "victim", 20, life);
    world.start();
    pass(MINUTE).await;
    // The hostile namespace has its own valid client, with which it can cause any failure.
    for n in 0..20 {
        world.add("hostile", &format!("own-{n}"), life, &json!({"verifyInterval": "10s"}));
        let fault = match n % 4 {
            0 => Fault::RateLimited(RetryAfter::Seconds(300)),
            1 => Fault::Answer { status: 503, body: FaultBody::Html },
            _ => continue,
        };
        world.cloud.script(Script::at(Route::Token, fault).client(&format!("own-{n}")));
    }
    // Wrong client secrets with the client ids of the victims.
    for n in 0..300 {
        world.put_credential(
            "hostile",
            &format!("bogus-{n}"),
            &format!("victim-{}", n % 20),
            &format!("planted-wrong-secret-{n}"),
        );
        world.put_context("hostile", &format!("bogus-{n}"), &format!("bogus-{n}"), &quiet());
    }
    let mut latest = times(&world, "victim", "issuedAt");
    for minute in 0..2 * 60 {
        for n in 0..20 {
            refresh(&world, "hostile", &format!("own-{n}"), &format!("flip-{minute}"));
            let secret = format!("planted-wrong-secret-{n}-{minute}");
            world.put_credential("hostile", &format!("bogus-{n}"), &format!("victim-{n}"), &secret);
        }
        pass(MINUTE).await;
        for n in 0..20 {
            let name = format!("victim-{n}");
            assert!(world.expiry("victim", &name).unwrap() > world.clock.now(), "{name} lapsed in minute {minute}");
        }
        latest = times(&world, "victim", "issuedAt");
    }
    let oldest = latest.values().min().unwrap();
    assert!(world.clock.now().duration_since(*oldest).as_secs() < 27 * 60, "every one was renewed in time");
    let metrics = world.metrics.render(world.clock.now()).unwrap();
    assert!(metrics.contains("host_budget_waits_total"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_new_context_does_not_wait_for_many_contexts_of_another_namespace() {
    let mut world = World::new();
    crowd(&world, "crowd", 500, LIFE);
    world.start();
    pass(5 * Duration::from_secs(1)).await;
    world.add("single", "acme", LIFE, &quiet());
    pass(5 * Duration::from_secs(1)).await;
    assert_eq!(world.ready("single", "acme"), "True/TokenValid");
    assert!(times(&world, "crowd", "issuedAt").len() < 100, "most contexts of the other namespace are still waiting");
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_on_a_working_key_pauses_all_requests_and_then_they_ramp_up() {
    let mut world = World::new();
    crowd(&world, "a", 150, LIFE);
    world.start();
    pass(5 * MINUTE).await;
    assert_eq!(times(&world, "a", "issuedAt").len(), 150);
    let rotate = |n: usize| {
        let (name, secret) = (format!("a-{n}"), format!("planted-client-secret-rotated-{n}"));
        world.tenant.edit_client(&name, |client| client.secrets.push(secret.clone()));
        world.put_credential("a", &name, &name, &secret);
    };
    world.cloud.clear_ledger();
    world.cloud.script(Script::at(Route::Token, Fault::RateLimited(RetryAfter::Seconds(30))).once());
    rotate(0);
    pass(Duration::from_secs(1)).await;
    let reported = world.cloud.ledger(|ledger| ledger.records[0].at);
    assert_eq!(world.cloud.ledger(|ledger| ledger.requests), 1);
    (1..150).for_each(rotate);
    pass(2 * MINUTE).await;
    let arrivals = arrivals(&world, reported);
    assert!(arrivals[1..].iter().all(|at| *at > 30_000), "{:?}", &arrivals[..5]);
    let until = |second: u128| arrivals.iter().filter(|at| **at < second * 1000).count();
    // Three requests for each context: the token request, users/me and the user.
    let steps = [until(40), until(50) - until(40), until(60) - until(50)];
    assert!(steps[0] <= 3 * 11 && steps[0] < steps[1] && steps[1] < steps[2], "{steps:?}");
    pass(5 * MINUTE).await;
    assert_eq!(world.ready("a", "a-149"), "True/TokenValid");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_recovers_does_not_shorten_a_pause_that_it_requested_from_one_key() {
    let mut world = World::new();
    let (retry_after, pacing) = (Some("200".to_owned()), Pacing::AtOnce);
    let pause = Fault::Page { status: 503, bytes: 10, retry_after, pacing };
    world.cloud.script(Script::at(Route::Token, pause).client("paused").once());
    let down = Fault::Answer { status: 503, body: FaultBody::Html };
    world.cloud.script(Script::at(Route::Token, down).client("other").times(2));
    for name in ["paused", "other"] {
        world.add("a", name, LIFE, &quiet());
    }
    world.start();
    pass(2 * MINUTE).await;
    assert_eq!(world.ready("a", "other"), "True/TokenValid", "the host has recovered");
    assert_eq!(world.cloud.ledger(|ledger| ledger.by("paused", Route::Token)), 1);
    pass(3 * MINUTE).await;
    assert_eq!(world.ready("a", "paused"), "True/TokenValid");
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_is_down_is_reported_and_probed_and_its_requests_ramp_up_afterwards() {
    let mut world = World::new();
    let down = Arc::new(AtomicBool::new(false));
    let outage = down.clone();
    world.transport_faults =
        Some(Arc::new(move |_, _, _| outage.load(Ordering::Relaxed).then_some(TransportFailure::Connection)));
    let attempts = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (count, transport_faults) = (attempts.clone(), world.transport_faults.clone().unwrap());
    world.transport_faults = Some(Arc::new(move |cloud, host, path| {
        count.fetch_add(1, Ordering::Relaxed);
        transport_faults(cloud, host, path)
    }));
    crowd(&world, "a", 200, HOUR);
    world.start();
    pass(10 * MINUTE).await;
    assert_eq!(times(&world, "a", "issuedAt").len(), 200);
    down.store(true, Ordering::Relaxed);
    pass(35 * MINUTE).await;
    let metrics = |world: &World| world.metrics.render(world.clock.now()).unwrap();
    assert!(metrics(&world).contains("qlik_context_circuits_open 1"), "{}", metrics(&world));
    attempts.store(0, Ordering::Relaxed);
    pass(5 * MINUTE).await;
    let probes = attempts.load(Ordering::Relaxed);
    assert!((20..=31).contains(&probes), "{probes} in five minutes, for 200 contexts");
    let due = times(&world, "a", "renewalTime").into_iter().filter(|(_, at)| *at < world.clock.now());
    for (name, _) in due {
        assert_eq!(world.ready("a", &name), "True/RenewalFailing", "{name}");
    }
    down.store(false, Ordering::Relaxed);
    pass(5 * MINUTE).await;
    assert!(metrics(&world).contains("qlik_context_circuits_open 0"));
    for n in 0..200 {
        assert_eq!(world.ready("a", &format!("a-{n}")), "True/TokenValid");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_hangs_delays_no_other_tenant() {
    let mut world = World::new();
    let hung = world.cloud.tenant("hung.eu.qlikcloud.com");
    world.transport_faults = Some(Arc::new(|_, host, _| host.starts_with("hung").then_some(TransportFailure::Timeout)));
    for n in 0..200 {
        let name = format!("hung-{n}");
        hung.add_client(Client::new(&name).secret(CLIENT_SECRET));
        world.put_credential("hung", &name, &name, CLIENT_SECRET);
        world.put_context("hung", &name, &name, &json!({"tenantUrl": hung.url()}));
    }
    world.start();
    pass(Duration::from_secs(3)).await;
    crowd(&world, "good", 40, LIFE);
    // Less than one timeout of the other tenant.
    pass(Duration::from_secs(12)).await;
    let ready = (0..40).filter(|n| world.ready("good", &format!("good-{n}")) == "True/TokenValid").count();
    assert_eq!(ready, 40);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_failed_contexts_come_last_and_are_tried_once() {
    let mut world = World::new();
    world.limits.host_tokens_per_minute = 10;
    for n in 0..10 {
        let name = format!("failed-{n}");
        world.tenant.add_client(Client::new(&name).secret(CLIENT_SECRET));
        world.put_credential("a", &name, &name, "planted-wrong-secret");
        world.put_context("a", &name, &name, &quiet());
    }
    world.start();
    // Each gets four attempts, because its client may have been created a moment ago.
    pass(20 * MINUTE).await;
    assert_eq!(world.ready("a", "failed-9"), "False/InvalidClient");
    for n in 0..10 {
        world.add("a", &format!("new-{n}"), LIFE, &quiet());
    }
    world.cloud.clear_ledger();
    world.start();
    pass(5 * MINUTE).await;
    let order: Vec<_> = world.cloud.ledger(|ledger| {
        let asked = ledger.records.iter().filter(|record| record.route == Route::Token);
        asked.filter_map(|record| record.client_id.clone()).collect()
    });
    let last_new = order.iter().rposition(|client| client.starts_with("new")).unwrap();
    let early = order[..last_new].iter().filter(|client| client.starts_with("failed")).count();
    assert!(early <= 5, "only the contexts that got the first slots: {order:?}");
    assert_eq!(order.len(), 20, "each once: {order:?}");
}
