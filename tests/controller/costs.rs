//! The requests that a context causes at the Kubernetes API.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use qlik_context_operator::oauth::transport::TransportFailure;
use serde_json::{Value, json};
use support::api_server::{Fault, Kind, Script, Verb};
use support::tenant::{self, Client, Pacing, Route};

use crate::world::{CLIENT_SECRET, HOUR, LIFE, World, pass};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

const READ: &str = "get secrets";
const SECRET: &str = "patch secrets";
const STATUS: &str = "patch qlikcontexts/status";
const EVENT: &str = "create events";

fn quiet() -> Value {
    json!({"verifyInterval": "0s"})
}

/// Requests by verb and resource, without watches.
type Costs = BTreeMap<String, usize>;

fn costs(world: &World) -> Costs {
    costs_of(world, |_| true)
}

fn costs_of(world: &World, is: impl Fn(&str) -> bool) -> Costs {
    let mut costs = Costs::new();
    world.api.log(|log| {
        for record in &log.records {
            let name = record.call.name.as_deref().unwrap_or_default();
            if !matches!(record.call.verb, Verb::List | Verb::Watch) && is(name) {
                *costs.entry(format!("{} {}", record.call.verb, record.resource())).or_default() += 1;
            }
        }
    });
    costs
}

fn table(rows: &[(&str, usize)]) -> Costs {
    rows.iter().map(|(request, count)| ((*request).to_owned(), *count)).collect()
}

/// A running controller, without a request budget.
async fn running() -> World {
    let mut world = World::new();
    world.limits.host_tokens_per_minute = 0;
    world.limits.host_requests_per_minute = 0;
    world.start();
    pass(5 * SECOND).await;
    world.api.clear_log();
    world
}

#[tokio::test(start_paused = true)]
async fn a_new_token_costs_three_requests_and_an_event_and_a_renewal_three() {
    let world = running().await;
    for n in 0..100 {
        world.add("a", &format!("c{n}"), LIFE, &quiet());
    }
    pass(MINUTE).await;
    let new = table(&[(READ, 100), (SECRET, 100), (STATUS, 100), (EVENT, 100)]);
    assert_eq!((world.issued(), costs(&world)), (100, new));
    world.api.clear_log();
    // A renewal is due after 3.6 to 4.02 h.
    pass(4 * HOUR + 2 * MINUTE).await;
    assert_eq!((world.issued(), costs(&world)), (200, table(&[(READ, 100), (SECRET, 100), (STATUS, 100)])));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_lags_behind_a_read_causes_no_request() {
    let world = running().await;
    read_before_it_is_shown(&world).await;
    pass(MINUTE).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
    assert_eq!(costs(&world), table(&[(READ, 1), (SECRET, 1), (STATUS, 1), (EVENT, 1)]));
}

/// The watch reports the context after 3 s. Its credential is created meanwhile and reported 2 s later.
async fn read_before_it_is_shown(world: &World) {
    world.api.delay_watches(3 * SECOND);
    world.put_context("a", "acme", "acme", &quiet());
    pass(2 * SECOND).await;
    world.tenant.add_client(Client::new("acme").secret(CLIENT_SECRET).lifetime(LIFE));
    world.put_credential("a", "acme", "acme", CLIENT_SECRET);
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_changes_before_the_watch_shows_what_was_read_is_read_again() {
    let world = running().await;
    let slow = tenant::Fault::Delivery(Pacing::Late { millis: 4500 });
    world.cloud.script(tenant::Script::at(Route::Token, slow).once());
    read_before_it_is_shown(&world).await;
    pass(2 * SECOND).await;
    world.tenant.add_client(Client::new("rotated").secret(CLIENT_SECRET).lifetime(LIFE));
    world.put_credential("a", "acme", "rotated", CLIENT_SECRET);
    pass(MINUTE).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
    assert_eq!((world.issued(), world.secret_writes()), (2, 1), "the first token is never written");
}

#[tokio::test(start_paused = true)]
async fn a_context_created_before_its_credential_causes_one_extra_read() {
    let world = running().await;
    world.put_context("a", "acme", "acme", &quiet());
    pass(5 * MINUTE).await;
    assert_eq!(costs(&world), table(&[(READ, 1), (STATUS, 1), (EVENT, 1)]));
    world.api.clear_log();
    world.add("a", "acme", LIFE, &quiet());
    pass(MINUTE).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
    assert_eq!(costs(&world), table(&[(READ, 1), (SECRET, 1), (STATUS, 1), (EVENT, 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_routine_verification_costs_the_kubernetes_api_nothing() {
    let world = running().await;
    for n in 0..50 {
        world.add("a", &format!("c{n}"), LIFE, &json!({"verifyInterval": "1m"}));
    }
    pass(MINUTE).await;
    world.api.clear_log();
    world.cloud.clear_ledger();
    pass(3 * HOUR).await;
    let checks = world.cloud.ledger(|ledger| ledger.at(Route::UsersMe));
    assert!((50 * 170..=50 * 181).contains(&checks), "{checks} checks in three hours");
    assert_eq!(costs(&world), Costs::new());
}

#[tokio::test(start_paused = true)]
async fn a_restarted_watch_whose_list_changed_nothing_causes_no_other_request() {
    for streams in [true, false] {
        let mut world = World::new();
        world.api.set_watch_list(streams);
        for n in 0..200 {
            world.add("a", &format!("c{n}"), LIFE, &quiet());
        }
        world.start();
        pass(10 * MINUTE).await;
        assert_eq!(world.issued(), 200);
        world.api.clear_log();
        for _ in 0..5 {
            world.api.compact();
            world.api.end_watches();
            pass(2 * MINUTE).await;
        }
        assert!(world.api.log(|log| log.records.len()) >= 10, "the watch was restarted with a list");
        assert_eq!(costs(&world), Costs::new(), "streamed: {streams}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_of_a_label_on_the_credential_costs_at_most_one_read() {
    let world = running().await;
    for n in 0..10 {
        world.add("a", &format!("c{n}"), LIFE, &quiet());
    }
    pass(MINUTE).await;
    world.api.clear_log();
    for round in 0..5 {
        let label = |secret: &mut Value| secret["metadata"]["labels"] = json!({"round": round.to_string()});
        world.api.edit(Kind::Secret, "a", "c0", label).unwrap();
        pass(MINUTE).await;
    }
    assert_eq!((world.issued(), costs(&world)), (10, table(&[(READ, 5)])));
}

#[tokio::test(start_paused = true)]
async fn a_label_that_a_user_sets_on_the_token_secret_causes_one_reconciliation() {
    let world = running().await;
    world.add("a", "acme", LIFE, &quiet());
    pass(MINUTE).await;
    world.api.clear_log();
    let label = |secret: &mut Value| secret["metadata"]["labels"]["team"] = "a".into();
    world.api.edit(Kind::Secret, "a", "acme-token", label).unwrap();
    pass(HOUR).await;
    assert_eq!(costs(&world), table(&[(READ, 2)]), "both Secrets are read, and nothing is written");
}

#[tokio::test(start_paused = true)]
async fn a_label_on_the_context_costs_nothing() {
    let world = running().await;
    world.add("a", "acme", LIFE, &quiet());
    pass(MINUTE).await;
    world.api.clear_log();
    let label = |context: &mut Value| context["metadata"]["labels"] = json!({"team": "a"});
    world.api.edit(Kind::QlikContext, "a", "acme", label).unwrap();
    pass(HOUR).await;
    assert_eq!(costs(&world), Costs::new());
}

#[tokio::test(start_paused = true)]
async fn contexts_that_wait_for_the_request_budget_cause_no_requests() {
    let contexts = 3000;
    let mut world = World::new();
    world.limits.host_tokens_per_minute = 10;
    for n in 0..contexts {
        world.add(&format!("ns{}", n % 20), &format!("c{n}"), LIFE, &quiet());
    }
    world.start();
    pass(2 * MINUTE).await;
    let (before, begun) = (world.issued(), costs(&world));
    eprintln!("after two minutes: {before} tokens, {begun:?}");
    world.api.clear_log();
    pass(HOUR).await;
    let issued = usize::try_from(world.issued() - before).unwrap();
    assert!((590..=610).contains(&issued), "{issued} tokens");
    let hour = costs(&world);
    eprintln!("in the hour: {issued} tokens, {hour:?}");
    let of = |request: &str| hour.get(request).copied().unwrap_or_default();
    // At the begin and at the end of the hour, a reconciliation may be in progress.
    for request in [READ, SECRET, STATUS, EVENT] {
        assert!(of(request).abs_diff(issued) <= 2, "{request}: {} for {issued} tokens", of(request));
    }
}

#[tokio::test(start_paused = true)]
async fn contexts_that_wait_for_a_tenant_that_is_down_only_write_their_status() {
    let contexts = 3000;
    let mut world = World::new();
    let down = Arc::new(AtomicBool::new(true));
    let outage = down.clone();
    world.transport_faults =
        Some(Arc::new(move |_, _, _| outage.load(Ordering::Relaxed).then_some(TransportFailure::Connection)));
    for n in 0..contexts {
        world.add(&format!("ns{}", n % 20), &format!("c{n}"), LIFE, &quiet());
    }
    world.start();
    pass(5 * MINUTE).await;
    eprintln!("after five minutes: {:?}", costs(&world));
    world.api.clear_log();
    pass(HOUR).await;
    let hour = costs(&world);
    eprintln!("in the hour: {hour:?}");
    // The host is probed every 10 s. Only the context that sends the probe reads objects and writes its status.
    let probes = 3600 / 10;
    for (request, count) in &hour {
        assert!(*count <= probes + 10, "{request}: {count}, for {probes} probes");
    }
    world.api.clear_log();
    down.store(false, Ordering::Relaxed);
    pass(HOUR).await;
    assert_eq!(world.issued(), u64::try_from(contexts).unwrap());
    let after = costs(&world);
    eprintln!("after the outage: {after:?}");
    assert_eq!(after.get(SECRET), Some(&contexts));
    for (request, count) in &after {
        assert!(*count <= contexts + contexts / 20, "{request}: {count}");
    }
}

#[tokio::test(start_paused = true)]
async fn renewals_that_wait_for_a_tenant_that_is_down_only_write_the_status() {
    let contexts = 300;
    let world = {
        let mut world = World::new();
        world.limits.host_tokens_per_minute = 0;
        world.limits.host_requests_per_minute = 0;
        world
    };
    let mut world = world;
    let down = Arc::new(AtomicBool::new(false));
    let outage = down.clone();
    world.transport_faults =
        Some(Arc::new(move |_, _, _| outage.load(Ordering::Relaxed).then_some(TransportFailure::Connection)));
    for n in 0..contexts {
        world.add("a", &format!("c{n}"), LIFE, &quiet());
    }
    world.start();
    pass(MINUTE).await;
    assert_eq!(world.issued(), u64::try_from(contexts).unwrap());
    down.store(true, Ordering::Relaxed);
    // All renewals are due by now, and the tokens are valid for two more hours.
    pass(4 * HOUR + 5 * MINUTE).await;
    world.api.clear_log();
    pass(HOUR).await;
    let hour = costs(&world);
    eprintln!("in the hour: {hour:?}");
    for (request, count) in &hour {
        assert!(*count <= 370, "{request}: {count}, for 360 probes");
    }
    assert!((0..contexts).all(|n| world.ready("a", &format!("c{n}")) == "True/RenewalFailing"));
}

#[tokio::test(start_paused = true)]
async fn contexts_of_equal_priority_are_served_in_order_of_arrival() {
    let mut world = World::new();
    world.limits.host_tokens_per_minute = 10;
    world.start();
    pass(5 * SECOND).await;
    let names: Vec<_> = (0..60).map(|n| format!("c{:02}", (n * 37) % 60)).collect();
    for name in &names {
        world.add("a", name, LIFE, &quiet());
        pass(Duration::from_millis(300)).await;
    }
    pass(10 * MINUTE).await;
    let asked: Vec<_> = world.cloud.ledger(|ledger| {
        let asked = ledger.records.iter().filter(|record| record.route == Route::Token);
        asked.filter_map(|record| record.client_id.clone()).collect()
    });
    assert_eq!(asked, names);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_deletions_that_the_watch_missed_are_found_without_a_request() {
    let mut world = World::new();
    // Half of them are still queued when they are deleted.
    world.limits.host_tokens_per_minute = 50;
    for n in 0..1000 {
        world.add("a", &format!("c{n}"), LIFE, &quiet());
    }
    world.start();
    pass(10 * MINUTE).await;
    let issued = world.issued();
    assert!((450..=600).contains(&issued), "{issued}");
    for verb in [Verb::List, Verb::Watch] {
        world.api.script(Script::on(verb, Kind::QlikContext, Fault::unavailable()));
    }
    world.api.end_watches();
    for n in 0..1000 {
        world.api.delete(Kind::QlikContext, "a", &format!("c{n}"));
    }
    world.api.collect_garbage();
    world.api.compact();
    pass(5 * SECOND).await;
    world.api.clear_scripts();
    pass(2 * MINUTE).await;
    world.api.clear_log();
    world.cloud.clear_ledger();
    pass(HOUR).await;
    assert_eq!(costs(&world), Costs::new());
    assert_eq!(world.cloud.ledger(|ledger| ledger.requests), 0, "no request is sent for a deleted context");
    let metrics = world.metrics.render(world.clock.now()).unwrap();
    assert!(!metrics.contains("namespace=\"a\""), "no series is left");
    world.add("a", "new", LIFE, &quiet());
    pass(5 * SECOND).await;
    assert_eq!(world.ready("a", "new"), "True/TokenValid", "the new context does not wait");
    pass(7 * HOUR).await;
    assert!(world.metrics.render(world.clock.now()).unwrap().contains("expired_served_seconds_total 0.0"));
}

/// Many contexts at once: the cost of each does not depend on their number or their namespaces.
async fn crowd(contexts: usize, namespaces: usize) {
    let world = running().await;
    for n in 0..contexts {
        world.add(&format!("ns{}", n % namespaces), &format!("c{n}"), LIFE, &quiet());
    }
    // A host gets three quarters of the slots that are not reserved for working tokens: 18 of 32. Each context takes
    // 0.9 s of the tenant's time and 50 ms until it is woken.
    let ideal = Duration::from_millis(950) * u32::try_from(contexts).unwrap() / 18;
    pass(ideal * 11 / 10 + 5 * SECOND).await;
    assert_eq!(world.issued(), contexts as u64, "all within {ideal:?} and a tenth");
    pass(5 * SECOND).await;
    let costs = costs(&world);
    for request in [READ, SECRET, STATUS] {
        assert_eq!(costs.get(request), Some(&contexts), "{request} of {costs:?}");
    }
    assert_eq!(costs.values().sum::<usize>() - costs.get(EVENT).copied().unwrap_or_default(), 3 * contexts);
    for n in 0..contexts {
        assert_eq!(world.ready(&format!("ns{}", n % namespaces), &format!("c{n}")), "True/TokenValid");
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_contexts_of_one_namespace_need_three_requests_each_and_only_the_tenants_time() {
    crowd(10_000, 1).await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_contexts_of_a_hundred_namespaces_need_three_requests_each_and_only_the_tenants_time() {
    crowd(10_000, 100).await;
}
