//! The three streams that wake the controller: contexts, credential Secrets, derived Secrets.
//!
//! With a list of namespaces each is a watch for each of them, and one that is refused (there is no such namespace, or no
//! Role in it) is begun again and again, by itself.
//!
//! Each owns its errors: it logs and counts them and backs off alone. (kube puts one back-off around all triggers, so a
//! single refused watch would delay every object.) Of Secrets only metadata is watched, and nothing of it is stored.

mod union;

use std::sync::Arc;

use futures::stream::select_all;
use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::api::PartialObjectMeta;
use kube::core::{Expression, Selector};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use tokio_util::task::TaskTracker;

use crate::api::{MANAGED_BY_LABEL, OPERATOR_NAME, QlikContext};
use crate::context::{Context, Guarded};
use crate::error::said;
use crate::gone::uid;
use crate::metrics::{Metrics, Watch};
use crate::scope::Scope;
use crate::watch::union::union;

/// Small pages keep memory flat; below 50 more calls gain little.
const PAGE_SIZE: u32 = 50;

/// Objects of a watch, its errors taken out.
pub trait Events<K>: Stream<Item = watcher::Result<K>> + Send + 'static {}
impl<K, S: Stream<Item = watcher::Result<K>> + Send + 'static> Events<K> for S {}

/// Contexts, kept in `store`; a change of the spec or of an annotation wakes, a change of the status does not.
///
/// What is remembered of a context goes when it does, also when that was missed while the watch was away. A context that is
/// not selected any more is gone as well: nothing of it is touched, its Secret neither.
///
/// `unanswered` is held until each namespace was listed or refused once.
pub fn contexts(
    client: &Client,
    scope: &Scope,
    (store, writer): (Store<Guarded>, Writer<Guarded>),
    context: &Arc<Context>,
    unanswered: &TaskTracker,
) -> impl Events<Guarded> + use<> {
    let watches = scope.namespaces.apis::<Guarded>(client).into_iter().map(|api| {
        let (namespace, mut unanswered) = (api.namespace().map(str::to_owned), Some(unanswered.token()));
        let events = watcher(api, config(&scope.contexts))
            .modify(|context| context.managed_fields_mut().clear())
            .default_backoff()
            .inspect(move |event| {
                if matches!(event, Ok(watcher::Event::InitDone) | Err(_)) {
                    unanswered.take();
                }
            });
        (namespace, events.boxed())
    });
    let cx = context.clone();
    let stream = union(watches.collect(), &store)
        .reflect(writer)
        .inspect_ok(move |event| match event {
            watcher::Event::Delete(object) => cx.gone(&uid(object)),
            watcher::Event::InitDone => cx.only(&store.state()),
            _ => {}
        })
        .applied_objects();
    let cx = context.clone();
    let news = stream.try_filter(move |object| std::future::ready(cx.is_news(object)));
    owned(Watch::Contexts, context.metrics.clone(), news)
}

/// Metadata of every Secret that may hold a credential.
///
/// No predicate: its cache would be a store of every Secret in scope.
pub fn credentials(
    client: &Client,
    scope: &Scope,
    metrics: &Arc<Metrics>,
) -> impl Events<PartialObjectMeta<Secret>> + use<> {
    secrets(client, scope, &scope.credentials, Watch::Credentials, metrics)
}

/// Metadata of the Secrets that this operator writes.
pub fn derived(
    client: &Client,
    scope: &Scope,
    metrics: &Arc<Metrics>,
) -> impl Events<PartialObjectMeta<Secret>> + use<> {
    let ours = Expression::Equal(MANAGED_BY_LABEL.into(), OPERATOR_NAME.into()).into();
    secrets(client, scope, &ours, Watch::Derived, metrics)
}

/// The contexts that a Secret matters to: those that read their credential from it, and those whose target's name it has
/// (a stranger's Secret that goes away makes room).
pub fn contexts_using(contexts: Store<Guarded>) -> impl Fn(PartialObjectMeta<Secret>) -> Vec<ObjectRef<Guarded>> {
    move |secret| {
        let (namespace, name) = (secret.namespace(), secret.name_any());
        let uses = |context: &Guarded| {
            let named = |context: &QlikContext| {
                context.credential_name() == Some(name.as_str()) || context.target_name() == name
            };
            context.namespace() == namespace && context.0.as_ref().is_ok_and(named)
        };
        contexts.state_filter(uses).iter().map(|context| ObjectRef::from_obj(context.as_ref())).collect()
    }
}

fn secrets(
    client: &Client,
    scope: &Scope,
    selector: &Selector,
    watch: Watch,
    metrics: &Arc<Metrics>,
) -> impl Events<PartialObjectMeta<Secret>> + use<> {
    let watches = scope.namespaces.apis::<PartialObjectMeta<Secret>>(client).into_iter().map(|api| {
        watcher(api, config(selector))
            .modify(|secret| {
                secret.managed_fields_mut().clear();
                secret.annotations_mut().clear();
            })
            .default_backoff()
            .touched_objects()
            .boxed()
    });
    owned(watch, metrics.clone(), select_all(watches))
}

fn config(selector: &Selector) -> watcher::Config {
    let config = watcher::Config::default().page_size(PAGE_SIZE);
    if selector.selects_all() { config } else { config.labels_from(selector) }
}

fn told(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => said(error),
        other => other.to_string(),
    }
}

fn owned<K: Send + 'static>(watch: Watch, metrics: Arc<Metrics>, stream: impl Events<K>) -> impl Events<K> {
    stream.filter(move |item| {
        if let Err(error) = item {
            metrics.watch_failed(watch);
            tracing::warn!(%watch, error = told(error), "a watch failed and begins again");
        }
        std::future::ready(item.is_ok())
    })
}
