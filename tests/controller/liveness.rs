//! What ends the process or makes `/livez` fail: a panic, a stuck task, a stuck watch.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use kube::api::Api;
use qlik_context_operator::controller::control;
use qlik_context_operator::health::Health;
use qlik_context_operator::lease::{Election, Leadership};
use qlik_context_operator::run::panics;
use serde_json::json;
use support::api_server::{Fault, Kind, Script, Verb};
use tokio_util::sync::CancellationToken;

use crate::world::{HOUR, LIFE, World, pass};

#[tokio::test(start_paused = true)]
async fn a_loop_that_is_not_polled_for_a_minute_fails_the_liveness_probe() {
    let mut world = World::new();
    world.add("a", "acme", LIFE, &json!({}));
    let parts = world.parts(Leadership::undisputed());
    let mut running = Box::pin(control(parts, CancellationToken::new()));
    let _ = tokio::time::timeout(Duration::from_mins(10), &mut running).await;
    assert_eq!(world.health.liveness(), Ok(()));
    pass(Duration::from_secs(61)).await;
    assert_eq!(world.health.liveness(), Err("the controller loop is stuck"));
    // Long enough that the log has lines to search.
    let _ = tokio::time::timeout(HOUR, &mut running).await;
    assert_eq!(world.health.liveness(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn an_election_that_is_not_polled_for_a_minute_fails_the_liveness_probe() {
    let mut world = World::new();
    world.start();
    world.api.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}})).unwrap();
    let health = Arc::new(Health::new());
    let leases = Api::namespaced(world.api.kube_client(), "a");
    let mut election = Election::new(leases, "lease", "first".into(), world.clock.clone(), health.clone());
    let beats = health.clone();
    #[expect(clippy::disallowed_methods, reason = "the loop runs concurrently with the test")]
    tokio::spawn(async move { beats.beat_alone().await });
    election.acquire(|| ()).await;
    let _ = tokio::time::timeout(Duration::from_mins(10), election.keep()).await;
    assert_eq!(health.liveness(), Ok(()));
    pass(Duration::from_secs(61)).await;
    assert_eq!(health.liveness(), Err("the leader election is stuck"));
    world.add("a", "acme", LIFE, &json!({}));
    pass(Duration::from_mins(10)).await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_without_a_response_fails_the_liveness_probe_and_a_rejected_one_does_not() {
    for (fault, alive) in [(Fault::Silence, false), (Fault::Forbidden, true)] {
        let mut world = World::new();
        world.add("a", "acme", LIFE, &json!({}));
        world.start();
        pass(HOUR).await;
        assert_eq!(world.health.liveness(), Ok(()), "watches that are restarted as expected");
        world.api.script(Script::on(Verb::Watch, Kind::Secret, fault));
        pass(HOUR).await;
        assert_eq!(world.health.liveness(), if alive { Ok(()) } else { Err("a watch is stuck") });
    }
}

#[test]
fn a_panic_in_any_task_ends_the_process_and_its_message_is_not_logged() {
    const CHILD: &str = "QLIK_CONTEXT_TEST_PANICS";
    if std::env::var_os(CHILD).is_some() {
        tracing_subscriber::fmt().json().with_writer(std::io::stderr).init();
        panics::end_the_process();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(async {
            let secret = std::env::var(CHILD).unwrap();
            #[expect(clippy::disallowed_methods, reason = "no code joins this task")]
            tokio::spawn(async move { panic!("{secret}") });
            std::future::pending::<()>().await;
        });
    }
    let this = "liveness::a_panic_in_any_task_ends_the_process_and_its_message_is_not_logged";
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", this, "--nocapture"]).env(CHILD, "planted-in-a-panic").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(101), "{said}");
    let lines: Vec<_> = said.lines().filter(|line| line.contains("panicked")).collect();
    assert!(lines.len() == 1 && lines[0].contains("liveness.rs:"), "{said}");
    assert!(!said.contains("planted"), "{said}");
}
