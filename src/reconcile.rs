//! One run for one context: decide, execute the step, decide again; at the end the status. The first file to open.
//!
//! A run ends within two minutes. Every path sets the time of the next run, or leaves that to the scheduler. A failure of one
//! context becomes a condition of that context and affects no other. Failures of the Kubernetes API that last are reported in
//! the status as well.

pub mod context;
pub mod decide;
pub mod events;
pub mod memory;
pub mod observe;
pub mod publish;
mod record;
pub mod repairs;
pub mod status;
pub mod write_status;

use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, ApiResource, DynamicObject, PartialObjectMeta};
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use tokio::time::Instant;
use tracing::Instrument as _;

use self::context::{Context, StoredContext};
use self::decide::decide;
use self::events::EventDraft;
use self::memory::{caller, uid};
use self::observe::{observe, recall};
use self::publish::{ReadAt, Written, publish};
use self::record::{record, remember, request_round};
use self::status::{invalid, next_run, status};
use self::write_status::write_status;
use crate::api::ConditionType::{CredentialsAvailable, Ready};
use crate::api::condition::Class;
use crate::api::{Kind, QlikContext, QlikContextSpec, Reason};
use crate::desired::Desired;
use crate::error::{Error, Failure};
use crate::metrics::Reconciled;
use crate::oauth::identity::Subject;
use crate::retry;
use crate::scheduler::{Caller, Permit, Request, RequestKind, Urgency, Wait};
use crate::secret::derived::Target;
use crate::spans;
use crate::status_write::{PatchKind, StatusWrite};
use crate::tokens::{Flight, JOINED, Planned};
use crate::values::{
    Call, CallKind, Facts, Holds, Next, Outcome, Priority, Problem, Secrets, Serving, Step, TokenSnapshot, Wanted,
};

const DEADLINE: Duration = Duration::from_mins(2);
/// Maximum number of decisions in one run; if the facts change more often than that, the next run decides.
const TURNS: usize = 12;
/// A failure of the Kubernetes API is reported in the status after so many in a row.
const REPORTED_AFTER: u32 = 2;

/// How a run ended, and when the next is due; `None`: the scheduler wakes the context.
type Ended = (Reconciled, Option<Duration>);

/// One run, with its deadline.
pub async fn reconcile(object: Arc<StoredContext>, cx: Arc<Context>) -> Result<Action, Error> {
    let begun = Instant::now();
    if cx.memories.is_deleted(uid(&object)) {
        let read = tokio::time::timeout(DEADLINE, exists(&cx, &object)).await;
        if !read.unwrap_or(Err(Error::Deadline(DEADLINE)))? {
            return Ok(Action::await_change());
        }
        cx.memories.forget(uid(&object));
    }
    let caller = cx.memories.begin(&object);
    let run = async {
        match &object.0 {
            Ok(context) => run(&cx, &caller, &cx.memories.catch_up(context)).await,
            Err(problem) => report_unreadable(&cx, &caller, &object, &problem.error).await,
        }
    };
    let span = spans::reconcile(Kind::Context, &caller.namespace, &caller.name);
    let run = tokio::time::timeout(DEADLINE, run).instrument(span.clone());
    let result = run.await.unwrap_or(Err(Error::Deadline(DEADLINE)));
    if let (Err(error), Ok(context)) = (&result, &object.0) {
        trouble(&cx, &caller, context, error).instrument(span.clone()).await;
    }
    let outcome = result.as_ref().map_or(Reconciled::Error, |(outcome, _)| *outcome);
    cx.metrics.reconciled(outcome, begun.elapsed());
    spans::ended(&span, outcome.into(), result.is_err());
    result.map(|(_, again)| again.map_or_else(Action::await_change, Action::requeue))
}

/// Reads whether a context exists. While its watch is interrupted, its deleted token Secret would be written again and again.
async fn exists(cx: &Context, object: &StoredContext) -> Result<bool, Error> {
    let contexts: Api<PartialObjectMeta<QlikContext>> =
        Api::namespaced(cx.client.clone(), &object.namespace().unwrap_or_default());
    let stored = contexts.get_metadata_opt(&object.name_any()).await;
    let stored = stored.map_err(Error::kubernetes("reading the QlikContext"))?;
    Ok(stored.is_some_and(|stored| stored.metadata.uid == object.meta().uid))
}

/// The data's path.
async fn run(cx: &Context, caller: &Caller, context: &QlikContext) -> Result<Ended, Error> {
    let desired = match Desired::parse(context) {
        Ok(desired) => desired,
        Err(failure) => return refuse(cx, context, &failure, PatchKind::Apply).await,
    };
    let mut facts = recall(cx, caller, context, desired);
    let mut state = RunState { read_at: ReadAt::now(cx, caller, &facts.desired), permit: None };
    for _ in 0..TURNS {
        match plan(cx, caller, &mut facts) {
            Planned::Joined => facts.so_far.wait = Some(JOINED),
            Planned::Flight(Step::Call(call), flight) => {
                cx.leadership.check()?;
                ask(cx, &mut facts, &mut state, &call, flight, caller).await;
            }
            Planned::Step(Step::Read { priority, working, wanted }) => {
                let request = request(caller, &facts, priority, working);
                match state.enter(cx, &request, wanted, facts.so_far.wait.is_some()) {
                    Ok(()) => {
                        state.read_at = ReadAt::now(cx, caller, &facts.desired);
                        observe(cx, caller, &mut facts).await?;
                    }
                    Err(wait) => facts.so_far.wait = Some(wait),
                }
            }
            Planned::Step(Step::Publish { secret, token, repair, .. }) => {
                state.permit = None;
                match publish(cx, caller, &facts, state.read_at, *secret, &token).await? {
                    Written::Done(_) => {
                        if repair {
                            repaired(cx, caller, &facts);
                        }
                        facts.so_far.wrote = true;
                        observe::written(cx, caller, &mut facts);
                    }
                    Written::Stale => {
                        if repair {
                            repaired(cx, caller, &facts);
                        }
                        facts.secrets = Secrets::Unread;
                    }
                    Written::Refused(failure) => {
                        facts.so_far.failures = cx.count_failure(caller);
                        facts.so_far.refused = Some(failure);
                    }
                }
            }
            Planned::Step(Step::Rest { outcome, next, settled }) => {
                drop(state);
                remember(cx, caller, &facts, &outcome, &next, settled);
                return rest(cx, caller, &facts, &outcome, next).await;
            }
            Planned::Step(Step::Call(_)) | Planned::Flight(..) => break,
        }
    }
    Ok((Reconciled::Waiting, Some(Duration::from_secs(1))))
}

/// The state of a run.
struct RunState {
    read_at: ReadAt,
    permit: Option<Permit>,
}

impl RunState {
    /// Gets a slot, unless the run has one; a step without requests to a tenant needs none.
    fn enter(&mut self, cx: &Context, request: &Request<'_>, wanted: Option<Wanted>, anyway: bool) -> Result<(), Wait> {
        if self.permit.is_none() && !anyway {
            self.permit = Some(cx.tokens.scheduler.enter(
                request,
                wanted.map(|wanted| (wanted.key, wanted.kind)),
                Instant::now(),
            )?);
        }
        Ok(())
    }
}

/// Decides on one snapshot of the state of the token request.
fn plan(cx: &Context, caller: &Caller, facts: &mut Facts<'_>) -> Planned<Step> {
    let key = match &facts.secrets {
        Secrets::Unread => facts.wanted.map(|wanted| wanted.key),
        Secrets::Unchanged(settled) => Some(settled.key),
        Secrets::Read(read) => read.key,
    };
    let remembered = cx.memories.with(&caller.uid, |memory| {
        (memory.published, facts.refresh.as_deref().and_then(|request| memory.refresh_seen(request)))
    });
    let (held_last, refresh_seen) = remembered.unwrap_or_default();
    let mut now = cx.clock.now();
    facts.now = now;
    let requester = facts.requester(caller, held_last, refresh_seen);
    let asks = |step: &Step| matches!(step, Step::Call(_));
    let planned = key.and_then(|key| {
        let decide = |tokens: &TokenSnapshot| {
            now = now.max(tokens.now);
            decide(facts, Some(tokens), &cx.allowed_hosts)
        };
        cx.tokens.plan(key, &requester, decide, asks)
    });
    let planned = planned.unwrap_or_else(|| Planned::Step(decide(facts, None, &cx.allowed_hosts)));
    // A wall clock that was set back delays nothing.
    facts.now = now;
    planned
}

fn request<'a>(caller: &'a Caller, facts: &'a Facts<'_>, priority: Priority, working: bool) -> Request<'a> {
    let urgency = match priority {
        Priority::Due(left) => Urgency::Due { ends: Instant::now() + left },
        Priority::New => Urgency::New,
        Priority::Routine => Urgency::Routine,
        Priority::Failed => Urgency::Failed,
    };
    Request { caller, host: &facts.host, urgency, working }
}

/// Calls the tenant, if it is this context's turn.
async fn ask(cx: &Context, facts: &mut Facts<'_>, state: &mut RunState, call: &Call, flight: Flight, caller: &Caller) {
    let (key, subject) = match &facts.secrets {
        Secrets::Read(read) => match (&read.credential, read.key) {
            (Ok(credential), Some(key)) => (key, Subject::Request(&credential.request)),
            _ => return,
        },
        Secrets::Unchanged(settled) => (settled.key, Subject::Token(&facts.desired.tenant)),
        Secrets::Unread => return,
    };
    let api_key = matches!(subject, Subject::Request(request) if request.is_api_key());
    let kind = call.request_kind(api_key);
    let wanted = Wanted { key, kind, priority: call.priority, working: call.working };
    facts.so_far.asked = Some(wanted);
    let request = request(caller, facts, call.priority, call.working);
    let turn = match &state.permit {
        Some(_) => Ok(()),
        None => state.enter(cx, &request, Some(wanted), false),
    };
    let turn = turn.and_then(|()| match &state.permit {
        Some(permit) => permit.request(key, kind, request.urgency, call.working, Instant::now()),
        None => Ok(()),
    });
    let issues = matches!(call.kind, CallKind::Issue { .. });
    let wait = match (turn, &state.permit) {
        (Err(wait), _) => Some(wait),
        (Ok(()), None) => None,
        (Ok(()), Some(permit)) => {
            let failed_before = facts.context.status.as_ref().is_some_and(|status| status.failure.is_some());
            let paused = cx.tokens.call(key, flight, call, subject, permit, failed_before).await;
            // The host requested a pause while the token was issued: its verification waits in the queue like any other.
            let check = || permit.request(key, RequestKind::Check, request.urgency, call.working, Instant::now());
            paused.and_then(|_| check().err())
        }
    };
    if wait.is_some() {
        state.permit = None;
    }
    facts.so_far.issued |= issues && wait.is_none();
    facts.so_far.wait = wait;
}

/// Reports the other writers of the Secret, when a repair did not last.
fn repaired(cx: &Context, caller: &Caller, facts: &Facts<'_>) {
    let contested = cx.memories.with(&caller.uid, |memory| memory.repairs.made()).unwrap_or_default();
    let Secrets::Read(read) = &facts.secrets else { return };
    if let (Target::Ours(stored), true) = (&read.target, contested) {
        let fix = "Stop the other program from writing to this Secret, or use another spec.target.name";
        let draft = EventDraft::contested(&facts.desired.target_name, &stored.other_managers(), fix);
        cx.events.emit(&cx.memories, facts.context, vec![draft]);
    }
}

/// The result of a run for its context, and when the next run is due.
async fn rest(cx: &Context, caller: &Caller, facts: &Facts<'_>, outcome: &Outcome, next: Next) -> Result<Ended, Error> {
    let now = facts.now.max(cx.clock.now());
    let again = next_run(outcome, &next, now, cx.jitter.draw());
    if *outcome == Outcome::Unchanged {
        return Ok((if next.parked { Reconciled::Waiting } else { Reconciled::Unchanged }, again));
    }
    let credential = match &facts.secrets {
        Secrets::Read(read) => read.credential.as_ref().map(|_| ()),
        _ => Ok(()),
    };
    let status =
        status(facts.context, &facts.desired, credential, outcome, facts.handled.clone(), cx.workloads.is_some(), now);
    let written = write_status(cx, facts.context, &status, PatchKind::Apply).await;
    let ended = record(cx, facts.context, Some(facts), &status, outcome, matches!(written, Ok(StatusWrite::Done(()))));
    let unwritten = (!matches!(written, Ok(StatusWrite::Done(())))).then(|| Box::new(status));
    cx.memories.with(&caller.uid, |memory| memory.unwritten = unwritten);
    match written? {
        StatusWrite::Done(()) => {
            if facts.so_far.refused.is_none() {
                cx.succeeded(caller);
            }
            request_round(cx, caller, facts, outcome, now);
            Ok((ended, again))
        }
        StatusWrite::Gone => Ok((Reconciled::Ready, None)),
        StatusWrite::Conflict => Ok((Reconciled::Waiting, Some(cx.memories.after_conflict(&caller.uid)))),
    }
}

/// The spec was read but is not valid.
async fn refuse(cx: &Context, context: &QlikContext, failure: &Failure, kind: PatchKind) -> Result<Ended, Error> {
    let status = invalid(context, failure, cx.clock.now());
    let problem = Problem { failure: failure.clone(), backoff: None, verified: false };
    let outcome = Outcome::Failing { holds: Holds::reported(context.status.as_ref()), problem };
    let written = write_status(cx, context, &status, kind).await?;
    let ended = record(cx, context, None, &status, &outcome, written == StatusWrite::Done(()));
    let again = retry::delay(failure.reason.class(), 1, None, Serving::Nothing, cx.jitter.draw());
    Ok((ended, (written != StatusWrite::Gone).then_some(again)))
}

/// The object was stored under an older schema and cannot even be read; its metadata can.
async fn report_unreadable(
    cx: &Context,
    caller: &Caller,
    object: &StoredContext,
    problem: &str,
) -> Result<Ended, Error> {
    let message = format!(
        "The QlikContext cannot be read: {problem}. It was stored under an older schema; correct it and apply it again."
    );
    let failure = Failure::new(Ready, Reason::SpecInvalid, message);
    // The status keeps a token that still works.
    let kind = ApiResource::erase::<QlikContext>(&());
    let objects: Api<DynamicObject> = Api::namespaced_with(cx.client.clone(), &caller.namespace, &kind);
    let stored = objects.get_opt(&caller.name).await.map_err(Error::kubernetes("reading the QlikContext"))?;
    let status = stored.and_then(|mut stored| serde_json::from_value(stored.data["status"].take()).ok());
    let stand_in = QlikContext { metadata: object.meta().clone(), spec: QlikContextSpec::default(), status };
    refuse(cx, &cx.memories.catch_up(&stand_in), &failure, PatchKind::Merge).await
}

/// The Kubernetes API failed: counts it, and reports it in the status if it lasts.
async fn trouble(cx: &Context, caller: &Caller, context: &QlikContext, error: &Error) {
    if matches!(error, Error::NotLeader) || cx.count_failure(caller) < REPORTED_AFTER {
        return;
    }
    let context = cx.memories.catch_up(context);
    let (Some(failure), Ok(desired)) = (error.finding(CredentialsAvailable), Desired::parse(&context)) else { return };
    // A status that could not be written is newer than the one that the object has.
    let unwritten = cx.memories.with(&caller.uid, |memory| memory.unwritten.clone()).flatten();
    let newest = unwritten.as_deref().or(context.status.as_ref());
    let observed = newest.and_then(|status| status.observed_generation);
    let handled = newest.and_then(|status| status.last_handled_refresh_request.clone());
    let holds = match Holds::reported(newest) {
        // Whether it fits a newer spec is not known.
        Holds::Fitting(published) if observed != context.metadata.generation => Holds::Other(published),
        holds => holds,
    };
    let credential = failure.clone();
    let problem = Problem { failure, backoff: None, verified: false };
    let outcome = Outcome::Failing { holds, problem };
    let credential = if credential.condition == CredentialsAvailable { Err(&credential) } else { Ok(()) };
    let status = status(&context, &desired, credential, &outcome, handled, cx.workloads.is_some(), cx.clock.now());
    let written = write_status(cx, &context, &status, PatchKind::Apply).await;
    record(cx, &context, None, &status, &outcome, matches!(written, Ok(StatusWrite::Done(()))));
}

/// Retries with back-off.
#[allow(clippy::needless_pass_by_value, reason = "the signature that kube calls")]
pub fn error_policy(object: Arc<StoredContext>, error: &Error, cx: Arc<Context>) -> Action {
    let caller = caller(&object);
    let (namespace, name) = (&caller.namespace, &caller.name);
    tracing::warn!(%namespace, %name, %error, "reconcile failed, will retry");
    let count = cx.memories.with(uid(&object), |memory| memory.failures).unwrap_or(1);
    Action::requeue(retry::delay(Class::Cluster, count, None, Serving::Nothing, cx.jitter.draw()))
}
