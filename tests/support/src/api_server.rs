//! An API server in memory, so that a whole controller runs on virtual time.
//!
//! It behaves like a 1.36 server for the few kinds that the operator uses: versions, watches, pages, server-side apply
//! with field ownership, preconditions, garbage collection. Shared tests send the same requests to it and to a real
//! server and compare every response. Every request can be made to fail ([`Script`]), and every request is recorded
//! ([`Log`]). Names, uids, versions and times come from counters and tokio's clock, so every run is the same.
//!
//! It never validates against a schema, prunes unknown fields, checks permissions, runs admission or converts versions.
//! It has no controllers (see [`ApiServer::collect_garbage`]), and only the kinds of [`Kind`]. Pods and workloads are
//! stored unchanged, without the defaults and subresources of a real server. A test writes what a kubelet or a
//! controller would write.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> anyhow::Result<()> {
//! use serde_json::json;
//! use support::api_server::{ApiServer, Fault, Kind, Script, Verb};
//!
//! let server = ApiServer::new();
//! server.put(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "a", "name": "b"}}))?;
//! server.script(Script::on(Verb::Watch, Kind::Secret, Fault::Forbidden).once());
//! let client = server.kube_client();
//! // … run a controller with it, then
//! assert_eq!(server.log(|log| log.count(Verb::Patch, Kind::Secret)), 0);
//! # Ok(()) }
//! ```

mod call;
mod checks;
mod faults;
mod fields;
mod form;
mod garbage;
mod kind;
mod list;
mod log;
mod merge;
mod object;
mod ownership;
mod refusal;
mod selector;
mod service;
mod store;
mod watch;
mod write;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use kube::client::retry::RetryPolicy;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tower::ServiceBuilder;
use tower::retry::RetryLayer;

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};

pub use self::call::{Call, Verb};
pub use self::faults::{Fault, Script};
pub use self::form::Form;
pub use self::kind::Kind;
pub use self::log::{Log, Record};
pub use self::store::{Committed, Observer};

use self::ownership::Writer;
use self::store::{Key, Store};
use self::write::Write;
use crate::tenant::Clock;

/// 2026-01-01T00:00:00Z, for a server without a given clock.
const BEGIN: Duration = Duration::from_hours(490_896);
/// The field manager of writes by tests.
const TEST: &str = "test";

/// A handle to the server. All clones refer to the same server.
#[derive(Clone)]
pub struct ApiServer(Arc<Mutex<State>>);

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ApiServer").finish_non_exhaustive()
    }
}

/// Can choose a fault for each request, before any script.
pub type Interceptor = Arc<dyn Fn(&Call) -> Option<Fault> + Send + Sync>;

struct State {
    interceptor: Option<Interceptor>,
    store: Store,
    scripts: Vec<Script>,
    log: Log,
}

impl Default for ApiServer {
    fn default() -> Self {
        Self::new()
    }
}

impl ApiServer {
    /// A server that starts at the beginning of 2026 and has only the namespace `default`.
    pub fn new() -> Self {
        Self::with_clock(Clock::starting_at(SystemTime::UNIX_EPOCH + BEGIN))
    }

    /// A server with this clock.
    pub fn with_clock(clock: Clock) -> Self {
        let state = State { interceptor: None, store: Store::new(clock), scripts: Vec::new(), log: Log::default() };
        let server = Self(Arc::new(Mutex::new(state)));
        server.add_namespace("default");
        server
    }

    /// The server's clock, which follows tokio's.
    pub fn clock(&self) -> Clock {
        self.lock().store.clock
    }

    /// A new client with all permissions and the retries of [`kube::Client::try_from`]. Call it in a tokio runtime.
    pub fn kube_client(&self) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request| service::handle(server.clone(), request));
        kube::Client::new(service, "default")
    }

    /// The service below a client, to add layers.
    pub fn service(
        &self,
    ) -> impl tower::Service<
        http::Request<kube::client::Body>,
        Response = http::Response<UnsyncBoxBody<Bytes, Infallible>>,
        Error = tower::BoxError,
        Future: Send,
    >
    + Clone
    + Send
    + 'static
    + use<> {
        let server = self.clone();
        tower::service_fn(move |request| service::handle(server.clone(), request))
    }

    /// The same with the default retries of kube's client.
    pub fn retrying_kube_client(&self) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request| service::handle(server.clone(), request));
        let retried = ServiceBuilder::new().layer(RetryLayer::new(RetryPolicy::server_retry())).service(service);
        kube::Client::new(retried, "default")
    }

    /// Creates or replaces an object, including its status, as a user. Fields that the server sets (uid, times,
    /// `managedFields`) are taken from the object if it has them. Creates the namespace if it does not exist.
    pub fn put(&self, object: Value) -> anyhow::Result<Value> {
        let kind = service::kind_of(&object).ok_or_else(|| anyhow!("no kind that is served: {}", object["kind"]))?;
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = (if kind.is_namespaced() { text("namespace") } else { String::new() }, text("name"));
        anyhow::ensure!(!key.1.is_empty(), "an object needs a name");
        anyhow::ensure!(kind.is_namespaced() != key.0.is_empty(), "a namespaced object needs a namespace");
        if kind.is_namespaced() && self.get(Kind::Namespace, "", &key.0).is_none() {
            self.add_namespace(&key.0);
        }
        Ok(self.write(kind, key, |write| write.overwrite(object)))
    }

    /// The object, if it exists. Namespace objects are in the namespace `""`.
    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<Value> {
        let key = (namespace.to_owned(), name.to_owned());
        self.lock().store.get(kind, &key).map(|object| Value::clone(object))
    }

    /// The objects of a kind, in one namespace or all.
    pub fn list(&self, kind: Kind, namespace: Option<&str>) -> Vec<Value> {
        let state = self.lock();
        state.store.objects(kind, namespace).map(|(_, object)| Value::clone(object)).collect()
    }

    /// Changes an object in place. It gets a new version only if something differs.
    pub fn edit(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        edit: impl FnOnce(&mut Value),
    ) -> anyhow::Result<Value> {
        let object = self.get(kind, namespace, name);
        let mut object = object.with_context(|| format!("no {} {namespace}/{name} to edit", kind.name()))?;
        edit(&mut object);
        self.put(object)
    }

    /// Deletes an object as a user. With finalizers the deletion only starts. False if the object does not exist.
    pub fn delete(&self, kind: Kind, namespace: &str, name: &str) -> bool {
        let key = (namespace.to_owned(), name.to_owned());
        self.write(kind, key, |write| write.delete(&json!({})).is_ok())
    }

    /// Creates a namespace.
    pub fn add_namespace(&self, name: &str) {
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        self.write(Kind::Namespace, (String::new(), name.to_owned()), |write| write.overwrite(object));
    }

    /// Does the work of the garbage collector and the namespace controller. Returns the number of deleted objects.
    pub fn collect_garbage(&self) -> usize {
        garbage::collect(&mut self.lock().store)
    }

    /// Sets the feature gate `WatchList`. Without it, a watch that starts with a list is rejected.
    pub fn set_watch_list(&self, enabled: bool) {
        self.lock().store.watch_list = enabled;
    }

    /// Delays every change in every watch.
    pub fn delay_watches(&self, delay: Duration) {
        self.lock().store.watch_delay = delay;
    }

    /// Sends each watch this many of its last lines again before each change.
    pub fn repeat_watches(&self, lines: usize) {
        self.lock().store.watch_repeats = lines;
    }

    /// Drops the history: watches from older versions get 410, and unfinished lists expire.
    pub fn compact(&self) {
        self.lock().store.compact();
    }

    /// Ends every watch, as a restart of the server does.
    pub fn end_watches(&self) {
        self.lock().store.end_watches();
    }

    /// The number of open watches of a kind.
    pub fn watches(&self, kind: Kind) -> usize {
        self.lock().store.watchers(kind)
    }

    /// Adds a fault to the queue.
    pub fn script(&self, script: Script) {
        self.lock().scripts.push(script);
    }

    /// Calls this observer with every change from now on.
    pub fn observe(&self, observer: Observer) {
        self.lock().store.observer = Some(observer);
    }

    /// Sets a function that can choose a fault for each request, before any script. `None` removes it.
    pub fn intercept(&self, interceptor: Option<Interceptor>) {
        self.lock().interceptor = interceptor;
    }

    /// Removes every remaining fault.
    pub fn clear_scripts(&self) {
        self.lock().scripts.clear();
    }

    /// Reads the log.
    pub fn log<T>(&self, look: impl FnOnce(&Log) -> T) -> T {
        look(&self.lock().log)
    }

    /// Clears the log.
    pub fn clear_log(&self) {
        self.lock().log.records.clear();
    }

    fn write<T>(&self, kind: Kind, key: Key, write: impl FnOnce(Write<'_>) -> T) -> T {
        let writer = Writer { manager: TEST.to_owned(), subresource: None };
        write(Write { store: &mut self.lock().store, kind, key, writer })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
