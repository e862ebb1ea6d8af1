//! Runs one history up to the first violation, or to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::history::{FAULT_PERIOD, History};
use crate::invariants::{Invariant, Violation};
use crate::log;
use crate::world::World;

/// The time in which all objects become ready: the longest back-off of a user's mistake is eleven minutes, and a token that was
/// rejected while the tenant failed may need two of them.
const RECOVERY: Duration = Duration::from_mins(25);
/// The period without events at the end.
const QUIET: Duration = Duration::from_mins(8);

/// How a history ended.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub enum Ended {
    /// Without a violation.
    Passed(Report),
    /// With a violation.
    Violated(Violation),
    /// The history could not be run.
    Failed(String),
}

/// The figures of one history.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Report {
    /// A digest of all requests, changes and events with their times, which is the same in each run.
    pub hash: String,
    /// The number of requests to the API server.
    pub requests: u64,
    /// The number of issued tokens.
    pub issued: u64,
    /// The number of tokens that were lost by a crash between issue and publish.
    pub lost: u64,
    /// The reasons of all conditions.
    pub reasons: BTreeSet<String>,
    /// The decisions of the operator.
    pub plans: BTreeSet<String>,
    /// The number of events of each kind.
    pub events: BTreeMap<String, u64>,
    /// The time until all objects were ready.
    pub recovery: Duration,
}

/// A constant instead of addresses, from which the maps of kube take random numbers.
struct NotRandom;

impl ahash::random_state::RandomSource for NotRandom {
    fn gen_hasher_seed(&self) -> usize {
        0
    }
}

/// Runs a history in a thread of its own: addresses on the stack of the main thread depend on flags and environment.
pub fn run(history: &History) -> Ended {
    // It is only set once in a process.
    let _ = ahash::random_state::set_random_source(NotRandom);
    let ended = thread::scope(|scope| scope.spawn(|| run_here(history)).join());
    ended.unwrap_or_else(|_| Ended::Failed("panicked".to_owned()))
}

fn run_here(history: &History) -> Ended {
    fastrand::seed(history.seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Ended::Failed(error.to_string()),
    };
    match runtime.block_on(apply(history)) {
        Ok(Ok(report)) => Ended::Passed(report),
        Ok(Err(violation)) => Ended::Violated(violation),
        Err(error) => Ended::Failed(format!("{error:#}")),
    }
}

async fn apply(history: &History) -> anyhow::Result<Result<Report, Violation>> {
    let begun = Instant::now();
    let mut world = World::new(history)?;
    for step in &history.steps {
        if let Err(violation) = world.pass_until(begun + step.at).await {
            return Ok(Err(violation));
        }
        world.apply(step.event).with_context(|| step.event.to_string())?;
    }
    if let Err(violation) = world.pass_until(begun + FAULT_PERIOD).await {
        return Ok(Err(violation));
    }
    world.repair()?;
    Ok(end(&mut world).await.map(|recovery| Report {
        hash: format!("{:016x}", world.checker.hash()),
        requests: world.api_requests(),
        issued: world.issued(),
        lost: world.checker.lost_tokens(),
        reasons: world.checker.reasons(),
        plans: world.plans(),
        events: std::mem::take(&mut world.events),
        recovery,
    }))
}

/// Checks that all objects become ready, and that no requests are sent afterwards.
async fn end(world: &mut World) -> Result<Duration, Violation> {
    let repaired = Instant::now();
    loop {
        world.pass_until(Instant::now() + Duration::from_secs(5)).await?;
        let not_ready = world.not_ready();
        if not_ready.is_empty() {
            break;
        }
        if repaired.elapsed() > RECOVERY {
            let minutes = RECOVERY.as_secs() / 60;
            world
                .checker
                .violated(Invariant::Convergence, format!("after {minutes} minutes: {}", not_ready.join("; ")));
        }
    }
    let recovery = repaired.elapsed();
    world.show_a_change();
    // Requests in flight may finish.
    world.pass_until(Instant::now() + Duration::from_mins(2)).await?;
    let (requests, published, issued) = (world.api_requests(), world.checker.published(), world.issued());
    let to_tenant = world.tenant_requests();
    let of_workloads = world.workload_requests();
    world.pass_until(Instant::now() + QUIET).await?;
    let requests = world.api_requests() - requests;
    let of_workloads = world.workload_requests() - of_workloads;
    let (published, issued) = (world.checker.published() - published, world.issued() - issued);
    // A new token in a Secret costs three requests. A context that waited for the token request of another one reads the credential
    // twice. The first renewal after a start also reads the token Secret, twice after such a wait. A QlikOAuthClient is compared with
    // the tenant every 15 minutes.
    // For workloads, the status is also written after a new token, after a restart and after the end of its rollout; a restart
    // has an event.
    let most = published * 3
        + published.saturating_sub(issued)
        + world.contexts().min(published) * 2
        + world.objects() * 8
        + world.with_workloads() * (published + 4);
    if requests > most {
        world.checker.violated(
            Invariant::Silence,
            format!("{requests} requests to the API server for {published} published tokens"),
        );
    }
    // A new token costs its request, which may be signed again, and a verification, which is a redirect and a user. Each context verifies
    // its token every 15 minutes. A QlikOAuthClient is compared with the tenant as often, and proves a new credential.
    let to_tenant = world.tenant_requests() - to_tenant;
    let most = issued * 4 + world.contexts() * 2 + world.objects() * 12;
    if to_tenant > most {
        world
            .checker
            .violated(Invariant::Silence, format!("{to_tenant} requests to the tenant for {issued} issued tokens"));
    }
    // A new token costs one list of Pods, and for workloads a list of Deployments and an annotation of a Pod. A restart is read,
    // written and followed every five seconds for ten.
    let most = published * 4 + world.with_workloads() * 16;
    if of_workloads > most {
        world.checker.violated(
            Invariant::Silence,
            format!("{of_workloads} requests about workloads for {published} published tokens"),
        );
    }
    let not_ready = world.not_ready();
    if !not_ready.is_empty() {
        world
            .checker
            .violated(Invariant::Convergence, format!("ready, and then not ready any more: {}", not_ready.join("; ")));
    }
    let left = world.left_behind();
    if !left.is_empty() {
        let seen = format!("left in the tenant, although their objects were deleted with them: {}", left.join(", "));
        world.checker.violated(Invariant::OneClientForEachObject, seen);
    }
    check_texts(world);
    world.checker.violation().map_or(Ok(recovery), Err)
}

fn check_texts(world: &World) {
    for (sink, text) in world.outputs() {
        if let Some(secret) = log::found(&text) {
            world.checker.violated(Invariant::NothingLeaks, format!("{secret} in {sink}: {text}"));
        }
    }
    if let Some(line) = log::leak() {
        world.checker.violated(Invariant::NothingLeaks, format!("in the log: {line}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ApiFault, Event, TenantFault};
    use crate::fields::of_contexts;
    use crate::history::{Auth, Step};
    use support::api_server::{Kind, Verb};
    use support::tenant::Route;

    #[test]
    fn a_wrong_user_in_a_response_is_not_converged_before_the_next_verification() {
        let wrong = |minute| {
            let event = Event::TenantFault { route: Route::User, fault: TenantFault::ForeignTenant, times: 100 };
            Step { number: 1, at: Duration::from_mins(minute), event }
        };
        let history = History {
            seed: 0,
            replicas: 1,
            contexts: vec![0, 0],
            auth: vec![Auth::ClientSecret],
            oauth_clients: 0,
            workloads: Vec::new(),
            lifetime: 3600,
            jitter: 0.5,
            tight: false,
            steps: vec![wrong(20)],
        };
        let Ended::Passed(report) = run(&history) else { panic!("a violation, or no run") };
        assert!(report.recovery >= Duration::from_mins(1), "{:?}", report.recovery);
        let without = History { steps: Vec::new(), ..history };
        let Ended::Passed(report) = run(&without) else { panic!("a violation, or no run") };
        assert!(report.recovery < Duration::from_mins(1), "{:?}", report.recovery);
    }

    #[test]
    fn a_token_for_a_spec_may_be_older_than_that_for_an_outdated_spec() {
        let path = "auth.privateKeyJwt.secretRef.keys.keyId";
        let field = (0..100).find(|field| of_contexts(*field).path == path).unwrap();
        let edit = |value| Event::EditField { context: 2, field, value };
        let silence =
            Event::ApiFault { verb: Verb::Watch, kind: Kind::QlikContext, fault: ApiFault::Silence, times: 4 };
        let step = |number, seconds, event| Step { number, at: Duration::from_secs(seconds), event };
        let history = |value| History {
            seed: 20314,
            replicas: 1,
            contexts: vec![1, 0, 1],
            auth: vec![Auth::ClientSecret, Auth::PrivateKey],
            oauth_clients: 0,
            workloads: Vec::new(),
            lifetime: 300,
            jitter: 0.59,
            tight: true,
            steps: vec![step(1, 1413, edit(value)), step(2, 1879, silence)],
        };
        for value in 0..4 {
            let ended = run(&history(value));
            assert!(matches!(ended, Ended::Passed(_)), "{value}: {ended:?}");
        }
    }
}
