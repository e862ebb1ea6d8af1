//! The operator as users run it: the image, installed by the chart as real Pods on a real node, with real workloads.
//!
//! Needs root on Linux, containerd and the image. `cargo xtask node-test` prints what is missing. If the tests cannot
//! run, they count as ignored and the reason is printed.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "real processes need real time")]

mod arrival;
mod dns;
mod figures;
mod fresh;
mod pod;
mod replicas;
mod stage;
mod trouble;
mod workloads;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::future::LocalBoxFuture;
use libtest_mimic::{Arguments, Failed, Trial};
use support::control_plane::{NodePrograms, Programs, to_stderr};
use support::node::sandbox;
use support::skipped::skipped;
use tokio::runtime::Runtime;

use stage::Stage;

/// The archive from `cargo xtask image`.
const IMAGE: &str = "QLIK_CONTEXT_TEST_IMAGE";
/// Set to run the measurements, which take minutes.
const FIGURES: &str = "QLIK_CONTEXT_NODE_FIGURES";

type Scenario = for<'a> fn(&'a mut Stage) -> LocalBoxFuture<'a, ()>;

/// The tests run in this order, on one node.
const SCENARIOS: [(&str, Scenario); 14] = [
    ("the_chart_with_its_defaults_and_its_image_leads_to_a_ready_context", |stage| Box::pin(pod::install(stage))),
    ("the_pod_has_no_privilege_and_no_writable_path", |stage| Box::pin(pod::restricted(stage))),
    ("probes_and_limits_are_those_of_the_chart_as_shipped", |stage| Box::pin(pod::as_shipped(stage))),
    ("a_workload_that_mounts_the_secret_sees_a_renewed_token_and_calls_the_tenant_with_it", |stage| {
        Box::pin(workloads::file(stage))
    }),
    ("a_workload_that_reads_the_environment_keeps_its_token_until_it_is_restarted", |stage| {
        Box::pin(workloads::environment(stage))
    }),
    ("qlik_cli_finds_contexts_yml_in_the_home_folder", |stage| Box::pin(workloads::contexts(stage))),
    ("two_replicas_elect_a_leader_and_a_rolling_update_requests_no_token", |stage| {
        Box::pin(replicas::rolling_update(stage))
    }),
    ("after_a_drain_the_pods_are_back_and_no_token_is_requested", |stage| Box::pin(replicas::drain(stage))),
    ("the_operator_recovers_from_kill_9_and_an_oom_kill_without_a_token_request", |stage| {
        Box::pin(trouble::killed(stage))
    }),
    ("a_search_domain_that_resolves_every_name_is_reported_and_ndots_1_fixes_it", |stage| {
        Box::pin(dns::wildcard(stage))
    }),
    ("a_mounted_file_has_a_renewed_token_within_seconds_where_the_operator_wakes_the_kubelet", |stage| {
        Box::pin(fresh::files(stage))
    }),
    (
        "workloads_are_restarted_one_after_the_other_through_a_failing_rollout_and_no_file_holds_an_expired_token",
        |stage| Box::pin(fresh::restarts(stage)),
    ),
    ("figures", |stage| Box::pin(figures::all(stage))),
    ("figures_of_files", |stage| Box::pin(arrival::figures(stage))),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let reason = obstacle();
    if reason.is_none() && !arguments.list && !sandbox::entered() {
        // Inside there is no network, from which modules of Go could be downloaded.
        let built = Programs::find(&to_stderr).and_then(|_| NodePrograms::find(&to_stderr));
        return built.and_then(|_| sandbox::enter()).unwrap_or_else(|error| {
            to_stderr(&format!("no node: {error:#}"));
            ExitCode::FAILURE
        });
    }
    if let Some(reason) = reason.as_ref().filter(|_| !arguments.list) {
        skipped("the tests on a real node", reason);
    }
    // The tests share a node, and some of them make it unavailable for a while.
    arguments.test_threads = Some(1);
    let world = Arc::new(Mutex::new(None));
    let trials = SCENARIOS.map(|(name, scenario)| {
        let world = Arc::clone(&world);
        let wanted = !name.starts_with("figures") || std::env::var_os(FIGURES).is_some();
        Trial::test(name, move || perform(&world, name, scenario)).with_ignored_flag(reason.is_some() || !wanted)
    });
    let conclusion = libtest_mimic::run(&arguments, trials.into());
    // Stops everything in order, before the sandbox ends.
    if let Some((runtime, stage)) = world.lock().unwrap_or_else(PoisonError::into_inner).take() {
        runtime.block_on(async { drop(stage) });
    }
    conclusion.exit_code()
}

/// The runtime and the stage, created by the first test that runs.
type World = Mutex<Option<(Runtime, Stage)>>;

fn perform(world: &World, name: &str, scenario: Scenario) -> Result<(), Failed> {
    // After a failed test the next one uses the same node.
    let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
    let (runtime, stage) = match world.take() {
        Some(there) => {
            let (runtime, stage) = world.insert(there);
            (runtime, stage)
        }
        None => {
            let runtime = Runtime::new()?;
            let image = PathBuf::from(std::env::var_os(IMAGE).unwrap_or_default());
            let begin = Instant::now();
            let stage = runtime.block_on(Stage::set(&image)).map_err(|error| format!("no node: {error:#}"))?;
            to_stderr(&format!("starting the node took {:.1} s", begin.elapsed().as_secs_f32()));
            let (runtime, stage) = world.insert((runtime, stage));
            if name != SCENARIOS[0].0 {
                // A filter skipped the first test, so its installation is done here.
                runtime.block_on(pod::install(stage));
            }
            (runtime, stage)
        }
    };
    let begin = Instant::now();
    runtime.block_on(scenario(stage));
    to_stderr(&format!("{name} took {:.1} s", begin.elapsed().as_secs_f32()));
    Ok(())
}

/// The reason why these tests cannot run here.
fn obstacle() -> Option<String> {
    if sandbox::entered() {
        return None;
    }
    match std::env::var_os(IMAGE).map(PathBuf::from) {
        None => Some(format!("there is no image: run `cargo xtask node-test`, which builds one, or set {IMAGE}")),
        Some(image) if !image.is_file() => Some(format!("{} does not exist", image.display())),
        Some(_) => sandbox::obstacle(),
    }
}
