//! One run for one context: observe, decide, act, status. The first file to open.
//!
//! Promises: a run ends within a minute; every path says when to look again; a failure of one context becomes its own
//! condition and nobody else's trouble.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::act::{Done, act};
use crate::api::ConditionType::Ready;
use crate::api::condition::Class;
use crate::api::{FIELD_MANAGER, QlikContext, QlikContextSpec, QlikContextStatus, Reason};
use crate::context::{Context, Guarded};
use crate::decide::decide;
use crate::desired::Desired;
use crate::error::{Error, Failure};
use crate::events::news;
use crate::gone::uid;
use crate::metrics::Reconciled;
use crate::observe::{Seen, observe};
use crate::retry;
use crate::status::{invalid, next_run, status};

const DEADLINE: Duration = Duration::from_mins(1);
const STATUS_TIMEOUT: Duration = Duration::from_secs(4);

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
    let outcome = match publish(context, &status, Way::Apply, cx).await? {
        Written::Done => tell(context, Some(&seen), &status, &done, cx).await,
        Written::Gone => Reconciled::Ready,
    };
    Ok((outcome, next_run(&done, now, cx.jitter.draw())))
}

/// Whether a status stands now.
enum Written {
    Done,
    /// There is nothing to have one.
    Gone,
}

/// How a status is written.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Way {
    /// Server-side apply: what is not said any more goes, if it was applied.
    Apply,
    /// A merge patch: the server cannot apply over an object of which it cannot make sense.
    Merge,
}

/// Writes the status, unless it is what stands there already.
async fn publish(context: &QlikContext, status: &QlikContextStatus, way: Way, cx: &Context) -> Result<Written, Error> {
    if context.metadata.deletion_timestamp.is_some() {
        cx.gone(context.metadata.uid.as_deref().unwrap_or_default());
        return Ok(Written::Gone);
    }
    if context.status.as_ref() == Some(status) {
        return Ok(Written::Done);
    }
    cx.leadership.check()?;
    let namespace = context.namespace().unwrap_or_default();
    let contexts: Api<Guarded> = Api::namespaced(cx.client.clone(), &namespace);
    let write = async {
        let mut written = write(&contexts, context, status, way).await?;
        // An apply leaves what was merged in once.
        if let (Way::Apply, Ok(stored)) = (way, &written.0)
            && stored.status.as_ref() != Some(status)
        {
            written = self::write(&contexts, stored, status, Way::Merge).await?;
        }
        Ok(written)
    };
    match tokio::time::timeout(STATUS_TIMEOUT, write).await.map_err(|_| Error::Deadline(STATUS_TIMEOUT))? {
        Ok(written) => {
            cx.unless_gone(context.metadata.uid.as_deref().unwrap_or_default(), || {
                cx.latest.note(context, status, written.meta().resource_version.clone());
            });
            Ok(Written::Done)
        }
        Err(kube::Error::Api(status)) if status.is_not_found() => {
            cx.gone(context.metadata.uid.as_deref().unwrap_or_default());
            Ok(Written::Gone)
        }
        Err(kube::Error::Api(status)) if status.is_conflict() => {
            cx.latest.forget(context.metadata.uid.as_deref().unwrap_or_default());
            Err(Error::Changed("the QlikContext"))
        }
        Err(error) => Err(Error::kubernetes("writing the status")(error)),
    }
}

async fn write(
    contexts: &Api<Guarded>,
    context: &QlikContext,
    status: &QlikContextStatus,
    way: Way,
) -> kube::Result<Guarded> {
    let patch = |status| {
        json!({
            "apiVersion": QlikContext::api_version(&()),
            "kind": QlikContext::kind(&()),
            // Only over what was judged: neither after an edit nor on another context of the same name. (The uid would not
            // do: a write to the status takes it from what is stored.)
            "metadata": { "resourceVersion": context.metadata.resource_version },
            "status": status,
        })
    };
    // Forced: the status is ours alone.
    let params = PatchParams::apply(FIELD_MANAGER);
    let (params, patch) = match way {
        Way::Apply => (params.force(), Patch::Apply(patch(json!(status)))),
        Way::Merge => (params, Patch::Merge(patch(changes(&json!(context.status), json!(status))))),
    };
    contexts.patch_status(&context.name_any(), &params, &patch).await
}

/// The merge patch that makes one value the other.
fn changes(before: &Value, after: Value) -> Value {
    match (before, after) {
        (Value::Object(before), Value::Object(mut after)) => {
            for (name, old) in before {
                let new = after.remove(name).map_or(Value::Null, |new| changes(old, new));
                after.insert(name.clone(), new);
            }
            Value::Object(after)
        }
        (_, after) => after,
    }
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
    let outcome = match publish(context, &status, way, cx).await? {
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
