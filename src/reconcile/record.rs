//! The effects of a run besides the status: metrics, one line in the log, events, and the memory of the context.

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tokio::time::Instant;

use super::events::events_for;
use super::memory::{HeldToken, Versions};
use crate::api::ConditionType::Ready;
use crate::api::{QlikContext, QlikContextStatus, Reason};
use crate::clock::{SignedDuration, Timestamp};
use crate::metrics::Reconciled;
use crate::reconcile::context::Context;
use crate::scheduler::Caller;
use crate::secret::derived::Target;
use crate::values::{Facts, Next, Outcome, Published, Secrets, Settled};

/// Reports what changed: metrics, log and events. `written`: the status was written.
pub(super) fn record(
    cx: &Context,
    context: &QlikContext,
    facts: Option<&Facts<'_>>,
    status: &QlikContextStatus,
    outcome: &Outcome,
    written: bool,
) -> Reconciled {
    let (namespace, name) = (context.namespace().unwrap_or_default(), context.name_any());
    let find = |status: &QlikContextStatus| {
        let ready = status.conditions.iter().find(|condition| condition.type_ == Ready.to_string());
        ready.map(|ready| (ready.status == "True", ready.reason.clone(), ready.message.clone()))
    };
    let (ready, reason, message) = find(status).unwrap_or_default();
    let before = context.status.as_ref().and_then(find).map(|(_, reason, _)| reason);
    let holds = outcome.holds();
    let times = |held: &Published| Some((held.expires_at?, held.renewal_time.or(held.expires_at)?));
    let times = holds.as_ref().and_then(|holds| holds.published()).and_then(times);
    cx.memories.with(context.metadata.uid.as_deref().unwrap_or_default(), |_| {
        if matches!(outcome, Outcome::Suspended(_)) {
            // A suspended context raises no alert.
            cx.metrics.forget(&namespace, &name, cx.clock.now());
        } else {
            cx.metrics.context(&namespace, &name, ready, times, cx.clock.now());
        }
    });
    let reconciled = if ready { Reconciled::Ready } else { Reconciled::NotReady };
    if !written {
        return reconciled;
    }
    let wrote = facts.is_some_and(|facts| facts.so_far.wrote);
    match (before.as_ref() == Some(&reason) && !wrote, ready && outcome.problem().is_none()) {
        (true, _) => tracing::debug!(%namespace, %name, %reason, "unchanged"),
        (false, true) => tracing::info!(%namespace, %name, %reason, "{message}"),
        (false, false) => tracing::warn!(%namespace, %name, %reason, "{message}"),
    }
    cx.events.emit(&cx.memories, context, events_for(context, facts, status));
    reconciled
}

/// Remembers what saves the next run its reads, and the place of a waiting context.
pub(super) fn remember(
    cx: &Context,
    caller: &Caller,
    facts: &Facts<'_>,
    outcome: &Outcome,
    next: &Next,
    settled: Option<Settled>,
) {
    let now = Instant::now();
    let backoff = outcome.problem().and_then(|problem| problem.backoff.as_ref());
    if let Secrets::Read(read) = &facts.secrets {
        let target = match &read.target {
            Target::Ours(stored) => stored.resource_version().cloned(),
            _ => None,
        };
        let credential = read.credential.as_ref().ok().and_then(|credential| credential.resource_version.clone());
        let versions = Versions { context: facts.seen, credential, target };
        let wanted = facts.so_far.asked.or(facts.wanted).filter(|_| backoff.is_some() || next.parked);
        cx.memories.with(&caller.uid, |memory| {
            memory.read = (!facts.so_far.wrote).then(|| (versions.clone(), now));
            memory.settled = settled.map(|settled| (settled, versions));
            memory.wanted = wanted.filter(|wanted| Some(wanted.key) == read.key);
        });
    } else if *outcome != Outcome::Unchanged {
        cx.memories.with(&caller.uid, |memory| memory.settled = None);
    }
    if next.parked {
        return;
    }
    cx.tokens.scheduler.leave(&caller.uid, now);
    let down = |reason| matches!(reason, Reason::TenantUnavailable | Reason::TenantUnreachable);
    let wanted = cx.memories.with(&caller.uid, |memory| memory.wanted).flatten();
    if let (Some(wanted), Some(_)) = (wanted, backoff.filter(|backoff| down(backoff.failure.reason))) {
        let request = super::request(caller, facts, wanted.priority, wanted.working);
        cx.tokens.scheduler.sleep(&request, wanted.key, wanted.kind, now);
    }
}

/// Requests a round for the workloads of a context, if its token or spec has changed.
pub(super) fn request_round(cx: &Context, caller: &Caller, facts: &Facts<'_>, outcome: &Outcome, now: Timestamp) {
    let Some(workloads) = &cx.workloads else { return };
    let wanted = facts.desired.workloads.is_some();
    if !wanted {
        cx.metrics.stale_pods(&caller.namespace, &caller.name, None);
    }
    let holds = outcome.holds();
    let issued_at = holds.as_ref().and_then(|holds| holds.fitting()).map(|held| held.issued_at);
    let reported = facts.context.status.as_ref().and_then(|status| status.token.as_ref()?.issued_at.as_ref());
    let reported = reported.map(|time| time.0);
    let news = cx.memories.with(&caller.uid, |memory| {
        let before = memory.held;
        let replaced = facts.so_far.wrote && reported.is_some() && reported != issued_at;
        memory.held = issued_at.map(|issued_at| HeldToken {
            issued_at,
            since: match before.filter(|before| before.issued_at == issued_at) {
                Some(before) => before.since,
                // What started within this second may have read the token before.
                None if replaced => now.saturating_add(SignedDuration::from_secs(1)).unwrap_or(now),
                None => issued_at,
            },
            generation: facts.context.metadata.generation,
        });
        let news = memory.held.is_some() && memory.held != before && (wanted || replaced);
        if news {
            memory.lists_after = Some(Instant::now());
        }
        news
    });
    if news == Some(true) {
        let context = ObjectRef::new(&caller.name).within(&caller.namespace);
        // The receiver is gone after the loop has ended.
        let _ = workloads.unbounded_send(context);
    }
}
