//! The control loop of `QlikOAuthClient`: it has its own watch and queue, and shares slots and budgets with that of contexts.

use std::sync::Arc;

use futures::channel::mpsc::UnboundedReceiver;
use futures::{StreamExt, TryStreamExt};
use kube::ResourceExt;
use kube::runtime::controller::{self, Controller};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::scope::Scope;
use super::watch::{self, Events, union_of};
use crate::api::ConditionType::Ready;
use crate::api::{Kind, QlikOAuthClient, Reason};
use crate::index::ContextName;
use crate::metrics::Watch;
use crate::oauth::transport::Transport;
use crate::oauth_client::{Context, StoredClient, error_policy, reconcile};
use crate::reconcile::context;

/// What wakes the loop besides its own watch.
pub struct Wakes {
    /// An object's turn at its tenant has come, or its Secret was changed.
    pub called: UnboundedReceiver<ContextName>,
    /// A context was changed, which may be the admin context of some.
    pub contexts: UnboundedReceiver<ContextName>,
}

/// Runs until it is stopped and the runs in flight are done.
pub async fn control(
    base: Arc<context::Context>,
    transport: Arc<dyn Transport>,
    scope: &Scope,
    wakes: Wakes,
    width: u16,
    unanswered: &TaskTracker,
    stop: CancellationToken,
) {
    let (objects, writer) = kube::runtime::reflector::store::<StoredClient>();
    let cx = Arc::new(Context::new(base, transport, objects.clone()));
    let watched = watch(scope, (objects.clone(), writer), &cx, unanswered);
    let by_name = wakes.called.map(|name| ObjectRef::new(&name.name).within(&name.namespace));
    let of_context = {
        let objects = objects.clone();
        wakes.contexts.flat_map(move |context| futures::stream::iter(managed_by(&objects, &context)))
    };
    Controller::for_stream(watched, objects)
        .reconcile_on(by_name)
        .reconcile_on(of_context)
        .with_config(controller::Config::default().concurrency(width))
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile, error_policy, cx)
        .for_each(|result| async move {
            if let Ok((object, action)) = result {
                tracing::trace!(%object, ?action, "run ended");
            }
        })
        .await;
}

/// The objects, kept in `store`; a change of the spec or of an annotation wakes an object, a change of the status does not.
fn watch(
    scope: &Scope,
    (store, writer): (Store<StoredClient>, Writer<StoredClient>),
    cx: &Arc<Context>,
    unanswered: &TaskTracker,
) -> impl Events<StoredClient> + use<> {
    let stream =
        union_of(&cx.base.client, scope, &store, unanswered, Watch::OAuthClients, &cx.base.metrics).reflect(writer);
    let (handlers, metrics, asked) = (cx.clone(), cx.base.metrics.clone(), cx.clone());
    let stream = stream
        .inspect_ok(move |event| match event {
            Event::Apply(object) | Event::InitApply(object) => {
                let secret = object.0.as_ref().map_or_else(|_| String::new(), QlikOAuthClient::secret_name);
                handlers.base.index.context_applied(&name_of(object), None, &secret);
            }
            Event::Delete(object) => {
                handlers.base.index.context_deleted(&name_of(object));
                handlers.gone(object.uid().as_deref().unwrap_or_default());
            }
            Event::InitDone => {
                let all = store.state();
                let names = all.iter().map(|object| name_of(object)).collect();
                handlers.base.index.contexts_listed(Kind::OAuthClient, &names);
                handlers.memories.missing(&all).iter().for_each(|uid| handlers.gone(uid));
            }
            Event::Init => {}
        })
        .applied_objects();
    stream.inspect_err(move |error: &watcher::Error| watch::failed(Watch::OAuthClients, &metrics, error)).filter(
        move |object| std::future::ready(object.as_ref().is_ok_and(|object| asked.memories.needs_reconcile(object))),
    )
}

fn name_of(object: &StoredClient) -> ContextName {
    ContextName { kind: Kind::OAuthClient, namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

/// The objects that wait for this context: those that are not ready, or whose sync fails.
fn managed_by(objects: &Store<StoredClient>, context: &ContextName) -> Vec<ObjectRef<StoredClient>> {
    let waits = |object: &StoredClient| {
        let Ok(object) = &object.0 else { return false };
        let good = object.status.iter().flat_map(|status| &status.conditions).any(|condition| {
            condition.type_ == Ready.to_string() && condition.reason == Reason::ClientReady.to_string()
        });
        object.metadata.namespace.as_ref() == Some(&context.namespace)
            && object.spec.admin_context_ref.name == context.name
            && !good
    };
    objects.state_filter(waits).iter().map(|object| ObjectRef::from_obj(&**object)).collect()
}
