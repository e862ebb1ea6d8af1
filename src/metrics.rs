//! Every metric, declared in one place: its name, unit, help and labels, as docs/reference.md shows them.
//!
//! Labels come from enums; only the per-context gauges have namespace and name, and they are removed with the context. No label
//! ever holds a secret, a URL or a message. A scrape does no work beyond what it shows.

mod exposition;
mod labels;
mod process;
mod requests;
mod served;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use strum::IntoEnumIterator as _;
use tokio::time::Instant;

pub use self::exposition::Format;
use self::labels::{
    ClientRequestLabels, Code, ContextLabels, GrantLabel, OperationLabel, Outcome, OutcomeLabels, ReconcileLabels,
    RefreshLabels, RequestLabels, RestartLabels, TokenRequestLabels, VerbLabels, WatchLabels, WriteLabels,
};
pub use self::labels::{Reconciled, RequestVerb, SecretWrite, Watch, WorkloadWrite};
pub use self::requests::CountRequests;
use self::served::Served;
use crate::api::{Reason, WorkloadKind};
use crate::clock::Timestamp;
use crate::oauth::request::Grant;
use crate::scheduler::{Observer, RequestKind, Scheduler};
use crate::tokens::CallObserver;

/// A call of a tenant takes tenths of a second, and ends after 15 s at the latest.
const TENANT_SECONDS: [f64; 10] = [0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 5.0, 10.0, 15.0];
/// A run without requests takes less than a millisecond; one that calls a tenant as long as the call; none more than two minutes.
const RECONCILE_SECONDS: [f64; 14] =
    [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 20.0, 60.0, 120.0];
/// The API server answers within milliseconds; a call that lasts is ended after seconds or, for a list, within a minute.
const KUBERNETES_SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0];

/// The metrics of this process.
pub struct Metrics {
    registry: Registry,
    ready: Family<ContextLabels, Gauge>,
    expiry: Family<ContextLabels, Gauge>,
    renewal: Family<ContextLabels, Gauge>,
    token_requests: Family<TokenRequestLabels, Counter>,
    token_request_duration: Histogram,
    verifications: Family<OutcomeLabels, Counter>,
    reconciles: Family<ReconcileLabels, Counter>,
    reconcile_duration: Histogram,
    secret_writes: Family<WriteLabels, Counter>,
    host_budget_waits: Counter,
    circuits_open: Gauge,
    queue_depth: Gauge,
    queue_oldest: Gauge<f64, AtomicU64>,
    watch_errors: Family<WatchLabels, Counter>,
    watch_restarts: Family<WatchLabels, Counter>,
    kubernetes_requests: Family<RequestLabels, Counter>,
    kubernetes_request_duration: Family<VerbLabels, Histogram, KubernetesBuckets>,
    events_dropped: Counter,
    leader: Gauge,
    oauth_client_ready: Family<ContextLabels, Gauge>,
    oauth_client_rotation: Family<ContextLabels, Gauge>,
    oauth_client_requests: Family<ClientRequestLabels, Counter>,
    oauth_client_reconciles: Family<ReconcileLabels, Counter>,
    oauth_client_reconcile_duration: Histogram,
    pod_refreshes: Family<RefreshLabels, Counter>,
    workload_restarts: Family<RestartLabels, Counter>,
    stale_pods: Family<ContextLabels, Gauge>,
    expired_served: Counter<f64, AtomicU64>,
    served: Mutex<Served>,
    queue: Mutex<Option<Scheduler>>,
}

#[derive(Clone)]
struct KubernetesBuckets;

impl MetricConstructor<Histogram> for KubernetesBuckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(KUBERNETES_SECONDS)
    }
}

impl Metrics {
    /// All metrics, registered. A series that an alert counts exists from the beginning: if it appeared with its first failure,
    /// Prometheus would not count that failure as an increase.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            ready: Family::default(),
            expiry: Family::default(),
            renewal: Family::default(),
            token_requests: Family::default(),
            token_request_duration: Histogram::new(TENANT_SECONDS),
            verifications: Family::default(),
            reconciles: Family::default(),
            reconcile_duration: Histogram::new(RECONCILE_SECONDS),
            secret_writes: Family::default(),
            host_budget_waits: Counter::default(),
            circuits_open: Gauge::default(),
            queue_depth: Gauge::default(),
            queue_oldest: Gauge::default(),
            watch_errors: Family::default(),
            watch_restarts: Family::default(),
            kubernetes_requests: Family::default(),
            kubernetes_request_duration: Family::new_with_constructor(KubernetesBuckets),
            events_dropped: Counter::default(),
            leader: Gauge::default(),
            oauth_client_ready: Family::default(),
            oauth_client_rotation: Family::default(),
            oauth_client_requests: Family::default(),
            oauth_client_reconciles: Family::default(),
            oauth_client_reconcile_duration: Histogram::new(RECONCILE_SECONDS),
            pod_refreshes: Family::default(),
            workload_restarts: Family::default(),
            stale_pods: Family::default(),
            expired_served: Counter::default(),
            served: Mutex::default(),
            queue: Mutex::default(),
        };
        metrics.register();
        metrics.begin_at_zero();
        metrics
    }

    fn register(&mut self) {
        self.registry.register_collector(Box::new(process::Process));
        let r = self.registry.sub_registry_with_prefix("qlik_context");
        r.register("ready", "Whether the QlikContext is Ready: 1 if it is, else 0", self.ready.clone());
        let help = "Time at which the access token in the Secret expires, in seconds since the Unix epoch";
        r.register_with_unit("token_expiry_timestamp", help, Unit::Seconds, self.expiry.clone());
        let help = "Time at which the access token is due for renewal, in seconds since the Unix epoch";
        r.register_with_unit("token_renewal_timestamp", help, Unit::Seconds, self.renewal.clone());
        let help = "Total number of token requests, by grant and outcome: Success, or the reason of the failure";
        r.register("token_requests", help, self.token_requests.clone());
        let help = "Duration of token requests";
        r.register_with_unit("token_request_duration", help, Unit::Seconds, self.token_request_duration.clone());
        let help = "Total number of token verifications, by outcome: Success, or the reason of the failure";
        r.register("verifications", help, self.verifications.clone());
        r.register("reconciles", "Total number of reconciliations, by outcome", self.reconciles.clone());
        let help = "Duration of reconciliations";
        r.register_with_unit("reconcile_duration", help, Unit::Seconds, self.reconcile_duration.clone());
        let help = "Total number of writes to token Secrets, by operation";
        r.register("secret_writes", help, self.secret_writes.clone());
        let help =
            "Total time in which a Secret held an expired token, summed over all contexts that are not suspended";
        r.register_with_unit("expired_served", help, Unit::Seconds, self.expired_served.clone());
        let help = "Total number of times that a request to a tenant had to wait for the operator's own request budget";
        r.register("host_budget_waits", help, self.host_budget_waits.clone());
        let help = "Number of tenant hosts with an open circuit breaker: they are down and only probed";
        r.register("circuits_open", help, self.circuits_open.clone());
        let help = "Number of QlikContexts that wait for their turn at a tenant";
        r.register("queue_depth", help, self.queue_depth.clone());
        let help = "Time for which the first QlikContext in the queue has been waiting for its turn at a tenant";
        r.register_with_unit("queue_oldest_age", help, Unit::Seconds, self.queue_oldest.clone());
        let help =
            "Total number of requests to the Kubernetes API, by verb and HTTP status code, or error without an answer";
        r.register("kubernetes_requests", help, self.kubernetes_requests.clone());
        let help = "Time to the response headers of requests to the Kubernetes API, by verb";
        let duration = self.kubernetes_request_duration.clone();
        r.register_with_unit("kubernetes_request_duration", help, Unit::Seconds, duration);
        r.register("watch_errors", "Total number of failed watch requests, by watch", self.watch_errors.clone());
        let help = "Total number of times that a watch was restarted with a new list, by watch";
        r.register("watch_restarts", help, self.watch_restarts.clone());
        let help = "Total number of events that were dropped because too many were queued";
        r.register("events_dropped", help, self.events_dropped.clone());
        r.register("leader", "Whether this instance is the leader: 1 if it is, else 0", self.leader.clone());
        let help = "Version of the running operator, as a label; the value is always 1";
        r.register("build", help, Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        self.register_oauth_clients();
        self.register_workloads();
    }

    fn register_oauth_clients(&mut self) {
        let r = self.registry.sub_registry_with_prefix("qlik_context");
        let help = "Whether the QlikOAuthClient is Ready: 1 if it is, else 0";
        r.register("oauth_client_ready", help, self.oauth_client_ready.clone());
        let help =
            "Time at which the credential of the QlikOAuthClient is due for rotation, in seconds since the Unix epoch";
        let rotation = self.oauth_client_rotation.clone();
        r.register_with_unit("oauth_client_rotation_timestamp", help, Unit::Seconds, rotation);
        let help = "Total number of requests to the OAuth clients API, by operation and outcome: Success, or the reason of the failure";
        r.register("oauth_client_requests", help, self.oauth_client_requests.clone());
        let help = "Total number of reconciliations of QlikOAuthClients, by outcome";
        r.register("oauth_client_reconciles", help, self.oauth_client_reconciles.clone());
        let help = "Duration of reconciliations of QlikOAuthClients";
        let duration = self.oauth_client_reconcile_duration.clone();
        r.register_with_unit("oauth_client_reconcile_duration", help, Unit::Seconds, duration);
    }

    fn register_workloads(&mut self) {
        let r = self.registry.sub_registry_with_prefix("qlik_context");
        let help = "Total number of Pods that were annotated so that the kubelet updates their files, by outcome";
        r.register("pod_refreshes", help, self.pod_refreshes.clone());
        let help = "Total number of restarts of workloads for a new token, by kind and outcome";
        r.register("workload_restarts", help, self.workload_restarts.clone());
        let help = "Number of Pods that read the token Secret and still have an older token";
        r.register("stale_pods", help, self.stale_pods.clone());
    }

    fn begin_at_zero(&self) {
        for outcome in WorkloadWrite::iter() {
            drop(self.pod_refreshes.get_or_create(&RefreshLabels { outcome }));
            for kind in WorkloadKind::iter() {
                drop(self.workload_restarts.get_or_create(&RestartLabels { kind, outcome }));
            }
        }
        for outcome in [None].into_iter().chain(TOKEN_REQUEST_FAILURES.map(Some)).map(Outcome) {
            for grant in GrantLabel::iter() {
                drop(self.token_requests.get_or_create(&TokenRequestLabels { grant, outcome }));
            }
        }
        for outcome in [None].into_iter().chain(VERIFICATION_FAILURES.map(Some)).map(Outcome) {
            drop(self.verifications.get_or_create(&OutcomeLabels { outcome }));
        }
        for outcome in Reconciled::iter() {
            drop(self.reconciles.get_or_create(&ReconcileLabels { outcome }));
            drop(self.oauth_client_reconciles.get_or_create(&ReconcileLabels { outcome }));
        }
        for operation in OperationLabel::iter() {
            let labels = ClientRequestLabels { operation, outcome: Outcome(None) };
            drop(self.oauth_client_requests.get_or_create(&labels));
        }
        for operation in SecretWrite::iter() {
            drop(self.secret_writes.get_or_create(&WriteLabels { operation }));
        }
        for watch in Watch::iter() {
            drop(self.watch_errors.get_or_create(&WatchLabels { watch }));
            drop(self.watch_restarts.get_or_create(&WatchLabels { watch }));
        }
    }

    /// What `/metrics` serves, as OpenMetrics.
    pub fn render(&self, now: Timestamp) -> Result<String, std::fmt::Error> {
        self.settle(now, |_| ());
        let queue = self.queue.lock().clone();
        let (depth, oldest) = queue.map_or((0, None), |queue| (queue.waiting(), queue.oldest(Instant::now())));
        self.queue_depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
        self.queue_oldest.set(oldest.unwrap_or_default().as_secs_f64());
        let mut text = String::new();
        encode(&mut text, &self.registry).map(|()| text)
    }

    /// What `/metrics` serves, in this format.
    pub fn render_as(&self, format: Format, now: Timestamp) -> Result<String, std::fmt::Error> {
        let open_metrics = self.render(now)?;
        Ok(match format {
            Format::OpenMetrics => open_metrics,
            Format::Text => exposition::text(&open_metrics),
        })
    }

    /// The queue whose length is measured; `None` when the controller has ended.
    pub fn queue(&self, queue: Option<Scheduler>) {
        *self.queue.lock() = queue;
    }

    /// A run ended.
    pub fn reconciled(&self, outcome: Reconciled, took: Duration) {
        self.reconciles.get_or_create(&ReconcileLabels { outcome }).inc();
        self.reconcile_duration.observe(took.as_secs_f64());
    }

    /// A run for a QlikOAuthClient ended.
    pub fn oauth_client_reconciled(&self, outcome: Reconciled, took: Duration) {
        self.oauth_client_reconciles.get_or_create(&ReconcileLabels { outcome }).inc();
        self.oauth_client_reconcile_duration.observe(took.as_secs_f64());
    }

    /// A request about OAuth clients ended.
    pub fn oauth_client_request(&self, kind: RequestKind, why: Option<Reason>) {
        let operation = match kind {
            RequestKind::Check => OperationLabel::Read,
            RequestKind::Token => OperationLabel::Change,
        };
        self.oauth_client_requests.get_or_create(&ClientRequestLabels { operation, outcome: Outcome(why) }).inc();
    }

    /// The present state of a QlikOAuthClient; `rotation`: when its credential is replaced.
    pub fn oauth_client(&self, namespace: &str, name: &str, ready: bool, rotation: Option<Timestamp>) {
        let labels = ContextLabels { namespace: namespace.into(), name: name.into() };
        self.oauth_client_ready.get_or_create(&labels).set(i64::from(ready));
        match rotation {
            Some(at) => {
                self.oauth_client_rotation.get_or_create(&labels).set(at.as_second());
            }
            None => {
                self.oauth_client_rotation.remove(&labels);
            }
        }
    }

    /// A QlikOAuthClient is gone.
    pub fn forget_oauth_client(&self, namespace: &str, name: &str) {
        let labels = ContextLabels { namespace: namespace.into(), name: name.into() };
        self.oauth_client_ready.remove(&labels);
        self.oauth_client_rotation.remove(&labels);
    }

    /// A Pod was annotated, or was to be.
    pub fn pod_refreshed(&self, outcome: WorkloadWrite) {
        self.pod_refreshes.get_or_create(&RefreshLabels { outcome }).inc();
    }

    /// A workload was restarted, or was to be.
    pub fn workload_restarted(&self, kind: WorkloadKind, outcome: WorkloadWrite) {
        self.workload_restarts.get_or_create(&RestartLabels { kind, outcome }).inc();
    }

    /// So many Pods of a context have an older token; `None`: nobody counts them.
    pub fn stale_pods(&self, namespace: &str, name: &str, stale: Option<usize>) {
        let labels = ContextLabels { namespace: namespace.into(), name: name.into() };
        match stale {
            Some(stale) => {
                self.stale_pods.get_or_create(&labels).set(i64::try_from(stale).unwrap_or(i64::MAX));
            }
            None => {
                self.stale_pods.remove(&labels);
            }
        }
    }

    /// A token Secret was written.
    pub fn secret_written(&self, operation: SecretWrite) {
        self.secret_writes.get_or_create(&WriteLabels { operation }).inc();
    }

    /// A watch failed.
    pub fn watch_failed(&self, watch: Watch) {
        self.watch_errors.get_or_create(&WatchLabels { watch }).inc();
    }

    /// A watch was restarted, with a list.
    pub fn watch_restarted(&self, watch: Watch) {
        self.watch_restarts.get_or_create(&WatchLabels { watch }).inc();
    }

    /// The Kubernetes API was called; `None`: it did not answer.
    pub fn kubernetes_requested(&self, verb: RequestVerb, code: Option<u16>, took: Duration) {
        self.kubernetes_requests.get_or_create(&RequestLabels { verb, code: Code(code) }).inc();
        self.kubernetes_request_duration.get_or_create(&VerbLabels { verb }).observe(took.as_secs_f64());
    }

    /// An event was dropped because too many were queued.
    pub fn event_dropped(&self) {
        self.events_dropped.inc();
    }

    /// Whether this instance leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// The present state of a context; `token`: its expiry and its renewal.
    pub fn context(
        &self,
        namespace: &str,
        name: &str,
        ready: bool,
        token: Option<(Timestamp, Timestamp)>,
        now: Timestamp,
    ) {
        let labels = ContextLabels { namespace: namespace.into(), name: name.into() };
        self.ready.get_or_create(&labels).set(i64::from(ready));
        if let Some((expiry, renewal)) = token {
            self.expiry.get_or_create(&labels).set(expiry.as_second());
            self.renewal.get_or_create(&labels).set(renewal.as_second());
            self.settle(now, |served| served.insert(&labels, expiry));
        } else {
            self.expiry.remove(&labels);
            self.renewal.remove(&labels);
            self.settle(now, |served| served.remove(&labels));
        }
    }

    /// A context is gone.
    pub fn forget(&self, namespace: &str, name: &str, now: Timestamp) {
        let labels = ContextLabels { namespace: namespace.into(), name: name.into() };
        self.ready.remove(&labels);
        self.expiry.remove(&labels);
        self.renewal.remove(&labels);
        self.stale_pods.remove(&labels);
        self.settle(now, |served| served.remove(&labels));
    }

    /// This instance no longer leads: another one reports the contexts.
    pub fn forget_all(&self) {
        self.ready.clear();
        self.expiry.clear();
        self.renewal.clear();
        self.oauth_client_ready.clear();
        self.oauth_client_rotation.clear();
        self.stale_pods.clear();
        *self.served.lock() = Served::default();
        self.queue(None);
    }

    fn settle(&self, now: Timestamp, change: impl FnOnce(&mut Served)) {
        let mut served = self.served.lock();
        self.expired_served.inc_by(served.settle(now));
        change(&mut served);
    }
}

/// Why a token request can fail.
const TOKEN_REQUEST_FAILURES: [Reason; 12] = [
    Reason::InvalidClient,
    Reason::InvalidScope,
    Reason::RequestRejected,
    Reason::AccessDenied,
    Reason::TenantNotFound,
    Reason::AddressNotPublic,
    Reason::RateLimited,
    Reason::TenantUnavailable,
    Reason::TenantUnreachable,
    Reason::UnexpectedResponse,
    Reason::LifetimeTooShort,
    Reason::PrivateKeyInvalid,
];
/// Why a verification can fail.
const VERIFICATION_FAILURES: [Reason; 8] = [
    Reason::TokenRejected,
    Reason::UserInactive,
    Reason::AccessDenied,
    Reason::TenantNotFound,
    Reason::RateLimited,
    Reason::TenantUnavailable,
    Reason::TenantUnreachable,
    Reason::UnexpectedResponse,
];

impl Observer for Arc<Metrics> {
    fn budget_wait(&self) {
        self.host_budget_waits.inc();
    }

    fn circuits_open(&self, open: usize) {
        self.circuits_open.set(i64::try_from(open).unwrap_or(i64::MAX));
    }
}

impl CallObserver for Arc<Metrics> {
    fn token_request(&self, grant: &Grant, why: Option<Reason>, took: Duration) {
        let grant = match grant {
            Grant::ClientCredentials => GrantLabel::client_credentials,
            Grant::UserImpersonation(_) => GrantLabel::user_impersonation,
        };
        let labels = TokenRequestLabels { grant, outcome: Outcome(why) };
        self.token_requests.get_or_create(&labels).inc();
        self.token_request_duration.observe(took.as_secs_f64());
    }

    fn verification(&self, why: Option<Reason>) {
        self.verifications.get_or_create(&OutcomeLabels { outcome: Outcome(why) }).inc();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SignedDuration;

    #[test]
    fn seconds_of_an_expired_token_are_counted_until_it_is_replaced_or_gone() {
        let metrics = Metrics::new();
        let at = |second| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second);
        let served = || metrics.expired_served.get();
        metrics.context("ns", "a", true, Some((at(100), at(50))), at(0));
        metrics.render(at(90)).unwrap();
        assert!(served() < 0.1);
        metrics.context("ns", "a", false, Some((at(100), at(50))), at(130));
        assert!((served() - 30.0).abs() < 0.1);
        metrics.context("ns", "a", true, Some((at(1000), at(500))), at(140));
        assert!((served() - 40.0).abs() < 0.1);
        metrics.forget("ns", "a", at(1100));
        metrics.render(at(2000)).unwrap();
        assert!((served() - 140.0).abs() < 0.1);
        assert!(!metrics.render(at(2000)).unwrap().contains("name=\"a\""));
    }
}
