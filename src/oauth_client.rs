//! One run for one `QlikOAuthClient`: observe, decide, act, decide again; at the end the status. Begin reading here.
//!
//! Whenever a run is interrupted, there are never two clients for one object, no credential whose value is lost stays in the
//! tenant, and no Secret holds an unproven credential. Each run reads everything again, from the cluster and from the tenant,
//! and so finds the progress of an earlier run. A run ends within two minutes; every path sets the time of the next one, or
//! leaves that to the scheduler.

mod act;
pub mod admin;
mod contested;
pub mod decide;
pub mod desired;
pub mod facts;
mod finalizer;
pub mod findings;
pub mod mark;
pub mod memory;
mod observe;
mod prove;
mod publish;
pub mod status;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};
use tokio::time::Instant;
use tracing::Instrument as _;

use self::act::{Done, Run};
use self::decide::decide;
use self::facts::{Facts, Next, Outcome, Step};
use self::memory::{Memories, Memory};
use self::observe::{Observed, observe};
use self::status::{count, invalid, status, troubled};
use self::turn::Turn;
use crate::api::ConditionType::{ClientSynced, Ready};
use crate::api::condition::{Class, Notice};
use crate::api::{
    Kind, QlikOAuthClient, QlikOAuthClientSpec, QlikOAuthClientStatus, ROTATE_REQUESTED_ANNOTATION, Reason,
};
use crate::clock::Timestamp;
use crate::desired::is_refresh_request;
use crate::error::{Error, Failure};
use crate::metrics::Reconciled;
use crate::oauth::lifetime::until;
use crate::oauth::transport::Transport;
use crate::reconcile::context;
use crate::reconcile::events::{EventDraft, transition};
use crate::retry;
use crate::scheduler::Caller;
use crate::spans;
use crate::status_write::{PatchKind, StatusWrite, write_status};
use crate::values::Serving;

const DEADLINE: Duration = Duration::from_mins(2);
/// Steps of one run; the longest, a creation by key with everything to repair, takes fifteen.
const STEPS: usize = 40;
/// A failure of the Kubernetes API is reported when it came so many times in a row.
const REPORTED_AFTER: u32 = 2;
/// When the next run is due if the inputs changed during this one.
const SOON: Duration = Duration::from_millis(200);

/// An object as received: a `QlikOAuthClient`, or data that cannot be read as one.
pub type StoredClient = DeserializeGuard<QlikOAuthClient>;

/// The result of writing a status.
type Written = StatusWrite<Option<StoredClient>>;

/// The state that all runs share.
pub struct Context {
    /// The state shared with the runs for contexts.
    pub base: Arc<context::Context>,
    /// The transport to tenants.
    pub transport: Arc<dyn Transport>,
    /// The objects, as the watch shows them.
    pub objects: Store<StoredClient>,
    /// The memory of each object.
    pub memories: Memories,
}

/// How a run ended, and when the next is due; `None`: the scheduler wakes the object.
type Ended = (Reconciled, Option<Duration>);

impl Context {
    /// Nothing is remembered yet.
    pub fn new(base: Arc<context::Context>, transport: Arc<dyn Transport>, objects: Store<StoredClient>) -> Self {
        Self { base, transport, objects, memories: Memories::default() }
    }

    /// The Kubernetes API failed in a run for this object; how many failures in a row that makes.
    pub fn count_failure(&self, uid: &str) -> u32 {
        self.base.health.kubernetes_failed();
        let count = |memory: &mut Memory| {
            memory.failures = memory.failures.saturating_add(1);
            memory.failures
        };
        self.memories.with(uid, count).unwrap_or(1)
    }

    /// Hands over an event, unless it was already reported.
    pub fn emit(&self, object: &QlikOAuthClient, draft: EventDraft) {
        let uid = object.metadata.uid.as_deref().unwrap_or_default();
        if self.memories.with(uid, |memory| draft.is_news(&mut memory.noted)) == Some(true) {
            self.base.events.send(object.object_ref(&()), draft);
        }
    }

    /// An object is gone: removes everything that is remembered of it.
    pub fn gone(&self, uid: &str) {
        let Some(memory) = self.memories.forget(uid) else { return };
        let now = Instant::now();
        self.base.metrics.forget_oauth_client(&memory.caller.namespace, &memory.caller.name);
        self.base.tokens.scheduler.leave(uid, now);
        if let Some(host) = memory.host {
            self.base.tokens.scheduler.forget(&host, crate::oauth::request::RequestKey::of_object(uid), now);
        }
    }
}

/// One run, with its deadline.
pub async fn reconcile(object: Arc<StoredClient>, cx: Arc<Context>) -> Result<Action, Error> {
    let caller = cx.memories.begin(&object);
    let begun = Instant::now();
    let run = async {
        match &object.0 {
            Ok(_) => run(&cx, &caller).await,
            Err(problem) => report_unreadable(&cx, &caller, &object, &problem.error).await,
        }
    };
    let span = spans::reconcile(Kind::OAuthClient, &caller.namespace, &caller.name);
    let run = tokio::time::timeout(DEADLINE, run).instrument(span.clone());
    let result = run.await.unwrap_or(Err(Error::Deadline(DEADLINE)));
    if let Err(error) = &result {
        trouble(&cx, &caller, &object, error).instrument(span.clone()).await;
    }
    let outcome = result.as_ref().map_or(Reconciled::Error, |(outcome, _)| *outcome);
    cx.base.metrics.oauth_client_reconciled(outcome, begun.elapsed());
    spans::ended(&span, outcome.into(), result.is_err());
    result.map(|(_, again)| again.map_or_else(Action::await_change, Action::requeue))
}

/// The data's path.
async fn run(cx: &Context, caller: &Caller) -> Result<Ended, Error> {
    let mut facts = match observe(cx, caller).await? {
        Observed::Gone => {
            cx.gone(&caller.uid);
            return Ok((Reconciled::Unchanged, None));
        }
        Observed::Invalid(object, failure) => return refuse(cx, &object, &failure, PatchKind::Apply).await,
        Observed::Facts(facts) => *facts,
    };
    ignored_request(cx, &facts);
    let failed = facts.object.status.as_ref().is_some_and(|status| status.failure.is_some());
    let turn = Turn::new(caller, facts.secret.held().is_some(), failed, facts.expects_change());
    let mut run = Run { cx, caller, turn };
    for _ in 0..STEPS {
        facts.now = facts.now.max(cx.base.clock.now());
        match decide(&facts, &cx.base.allowed_hosts) {
            Step::Rest { outcome, next } => {
                if !next.parked {
                    cx.base.tokens.scheduler.leave(&caller.uid, Instant::now());
                }
                drop(run);
                return rest(cx, &facts, &outcome, next).await;
            }
            step => match run.act(&mut facts, step).await? {
                Done::Next => {}
                Done::Stale => {
                    let brake = cx.memories.with(&caller.uid, |memory| memory.secret_repairs.wait()).flatten();
                    return Ok((Reconciled::Waiting, Some(brake.unwrap_or_default().max(SOON))));
                }
            },
        }
    }
    Ok((Reconciled::Waiting, Some(Duration::from_secs(1))))
}

/// The result of a run for its object, and when the next run is due.
async fn rest(cx: &Context, facts: &Facts, outcome: &Outcome, next: Next) -> Result<Ended, Error> {
    let (now, uid) = (facts.now, facts.object.metadata.uid.as_deref().unwrap_or_default());
    let failing = cx.memories.with(uid, |memory| {
        memory.failing = match outcome {
            Outcome::Failing(_) => memory.failing.saturating_add(1),
            Outcome::Unchanged => memory.failing,
            Outcome::Ready | Outcome::Suspended => 0,
        };
        memory.failing
    });
    let retry = next.retry.map(|class| wait(facts, outcome, class, failing.unwrap_or(1), cx.base.jitter.draw()));
    let attempt = retry.map(|wait| now.saturating_add(wait).unwrap_or(Timestamp::MAX));
    let due = next.due.map(|at| until(at, now).max(Duration::from_secs(1)));
    let again = [due, retry].into_iter().flatten().min();
    let ended = match outcome {
        Outcome::Unchanged => {
            return Ok((if next.parked { Reconciled::Waiting } else { Reconciled::Unchanged }, again));
        }
        Outcome::Ready => Reconciled::Ready,
        Outcome::Failing(_) | Outcome::Suspended => Reconciled::NotReady,
    };
    // Whole seconds, as Kubernetes writes them.
    let attempt = attempt.map(|at| Timestamp::from_second(at.as_second()).unwrap_or(at));
    let status = status(facts, outcome, attempt);
    let written = write(cx, &facts.object, &status, PatchKind::Apply).await;
    record(cx, &facts.object, &status, *outcome == Outcome::Suspended, facts.rotation_time(), written.as_ref().ok());
    match written? {
        StatusWrite::Done(_) => {
            if !facts.so_far.refused {
                cx.base.health.kubernetes_answered();
                cx.memories.with(uid, |memory| memory.failures = 0);
            }
            Ok((ended, again))
        }
        StatusWrite::Gone => Ok((ended, None)),
        StatusWrite::Conflict => Ok((Reconciled::Waiting, Some(SOON))),
    }
}

/// The wait before the next attempt.
fn wait(facts: &Facts, outcome: &Outcome, class: Class, failing: u32, jitter: f64) -> Duration {
    let failures = facts.object.status.as_ref().map_or(0, count);
    let failures = u32::try_from(failures).unwrap_or_default().saturating_add(1).max(failing);
    let pause = match outcome {
        Outcome::Failing(failure) => failure.retry_after,
        _ => None,
    };
    retry::delay(class, failures, pause, Serving::Nothing, jitter)
}

/// The spec was read but is not valid.
async fn refuse(cx: &Context, object: &QlikOAuthClient, failure: &Failure, kind: PatchKind) -> Result<Ended, Error> {
    if object.metadata.deletion_timestamp.is_some() {
        return finalizer::release(cx, object).await;
    }
    let status = invalid(object, failure, cx.base.clock.now());
    let written = write(cx, object, &status, kind).await;
    record(cx, object, &status, false, None, written.as_ref().ok());
    written?;
    Ok((Reconciled::NotReady, Some(retry::delay(Class::User, 1, None, Serving::Nothing, cx.base.jitter.draw()))))
}

/// The Kubernetes API failed: counted, and reported when it persists.
async fn trouble(cx: &Context, caller: &Caller, object: &StoredClient, error: &Error) {
    if matches!(error, Error::NotLeader) || cx.count_failure(&caller.uid) < REPORTED_AFTER {
        return;
    }
    // What the watch shows by now may be newer than what the run began with.
    let stored = cx.objects.get(&ObjectRef::from_obj(object));
    let stored = stored.as_deref().filter(|stored| stored.meta().uid == object.meta().uid).unwrap_or(object);
    let (Some(failure), Ok(object)) = (error.finding(ClientSynced), &stored.0) else { return };
    if object.spec.suspend == Some(true) {
        return;
    }
    let status = troubled(object, &failure, cx.base.clock.now());
    let written = write(cx, object, &status, PatchKind::Apply).await;
    let rotation = status.rotation_time.as_ref().map(|time| time.0);
    record(cx, object, &status, false, rotation, written.as_ref().ok());
}

/// The object was stored under an older schema and cannot even be read; its metadata can.
async fn report_unreadable(
    cx: &Context,
    caller: &Caller,
    object: &StoredClient,
    problem: &str,
) -> Result<Ended, Error> {
    let message = format!(
        "The QlikOAuthClient cannot be read: {problem}. It was stored under an older schema; correct it and apply it again."
    );
    let failure = Failure::new(Ready, Reason::SpecInvalid, message);
    let kind = ApiResource::erase::<QlikOAuthClient>(&());
    let objects: Api<DynamicObject> = Api::namespaced_with(cx.base.client.clone(), &caller.namespace, &kind);
    let stored = objects.get_opt(&caller.name).await.map_err(Error::kubernetes("reading the QlikOAuthClient"))?;
    let status = stored.and_then(|mut stored| serde_json::from_value(stored.data["status"].take()).ok());
    let metadata = object.meta().clone();
    let stand_in = QlikOAuthClient { metadata, spec: QlikOAuthClientSpec::default(), status };
    refuse(cx, &stand_in, &failure, PatchKind::Merge).await
}

/// Writes the status, unless the object already has it.
async fn write(
    cx: &Context,
    object: &QlikOAuthClient,
    status: &QlikOAuthClientStatus,
    kind: PatchKind,
) -> Result<Written, Error> {
    write_status(&cx.base.client, &cx.base.leadership, object, status, kind).await
}

/// Reports what changed: log, events and metrics.
fn record(
    cx: &Context,
    object: &QlikOAuthClient,
    status: &QlikOAuthClientStatus,
    suspended: bool,
    rotation: Option<Timestamp>,
    written: Option<&Written>,
) {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let find = |status: &QlikOAuthClientStatus| {
        let ready = status.conditions.iter().find(|condition| condition.type_ == Ready.to_string());
        ready.map(|ready| (ready.status == "True", ready.reason.clone(), ready.message.clone()))
    };
    let Some((ready, reason, message)) = find(status) else { return };
    if suspended {
        // A suspended object raises no alert.
        cx.base.metrics.forget_oauth_client(&namespace, &name);
    } else {
        cx.base.metrics.oauth_client(&namespace, &name, ready, rotation);
    }
    if !matches!(written, Some(StatusWrite::Done(_))) {
        return;
    }
    let before = object.status.as_ref().map(|status| &status.conditions[..]).unwrap_or_default();
    let Some(draft) = transition(before, &status.conditions) else {
        tracing::debug!(%namespace, %name, %reason, "unchanged");
        return;
    };
    if ready && reason != Reason::SyncFailing.to_string() {
        tracing::info!(%namespace, %name, %reason, "{message}");
    } else {
        tracing::warn!(%namespace, %name, %reason, "{message}");
    }
    cx.base.events.send(object.object_ref(&()), draft);
}

/// A rotate request that cannot be echoed.
fn ignored_request(cx: &Context, facts: &Facts) {
    let value = facts.object.annotations().get(ROTATE_REQUESTED_ANNOTATION);
    if value.is_some_and(|value| !is_refresh_request(value)) {
        let note = format!(
            "The annotation {ROTATE_REQUESTED_ANNOTATION} of this QlikOAuthClient is ignored: it is not 1 to 64 printable \
             characters. Set it to a time, such as the output of date +%s."
        );
        cx.emit(&facts.object, EventDraft::once(true, Notice::RotateRequestIgnored, note));
    }
}

/// Retries with back-off.
#[allow(clippy::needless_pass_by_value, reason = "the signature that kube calls")]
pub fn error_policy(object: Arc<StoredClient>, error: &Error, cx: Arc<Context>) -> Action {
    let caller = memory::caller(&object);
    let (namespace, name) = (&caller.namespace, &caller.name);
    tracing::warn!(%namespace, %name, %error, "reconcile of a QlikOAuthClient failed, will retry");
    let count = cx.memories.with(&caller.uid, |memory| memory.failures).unwrap_or(1);
    Action::requeue(retry::delay(Class::Cluster, count, None, Serving::Nothing, cx.base.jitter.draw()))
}
