//! Many contexts with many Pods: the number of requests, and no delayed renewal.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use qlik_context_operator::clock::Timestamp;
use serde_json::{Value, json};
use support::api_server::{Fault, Kind, Record, Script, Verb};
use tokio::time::Instant;

use super::{MINUTE, deploy, environment, pod, roll_out, volume};
use crate::world::{HOUR, LIFE, World, pass};

const SECOND: Duration = Duration::from_secs(1);
const CONTEXTS: usize = 1000;
/// Pods of a context that mount its Secret. Two more read the environment, each of a separate Deployment.
const MOUNTING: usize = 8;
/// A token request and its verification, with a redirect, take 0.3 s each. One second more, because times are in whole
/// seconds.
const RENEWAL: Duration = Duration::from_secs(2);
/// The time from a restart until the new Pod is available.
const ROLLOUT: Duration = Duration::from_secs(10);
/// The time from one round to the next during a rollout.
const ROUND: u64 = 6;

fn names(n: usize) -> (String, String) {
    (format!("n{n}"), format!("c{n}"))
}

/// When the token of a context is due for renewal.
fn renewal(world: &World, namespace: &str, name: &str) -> Timestamp {
    let context = world.api.get(Kind::QlikContext, namespace, name).unwrap();
    context["status"]["token"]["renewalTime"].as_str().unwrap().parse().unwrap()
}

/// A request: namespace and name of its object, and the time of its arrival.
type Asked = (String, String, Instant);

/// Requests with this verb for this kind, after the first `from` records of the log.
fn times(world: &World, verb: Verb, kind: Kind, from: usize) -> Vec<Asked> {
    world.api.log(|log| {
        let new = log.records[from..].iter();
        let matching = new.filter(|record| record.call.verb == verb && record.call.kind == kind);
        let of = |record: &Record| {
            let (namespace, name) = (record.call.namespace.clone(), record.call.name.clone());
            (namespace.unwrap_or_default(), name.unwrap_or_default(), record.at)
        };
        matching.map(of).collect()
    })
}

/// Does the work of the Deployment controller for this time: a restarted Deployment gets its new Pod after a delay.
async fn deployments_roll(world: &World, time: Duration) {
    let (mut seen, mut rolling, end) = (0, VecDeque::new(), Instant::now() + time);
    while Instant::now() < end {
        rolling.extend(times(world, Verb::Patch, Kind::Deployment, seen));
        seen = world.api.log(|log| log.records.len());
        while let Some((namespace, name, at)) = rolling.front()
            && at.elapsed() >= ROLLOUT
        {
            roll_out(world, namespace, name);
            rolling.pop_front();
        }
        pass(SECOND).await;
    }
}

/// Runs the fleet from its start to the end of the first renewals. Also returns the delay of each renewal after its due
/// time.
async fn renewed() -> (World, Vec<Duration>) {
    let mut world = World::new();
    (world.limits.host_tokens_per_minute, world.limits.host_requests_per_minute) = (0, 0);
    world.workloads = true;
    for n in 0..CONTEXTS {
        let (namespace, name) = names(n);
        world.add(&namespace, &name, LIFE, &json!({"verifyInterval": "0s", "workloads": {"restart": {}}}));
    }
    world.start();
    pass(5 * MINUTE).await;
    // Pods that start with the first token.
    for n in 0..CONTEXTS {
        let (namespace, name) = names(n);
        let secret = format!("{name}-token");
        for p in 0..MOUNTING {
            pod(&world, &namespace, &format!("{name}-{p}"), &volume(&secret), None, &json!({}));
        }
        for d in ["first", "second"] {
            deploy(&world, &namespace, &format!("{name}-{d}"), &environment(&secret));
        }
    }
    pass(3 * HOUR).await;
    assert_eq!(world.issued(), CONTEXTS as u64);
    let due: HashMap<_, _> = (0..CONTEXTS)
        .map(|n| {
            let (namespace, name) = names(n);
            (format!("{name}-token"), renewal(&world, &namespace, &name))
        })
        .collect();
    world.api.clear_log();
    let (wall, begin) = (world.clock.now(), Instant::now());
    deployments_roll(&world, HOUR + 15 * MINUTE).await;
    assert_eq!(world.issued(), 2 * CONTEXTS as u64);
    let published = times(&world, Verb::Patch, Kind::Secret, 0);
    let late = published.iter().map(|(_, secret, at)| {
        let due = Duration::try_from(due[secret].duration_since(wall)).unwrap();
        (*at - begin).saturating_sub(due)
    });
    let mut late: Vec<_> = late.collect();
    late.sort_unstable();
    (world, late)
}

#[tokio::test(start_paused = true)]
async fn a_thousand_contexts_with_ten_pods_each_keep_their_budgets_and_delay_no_renewal() {
    let (world, late) = renewed().await;
    eprintln!("published {:?} after it was due in the middle, {:?} at most", late[late.len() / 2], late.last());
    // Each renewal is checked against its own due time, because the order of the first tokens differs from run to run.
    assert!(late.len() == CONTEXTS && late.last() <= Some(&RENEWAL), "{:?}", late.last());

    let (annotated, restarted) =
        (times(&world, Verb::Patch, Kind::Pod, 0), times(&world, Verb::Patch, Kind::Deployment, 0));
    let mut writes: Vec<_> = annotated.iter().chain(&restarted).map(|(_, _, at)| *at).collect();
    writes.sort_unstable();
    assert!(writes.windows(21).all(|window| window[20] - window[0] >= SECOND), "never more than 20 in a second");
    // Each Deployment is restarted once, and the second of a context after the first has its new Pod.
    let mut of_context = BTreeMap::<_, Vec<_>>::new();
    for (namespace, name, at) in &restarted {
        let context = name.rsplit_once('-').unwrap().0;
        of_context.entry((namespace.clone(), context.to_owned())).or_default().push((name.clone(), *at));
    }
    assert_eq!(of_context.len(), CONTEXTS);
    for (context, restarts) in &of_context {
        assert_eq!(restarts.len(), 2, "{context:?}: {restarts:?}");
        assert!(
            restarts[0].0 != restarts[1].0 && restarts[1].1 - restarts[0].1 >= ROLLOUT,
            "{context:?}: {restarts:?}"
        );
    }
    let mut requests = BTreeMap::new();
    world.api.log(|log| {
        for record in &log.records {
            *requests.entry(format!("{} {}", record.call.verb, record.resource())).or_insert(0_usize) += 1;
        }
    });
    eprintln!("{requests:#?}");
    let of = |request: &str| requests.get(request).copied().unwrap_or_default();
    // A renewal costs the same as without workloads. Each Pod that mounts the Secret costs one patch, each restart a
    // read, a patch and an event. The status is written after the renewal, after each of the two restarts and after
    // the end. Pods and Deployments are listed in the first round and in each round of the two rollouts.
    let rounds = 1 + 2 * usize::try_from(ROLLOUT.as_secs().div_ceil(ROUND)).unwrap();
    for (request, each) in [
        ("get secrets", 1),
        ("patch secrets", 1),
        ("patch pods", MOUNTING),
        ("get deployments", 2),
        ("patch deployments", 2),
        ("create events", 2),
        ("patch qlikcontexts/status", 4),
        ("list pods", rounds),
        ("list deployments", rounds),
    ] {
        assert_eq!(of(request), each * CONTEXTS, "{request}");
    }
}

#[tokio::test(start_paused = true)]
async fn fifty_contexts_of_one_namespace_that_are_renewed_at_once_share_what_is_listed() {
    let mut world = World::new();
    (world.limits.host_tokens_per_minute, world.limits.host_requests_per_minute) = (0, 0);
    world.workloads = true;
    for n in 0..50 {
        let name = format!("c{n}");
        world.add("a", &name, LIFE, &json!({"verifyInterval": "0s", "workloads": {"restart": {}}}));
    }
    world.start();
    pass(5 * MINUTE).await;
    for n in 0..50 {
        let (name, secret) = (format!("c{n}"), format!("c{n}-token"));
        for p in 0..9 {
            pod(&world, "a", &format!("{name}-{p}"), &volume(&secret), None, &json!({}));
        }
        deploy(&world, "a", &format!("{name}-reads"), &environment(&secret));
    }
    pass(HOUR).await;
    world.api.clear_log();
    for n in 0..50 {
        let request = |context: &mut Value| {
            context["metadata"]["annotations"] = json!({"qlikcontext.dev/refresh-requested-at": "now"});
        };
        world.api.edit(Kind::QlikContext, "a", &format!("c{n}"), request).unwrap();
    }
    let begin = Instant::now();
    deployments_roll(&world, 5 * MINUTE).await;
    let annotated = times(&world, Verb::Patch, Kind::Pod, 0);
    let restarted = times(&world, Verb::Patch, Kind::Deployment, 0);
    assert_eq!((world.issued(), annotated.len(), restarted.len()), (100, 450, 50));
    for (kind, pages) in [(Kind::Pod, 5), (Kind::Deployment, 1)] {
        let asked = times(&world, Verb::List, kind, 0);
        let lists: Vec<_> = asked.iter().step_by(pages).map(|(_, _, at)| *at - begin).collect();
        eprintln!("{} lists of {}: {lists:?}", lists.len(), kind.plural());
        assert!(lists.windows(2).all(|pair| pair[1] - pair[0] >= SECOND), "{lists:?}");
        assert!(asked.len().is_multiple_of(pages) && lists.len() <= 12, "{lists:?}");
    }
    for n in 0..50 {
        assert_eq!(world.condition("a", &format!("c{n}"), "WorkloadsSynced")["reason"], "WorkloadsFresh");
    }
}

#[tokio::test(start_paused = true)]
async fn lists_that_hang_delay_no_renewal() {
    let mut world = World::new();
    (world.limits.host_tokens_per_minute, world.limits.host_requests_per_minute) = (0, 0);
    world.workloads = true;
    for n in 0..100 {
        world.add(
            &format!("n{n}"),
            &format!("c{n}"),
            LIFE,
            &json!({"verifyInterval": "0s", "workloads": {"restart": {}}}),
        );
    }
    world.api.script(Script::on(Verb::List, Kind::Pod, Fault::Silence));
    world.start();
    pass(MINUTE).await;
    assert_eq!(world.issued(), 100);
    let due: HashMap<_, _> = (0..100)
        .map(|n| {
            let namespace = format!("n{n}");
            (namespace.clone(), renewal(&world, &namespace, &format!("c{n}")))
        })
        .collect();
    world.api.clear_log();
    let (wall, begin) = (world.clock.now(), Instant::now());
    pass(4 * HOUR + 5 * MINUTE).await;
    assert_eq!(world.issued(), 200);
    for (namespace, _, at) in times(&world, Verb::Patch, Kind::Secret, 0) {
        let due = Duration::try_from(due[&namespace].duration_since(wall)).unwrap();
        assert!((at - begin).saturating_sub(due) <= RENEWAL, "{namespace}");
    }
    assert!(times(&world, Verb::List, Kind::Pod, 0).len() > 1000, "lists were tried all the time");
}
