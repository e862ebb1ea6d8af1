//! The watches of Secrets: they feed the index, and yield the contexts to wake.
//!
//! The initial list is streamed ([sendInitialEvents]), so that one Secret at a time is in memory; an API server that refuses
//! that (it can be switched off, and is by default in 1.33) is listed in small pages. One list is made after the other, so
//! that only the buffers of the connections grow with the number of namespaces.
//!
//! Only the index stores anything.
//!
//! [sendInitialEvents]: https://kubernetes.io/docs/reference/using-api/api-concepts/#streaming-lists

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc::UnboundedReceiver;
use futures::stream::{self, BoxStream, select, select_all};
use futures::{Stream, StreamExt};
use kube::api::Api;
use kube::core::{Expression, Selector};
use kube::runtime::watcher::{self, Error, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Client, Error as ClientError, ResourceExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::metadata::SecretMetadata;
use super::{Restarts, config, failed};
use crate::api::{MANAGED_BY_LABEL, OPERATOR_NAME};
use crate::controller::scope::Scope;
use crate::index::{ContextName, Index, Selection, WatchId};
use crate::metrics::{Metrics, Watch};

/// A page is in memory three times while it is read, and a Secret has up to 256 KiB of annotations: 4 MiB at worst.
const PAGE_SIZE: u32 = 5;
/// Maximum number of concurrent lists.
const LISTS: usize = 1;
/// When a list takes longer than this, another may begin.
const LONGEST_TURN: Duration = Duration::from_secs(5);

/// The contexts to wake because of a Secret; `own`: those that the index wakes because of the operator's own writes.
///
/// When `--credential-selector` selects everything, one watch shows credentials and targets alike.
pub fn secrets(
    client: &Client,
    scope: &Scope,
    index: &Arc<Index>,
    own: UnboundedReceiver<Arc<ContextName>>,
    metrics: &Arc<Metrics>,
) -> impl Stream<Item = Arc<ContextName>> + Send + 'static + use<> {
    let ours: Selector = Expression::Equal(MANAGED_BY_LABEL.into(), OPERATOR_NAME.into()).into();
    let kinds = if scope.credentials.selects_all() {
        vec![(Watch::Credentials, Selection::All, &scope.credentials)]
    } else {
        vec![
            (Watch::Credentials, Selection::Credentials, &scope.credentials),
            (Watch::Derived, Selection::Derived, &ours),
        ]
    };
    let turns = Arc::new(Semaphore::new(LISTS));
    let watches = kinds.into_iter().flat_map(|(label, selection, selector)| {
        let (turns, metrics) = (turns.clone(), metrics.clone());
        scope.namespaces.apis::<SecretMetadata>(client).into_iter().map(move |api| {
            let (index, metrics) = (index.clone(), metrics.clone());
            let id = index.watch(api.namespace(), selection);
            let events = in_turn(listed(api, config(selector)), turns.clone()).default_backoff();
            let mut restarts = Restarts::of(label, &metrics);
            let woken = events.flat_map(move |event| {
                restarts.see(&event);
                if let Err(error) = &event {
                    failed(label, &metrics, error);
                }
                stream::iter(woken(&index, id, event))
            });
            woken.boxed()
        })
    });
    select(select_all(watches.collect::<Vec<_>>()), own)
}

/// Feeds the index with one event; the contexts that it wakes.
fn woken(index: &Index, watch: WatchId, event: watcher::Result<Event<SecretMetadata>>) -> Vec<Arc<ContextName>> {
    let called = |secret: &SecretMetadata| (secret.namespace().unwrap_or_default(), secret.name_any());
    let version = |secret: &SecretMetadata| secret.resource_version().unwrap_or_default();
    match event {
        Ok(Event::Apply(secret)) => {
            let (namespace, name) = called(&secret);
            index.secret_applied(watch, &namespace, &name, &version(&secret))
        }
        Ok(Event::Delete(secret)) => {
            let (namespace, name) = called(&secret);
            index.secret_deleted(watch, &namespace, &name)
        }
        Ok(Event::Init) => {
            index.list_began(watch);
            Vec::new()
        }
        Ok(Event::InitApply(secret)) => {
            let (namespace, name) = called(&secret);
            index.list_applied(watch, &namespace, &name, &version(&secret));
            Vec::new()
        }
        Ok(Event::InitDone) => index.list_ended(watch),
        Err(_) => index.watch_failed(watch),
    }
}

/// A watch whose lists are streamed, or, once the API server has refused to stream them, read in pages.
fn listed(
    api: Api<SecretMetadata>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<Event<SecretMetadata>>> {
    let streamed = watch(api.clone(), config.clone().streaming_lists());
    let paged = watch(api, config.page_size(PAGE_SIZE));
    streamed.take_while(|event| ready(!event.as_ref().is_err_and(does_not_stream))).chain(paged)
}

/// Whether the API server refuses the request as such: 422 with the feature gate `WatchList` off, 400 if the parameter is
/// unknown.
fn does_not_stream(error: &Error) -> bool {
    matches!(error, Error::WatchStartFailed(ClientError::Api(status)) if matches!(status.code, 400 | 422))
}

struct InTurn<K> {
    events: BoxStream<'static, watcher::Result<Event<K>>>,
    turns: Arc<Semaphore>,
    turn: Option<(OwnedSemaphorePermit, Instant)>,
    begun: bool,
}

/// Lets a list begin when it is its turn. The first request waits as well; a later list that is streamed waits with its first
/// Secret unread.
fn in_turn<K: Send + 'static>(
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    turns: Arc<Semaphore>,
) -> BoxStream<'static, watcher::Result<Event<K>>> {
    let all = InTurn { events: events.boxed(), turns, turn: None, begun: false };
    let next = |mut all: InTurn<K>| async {
        if !all.begun {
            all.begun = true;
            all.wait().await;
        }
        let event = all.next().await?;
        match &event {
            Ok(Event::Init) => all.wait().await,
            Ok(Event::InitDone) | Err(_) => all.turn = None,
            Ok(_) => {}
        }
        Some((event, all))
    };
    stream::unfold(all, next).boxed()
}

impl<K> InTurn<K> {
    async fn wait(&mut self) {
        if self.turn.is_none() {
            // The semaphore is never closed.
            let permit = self.turns.clone().acquire_owned().await.ok();
            self.turn = permit.map(|permit| (permit, Instant::now() + LONGEST_TURN));
        }
    }

    async fn next(&mut self) -> Option<watcher::Result<Event<K>>> {
        if let Some((_, end)) = &self.turn {
            if let Ok(event) = timeout_at(*end, self.events.next()).await {
                return event;
            }
            self.turn = None;
        }
        self.events.next().await
    }
}
