//! The streams that wake the controller: contexts, and the Secrets that they refer to.
//!
//! With a list of namespaces each stream is a watch for each of them. A watch that is refused (there is no such namespace, or no
//! Role in it) is retried, independently of the others.
//!
//! Each watch handles its own errors: it logs and counts them and backs off alone. (kube has one back-off for all triggers, so a
//! single refused watch would delay every object.) Of Secrets only metadata is watched, and only the index keeps some of it.

mod metadata;
mod secrets;
mod union;

use std::fmt::Debug;
use std::sync::Arc;

use futures::channel::mpsc::UnboundedSender;
use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use kube::core::Selector;
use kube::runtime::reflector::Store;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio_util::task::TaskTracker;

pub use self::secrets::secrets;
use self::union::union;
use crate::api::Kind;
use crate::controller::scope::Scope;
use crate::error::describe;
use crate::index::{ContextName, Index};
use crate::metrics::{Metrics, Watch};
use crate::reconcile::context::{Context, StoredContext};
use crate::reconcile::memory::uid;
use crate::status_write::is_other_owner;

/// Small pages limit memory; pages of less than 50 need more requests and save little.
const PAGE_SIZE: u32 = 50;
/// Where `kubectl apply` keeps a copy of what was applied.
const LAST_APPLIED_ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Objects of a watch, its errors taken out.
pub trait Events<K>: Stream<Item = watcher::Result<K>> + Send + 'static {}
impl<K, S: Stream<Item = watcher::Result<K>> + Send + 'static> Events<K> for S {}

/// Contexts, kept in `store`; a change of the spec or of an annotation wakes a context, a change of the status does not.
///
/// The memory of a context is removed with it, also when its deletion was missed while the watch was interrupted. A context
/// that is no longer selected counts as gone: neither it nor its Secret is touched.
///
/// `changed` is called for every change, also of a status. `unanswered` is held until each namespace was listed or refused once.
pub fn contexts(
    client: &Client,
    scope: &Scope,
    (store, writer): (Store<StoredContext>, Writer<StoredContext>),
    context: &Arc<Context>,
    index: &Arc<Index>,
    unanswered: &TaskTracker,
    changed: Option<UnboundedSender<ContextName>>,
) -> impl Events<StoredContext> + use<> {
    let (cx, index) = (context.clone(), index.clone());
    let stream = union_of(client, scope, &store, unanswered, Watch::Contexts, &context.metrics)
        .reflect(writer)
        .inspect_ok(move |event| match event {
            Event::Apply(object) | Event::InitApply(object) => {
                refer(&index, object);
                if let Some(changed) = &changed {
                    // After the loop has ended, the receiver is gone.
                    let _ = changed.unbounded_send(context_name(object));
                }
            }
            Event::Delete(object) => {
                index.context_deleted(&context_name(object));
                cx.gone(uid(object));
            }
            Event::InitDone => {
                let all = store.state();
                index.contexts_listed(Kind::Context, &all.iter().map(|object| context_name(object)).collect());
                cx.only(&all);
            }
            Event::Init => {}
        })
        .applied_objects();
    let (cx, metrics) = (context.clone(), context.metrics.clone());
    stream.inspect_err(move |error| failed(Watch::Contexts, &metrics, error)).filter(move |object| {
        std::future::ready(object.as_ref().is_ok_and(|object| cx.memories.needs_reconcile(object)))
    })
}

/// The watches of one kind, joined: those that `--context-selector` selects, in all namespaces of the scope.
pub fn union_of<K>(
    client: &Client,
    scope: &Scope,
    store: &Store<K>,
    unanswered: &TaskTracker,
    watch: Watch,
    metrics: &Arc<Metrics>,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static + use<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let watches = scope.namespaces.apis::<K>(client).into_iter().map(|api| {
        let (namespace, mut unanswered) = (api.namespace().map(str::to_owned), Some(unanswered.token()));
        let mut restarts = Restarts::of(watch, metrics);
        let events = watcher(api, config(&scope.contexts).page_size(PAGE_SIZE))
            .modify(|object| {
                object.managed_fields_mut().retain(is_other_owner);
                object.managed_fields_mut().iter_mut().for_each(|entry| entry.fields_v1 = None);
                object.annotations_mut().remove(LAST_APPLIED_ANNOTATION);
            })
            .default_backoff()
            .inspect(move |event| {
                restarts.see(event);
                if matches!(event, Ok(Event::InitDone) | Err(_)) {
                    unanswered.take();
                }
            });
        (namespace, events.boxed())
    });
    union(watches.collect(), store)
}

/// Tells the index to which Secrets a context refers; a context that cannot be read refers to none.
fn refer(index: &Index, object: &StoredContext) {
    let name = context_name(object);
    match &object.0 {
        Ok(context) => index.context_applied(&name, context.credential_name(), &context.target_name()),
        Err(_) => index.context_deleted(&name),
    }
}

fn context_name(object: &StoredContext) -> ContextName {
    ContextName { kind: Kind::Context, namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

fn config(selector: &Selector) -> watcher::Config {
    let config = watcher::Config::default();
    if selector.selects_all() { config } else { config.labels_from(selector) }
}

fn described(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => describe(error),
        other => other.to_string(),
    }
}

/// Counts how often a watch is restarted with a list.
struct Restarts {
    watch: Watch,
    metrics: Arc<Metrics>,
    begun: bool,
}

impl Restarts {
    fn of(watch: Watch, metrics: &Arc<Metrics>) -> Self {
        Self { watch, metrics: metrics.clone(), begun: false }
    }

    fn see<K>(&mut self, event: &watcher::Result<Event<K>>) {
        if matches!(event, Ok(Event::Init)) && std::mem::replace(&mut self.begun, true) {
            self.metrics.watch_restarted(self.watch);
        }
    }
}

/// Counts and logs that a watch failed.
pub fn failed(watch: Watch, metrics: &Metrics, error: &watcher::Error) {
    metrics.watch_failed(watch);
    tracing::warn!(%watch, error = described(error), "a watch failed and will be restarted");
}
