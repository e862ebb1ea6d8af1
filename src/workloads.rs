//! Updates the workloads that read a token. One round for one context lists its Pods, decides, annotates Pods, restarts
//! workloads and writes the result into the status.
//!
//! A round begins after a token was written, after `spec.workloads` was changed, and once after the operator starts. It
//! is repeated until no Pod is stale. Rounds are separate from reconciliations: they neither delay a renewal nor change
//! `Ready`. They change objects in the context's own namespace only, and only objects that reference the Secret
//! themselves. No workload is restarted twice for one token. [`decide`](mod@decide) makes every decision, from lists
//! and from the token that this process found in the Secret. It never relies on the status alone, because others may be
//! able to write it.

pub mod decide;
pub mod findings;
pub mod list;
pub mod pods;
pub mod rollout;
pub mod shared;
pub mod write;

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::runtime::controller::Action;
use tokio::time::Instant;

use self::decide::{Facts, Plan, Token, decide, is_in_time, refresh};
use self::findings::{Refused, counts, finding, rollout_failing, token_not_refreshed};
use self::list::Listings;
use self::pods::Reader;
use self::rollout::WorkloadName;
use self::write::Pace;
use crate::api::ConditionType::WorkloadsSynced;
use crate::api::QlikContext;
use crate::api::condition::{Class, Notice};
use crate::api::v1alpha1::WorkloadsStatus;
use crate::conditions::{Finding, conditions};
use crate::desired::{Desired, Workloads};
use crate::error::Error;
use crate::metrics::WorkloadWrite;
use crate::reconcile::context::{self, StoredContext};
use crate::reconcile::events::EventDraft;
use crate::reconcile::memory::{HeldToken, uid};
use crate::reconcile::status::workloads_not_permitted;
use crate::reconcile::write_status::write_status;
use crate::retry;
use crate::status_write::{PatchKind, StatusWrite};
use crate::values::Serving;

/// The delay after a write conflict.
const SOON: Duration = Duration::from_secs(1);
/// The delay after a restart that the API server rejected.
const REFUSED: Duration = Duration::from_mins(1);
/// The delay after a 403. An upgrade of the chart that adds permissions restarts the operator.
const NOT_PERMITTED: Duration = Duration::from_mins(15);

/// The state that all rounds share.
pub struct Context {
    /// The state that rounds share with reconciliations.
    pub base: Arc<context::Context>,
    /// The limit of writes, for all rounds together.
    pub pace: Pace,
    /// Recent lists.
    pub listings: Listings,
}

/// One round for one context.
struct Round<'r> {
    cx: &'r Context,
    context: &'r QlikContext,
    namespace: String,
    secret: String,
    token: Token,
    /// Lists from before this time are too old.
    called: Instant,
}

/// Runs one round.
pub async fn reconcile(object: Arc<StoredContext>, cx: Arc<Context>) -> Result<Action, Error> {
    let remembered = cx.base.memories.with(uid(&object), |memory| memory.held.zip(memory.lists_after)).flatten();
    let (Ok(context), Some((HeldToken { issued_at, since, .. }, called))) = (&object.0, remembered) else {
        return Ok(Action::await_change());
    };
    let Ok(desired) = Desired::parse(context) else { return Ok(Action::await_change()) };
    if desired.suspend || context.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let round = Round {
        cx: &cx,
        context,
        namespace: context.namespace().unwrap_or_default(),
        secret: desired.target_name.clone(),
        token: Token { issued_at, since },
        called,
    };
    let acted = round.act(desired.workloads.as_ref()).await;
    cx.base.memories.with(uid(&object), |memory| memory.lists_after = Some(Instant::now()));
    let again = match (&desired.workloads, acted) {
        (None, Err(error)) => {
            tracing::debug!(namespace = round.namespace, %error, "Pods were not listed");
            None
        }
        (Some(_), Err(error)) if is_forbidden(&error) => {
            tracing::warn!(namespace = round.namespace, %error, "workloads are not updated: no permission");
            round.report(None, workloads_not_permitted()).await?;
            Some(NOT_PERMITTED)
        }
        (_, result) => result?,
    };
    Ok(again.map_or_else(Action::await_change, Action::requeue))
}

/// Retries with a delay of less than a minute.
#[allow(clippy::needless_pass_by_value, reason = "the signature that kube calls")]
pub fn error_policy(object: Arc<StoredContext>, error: &Error, cx: Arc<Context>) -> Action {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    tracing::warn!(%namespace, %name, %error, "updating workloads failed, will retry");
    Action::requeue(retry::delay(Class::Cluster, 3, None, Serving::Nothing, cx.base.jitter.draw()))
}

impl Round<'_> {
    /// Lists, decides and acts. Returns the delay until the next round.
    async fn act(&self, wanted: Option<&Workloads>) -> Result<Option<Duration>, Error> {
        let base = &self.cx.base;
        let listings = &self.cx.listings;
        let readers = listings.readers(&base.client, &self.namespace, &self.secret, self.called).await?;
        let nothing = Workloads { refresh_volumes: false, restart: None };
        let Some(wanted) = wanted else {
            let plan = decide(&self.facts(&readers, &[], &nothing));
            if plan.findings.stale > 0 {
                let note = token_not_refreshed(&plan.findings, &self.secret);
                self.emit(EventDraft::once(true, Notice::TokenNotRefreshed, note));
            }
            return Ok(None);
        };
        self.refresh(&self.facts(&readers, &[], wanted)).await?;
        let workloads = match wanted.restart {
            Some(_) => listings.workloads(&base.client, &self.namespace, &readers, &self.secret, self.called).await?,
            None => Vec::new(),
        };
        let Plan { restart, findings, mut again } = decide(&self.facts(&readers, &workloads, wanted));
        let mut refused = None;
        for name in restart {
            match self.restart(&name, wanted).await {
                Ok(()) => {}
                Err(error) if is_forbidden(&error) => return Err(error),
                Err(error) => {
                    tracing::warn!(namespace = self.namespace, workload = %name, %error, "a workload was not restarted");
                    again = Some(REFUSED);
                    refused = Some(Refused { name, answer: answer(&error) });
                }
            }
        }
        if !findings.failed.is_empty() {
            self.emit(EventDraft::once(true, Notice::RolloutFailing, rollout_failing(&findings.failed)));
        }
        let finding = finding(&findings, refused.as_ref(), &self.secret);
        let written = self.report(Some(counts(&findings)), finding).await?;
        Ok(if written == StatusWrite::Conflict { Some(SOON) } else { again })
    }

    fn facts<'f>(&self, readers: &'f [Reader], workloads: &'f [rollout::Workload], wanted: &'f Workloads) -> Facts<'f> {
        Facts { readers, workloads, wanted, token: self.token, now: self.cx.base.clock.now() }
    }

    /// Annotates Pods, so that their kubelets update the files. A failure is counted and not retried: the kubelet
    /// updates the files later without it.
    async fn refresh(&self, facts: &Facts<'_>) -> Result<(), Error> {
        let base = &self.cx.base;
        for pod in refresh(facts) {
            self.cx.pace.turn().await;
            if !is_in_time(self.token, base.clock.now()) {
                break;
            }
            base.leadership.check()?;
            let written = write::refresh(&base.client, &self.namespace, pod, &self.token.mark()).await;
            base.metrics.pod_refreshed(outcome(&written));
            match written {
                Err(error) if is_forbidden(&error) => return Err(error),
                Err(error) => {
                    tracing::debug!(namespace = self.namespace, pod = pod.name, %error, "a Pod was not annotated");
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Restarts a workload, if the decision is the same after another read. Its Pods may have been replaced during the requests
    /// before: a list of them that is too old to be shared is made again.
    async fn restart(&self, name: &WorkloadName, wanted: &Workloads) -> Result<(), Error> {
        let base = &self.cx.base;
        self.cx.pace.turn().await;
        let readers = self.cx.listings.readers(&base.client, &self.namespace, &self.secret, self.called).await?;
        let Some(workload) = list::read(&base.client, &self.namespace, name, &self.secret).await? else {
            return Ok(());
        };
        let alone = [workload];
        if !decide(&self.facts(&readers, &alone, wanted)).restart.contains(name) {
            return Ok(());
        }
        let [workload] = &alone;
        let now = base.clock.now();
        base.leadership.check()?;
        let written = write::restart(&base.client, &self.namespace, workload, &self.token.mark(), now).await;
        let ended = outcome(&written);
        base.metrics.workload_restarted(name.kind, ended);
        match ended {
            WorkloadWrite::Success => {
                let note =
                    format!("{name} was restarted, because its Pods had an older token of Secret {}.", self.secret);
                tracing::info!(namespace = self.namespace, workload = %name, "restarted for a new token");
                self.emit(EventDraft::new(false, Notice::WorkloadRestarted, note));
                Ok(())
            }
            WorkloadWrite::Superseded => Ok(()),
            WorkloadWrite::Failed => written,
        }
    }

    fn emit(&self, draft: EventDraft) {
        self.cx.base.events.emit(&self.cx.base.memories, self.context, vec![draft]);
    }

    /// Writes the part of the status that is about workloads.
    async fn report(&self, workloads: Option<WorkloadsStatus>, finding: Finding) -> Result<StatusWrite<()>, Error> {
        let base = &self.cx.base;
        let context = base.memories.catch_up(self.context);
        let uid = context.metadata.uid.as_deref().unwrap_or_default();
        let (name, stale) = (context.name_any(), workloads.as_ref().map(|counts| counts.stale.unsigned_abs() as usize));
        // A context that was deleted during the round gets no series.
        base.memories.with(uid, |_| base.metrics.stale_pods(&self.namespace, &name, stale));
        let mut status = context.status.clone().unwrap_or_default();
        let before = std::mem::take(&mut status.conditions);
        let synced = conditions(&before, context.metadata.generation, vec![finding], None, base.clock.now());
        let others = before.iter().filter(|condition| condition.type_ != WorkloadsSynced.to_string()).cloned();
        status.conditions = others.chain(synced).collect();
        status.workloads = workloads;
        write_status(base, &context, &status, PatchKind::Apply).await
    }
}

/// Whether RBAC rejected the request. (An admission policy can answer with the same code, but with another message.)
fn is_forbidden(error: &Error) -> bool {
    let Error::Kubernetes { source, .. } = error else { return false };
    matches!(&**source, kube::Error::Api(status) if status.is_forbidden() && status.message.contains(" cannot "))
}

fn outcome<T>(written: &Result<T, Error>) -> WorkloadWrite {
    match written {
        Ok(_) => WorkloadWrite::Success,
        Err(Error::Kubernetes { source, .. }) => match &**source {
            kube::Error::Api(status) if status.is_not_found() || status.is_conflict() => WorkloadWrite::Superseded,
            _ => WorkloadWrite::Failed,
        },
        Err(_) => WorkloadWrite::Failed,
    }
}

fn answer(error: &Error) -> String {
    match error {
        Error::Kubernetes { source, .. } => match &**source {
            kube::Error::Api(status) => format!("HTTP {}", status.code),
            _ => "no answer".into(),
        },
        _ => "no answer".into(),
    }
}
