//! Failures of single instances, and changes to their Lease.

use std::time::Duration;

use serde_json::json;
use support::control_plane::process::Signal;

use crate::stage::Stage;

/// A candidate reads the Lease every 2 s and waits for 15 s after the last change that it saw.
pub const TAKE_OVER: Duration = Duration::from_secs(20);

fn report(fault: &str, measured: &[(&str, Duration)]) {
    let figures = measured.iter().map(|(what, time)| format!("{what} {:.1} s", time.as_secs_f64()));
    eprintln!("{fault}: {}", figures.collect::<Vec<_>>().join(", "));
}

async fn wait(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_two_replicas_a_leader_that_is_killed_frozen_or_disconnected_is_replaced_and_never_acts_beside_the_next() {
    a_leader_fails(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_three_replicas_a_leader_that_is_killed_frozen_or_disconnected_is_replaced_and_never_acts_beside_the_next()
{
    a_leader_fails(3).await;
}

async fn a_leader_fails(replicas: usize) {
    let mut stage = Stage::with(replicas).await;

    for _ in 0..2 {
        let leader = stage.leader().await;
        let mut killed = stage.instances.remove(leader);
        killed.operator.process.kill().unwrap();
        let taken = stage.another_leads(usize::MAX).await;
        let ready = stage.new_context_is_ready().await;
        report(
            &format!("kill -9 of one of {replicas}"),
            &[("another leads after", taken), ("a new context is Ready after", ready)],
        );
        assert!(taken < TAKE_OVER, "{taken:?}");
        stage.start().await;
    }

    let leader = stage.leader().await;
    stage.instances[leader].operator.process.signal(Signal::STOP).unwrap();
    let taken = stage.another_leads(leader).await;
    let ready = stage.new_context_is_ready().await;
    wait(10).await;
    stage.instances[leader].operator.process.signal(Signal::CONT).unwrap();
    let stopped = stage.stops_leading(leader).await;
    report(
        &format!("frozen, one of {replicas}"),
        &[
            ("another leads after", taken),
            ("a new context is Ready after", ready),
            ("resumed, it becomes a standby after", stopped),
        ],
    );
    assert!(taken < TAKE_OVER && stopped < Duration::from_secs(5), "{taken:?} {stopped:?}");

    let leader = stage.leader().await;
    stage.instances[leader].wire.cut();
    let stopped = stage.stops_leading(leader).await;
    let taken = stopped + stage.another_leads(leader).await;
    let ready = stage.new_context_is_ready().await;
    report(
        &format!("cut off, one of {replicas}"),
        &[("it stops after", stopped), ("another leads after", taken), ("a new context is Ready after", ready)],
    );
    assert!(stopped < Duration::from_secs(12) && stopped <= taken && taken < TAKE_OVER, "{stopped:?} {taken:?}");
    wait(5).await;
    stage.instances[leader].wire.mend();
    wait(6).await;
    assert_eq!(stage.instances[leader].leads().await, Some(false));
    assert!(stage.instances[leader].answers("/readyz").await, "a standby is ready");

    stage.all_live().await;
    stage.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_or_edited_lease_never_lets_two_instances_act() {
    let mut stage = Stage::with(2).await;
    let leader = stage.leader().await;
    let identity = stage.lease().await["spec"]["holderIdentity"].clone();

    for (fault, edit) in [
        ("deleted", None),
        ("holder removed", Some(json!({"holderIdentity": null}))),
        ("shortened", Some(json!({"leaseDurationSeconds": 1}))),
    ] {
        match edit {
            None => stage.delete_lease().await,
            Some(spec) => stage.edit_lease(&spec).await,
        }
        for _ in 0..20 {
            wait(1).await;
            assert_eq!(stage.instances[leader].leads().await, Some(true), "{fault}");
        }
        assert_eq!(stage.lease().await["spec"]["holderIdentity"], identity, "{fault}");
        let ready = stage.new_context_is_ready().await;
        report(fault, &[("the leader continues; a new context is Ready after", ready)]);
    }

    stage.edit_lease(&json!({"holderIdentity": "somebody"})).await;
    let stopped = stage.stops_leading(leader).await;
    let taken = stopped + stage.another_leads(usize::MAX).await;
    report("given to an unknown holder", &[("the leader stops after", stopped), ("one leads after", taken)]);
    assert!(stopped < Duration::from_secs(6) && taken < TAKE_OVER, "{stopped:?} {taken:?}");

    // The Lease is assigned to a standby: it waits, because the leader may not have read the Lease yet.
    let (leader, holder) = (stage.leader().await, stage.lease().await["spec"]["holderIdentity"].clone());
    if holder == identity {
        stage.edit_lease(&json!({"holderIdentity": "somebody"})).await;
        stage.stops_leading(leader).await;
        stage.another_leads(usize::MAX).await;
    }
    stage.edit_lease(&json!({"holderIdentity": identity})).await;
    stage.another_leads(usize::MAX).await;
    let ready = stage.new_context_is_ready().await;
    report("given to a standby", &[("a new context is Ready after", ready)]);

    stage.all_live().await;
    stage.check().await;
}
