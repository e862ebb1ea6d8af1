//! The invariants. They are checked at every step on what the API server stores and on the tenant's responses, never on what the
//! operator reports.
//!
//! `tenant` checks the requests to the tenant, `leader` that only the leader writes, `secrets` the writes of Secrets, `status` the
//! writes of a status, `workloads` the restarts of workloads.

mod leader;
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
use strum::{EnumIter, IntoStaticStr};
use support::api_server::{Committed, Kind};
use tokio::time::Instant;

pub use self::tenant::Requester;
use self::tenant::Requests;
use self::workloads::Workloads;
use crate::history::Moment;
use crate::log;

/// A property that must hold in every history.
#[derive(Clone, Copy, Debug, Deserialize, EnumIter, Eq, IntoStaticStr, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Invariant {
    /// A token or credential that the tenant had not confirmed is in a Secret.
    OnlyVerifiedTokens,
    /// A Secret of another owner was written, or any Secret deleted.
    OnlyOwnSecrets,
    /// A good token was replaced by nothing, by an older or by a rejected one.
    GoodTokensStay,
    /// A token of another client, tenant, user, identity or of other scopes than those of the spec was published.
    TokensFitTheSpec,
    /// Two tokens were issued for one need.
    NoSurplusTokens,
    /// The status is wrong.
    TrueStatus,
    /// A replica wrote while another one held the Lease, or after its own term had ended.
    OnlyTheLeaderWrites,
    /// Two OAuth clients belong to one object, or one is left behind after its object was deleted.
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

/// A token is renewed this long before it expires at the latest.
const LATEST: Duration = Duration::from_mins(3);

/// An object is released without its client when the deletion of that failed for five minutes.
const GIVE_UP: Duration = Duration::from_mins(5);

/// Namespace and name.
type Name = (String, String);

#[derive(Clone, Debug, Default)]
struct KnownContext {
    generation: i64,
    spec: Value,
    /// The time of the last edit of the spec.
    edited: Option<Instant>,
}

/// A spec: the object that has it, and its generation.
#[derive(Clone, Debug)]
struct SpecOf {
    uid: String,
    generation: i64,
}

#[derive(Clone, Debug)]
struct KnownSecret {
    token: String,
    expires_at: String,
    /// The time of the last change by another client.
    touched: Option<Instant>,
    is_deleted: bool,
}

#[derive(Debug, Default)]
struct State {
    contexts: BTreeMap<Name, KnownContext>,
    /// The name of each object of the operator's kinds, by uid.
    owners: BTreeMap<String, String>,
    /// The first spec of each QlikOAuthClient, by uid.
    first_specs: HashMap<String, Value>,
    /// Since when each QlikOAuthClient is being deleted, by uid.
    deleting_since: HashMap<String, Instant>,
    /// The uids of objects that were deleted together with their OAuth clients.
    deleted_with_client: BTreeSet<String>,
    /// A fault of the tenant allows the operator to leave OAuth clients there.
    deletes_fail: bool,
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
    /// When each request for a Secret was sent that got no response, by its number.
    no_response: HashMap<u64, Instant>,
    /// The number of requests for Secrets.
    secret_requests: u64,
    /// Secrets that the leader has not written since it leads, or whose last write got no response.
    unknown: BTreeSet<Name>,
    /// The spec of each QlikContext that each process has received last, by process and name.
    received: HashMap<(String, Name), SpecOf>,
    /// The spec for which each Secret's token was written.
    written_for: HashMap<Name, SpecOf>,
    requests: Requests,
    workloads: Workloads,
    lag: Duration,
    /// The holder of the Lease.
    leader: Option<String>,
    /// When each process last renewed the Lease; none if it released it.
    renewed: HashMap<String, Instant>,
    /// When the wall clock was set back.
    set_back: Vec<Instant>,
    /// The reasons of all conditions that were written.
    reasons: BTreeSet<String>,
    first: Option<Violation>,
    /// The number of changes in the cluster and of requests to the tenant.
    changes: u64,
    /// The number of changes of Secrets, Deployments and Pods.
    changes_for_workloads: u64,
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

    /// A process sends a request for a Secret. Returns its number.
    pub fn secret_request_sent(&self, path: &str) -> Option<u64> {
        secret_of(path)?;
        let mut state = self.lock();
        state.secret_requests += 1;
        let number = state.secret_requests;
        state.no_response.insert(number, Instant::now());
        Some(number)
    }

    /// The request with this number got its response.
    pub fn secret_request_answered(&self, number: u64) {
        self.lock().no_response.remove(&number);
    }

    /// A process wrote a Secret, and got the response.
    pub fn secret_written(&self, path: &str) {
        let Some(name) = secret_of(path) else { return };
        self.lock().unknown.remove(&name);
    }

    /// A process received this response about QlikContexts: an object, a list, or an event of a watch.
    pub fn contexts_received(&self, process: &str, body: &[u8]) {
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return };
        let objects = match (&body["items"], &body["object"]) {
            (Value::Array(items), _) => &items[..],
            (_, Value::Object(_)) => std::slice::from_ref(&body["object"]),
            _ => std::slice::from_ref(&body),
        };
        let state = &mut *self.lock();
        for object in objects {
            // A bookmark has no generation.
            let Some(generation) = object["metadata"]["generation"].as_i64() else { continue };
            let text = |field: &str| text(object, &["metadata", field]);
            let key = (process.to_owned(), (text("namespace"), text("name")));
            let received = SpecOf { uid: text("uid"), generation };
            let known = state.received.entry(key).or_insert_with(|| received.clone());
            // A watch may be late.
            if known.uid != received.uid || known.generation < generation {
                *known = received;
            }
        }
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

    /// The number of changes of Secrets, Deployments and Pods.
    pub fn changes_for_workloads(&self) -> u64 {
        self.lock().changes_for_workloads
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

    /// From now on, the operator may leave OAuth clients in the tenant.
    pub fn deletes_fail(&self) {
        self.lock().deletes_fail = true;
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
        if matches!(change.kind, Kind::Secret | Kind::Deployment | Kind::Pod) {
            self.lock().changes_for_workloads += 1;
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
            Kind::Lease => self.on_lease(change),
            Kind::Pod => self.on_pod(change),
            Kind::Deployment => self.on_restart(change),
            _ => {}
        }
    }

    fn on_owner(&self, change: &Committed<'_>) {
        let uid = |object: &Value| text(object, &["metadata", "uid"]);
        let mut state = self.lock();
        if let Some(after) = change.after {
            state.owners.insert(uid(after), change.name.to_owned());
        }
        if change.kind == Kind::QlikOAuthClient {
            match (change.before, change.after) {
                (None, Some(created)) => drop(state.first_specs.insert(uid(created), created["spec"].clone())),
                (Some(_), Some(after)) if after["metadata"]["deletionTimestamp"].is_string() => {
                    state.deleting_since.entry(uid(after)).or_insert_with(Instant::now);
                }
                // After an edit, the spec may not say any more where its client is, or the finalizer may be missing.
                (Some(before), Some(after)) if before["spec"] != after["spec"] => {
                    state.first_specs.remove(&uid(after));
                }
                (Some(before), None) if before["spec"]["deletionPolicy"] == "Delete" => {
                    let since = state.deleting_since.get(&uid(before));
                    let gave_up = state.deletes_fail || since.is_some_and(|since| since.elapsed() >= GIVE_UP);
                    if !gave_up && state.first_specs.get(&uid(before)) == Some(&before["spec"]) {
                        state.deleted_with_client.insert(uid(before));
                    }
                }
                _ => {}
            }
        }
    }

    /// The uids of objects that were deleted together with their OAuth clients.
    pub fn deleted_with_client(&self) -> BTreeSet<String> {
        self.lock().deleted_with_client.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether a request for a Secret that was sent in this time got no response.
    fn lacks_responses(&self, within: Duration) -> bool {
        self.no_response.values().any(|sent| sent.elapsed() < within)
    }
}

impl SpecOf {
    /// Whether this is a later spec of the same object.
    fn is_later_than(&self, other: &Self) -> bool {
        self.uid == other.uid && self.generation > other.generation
    }
}

impl KnownContext {
    /// Whether a pin is set. In these histories, no token has the pinned identity.
    fn has_pin(&self) -> bool {
        let pins = &self.spec["expectedIdentity"];
        pins.as_object().is_some_and(|pins| pins.values().any(Value::is_string))
    }

    /// The smallest age at which a token is renewed: the jitter is a tenth, and a token is renewed three minutes before it expires at
    /// the latest, or after half its lifetime if that is shorter than six minutes.
    fn renewed_after(&self, lifetime: Duration) -> Duration {
        let left = self.spec["renewBeforePercentage"].as_f64().unwrap_or(33.0);
        let latest = if lifetime < LATEST * 2 { lifetime / 2 } else { lifetime.saturating_sub(LATEST) };
        lifetime.mul_f64((1.0 - left / 100.0).clamp(0.0, 1.0)).min(latest).mul_f64(0.9)
    }

    /// Why a token request was not for this context.
    fn is_other_request(&self, request: &Requester) -> Option<String> {
        let host = self.spec["tenantUrl"].as_str().unwrap_or_default().trim_start_matches("https://");
        let user = self.spec["impersonate"].as_object();
        let mut user = user.into_iter().flat_map(serde_json::Map::values).filter_map(Value::as_str);
        if self.credential() != Some(&request.client) {
            Some(format!("of {}, and the spec names {:?}", request.client, self.credential()))
        } else if host != request.host {
            Some(format!("of {}, and the spec names {host}", request.host))
        } else if !user.clone().all(|user| request.signer_and_user.contains(user))
            || user.next().is_none() && !request.signer_and_user.ends_with("null")
        {
            Some(format!("of the user {}, and the spec names {}", request.signer_and_user, self.spec["impersonate"]))
        } else if request.scopes != self.scopes() {
            Some(format!("of the scopes {:?}, not {:?}", request.scopes, self.scopes()))
        } else {
            None
        }
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
