//! The three streams that wake the controller: contexts, credential Secrets, derived Secrets.
//!
//! Each owns its errors: it logs and counts them and backs off alone. (kube puts one back-off around all triggers, so a
//! single refused watch would delay every object.) Of Secrets only metadata is watched, and nothing of it is stored.

use std::sync::Arc;

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Predicate, PredicateConfig, WatchStreamExt, predicates, watcher};
use kube::{Client, ResourceExt};

use crate::api::{MANAGED_BY_LABEL, OPERATOR_NAME, QlikContext};
use crate::context::{Context, Guarded};
use crate::gone::uid;
use crate::metrics::{Metrics, Watch};

/// Small pages keep memory flat; below 50 more calls gain little.
const PAGE_SIZE: u32 = 50;

/// Objects of a watch, its errors taken out.
pub trait Events<K>: Stream<Item = watcher::Result<K>> + Send + 'static {}
impl<K, S: Stream<Item = watcher::Result<K>> + Send + 'static> Events<K> for S {}

/// Contexts, kept in `store`; a change of the spec or of an annotation wakes, a change of the status does not.
///
/// What is remembered of a context goes when it does, also when that was missed while the watch was away.
pub fn contexts(
    client: &Client,
    (store, writer): (Store<Guarded>, Writer<Guarded>),
    context: &Arc<Context>,
) -> impl Events<Guarded> + use<> {
    let cx = context.clone();
    let stream = watcher(Api::<Guarded>::all(client.clone()), watcher::Config::default().page_size(PAGE_SIZE))
        .modify(|context| context.managed_fields_mut().clear())
        .default_backoff()
        .reflect(writer)
        .inspect_ok(move |event| match event {
            watcher::Event::Delete(object) => cx.gone(&uid(object)),
            watcher::Event::InitDone => cx.only(&store.state()),
            _ => {}
        })
        .applied_objects();
    owned(Watch::Contexts, context.metrics.clone(), stream).predicate_filter(
        predicates::generation.combine(predicates::annotations).combine(predicates::finalizers),
        PredicateConfig::default(),
    )
}

/// Metadata of every Secret that may hold a credential.
///
/// No predicate: its cache would be a store of every Secret in scope.
pub fn credentials(client: &Client, metrics: &Arc<Metrics>) -> impl Events<PartialObjectMeta<Secret>> + use<> {
    secrets(client, watcher::Config::default(), Watch::Credentials, metrics)
}

/// Metadata of the Secrets that this operator writes.
pub fn derived(client: &Client, metrics: &Arc<Metrics>) -> impl Events<PartialObjectMeta<Secret>> + use<> {
    let ours = format!("{MANAGED_BY_LABEL}={OPERATOR_NAME}");
    secrets(client, watcher::Config::default().labels(&ours), Watch::Derived, metrics)
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
    config: watcher::Config,
    watch: Watch,
    metrics: &Arc<Metrics>,
) -> impl Events<PartialObjectMeta<Secret>> + use<> {
    let api = Api::<PartialObjectMeta<Secret>>::all(client.clone());
    let stream = watcher(api, config.page_size(PAGE_SIZE))
        .modify(|secret| {
            secret.managed_fields_mut().clear();
            secret.annotations_mut().clear();
        })
        .default_backoff()
        .touched_objects();
    owned(watch, metrics.clone(), stream)
}

fn owned<K: Send + 'static>(watch: Watch, metrics: Arc<Metrics>, stream: impl Events<K>) -> impl Events<K> {
    stream.filter(move |item| {
        if let Err(error) = item {
            metrics.watch_failed(watch);
            tracing::warn!(%watch, %error, "a watch failed and begins again");
        }
        std::future::ready(item.is_ok())
    })
}
