//! The invariants. They are checked at every step on what the API server stores and on the tenant's responses, never on what the
//! operator reports.
//!
//! `tenant` checks the requests to the tenant, `secrets` the writes of Secrets, `status` the writes of a status, `workloads` the
//! restarts of workloads.

mod secrets;
mod status;
mod tenant;
mod workloads;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qlik_context_operator::api::FIELD_MANAGER;
use qlik_context_operator::clock::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use strum::IntoStaticStr;
use support::api_server::{Committed, Kind};
use tokio::time::Instant;

pub use self::tenant::Requester;
use self::tenant::Requests;
use self::workloads::Workloads;
use crate::history::Moment;
use crate::log;

/// A property that must hold in every history.
#[derive(Clone, Copy, Debug, Deserialize, Eq, IntoStaticStr, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Invariant {
    /// A token or credential that the tenant had not confirmed is in a Secret.
    OnlyVerifiedTokens,
    /// A Secret of another owner was written, or any Secret deleted.
    OnlyOwnSecrets,
    /// A good token was replaced by nothing, by an older or by a rejected one.
    GoodTokensStay,
    /// A token of another identity than the pinned one, or of other scopes than those of the spec, was published.
    TokensFitTheSpec,
    /// Two tokens were issued for one need.
    NoSurplusTokens,
    /// The status is wrong.
    TrueStatus,
    /// A replica wrote while another one held the Lease.
    OnlyTheLeaderWrites,
    /// Two OAuth clients belong to one object.
    OneClientForEachObject,
    /// A credential was removed from an OAuth client while its Secret held it, or one was left behind.
    CredentialsAreKept,
    /// More requests to a tenant than the budgets allow.
    BudgetsHold,
    /// A request during a pause that the tenant requested.
    PausesHold,
    /// A workload was restarted without a new token.
    NoNeedlessRestart,
    /// A secret is in the output of the operator.
    NothingLeaks,
    /// Requests to the API server in an endless loop.
    RequestsAreBounded,
    /// Requests are sent although nothing changes.
    Silence,
    /// An object is not ready in time after the faults end.
    Convergence,
    /// A task panicked.
    NoPanic,
}

/// A violation of an invariant.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Violation {
    /// The invariant.
    pub invariant: Invariant,
    /// The time since the beginning.
    pub at: Duration,
    /// What was observed.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}  {:?} is violated: {}", Moment(self.at), self.invariant, self.seen)
    }
}

/// Namespace and name.
type Name = (String, String);

#[derive(Clone, Debug, Default)]
struct KnownContext {
    generation: i64,
    spec: Value,
    /// The time of the last edit of the spec.
    edited: Option<Instant>,
}

#[derive(Clone, Debug)]
struct KnownSecret {
    token: String,
    expires_at: String,
    /// The time of the last change by another client.
    touched: Option<Instant>,
}

#[derive(Debug, Default)]
struct State {
    contexts: BTreeMap<Name, KnownContext>,
    /// The uids of all objects of the operator's kinds.
    owners: BTreeSet<String>,
    secrets: BTreeMap<Name, KnownSecret>,
    /// The tokens that the tenant confirmed.
    verified: HashSet<String>,
    rejected: HashSet<String>,
    revoked: HashSet<String>,
    /// The tokens that were in a Secret.
    published: HashSet<String>,
    /// The number of new tokens that were written to a Secret.
    publishes: u64,
    /// Secrets whose last write got no response, and that were not read afterwards.
    unclear: BTreeSet<Name>,
    /// Secrets whose last request got no response yet.
    unread: BTreeSet<Name>,
    /// Secrets that the leader has not written since it leads, or whose last write got no response.
    unknown: BTreeSet<Name>,
    /// The generation for which each Secret's token was written.
    written_for: HashMap<Name, i64>,
    requests: Requests,
    workloads: Workloads,
    lag: Duration,
    /// When the wall clock was set back.
    set_back: Vec<Instant>,
    /// The reasons of all conditions that were written.
    reasons: BTreeSet<String>,
    first: Option<Violation>,
    /// The number of changes in the cluster and of requests to the tenant.
    changes: u64,
    hash: DefaultHasher,
}

/// Observes all changes and requests, and keeps the first violation.
#[derive(Clone)]
pub struct Checker {
    begun: Instant,
    lifetime: Duration,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    state: Arc<Mutex<State>>,
}

impl Checker {
    /// A checker that starts now. `lifetime`: the lifetime of tokens.
    pub fn new(lifetime: Duration, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { begun: Instant::now(), lifetime, clock: Arc::new(clock), state: Arc::default() }
    }

    /// The first violation, if any.
    pub fn violation(&self) -> Option<Violation> {
        self.lock().first.clone()
    }

    /// Records a violation.
    pub fn violated(&self, invariant: Invariant, seen: impl Into<String>) {
        let at = self.begun.elapsed();
        self.lock().first.get_or_insert(Violation { invariant, at, seen: seen.into() });
    }

    /// Adds something to the digest that is the same in each run of a history.
    pub fn record(&self, what: &str) {
        let at = self.begun.elapsed();
        (at.as_millis(), what).hash(&mut self.lock().hash);
        log::record(at, what);
    }

    /// A process reads or writes a Secret, or gets the response. Until the response arrives, it cannot know the content.
    pub fn secret_request(&self, path: &str, writes: bool, answered: bool) {
        let Some(name) = secret_of(path) else { return };
        let mut state = self.lock();
        if answered {
            state.unclear.remove(&name);
            state.unread.remove(&name);
            return;
        }
        state.unread.insert(name.clone());
        if writes {
            state.unclear.insert(name.clone());
            state.unknown.insert(name);
        }
    }

    /// A process wrote a Secret, and got the response.
    pub fn secret_written(&self, path: &str) {
        let Some(name) = secret_of(path) else { return };
        self.lock().unknown.remove(&name);
    }

    /// A process begins to lead: it knows no Secret before it has read it, and the age of a token only by the wall clock.
    pub fn leads(&self) {
        let state = &mut *self.lock();
        state.unknown = state.secrets.keys().cloned().collect();
        if let Some(set_back) = state.set_back.last() {
            state.requests.ages_unknown(*set_back);
        }
    }

    /// Counts a change in the cluster or in the tenant.
    pub fn changed(&self) {
        self.lock().changes += 1;
    }

    /// The number of these changes.
    pub fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// The number of new tokens that were written to a Secret.
    pub fn published(&self) -> u64 {
        self.lock().publishes
    }

    /// A digest that is the same in each run of a history.
    pub fn hash(&self) -> u64 {
        self.lock().hash.finish()
    }

    /// The reasons of all conditions that were written.
    pub fn reasons(&self) -> BTreeSet<String> {
        self.lock().reasons.clone()
    }

    /// Watches are delayed by this time.
    pub fn watches_lag(&self, lag: Duration) {
        let mut state = self.lock();
        state.lag = state.lag.max(lag);
    }

    /// The wall clock was set back.
    pub fn clock_set_back(&self) {
        self.lock().set_back.push(Instant::now());
    }

    /// A token was revoked.
    pub fn revoked(&self, token: &str) {
        self.lock().revoked.insert(token.to_owned());
    }

    /// All tokens were revoked.
    pub fn revoked_all(&self) {
        let mut state = self.lock();
        let all: Vec<_> = state.verified.iter().cloned().collect();
        state.revoked.extend(all);
    }

    /// Whether the tenant confirmed this token, it has not expired, and nobody revoked it.
    pub fn is_good(&self, token: &str) -> bool {
        let state = self.lock();
        state.verified.contains(token) && !state.revoked.contains(token) && !state.requests.has_expired(token)
    }

    /// A change in the API server.
    pub fn on_change(&self, change: &Committed<'_>) {
        let after = change.after.map(Value::to_string).unwrap_or_default();
        if change.kind != Kind::Secret
            && let Some(secret) = log::found(&after)
        {
            self.violated(Invariant::NothingLeaks, format!("{secret} in a {:?}: {after}", change.kind));
        }
        self.record(&format!("{} {:?} {}/{} {after}", change.manager, change.kind, change.namespace, change.name));
        if change.kind != Kind::Lease {
            self.changed();
        }
        match change.kind {
            Kind::QlikContext => {
                self.on_owner(change);
                self.on_context(change);
            }
            Kind::QlikOAuthClient => {
                self.on_owner(change);
                self.on_status(change);
            }
            Kind::Secret if change.manager == FIELD_MANAGER => self.on_own_write(change),
            Kind::Secret => self.on_foreign_write(change),
            Kind::Pod => self.on_pod(change),
            Kind::Deployment => self.on_restart(change),
            _ => {}
        }
    }

    fn on_owner(&self, change: &Committed<'_>) {
        if let Some(uid) = change.after.and_then(|object| object["metadata"]["uid"].as_str()) {
            self.lock().owners.insert(uid.to_owned());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownContext {
    /// Whether a pin is set. In these histories, no token has the pinned identity.
    fn has_pin(&self) -> bool {
        let pins = &self.spec["expectedIdentity"];
        pins.as_object().is_some_and(|pins| pins.values().any(Value::is_string))
    }

    /// The smallest part of the lifetime after which a token is renewed: the jitter is a tenth, and a token with a lifetime of less than
    /// six minutes is renewed after half of it.
    fn renewed_after(&self) -> f64 {
        let left = self.spec["renewBeforePercentage"].as_f64().unwrap_or(33.0);
        (0.9 * (1.0 - left / 100.0)).min(0.45)
    }

    /// The name of the credential Secret, which is that of the OAuth client.
    fn credential(&self) -> Option<&str> {
        let methods = self.spec["auth"].as_object()?;
        methods.values().find_map(|method| method["secretRef"]["name"].as_str())
    }

    /// The scopes in the format of a token request.
    fn scopes(&self) -> String {
        let mut scopes: Vec<_> =
            self.spec["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        scopes.sort_unstable();
        scopes.join(" ")
    }
}

/// The Secret of a request with this path.
fn secret_of(path: &str) -> Option<Name> {
    let parts: Vec<_> = path.trim_start_matches("/api/v1/namespaces/").split('/').collect();
    let [namespace, "secrets", name] = parts[..] else { return None };
    Some((namespace.to_owned(), name.to_owned()))
}

fn name_of(change: &Committed<'_>) -> Name {
    (change.namespace.to_owned(), change.name.to_owned())
}

fn text(object: &Value, path: &[&str]) -> String {
    let found = path.iter().fold(object, |object, field| &object[*field]);
    found.as_str().unwrap_or_default().to_owned()
}

fn annotation(object: &Value, name: &str) -> String {
    text(object, &["metadata", "annotations", name])
}

/// A value of a Secret.
pub fn value(secret: &Value, key: &str) -> String {
    let bytes = STANDARD.decode(secret["data"][key].as_str().unwrap_or_default()).unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}
