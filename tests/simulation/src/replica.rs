//! One replica of the operator: a sequence of processes, each a candidate for the Lease.

use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::api::Api;
use qlik_context_operator::clock::{Clock, Jitter};
use qlik_context_operator::controller::scope::Scope;
use qlik_context_operator::controller::{Parts, control};
use qlik_context_operator::health::Health;
use qlik_context_operator::lease::Election;
use qlik_context_operator::metrics::Metrics;
use qlik_context_operator::oauth::tenant::AllowedHosts;
use qlik_context_operator::scheduler::Limits;
use support::api_server::ApiServer;
use support::tenant::QlikCloud;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tower::{Service as _, ServiceExt as _};

use crate::invariants::{Checker, Invariant};
use crate::kill_switch::KillSwitch;
use crate::transport::{InMemory, Losses};

/// The namespace of the Lease.
pub const NAMESPACE: &str = "qlik-system";
/// The read timeout of the operator's client.
pub const READ_TIMEOUT: Duration = Duration::from_mins(5);
/// Many times the number of requests that the objects of a history can need at once.
const MOST_IN_A_SECOND: u64 = 1000;
/// The name of the Lease.
pub const LEASE: &str = "qlik-context-operator";

/// What every process uses.
#[derive(Clone)]
pub struct Surroundings {
    pub api: ApiServer,
    pub cloud: QlikCloud,
    pub checker: Checker,
    pub clock: Clock,
    pub limits: Limits,
    pub jitter: f64,
    pub losses: Arc<Losses>,
    pub requests: Arc<Requests>,
}

/// The number of requests to the API server, without watches and the Lease.
#[derive(Debug, Default)]
pub struct Requests {
    /// About Pods and workloads.
    pub of_workloads: AtomicU64,
    pub others: AtomicU64,
    /// Those of the current second of virtual time, and its beginning.
    recent: Mutex<Option<(Instant, u64)>>,
}

impl Requests {
    /// Counts a request. Returns the number of requests in this second.
    fn count(&self, is_of_workloads: bool) -> u64 {
        let count = if is_of_workloads { &self.of_workloads } else { &self.others };
        count.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let second = recent.filter(|(since, _)| now.duration_since(*since) < Duration::from_secs(1));
        let (since, count) = second.map_or((now, 1), |(since, count)| (since, count + 1));
        *recent = Some((since, count));
        count
    }
}

/// One process.
struct Process {
    task: JoinHandle<()>,
    stop: CancellationToken,
    kill_switch: Arc<KillSwitch>,
}

/// One replica.
pub struct Replica {
    number: usize,
    surroundings: Surroundings,
    process: Option<Process>,
    started: u64,
    /// The metrics of the last process.
    pub metrics: Arc<Metrics>,
}

impl Replica {
    /// A replica that does not run yet.
    pub fn new(number: usize, surroundings: Surroundings) -> Self {
        Self { number, surroundings, process: None, started: 0, metrics: Arc::new(Metrics::new()) }
    }

    /// Whether a process runs.
    pub fn runs(&self) -> bool {
        self.process.as_ref().is_some_and(|process| !process.task.is_finished())
    }

    /// The panic of the process, if it ended with one.
    pub async fn panicked(&mut self) -> Option<String> {
        let process = self.process.take_if(|process| process.task.is_finished())?;
        process.task.await.err().filter(tokio::task::JoinError::is_panic).map(|error| error.to_string())
    }

    /// Kills the process (`kill -9`).
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill_switch.kill();
            process.task.abort();
        }
    }

    /// Sends SIGTERM: the process shuts down.
    pub fn stop(&mut self) {
        if let Some(process) = &self.process {
            process.stop.cancel();
        }
    }

    /// Kills the process at its next write or request to the tenant, or at any request.
    pub fn kill_at_request(&mut self, done: bool, any: bool) {
        if let Some(process) = &self.process {
            process.kill_switch.at_next(done, any);
        }
    }

    /// Does not kill the process at its next request any more.
    pub fn disarm(&self) {
        if let Some(process) = &self.process {
            process.kill_switch.disarm();
        }
    }

    /// Starts a process, unless one runs.
    pub fn start(&mut self, oauth_clients: bool) {
        if self.runs() {
            return;
        }
        self.kill();
        self.started += 1;
        let identity = format!("replica-{}-{}", self.number, self.started);
        let (stop, kill_switch) = (CancellationToken::new(), Arc::new(KillSwitch::default()));
        self.metrics = Arc::new(Metrics::new());
        let running = operate(
            self.surroundings.clone(),
            identity,
            oauth_clients,
            self.metrics.clone(),
            kill_switch.clone(),
            stop.clone(),
        );
        let ended = kill_switch.clone();
        #[expect(clippy::disallowed_methods, reason = "a process runs beside the others")]
        let task = tokio::spawn(async move {
            tokio::select! {
                () = running => {}
                () = ended.killed() => {}
            }
        });
        self.process = Some(Process { task, stop, kill_switch });
    }
}

/// The same as `run`, without signals and sockets: leads, loses the Lease, becomes a candidate again.
async fn operate(
    surroundings: Surroundings,
    identity: String,
    oauth_clients: bool,
    metrics: Arc<Metrics>,
    kill_switch: Arc<KillSwitch>,
    stop: CancellationToken,
) {
    let Ok(allowed_hosts) = "*.qlikcloud.com".parse::<AllowedHosts>() else { return };
    let health = Arc::new(Health::new());
    let client = client(&surroundings, &identity, kill_switch.clone());
    let leases = Api::namespaced(client.clone(), NAMESPACE);
    let mut election = Election::new(leases, LEASE, identity.clone(), surroundings.clock.clone(), health.clone());
    let mut term = 0;
    loop {
        term += 1;
        let led = stop.run_until_cancelled(election.acquire(|| health.stand_by())).await;
        if led.is_none() {
            break;
        }
        surroundings.checker.leads();
        let parts = Parts {
            client: client.clone(),
            scope: Scope::default(),
            transport: Arc::new(InMemory {
                cloud: surroundings.cloud.clone(),
                checker: surroundings.checker.clone(),
                process: format!("{identity}/{term}"),
                limits: surroundings.limits,
                losses: surroundings.losses.clone(),
                kill_switch: kill_switch.clone(),
            }),
            allowed_hosts: allowed_hosts.clone(),
            limits: surroundings.limits,
            leadership: election.leadership(),
            instance: identity.clone(),
            metrics: metrics.clone(),
            health: health.clone(),
            clock: surroundings.clock.clone(),
            jitter: Jitter::fixed(surroundings.jitter),
            oauth_clients,
            workloads: true,
        };
        let ended = CancellationToken::new();
        let keep = async {
            tokio::select! {
                () = election.keep() => true,
                () = ended.cancelled() => false,
            }
        };
        let work = async {
            control(parts, stop.clone()).await;
            ended.cancel();
        };
        tokio::pin!(work);
        // The Lease is kept while runs in flight finish. When it is lost, all work is dropped.
        let lost = tokio::select! {
            lost = keep => lost,
            () = &mut work => false,
        };
        health.watches_ended();
        if !lost {
            break;
        }
    }
    election.release().await;
}

/// A client that checks that only the holder of the Lease writes.
fn client(surroundings: &Surroundings, identity: &str, kill_switch: Arc<KillSwitch>) -> Client {
    let (service, checker) = (surroundings.api.service(), surroundings.checker.clone());
    let (identity, requests) = (identity.to_owned(), surroundings.requests.clone());
    let service_with_checks = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let mut service = service.clone();
        let (checker, identity) = (checker.clone(), identity.clone());
        let (kill_switch, requests) = (kill_switch.clone(), requests.clone());
        async move {
            let path = request.uri().path().to_owned();
            let is_lease = path.contains("/leases");
            let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let writes = request.method() != Method::GET && !is_lease;
            checker.record(&format!("{identity} {} {}", request.method(), request.uri()));
            if !is_lease && !is_watch {
                let is_of_workloads = path.contains("/pods") || path.starts_with("/apis/apps/");
                if requests.count(is_of_workloads) > MOST_IN_A_SECOND {
                    checker.violated(
                        Invariant::RequestsAreBounded,
                        format!("{MOST_IN_A_SECOND} requests to the API server in one second, the last for {path}"),
                    );
                    // In an endless loop of requests, virtual time does not pass.
                    pending::<()>().await;
                }
            }
            kill_switch.before(writes).await;
            if writes {
                checker.writes(&identity, &format!("{} {path}", request.method()));
            }
            checker.secret_request(&path, writes, false);
            let number = checker.secret_request_sent(&path);
            let answer = timeout(READ_TIMEOUT, service.ready().await?.call(request)).await?;
            kill_switch.after(writes).await;
            number.into_iter().for_each(|number| checker.secret_request_answered(number));
            let is_clear = |status: StatusCode| writes || status.is_success() || status == StatusCode::NOT_FOUND;
            checker.secret_request(&path, writes, answer.as_ref().is_ok_and(|answer| is_clear(answer.status())));
            if writes && answer.as_ref().is_ok_and(|answer| answer.status().is_success()) {
                checker.secret_written(&path);
            }
            let reads_contexts = !writes && path.contains("/qlikcontexts");
            answer.map(|answer| {
                answer.map(|body| {
                    body.map_frame(move |frame| {
                        if let (true, Some(received)) = (reads_contexts, frame.data_ref()) {
                            checker.contexts_received(&identity, received);
                        }
                        frame
                    })
                })
            })
        }
    });
    Client::new(service_with_checks, "default")
}
