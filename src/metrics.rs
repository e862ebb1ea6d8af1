//! Every metric, declared in one place (OpenMetrics).
//!
//! Labels come from enums; only the per-context gauges carry namespace and name, and they vanish with the context. No label
//! ever holds a secret, a URL or a message.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::api::Reason;
use crate::clock::Timestamp;
use crate::oauth::request::Grant;
use crate::tokens::CallObserver;
use crate::tokens::scheduler::Observer;

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
    watch_errors: Family<WatchLabels, Counter>,
    events_dropped: Counter,
    leader: Gauge,
    expired_served: Counter<f64, AtomicU64>,
    served: Mutex<Served>,
}

/// When each context's token expires, to count the seconds in which one was served after that.
///
/// A token moves once from those that work to those that have expired, so no step is linear in the contexts.
#[derive(Default)]
struct Served {
    settled: Option<Timestamp>,
    expiries: HashMap<ContextLabels, Timestamp>,
    working: BTreeSet<(Timestamp, ContextLabels)>,
    expired: u32,
}

impl Served {
    /// Seconds, summed over contexts, in which an expired token was served since this was asked last.
    fn settle(&mut self, now: Timestamp) -> f64 {
        let since = self.settled.replace(now).unwrap_or(now);
        let elapsed = |from: Timestamp| now.duration_since(from).as_secs_f64().max(0.0);
        let mut seconds = f64::from(self.expired) * elapsed(since);
        while let Some((expiry, _)) = self.working.first().filter(|(expiry, _)| *expiry <= now) {
            seconds += elapsed((*expiry).max(since));
            self.working.pop_first();
            self.expired += 1;
        }
        seconds
    }

    fn insert(&mut self, context: &ContextLabels, expiry: Timestamp) {
        self.remove(context);
        self.expiries.insert(context.clone(), expiry);
        self.working.insert((expiry, context.clone()));
    }

    fn remove(&mut self, context: &ContextLabels) {
        if let Some(expiry) = self.expiries.remove(context)
            && !self.working.remove(&(expiry, context.clone()))
        {
            self.expired = self.expired.saturating_sub(1);
        }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct ContextLabels {
    namespace: String,
    name: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct TokenRequestLabels {
    grant: GrantLabel,
    outcome: Outcome,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OutcomeLabels {
    outcome: Outcome,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ReconcileLabels {
    outcome: Reconciled,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct WriteLabels {
    operation: SecretWrite,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct WatchLabels {
    watch: Watch,
}

#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
enum GrantLabel {
    #[allow(non_camel_case_types)]
    client_credentials,
    #[allow(non_camel_case_types)]
    user_impersonation,
}

/// `Success`, or why not.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Outcome(Option<Reason>);

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelValueEncoder) -> Result<(), std::fmt::Error> {
        match self.0 {
            Some(reason) => reason.encode(encoder),
            None => "Success".encode(encoder),
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum Reconciled {
    /// As it should be.
    Ready,
    /// A failure stands in the conditions.
    NotReady,
    /// It is not yet the context's turn at its tenant.
    Waiting,
    /// There was nothing to say.
    Unchanged,
    /// The Kubernetes API failed; the run is repeated.
    Error,
}

/// What was done to a derived Secret.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum SecretWrite {
    /// Written for the first time.
    Create,
    /// Given a new token, or restored.
    Update,
}

/// The watches of the operator.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum Watch {
    /// `QlikContext` objects.
    Contexts,
    /// Metadata of the Secrets that `--credential-selector` selects; without it, of all.
    Credentials,
    /// Metadata of the Secrets that the operator wrote, where the other watch may not show them.
    Derived,
}

impl Metrics {
    /// All metrics, registered.
    pub fn new() -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.005, 2.0, 14));
        let mut metrics = Self {
            registry: Registry::with_prefix("qlik_context"),
            ready: Family::default(),
            expiry: Family::default(),
            renewal: Family::default(),
            token_requests: Family::default(),
            token_request_duration: seconds(),
            verifications: Family::default(),
            reconciles: Family::default(),
            reconcile_duration: seconds(),
            secret_writes: Family::default(),
            host_budget_waits: Counter::default(),
            circuits_open: Gauge::default(),
            watch_errors: Family::default(),
            events_dropped: Counter::default(),
            leader: Gauge::default(),
            expired_served: Counter::default(),
            served: Mutex::default(),
        };
        let r = &mut metrics.registry;
        r.register("ready", "1 when the context is ready", metrics.ready.clone());
        r.register("token_expiry_timestamp_seconds", "When the token in the Secret expires", metrics.expiry.clone());
        r.register("token_renewal_timestamp_seconds", "When the token is renewed", metrics.renewal.clone());
        r.register("token_requests", "Token requests by grant and outcome", metrics.token_requests.clone());
        let (name, help) = ("token_request_duration", "Time a token request took");
        r.register_with_unit(name, help, Unit::Seconds, metrics.token_request_duration.clone());
        r.register("verifications", "Questions to users/me by outcome", metrics.verifications.clone());
        r.register("reconciles", "Runs by outcome", metrics.reconciles.clone());
        let (name, help) = ("reconcile_duration", "Time a run took");
        r.register_with_unit(name, help, Unit::Seconds, metrics.reconcile_duration.clone());
        r.register("secret_writes", "Writes to derived Secrets", metrics.secret_writes.clone());
        let (name, help) =
            ("host_budget_waits", "Times that a request to a tenant had to wait for the operator's own limits");
        r.register(name, help, metrics.host_budget_waits.clone());
        r.register("circuits_open", "Tenants that are down and only probed", metrics.circuits_open.clone());
        r.register("watch_errors", "Failures of a watch", metrics.watch_errors.clone());
        r.register("events_dropped", "Events dropped because too many waited", metrics.events_dropped.clone());
        r.register("leader", "1 while this instance leads", metrics.leader.clone());
        let (name, help) = ("expired_served", "Time in which a Secret held an expired token, over all contexts");
        r.register_with_unit(name, help, Unit::Seconds, metrics.expired_served.clone());
        r.register("build", "The running version", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        metrics
    }

    /// The text that `/metrics` serves.
    pub fn render(&self, now: Timestamp) -> Result<String, std::fmt::Error> {
        self.settle(now, |_| ());
        let mut text = String::new();
        encode(&mut text, &self.registry).map(|()| text)
    }

    /// A run ended.
    pub fn reconciled(&self, outcome: Reconciled, took: Duration) {
        self.reconciles.get_or_create(&ReconcileLabels { outcome }).inc();
        self.reconcile_duration.observe(took.as_secs_f64());
    }

    /// A derived Secret was written.
    pub fn secret_written(&self, operation: SecretWrite) {
        self.secret_writes.get_or_create(&WriteLabels { operation }).inc();
    }

    /// A watch failed.
    pub fn watch_failed(&self, watch: Watch) {
        self.watch_errors.get_or_create(&WatchLabels { watch }).inc();
    }

    /// An event was dropped because too many waited to be written.
    pub fn event_dropped(&self) {
        self.events_dropped.inc();
    }

    /// Whether this instance leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// What is now known of a context; `token`: its expiry and its renewal.
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
        self.settle(now, |served| served.remove(&labels));
    }

    /// This instance does not lead any more: another one tells of the contexts.
    pub fn forget_all(&self) {
        self.ready.clear();
        self.expiry.clear();
        self.renewal.clear();
        *self.served.lock() = Served::default();
    }

    fn settle(&self, now: Timestamp, change: impl FnOnce(&mut Served)) {
        let mut served = self.served.lock();
        self.expired_served.inc_by(served.settle(now));
        change(&mut served);
    }
}

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
