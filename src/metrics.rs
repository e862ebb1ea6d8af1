//! Every metric, declared in one place (OpenMetrics).
//!
//! Labels come from enums; only the per-context gauges carry namespace and name, and they vanish with the context. No label
//! ever holds a secret, a URL or a message.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

use crate::api::Reason;
use crate::clock::Timestamp;
use crate::oauth::request::Grant;

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
    watch_errors: Family<WatchLabels, Counter>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
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
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelValueEncoder,
    ) -> Result<(), std::fmt::Error> {
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
    /// Metadata of all Secrets in scope.
    Credentials,
    /// Metadata of the Secrets that the operator wrote.
    Derived,
}

/// Measures one token request.
pub struct TokenRequestTimer {
    metrics: Arc<Metrics>,
    grant: GrantLabel,
    begun: Instant,
}

impl TokenRequestTimer {
    /// The request ended; `why` is `None` on success.
    pub fn done(self, why: Option<Reason>) {
        let labels = TokenRequestLabels {
            grant: self.grant,
            outcome: Outcome(why),
        };
        self.metrics.token_requests.get_or_create(&labels).inc();
        self.metrics
            .token_request_duration
            .observe(self.begun.elapsed().as_secs_f64());
    }
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
            watch_errors: Family::default(),
        };
        let r = &mut metrics.registry;
        r.register(
            "ready",
            "1 when the context is ready",
            metrics.ready.clone(),
        );
        r.register(
            "token_expiry_timestamp_seconds",
            "When the token in the Secret expires",
            metrics.expiry.clone(),
        );
        r.register(
            "token_renewal_timestamp_seconds",
            "When the token is renewed",
            metrics.renewal.clone(),
        );
        r.register(
            "token_requests",
            "Token requests by grant and outcome",
            metrics.token_requests.clone(),
        );
        let (name, help) = ("token_request_duration", "Time a token request took");
        r.register_with_unit(
            name,
            help,
            Unit::Seconds,
            metrics.token_request_duration.clone(),
        );
        r.register(
            "verifications",
            "Questions to users/me by outcome",
            metrics.verifications.clone(),
        );
        r.register("reconciles", "Runs by outcome", metrics.reconciles.clone());
        let (name, help) = ("reconcile_duration", "Time a run took");
        r.register_with_unit(
            name,
            help,
            Unit::Seconds,
            metrics.reconcile_duration.clone(),
        );
        r.register(
            "secret_writes",
            "Writes to derived Secrets",
            metrics.secret_writes.clone(),
        );
        r.register(
            "watch_errors",
            "Failures of a watch",
            metrics.watch_errors.clone(),
        );
        r.register(
            "build",
            "The running version",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        metrics
    }

    /// The text that `/metrics` serves.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry).map(|()| text)
    }

    /// Starts measuring a token request.
    pub fn token_request(self: &Arc<Self>, grant: &Grant) -> TokenRequestTimer {
        let grant = match grant {
            Grant::ClientCredentials => GrantLabel::client_credentials,
            Grant::UserImpersonation(_) => GrantLabel::user_impersonation,
        };
        TokenRequestTimer {
            metrics: self.clone(),
            grant,
            begun: Instant::now(),
        }
    }

    /// A token was verified, or not for this reason.
    pub fn verification(&self, why: Option<Reason>) {
        self.verifications
            .get_or_create(&OutcomeLabels {
                outcome: Outcome(why),
            })
            .inc();
    }

    /// A run ended.
    pub fn reconciled(&self, outcome: Reconciled, took: Duration) {
        self.reconciles
            .get_or_create(&ReconcileLabels { outcome })
            .inc();
        self.reconcile_duration.observe(took.as_secs_f64());
    }

    /// A derived Secret was written.
    pub fn secret_written(&self, operation: SecretWrite) {
        self.secret_writes
            .get_or_create(&WriteLabels { operation })
            .inc();
    }

    /// A watch failed.
    pub fn watch_failed(&self, watch: Watch) {
        self.watch_errors
            .get_or_create(&WatchLabels { watch })
            .inc();
    }

    /// What is now known of a context.
    pub fn context(
        &self,
        namespace: &str,
        name: &str,
        ready: bool,
        token: Option<(Timestamp, Timestamp)>,
    ) {
        let labels = ContextLabels {
            namespace: namespace.into(),
            name: name.into(),
        };
        self.ready.get_or_create(&labels).set(i64::from(ready));
        match token {
            Some((expiry, renewal)) => {
                self.expiry.get_or_create(&labels).set(expiry.as_second());
                self.renewal.get_or_create(&labels).set(renewal.as_second());
            }
            None => {
                self.expiry.remove(&labels);
                self.renewal.remove(&labels);
            }
        }
    }

    /// A context is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        let labels = ContextLabels {
            namespace: namespace.into(),
            name: name.into(),
        };
        self.ready.remove(&labels);
        self.expiry.remove(&labels);
        self.renewal.remove(&labels);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
