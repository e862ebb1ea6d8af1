//! The control loop, assembled from its parts; tests pass their own client, transport, clock and randomness.

pub mod oauth_clients;
pub mod scope;
pub mod watch;
mod workloads;

use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use futures::{Stream, StreamExt};
use kube::Client;
use kube::runtime::controller::{self, Controller};
use kube::runtime::reflector::{self, ObjectRef};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::oauth_clients::Wakes;
use self::scope::Scope;
use crate::api::Kind;
use crate::clock::{Clock, Jitter};
use crate::health::{Health, Task};
use crate::index::{ContextName, Index};
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::oauth::tenant::AllowedHosts;
use crate::oauth::transport::Transport;
use crate::reconcile::context::{Context, StoredContext};
use crate::reconcile::events::Events;
use crate::reconcile::memory::Memories;
use crate::reconcile::{error_policy, reconcile};
use crate::scheduler::{Caller, Limits, Scheduler};
use crate::tokens::TokenCache;

/// Concurrent runs beyond the slots at tenants: when tenants that hang hold all slots, runs that need no tenant go on.
/// More of them only queue at the API server: with twice as many runs as slots, bursts of contexts were slower (docs/capacity.md).
const SPARE_RUNS: u16 = 8;
const HEARTBEAT: Duration = Duration::from_secs(10);
/// When the wall clock gains more than this between two beats, it was set, or the machine slept.
const JUMP: Duration = Duration::from_secs(5);

/// The parts of the loop.
pub struct Parts {
    /// The Kubernetes API.
    pub client: Client,
    /// The namespaces and objects that it watches.
    pub scope: Scope,
    /// The transport to tenants.
    pub transport: Arc<dyn Transport>,
    /// `--allowed-tenant-hosts`.
    pub allowed_hosts: AllowedHosts,
    /// The request budgets of tenants.
    pub limits: Limits,
    /// Whether this instance may write.
    pub leadership: Leadership,
    /// The reporter of events: the Pod's name.
    pub instance: String,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The health of the process.
    pub health: Arc<Health>,
    /// The clock.
    pub clock: Clock,
    /// Randomness.
    pub jitter: Jitter,
    /// `--oauth-clients`: `QlikOAuthClient` objects are reconciled, too.
    pub oauth_clients: bool,
    /// `--workloads`: workloads that read a token are updated.
    pub workloads: bool,
}

/// Runs until it is stopped and the runs in flight are done.
pub async fn control(parts: Parts, stop: CancellationToken) {
    let Parts {
        client,
        scope,
        transport,
        allowed_hosts,
        limits,
        leadership,
        instance,
        metrics,
        health,
        clock,
        jitter,
        oauth_clients,
        workloads,
    } = parts;
    let (wakers, called, clients_called) = wakers();
    let waker = wakers.clone();
    let wake = Arc::new(move |caller: &Caller| {
        let (namespace, name) = (caller.namespace.to_string(), caller.name.to_string());
        waker.wake(ContextName { kind: caller.kind, namespace, name });
    });
    let call = wake.clone();
    let scheduler = Scheduler::new(limits, Box::new(move |caller| call(caller)), Box::new(metrics.clone()));
    metrics.queue(Some(scheduler.clone()));
    let (events, event_writer) =
        Events::new(client.clone(), instance, leadership.clone(), clock.clone(), metrics.clone());
    let ((index, woken), (contexts, writer)) = (Index::new(), reflector::store::<StoredContext>());
    let (workloads, workloads_called) = workloads.then(mpsc::unbounded).unzip();
    let context = Arc::new(Context {
        client: client.clone(),
        contexts: contexts.clone(),
        index: index.clone(),
        context_selector: scope.contexts.clone(),
        credential_selector: (!scope.credentials.selects_all()).then(|| scope.credentials.to_string()),
        tokens: TokenCache::new(
            transport.clone(),
            scheduler.clone(),
            wake,
            clock.clone(),
            jitter.clone(),
            Box::new(metrics.clone()),
        ),
        allowed_hosts,
        leadership,
        memories: Memories::default(),
        events,
        workloads,
        health: health.clone(),
        clock: clock.clone(),
        jitter,
        metrics: metrics.clone(),
    });
    let (store, unanswered) = ((contexts.clone(), writer), TaskTracker::new());
    // No debounce: kube's restarts with each event, so a Secret that changes all the time would delay its context forever.
    // More than may be in flight at tenants: kube's queue has no order, so the scheduler decides the order instead.
    let width = limits.concurrency.saturating_add(SPARE_RUNS);
    let changed = oauth_clients.then(|| wakers.contexts.clone());
    let watched = watch::contexts(&client, &scope, store, &context, &index, &unanswered, changed);
    let secrets = watch::secrets(&client, &scope, &index, woken, &metrics);
    // Objects of the other kind go to their own loop.
    let secrets = secrets.filter_map(move |name| {
        let of_context = (name.kind == Kind::Context).then(|| ObjectRef::new(&name.name).within(&name.namespace));
        if of_context.is_none() {
            wakers.wake(ContextName::clone(&name));
        }
        std::future::ready(of_context)
    });
    let others = async {
        if oauth_clients {
            let (base, stop) = (context.clone(), stop.clone());
            oauth_clients::control(base, transport, &scope, clients_called, width, &unanswered, stop).await;
        }
    };
    let runs = Controller::for_stream(watched, contexts.clone())
        .reconcile_on(secrets)
        .reconcile_on(called)
        .reconcile_on(heartbeat(health.clone()))
        .reconcile_all_on(clock_jumps(clock))
        .with_config(controller::Config::default().concurrency(width))
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(reconcile, error_policy, context.clone())
        .for_each(|result| async move {
            // The error policy has logged failures; an object that is gone needs no log line.
            if let Ok((object, action)) = result {
                tracing::trace!(%object, ?action, "run ended");
            }
        });
    let ready = async {
        unanswered.close();
        unanswered.wait().await;
        if contexts.wait_until_ready().await.is_ok() {
            health.set_ready();
        }
    };
    let work = async {
        tokio::join!(runs, others, workloads::control(context.clone(), workloads_called, &stop), ready);
    };
    tokio::select! {
        () = work => {}
        () = scheduler.run() => {}
        ((), ()) = async { tokio::join!(event_writer.run(), std::future::pending::<()>()) } => {}
    }
}

/// The objects that the scheduler and the Secrets wake, by kind.
#[derive(Clone)]
struct Wakers {
    called: UnboundedSender<ObjectRef<StoredContext>>,
    oauth_clients: UnboundedSender<ContextName>,
    contexts: UnboundedSender<ContextName>,
}

impl Wakers {
    fn wake(&self, name: ContextName) {
        // After the loop has ended, the receiver is gone.
        let _ = match name.kind {
            Kind::Context => {
                let called = ObjectRef::new(&name.name).within(&name.namespace);
                self.called.unbounded_send(called).is_ok()
            }
            Kind::OAuthClient => self.oauth_clients.unbounded_send(name).is_ok(),
        };
    }
}

fn wakers() -> (Wakers, UnboundedReceiver<ObjectRef<StoredContext>>, Wakes) {
    let (called, of_contexts) = mpsc::unbounded();
    let (oauth_clients, of_oauth_clients) = mpsc::unbounded();
    let (contexts, changed) = mpsc::unbounded();
    let clients_called = Wakes { called: of_oauth_clients, contexts: changed };
    (Wakers { called, oauth_clients, contexts }, of_contexts, clients_called)
}

/// Marks the loop as alive whenever it is polled, and wakes nobody.
fn heartbeat(health: Arc<Health>) -> impl Stream<Item = ObjectRef<StoredContext>> {
    beats().filter_map(move |()| {
        health.beat(Task::Loop);
        std::future::ready(None)
    })
}

/// Wakes every object when the wall clock jumps ahead of the monotonic one, by which all waits are measured.
fn clock_jumps(clock: Clock) -> impl Stream<Item = ()> {
    let mut last = clock.sample();
    beats().filter(move |()| {
        let jumped = clock.jumped_since(last) > JUMP;
        last = clock.sample();
        std::future::ready(jumped)
    })
}

fn beats() -> impl Stream<Item = ()> {
    futures::stream::unfold(interval(HEARTBEAT), |mut interval| async {
        interval.tick().await;
        Some(((), interval))
    })
}
