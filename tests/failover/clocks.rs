//! Instances on machines whose wall clocks differ.

use std::process::Command;
use std::time::Duration;

use crate::instances::TAKE_OVER;
use crate::stage::Stage;

const HOURS: u64 = 3;
/// By then a new leader has requested the tokens that it takes for expired.
const SETTLED: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_whose_wall_clocks_differ_by_hours_wait_for_the_lease_as_long_as_others() {
    let mut stage = Stage::with(1).await;
    let library = stage.control_plane.folder().join("wall_clock.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/failover/wall_clock.c");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status().unwrap();
    assert!(built.success());
    let offset = (HOURS * 3600).to_string();
    stage.start_with(&[("LD_PRELOAD", &library.to_string_lossy()), ("WALL_CLOCK_OFFSET", &offset)]).await;

    // By the clock of the second instance, the last renewal of the Lease was hours ago.
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(stage.instances[0].leads().await, Some(true));
        assert_eq!(stage.instances[1].leads().await, Some(false));
    }

    let before = stage.token_requests();
    let ahead = take_over(&mut stage).await;
    let ready = stage.new_context_is_ready().await;
    // By its clock, the tokens in the Secrets are expired.
    tokio::time::sleep(SETTLED).await;
    let again = stage.token_requests() - before - 1;
    assert_eq!(again, 5, "each token is requested once more");
    let renewed = stage.lease().await["spec"]["renewTime"].as_str().unwrap().to_owned();

    // By the clock of the third instance, the last renewal of the Lease is hours in the future.
    stage.start().await;
    let before = stage.token_requests();
    let behind = take_over(&mut stage).await;
    tokio::time::sleep(SETTLED).await;
    // By its clock, those tokens are issued in the future, so their expiry cannot be trusted.
    assert_eq!(stage.token_requests() - before, 6, "each token is requested once more");
    eprintln!(
        "clocks {HOURS} h apart: an instance that is ahead leads after {:.1} s, one that is behind after {:.1} s; a new \
         context is Ready after {:.1} s; Lease renewed at {renewed}",
        ahead.as_secs_f64(),
        behind.as_secs_f64(),
        ready.as_secs_f64()
    );
    for taken in [ahead, behind] {
        assert!((Duration::from_secs(5)..TAKE_OVER).contains(&taken), "{taken:?}");
    }
    stage.all_live().await;
    stage.check_writes();
}

/// Kills the leader and returns how long it takes until the other instance leads.
async fn take_over(stage: &mut Stage) -> Duration {
    let leader = stage.leader().await;
    let mut killed = stage.instances.remove(leader);
    killed.operator.process.kill().unwrap();
    stage.another_leads(usize::MAX).await
}
