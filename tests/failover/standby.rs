//! The memory of a standby.

use std::time::Duration;

use crate::stage::Stage;

/// The tolerance in MiB, for the allocator and the API server's responses.
const NOISE: f64 = 2.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_of_a_standby_does_not_grow_with_the_contexts() {
    let mut stage = Stage::without_contexts(2).await;
    let leader = stage.leader().await;
    let standby = 1 - leader;
    let mut measured = Vec::new();
    for contexts in [0, 200] {
        if contexts > 0 {
            stage.new_contexts_are_ready(contexts).await;
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
        let (leads, stands_by) = (stage.instances[leader].memory().await, stage.instances[standby].memory().await);
        eprintln!("{contexts} contexts: the leader has {leads:.1} MiB, the standby {stands_by:.1} MiB");
        measured.push((leads, stands_by));
    }
    assert_eq!(stage.instances[leader].leads().await, Some(true));
    let [(_, before), (leads, stands_by)] = measured[..] else { panic!("{measured:?}") };
    assert!(stands_by < before + NOISE && stands_by < leads, "{measured:?}");
    stage.check().await;
}
