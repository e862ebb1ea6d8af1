//! Candidates for the Lease: which waits, which acquires it, and that no two lead at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kube::api::Api;
use qlik_context_operator::clock::{Clock, SignedDuration, Timestamp};
use qlik_context_operator::health::Health;
use qlik_context_operator::lease::{Election, Leadership};
use serde_json::{Value, json};
use support::api_server::{Fault, Kind, Script, Verb};
use tokio::time::Instant;

use crate::world::{World, pass};

const NAME: &str = "qlik-context-operator";

fn world() -> World {
    let world = World::new();
    world.api.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}})).unwrap();
    world
}

fn candidate(world: &World, identity: &str, clock: Clock) -> Election {
    let leases = Api::namespaced(world.api.kube_client(), "a");
    Election::new(leases, NAME, identity.to_owned(), clock, Arc::new(Health::new()))
}

/// A candidate that acquires and keeps the Lease, in its own task.
fn compete(world: &World, identity: &str, clock: Clock) -> Leadership {
    let mut election = candidate(world, identity, clock);
    let leadership = election.leadership();
    #[expect(clippy::disallowed_methods, reason = "the candidates run concurrently with the test")]
    tokio::spawn(async move {
        loop {
            election.acquire(|| ()).await;
            election.keep().await;
        }
    });
    leadership
}

/// Lets this time pass and checks that never more than one candidate leads. Returns the last time at which none led,
/// and which of them lead at the end.
async fn watch(candidates: &[Leadership], time: Duration) -> (Duration, Vec<bool>) {
    let begin = Instant::now();
    let mut vacant = Duration::ZERO;
    loop {
        let lead: Vec<_> = candidates.iter().map(|candidate| candidate.check().is_ok()).collect();
        assert!(lead.iter().filter(|leads| **leads).count() <= 1, "{lead:?} after {:?}", begin.elapsed());
        if !lead.contains(&true) {
            vacant = begin.elapsed();
        }
        if begin.elapsed() >= time {
            return (vacant, lead);
        }
        pass(Duration::from_millis(50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_standby_only_when_it_sees_that_another_holds_the_lease() {
    let world = world();
    let (mut first, mut second) =
        (candidate(&world, "first", world.clock.clone()), candidate(&world, "second", world.clock.clone()));
    let stands_by = AtomicBool::new(false);
    world.api.script(Script::on(Verb::Get, Kind::Lease, Fault::Forbidden));
    tokio::select! {
        () = second.acquire(|| stands_by.store(true, Ordering::Relaxed)) => panic!("acquired without permission"),
        () = pass(Duration::from_mins(1)) => {}
    }
    assert!(!stands_by.load(Ordering::Relaxed));
    world.api.clear_scripts();
    tokio::time::timeout(Duration::from_mins(1), first.acquire(|| ())).await.unwrap();
    tokio::select! {
        () = second.acquire(|| stands_by.store(true, Ordering::Relaxed)) => panic!("acquired a held Lease"),
        () = pass(Duration::from_secs(5)) => {}
    }
    assert!(stands_by.load(Ordering::Relaxed));
}

#[tokio::test(start_paused = true)]
async fn wall_clocks_that_differ_by_hours_have_no_effect() {
    for hours in [-30, -5, 5, 30] {
        let world = world();
        let apart = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(500_000 + hours);
        let first = compete(&world, "first", world.clock.clone());
        watch(std::slice::from_ref(&first), Duration::from_secs(10)).await;
        let both = [first, compete(&world, "second", Clock::starting_at(apart))];
        let (vacant, lead) = watch(&both, Duration::from_mins(5)).await;
        assert_eq!((vacant, lead), (Duration::ZERO, vec![true, false]), "{hours} h");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_gets_no_response_stops_before_another_instance_leads() {
    let world = world();
    let first = compete(&world, "first", world.clock.clone());
    watch(std::slice::from_ref(&first), Duration::from_secs(10)).await;
    let both = [first, compete(&world, "second", world.clock.clone())];
    watch(&both, Duration::from_secs(10)).await;
    // Only the leader writes.
    world.api.script(Script::on(Verb::Update, Kind::Lease, Fault::Silence).times(5));
    let (vacant, lead) = watch(&both, Duration::from_mins(1)).await;
    assert_eq!(lead.iter().filter(|leads| **leads).count(), 1);
    assert!(vacant <= Duration::from_secs(25), "{vacant:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_or_edited_lease_never_leads_to_two_leaders() {
    type Edit = fn(&mut Value);
    let edits: [(&str, Edit); 5] = [
        ("no holder", |lease| lease["spec"]["holderIdentity"] = Value::Null),
        ("an empty spec", |lease| lease["spec"] = json!({})),
        ("a short lease", |lease| lease["spec"]["leaseDurationSeconds"] = json!(1)),
        ("the standby", |lease| lease["spec"]["holderIdentity"] = json!("second")),
        ("an unknown holder for a day", |lease| {
            lease["spec"]["holderIdentity"] = json!("somebody");
            lease["spec"]["leaseDurationSeconds"] = json!(86400);
        }),
    ];
    for phase in [0, 700, 1400] {
        let world = world();
        let first = compete(&world, "first", world.clock.clone());
        watch(std::slice::from_ref(&first), Duration::from_millis(9000 + phase)).await;
        let both = [first, compete(&world, "second", world.clock.clone())];
        watch(&both, Duration::from_millis(10_300)).await;
        assert!(world.api.delete(Kind::Lease, "a", NAME));
        let (vacant, _) = watch(&both, Duration::from_mins(1)).await;
        assert_eq!(vacant, Duration::ZERO, "the leader creates the Lease again");
        for (what, edit) in &edits {
            world.api.edit(Kind::Lease, "a", NAME, edit).unwrap();
            let (vacant, lead) = watch(&both, Duration::from_mins(2)).await;
            assert_eq!(lead.iter().filter(|leads| **leads).count(), 1, "{what}");
            assert!(vacant <= Duration::from_secs(65), "{what}: no leader for {vacant:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_leader_is_replaced_within_seventeen_seconds() {
    for phase in 0..8 {
        let world = world();
        let mut first = candidate(&world, "first", world.clock.clone());
        first.acquire(|| ()).await;
        let second = compete(&world, "second", world.clock.clone());
        // The time from the last renewal to the kill differs in each phase, and so does the time at which the other
        // reads the Lease.
        let _ = tokio::time::timeout(Duration::from_millis(8000 + 250 * phase), first.keep()).await;
        let (vacant, lead) = watch(&[second], Duration::from_secs(20)).await;
        assert!(lead[0] && vacant <= Duration::from_secs(17), "{vacant:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_released_lease_is_acquired_at_the_next_read() {
    let world = world();
    let mut first = candidate(&world, "first", world.clock.clone());
    first.acquire(|| ()).await;
    let second = compete(&world, "second", world.clock.clone());
    let _ = tokio::time::timeout(Duration::from_secs(9), first.keep()).await;
    first.release().await;
    let (vacant, lead) = watch(&[second], Duration::from_secs(5)).await;
    assert!(lead[0] && vacant <= Duration::from_secs(2), "{vacant:?}");
}
