//! The world of a history: API server, tenant, replicas and a wall clock.
//!
//! `faults`: faults of processes, the API server and the tenant; `users`: actions of users and other controllers; `repair`: ends
//! all faults, and checks whether all objects are ready; `objects`: the objects and their names; `workloads`: workloads that read
//! tokens.

mod faults;
mod objects;
mod repair;
mod users;
mod workloads;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use qlik_context_operator::clock::{Clock, SignedDuration, Timestamp};
use support::api_server::{ApiServer, Kind};
use support::tenant::{self, QlikCloud, Tenant};
use tokio::time::{Instant, sleep};

use crate::event::Event;
use crate::history::History;
use crate::invariants::{Checker, Invariant, Violation};
use crate::replica::{NAMESPACE, Replica, Requests, Surroundings};
use crate::transport::Losses;

/// The beginning of every planted secret.
pub const PLANTED: &str = "planted-";
/// 2026-11-22T00:00:00Z.
const BEGIN: i64 = 1_795_305_600;
/// The delay after which a process that ended by itself starts again.
const RESTART: Duration = Duration::from_secs(2);
/// The interval of the checks.
const STEP: Duration = Duration::from_secs(1);

/// API server, tenant, replicas and wall clock.
pub struct World {
    history: History,
    api: ApiServer,
    cloud: QlikCloud,
    tenant: Tenant,
    /// The checks of the invariants.
    pub checker: Checker,
    replicas: Vec<Replica>,
    /// The time at which a replica starts again.
    starts: Vec<Option<Instant>>,
    /// The end of an outage of the API server or the tenant.
    api_up: Option<Instant>,
    tenant_up: Option<Instant>,
    /// The end of the time in which another client changes the token Secret of a context each second.
    contests: BTreeMap<usize, Instant>,
    /// When the rollout of each Deployment began, by namespace and name.
    rollouts: BTreeMap<(String, String), Instant>,
    ahead: Arc<AtomicI64>,
    /// When the wall clock was last set ahead.
    set_ahead: Option<Instant>,
    clock: Clock,
    requests: Arc<Requests>,
    losses: Arc<Losses>,
    ticks: u64,
    /// The number of changes at the last check of the OAuth clients, and of the workloads.
    checked_at: u64,
    rolled_out_at: Option<u64>,
    /// The number of events of each kind.
    pub events: BTreeMap<String, u64>,
    /// The decisions of the operator, from its counters.
    plans: BTreeSet<String>,
}

impl World {
    /// The world at the beginning of a history: all objects exist, and no replica runs.
    pub fn new(history: &History) -> anyhow::Result<Self> {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(BEGIN.unsigned_abs());
        let wall = tenant::Clock::starting_at(start);
        let cloud = QlikCloud::builder().clock(wall).seed(history.seed).without_sockets()?;
        let tenant = cloud.tenant("acme.eu.qlikcloud.com");
        let ahead = Arc::new(AtomicI64::new(0));
        let clock = {
            let (ahead, begun) = (ahead.clone(), Instant::now());
            Clock::from_wall(move || {
                let start = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(BEGIN + ahead.load(Ordering::Relaxed));
                start.saturating_add(begun.elapsed()).unwrap_or(Timestamp::MAX)
            })
        };
        let api = ApiServer::with_clock(wall);
        let wall_clock = clock.clone();
        let checker = Checker::new(Duration::from_secs(history.lifetime), move || wall_clock.now());
        let observer = checker.clone();
        api.observe(Arc::new(move |change| observer.on_change(change)));
        api.add_namespace(NAMESPACE);
        let (requests, losses) = (Arc::new(Requests::default()), Arc::new(Losses::default()));
        let surroundings = Surroundings {
            api: api.clone(),
            cloud: cloud.clone(),
            checker: checker.clone(),
            clock: clock.clone(),
            limits: history.limits(),
            jitter: history.jitter,
            losses: losses.clone(),
            requests: requests.clone(),
        };
        let replicas = (0..history.replicas).map(|number| Replica::new(number, surroundings.clone())).collect();
        let world = Self {
            history: history.clone(),
            api,
            cloud,
            tenant,
            checker,
            replicas,
            starts: vec![Some(Instant::now()); history.replicas],
            api_up: None,
            tenant_up: None,
            contests: BTreeMap::new(),
            rollouts: BTreeMap::new(),
            ahead,
            set_ahead: None,
            clock,
            requests,
            losses,
            ticks: 0,
            checked_at: 0,
            rolled_out_at: None,
            events: BTreeMap::new(),
            plans: BTreeSet::new(),
        };
        world.create()?;
        Ok(world)
    }

    /// Lets time pass until then. Checks the invariants each second.
    pub async fn pass_until(&mut self, until: Instant) -> Result<(), Violation> {
        loop {
            self.due().await;
            let changes = self.checker.changes();
            if self.checked_at != changes {
                self.checked_at = changes;
                self.check_clients();
            }
            if let Some(violation) = self.checker.violation() {
                return Err(violation);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            sleep(left.min(STEP)).await;
        }
    }

    /// Applies an event.
    pub fn apply(&mut self, event: Event) -> anyhow::Result<()> {
        *self.events.entry(event.kind()).or_default() += 1;
        self.checker.record(&event.to_string());
        self.checker.changed();
        if self.fault(event) { Ok(()) } else { self.user(event) }
    }

    /// Restarts, ends of outages, and the garbage collector.
    async fn due(&mut self) {
        let now = Instant::now();
        self.ticks += 1;
        if self.ticks.is_multiple_of(5) {
            self.api.collect_garbage();
        }
        if self.ticks.is_multiple_of(60) {
            self.check_expiry();
        }
        for (replica, start) in self.replicas.iter_mut().zip(&mut self.starts) {
            if let Some(panic) = replica.panicked().await {
                self.checker.violated(Invariant::NoPanic, panic);
            }
            if !replica.runs() && start.is_none() {
                *start = Some(now + RESTART);
            }
            if start.is_some_and(|start| start <= now) {
                *start = None;
                self.plans.extend(plans(&replica.metrics.render(self.clock.now()).unwrap_or_default()));
                replica.start(self.history.oauth_clients > 0);
            }
        }
        // Nothing to do for workloads unless something has changed, or a rollout goes on.
        let changes = self.checker.changes_for_workloads();
        if self.rolled_out_at != Some(changes) || !self.rollouts.is_empty() {
            self.rolled_out_at = Some(changes);
            self.roll_out();
        }
        self.contests.retain(|_, end| *end > now);
        for context in self.contests.keys().copied().collect::<Vec<_>>() {
            // It only fails for an object that cannot be stored.
            let _ = self.tamper(Event::Tamper { context });
        }
        if self.api_up.is_some_and(|up| up <= now) {
            self.api_up = None;
            self.api.intercept(None);
        }
        if self.tenant_up.is_some_and(|up| up <= now) {
            self.tenant_up = None;
            self.cloud.clear_scripts();
        }
    }

    /// Requests to the API server, without watches, the Lease, Pods and workloads.
    pub fn api_requests(&self) -> u64 {
        self.requests.others.load(Ordering::Relaxed)
    }

    /// Requests to the API server about Pods and workloads.
    pub fn workload_requests(&self) -> u64 {
        self.requests.of_workloads.load(Ordering::Relaxed)
    }

    /// The number of contexts with `spec.workloads`.
    pub fn with_workloads(&self) -> u64 {
        self.history.workloads.len() as u64
    }

    /// The number of QlikContexts.
    pub fn contexts(&self) -> u64 {
        self.history.contexts.len() as u64 + u64::from(self.history.oauth_clients > 0)
    }

    /// The number of QlikOAuthClients.
    pub fn objects(&self) -> u64 {
        self.history.oauth_clients as u64
    }

    /// The number of requests to the tenant.
    pub fn tenant_requests(&self) -> u64 {
        self.cloud.ledger(|ledger| ledger.requests)
    }

    /// The number of issued tokens.
    pub fn issued(&self) -> u64 {
        self.cloud.ledger(|ledger| ledger.issued)
    }

    /// The decisions of the operator: its counters, and its requests to the OAuth clients API.
    pub fn plans(&self) -> BTreeSet<String> {
        let texts = self.replicas.iter().filter_map(|replica| replica.metrics.render(self.clock.now()).ok());
        let counted = texts.flat_map(|text| plans(&text));
        let sent = self.cloud.ledger(|ledger| {
            let routes = ledger.records.iter().filter(|record| record.path.starts_with("/api/v1/oauth-clients"));
            routes.map(|record| format!("oauth-clients {}", shape(record.method.as_ref(), &record.path))).collect()
        });
        let sent: BTreeSet<String> = sent;
        self.plans.iter().cloned().chain(counted).chain(sent).collect()
    }

    /// All output of the operator but the log.
    pub fn outputs(&self) -> Vec<(&'static str, String)> {
        let kinds = [("a status", Kind::QlikContext), ("a status", Kind::QlikOAuthClient), ("an event", Kind::Event)];
        let objects = kinds.into_iter().flat_map(|(sink, kind)| {
            self.api.list(kind, None).into_iter().map(move |object| (sink, object.to_string()))
        });
        let metrics = self.replicas.iter().filter_map(|replica| replica.metrics.render(self.clock.now()).ok());
        objects.chain(metrics.map(|text| ("metrics", text))).collect()
    }
}

/// The counters of decisions that are not 0.
fn plans(metrics: &str) -> Vec<String> {
    const COUNTERS: [&str; 4] =
        ["reconciles_total{", "token_requests_total{", "verifications_total{", "secret_writes_total{"];
    let lines = metrics.lines().filter_map(|line| line.strip_prefix("qlik_context_")?.rsplit_once(' '));
    let counted =
        lines.filter(|(name, count)| *count != "0" && COUNTERS.iter().any(|counter| name.starts_with(counter)));
    counted.map(|(name, _)| name.replace("_total", "")).collect()
}

/// A request without its ids: `POST /{id}/client-secrets`.
fn shape(method: &str, path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let rest = path.trim_start_matches("/api/v1/oauth-clients").split('/').skip(1);
    let named = |part| matches!(part, "client-secrets" | "connection-configs" | "me");
    let parts: Vec<_> = rest.map(|part| if named(part) { part } else { "{id}" }).collect();
    format!("{method} /{}", parts.join("/"))
}
