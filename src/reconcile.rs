//! One run for one context: observe, decide, act, status. The first file to open.
//!
//! Promises: a run ends within a minute; every path says when to look again; a failure of one context becomes its own
//! condition and nobody else's trouble.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use tokio::time::Instant;

use crate::act::{Done, act};
use crate::api::ConditionType::Ready;
use crate::api::condition::Class;
use crate::api::{QlikContext, QlikContextSpec, QlikContextStatus, Reason};
use crate::context::{Context, Guarded};
use crate::decide::decide;
use crate::desired::Desired;
use crate::error::{Error, Failure};
use crate::events::news;
use crate::gone::uid;
use crate::metrics::Reconciled;
use crate::observe::{Seen, observe};
use crate::report::{Way, Written, report};
use crate::retry;
use crate::status::{invalid, next_run, status};

const DEADLINE: Duration = Duration::from_mins(1);

/// How a run ended, and when the next is due.
type Ended = (Reconciled, Duration);

/// One run, with its deadline.
pub async fn reconcile(object: Arc<Guarded>, cx: Arc<Context>) -> Result<Action, Error> {
    let begun = Instant::now();
    cx.alive(&object);
    let run = async {
        match &object.0 {
            Ok(context) => run(&cx.latest.catch_up(context), &cx).await,
            Err(problem) => report_unreadable(&object, &problem.error, &cx).await,
        }
    };
    let result = tokio::time::timeout(DEADLINE, run).await.unwrap_or(Err(Error::Deadline(DEADLINE)));
    let outcome = match &result {
        Ok((outcome, _)) => *outcome,
        Err(Error::Turn(_)) => Reconciled::Waiting,
        Err(_) => Reconciled::Error,
    };
    cx.metrics.reconciled(outcome, begun.elapsed());
    if result.is_ok() {
        cx.troubles.forget(&uid(&object));
    }
    result.map(|(_, again)| Action::requeue(again))
}

/// The data's path.
async fn run(context: &QlikContext, cx: &Context) -> Result<Ended, Error> {
    let desired = match Desired::parse(context) {
        Ok(desired) => desired,
        Err(failure) => return refuse(context, &failure, Way::Apply, cx).await,
    };
    let seen = observe(&cx.client, &cx.tokens, context, desired, cx.clock.now()).await?;
    let plan = decide(context, &seen, &cx.allowed_hosts);
    let done = act(cx, context, &seen, plan).await?;
    let now = seen.now.max(cx.clock.now());
    let status = status(context, &seen.desired, seen.credential.as_ref().map(|_| ()), &done, now);
    let outcome = match report(context, &status, Way::Apply, cx).await? {
        Written::Done => tell(context, Some(&seen), &status, &done, cx).await,
        Written::Gone => Reconciled::Ready,
    };
    Ok((outcome, next_run(&done, now, cx.jitter.draw())))
}

/// Tells people and machines what changed: metrics, one line in the log, events.
async fn tell(
    context: &QlikContext,
    seen: Option<&Seen>,
    status: &QlikContextStatus,
    done: &Done,
    cx: &Context,
) -> Reconciled {
    let (namespace, name) = (context.namespace().unwrap_or_default(), context.name_any());
    let find = |status: &QlikContextStatus| {
        let ready = status.conditions.iter().find(|condition| condition.type_ == Ready.to_string());
        ready.map(|ready| (ready.status == "True", ready.reason.clone(), ready.message.clone()))
    };
    let (ready, reason, message) = find(status).unwrap_or_default();
    let before = context.status.as_ref().and_then(find).map(|(_, reason, _)| reason);
    let times = done.holding.as_ref().and_then(|held| Some((held.expires_at?, held.renewal_time.or(held.expires_at)?)));
    let suspended = seen.is_some_and(|seen| seen.desired.suspend);
    cx.unless_gone(context.metadata.uid.as_deref().unwrap_or_default(), || {
        // What somebody has suspended alarms nobody.
        if suspended {
            cx.metrics.forget(&namespace, &name, cx.clock.now());
        } else {
            cx.metrics.context(&namespace, &name, ready, times, cx.clock.now());
        }
    });
    match (before.as_ref() == Some(&reason) && done.written.is_none(), ready && done.failure.is_none()) {
        (true, _) => tracing::debug!(%namespace, %name, %reason, "unchanged"),
        (false, true) => tracing::info!(%namespace, %name, %reason, "{message}"),
        (false, false) => tracing::warn!(%namespace, %name, %reason, "{message}"),
    }
    cx.events.tell(context, news(context, seen, status)).await;
    if ready { Reconciled::Ready } else { Reconciled::NotReady }
}

/// The spec was read but says nothing that can be done.
async fn refuse(context: &QlikContext, failure: &Failure, way: Way, cx: &Context) -> Result<Ended, Error> {
    let status = invalid(context, failure, cx.clock.now());
    let done = Done { failure: Some(failure.clone()), ..Done::default() };
    let outcome = match report(context, &status, way, cx).await? {
        Written::Done => tell(context, None, &status, &done, cx).await,
        Written::Gone => Reconciled::Ready,
    };
    Ok((outcome, retry::delay(failure.reason.class(), 1, None, None, cx.jitter.draw())))
}

/// The object was stored under an older schema and cannot even be read; its metadata can.
async fn report_unreadable(object: &Guarded, problem: &str, cx: &Context) -> Result<Ended, Error> {
    let message = format!(
        "The QlikContext cannot be read: {problem}. It was stored under an older schema; correct it and apply it again."
    );
    let failure = Failure::new(Ready, Reason::SpecInvalid, message);
    // What the status says of a token that still works is kept.
    let kind = ApiResource::erase::<QlikContext>(&());
    let objects: Api<DynamicObject> =
        Api::namespaced_with(cx.client.clone(), &object.namespace().unwrap_or_default(), &kind);
    let stored = objects.get_opt(&object.name_any()).await.map_err(Error::kubernetes("reading the QlikContext"))?;
    let status = stored.and_then(|mut stored| serde_json::from_value(stored.data["status"].take()).ok());
    let stand_in = QlikContext { metadata: object.meta().clone(), spec: QlikContextSpec::default(), status };
    refuse(&cx.latest.catch_up(&stand_in), &failure, Way::Merge, cx).await
}

/// Trouble with the Kubernetes API: logged, and tried again, later each time.
#[allow(clippy::needless_pass_by_value, reason = "the signature that kube calls")]
pub fn error_policy(object: Arc<Guarded>, error: &Error, cx: Arc<Context>) -> Action {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    match error {
        Error::Turn(wait) => {
            tracing::debug!(%namespace, %name, %error, "not yet");
            return Action::requeue(*wait);
        }
        Error::Changed(_) => tracing::debug!(%namespace, %name, %error, "judging anew"),
        _ => tracing::warn!(%namespace, %name, %error, "will be tried again"),
    }
    let mut count = 1;
    cx.unless_gone(&uid(&object), || count = cx.troubles.one_more(uid(&object)));
    Action::requeue(retry::delay(Class::Cluster, count, None, None, cx.jitter.draw()))
}
