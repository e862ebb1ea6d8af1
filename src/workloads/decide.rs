//! Decides which Pods to annotate and which workloads to restart, from one list. Pure.
//!
//! Only a new token leads to a restart. A workload whose template contains the token's time was already restarted for
//! it, and a Pod whose containers started after the token was published has it. So a restart of the operator, an
//! unchanged token and a routine verification restart no workload.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::core::SelectorExt;

use super::pods::{Owner, Reader};
use super::rollout::{Rollout, Workload, WorkloadName};
use crate::api::WorkloadKind;
use crate::clock::{SignedDuration, Timestamp};
use crate::desired::{Restart, Workloads};

/// The delay during a rollout that the operator started.
const FOLLOW: Duration = Duration::from_secs(5);
/// The delay during another rollout, or after a failed one.
const SOON: Duration = Duration::from_secs(30);
/// The delay while only a person can restart the Pods.
const LATER: Duration = Duration::from_mins(5);
/// After this time the kubelet has updated every volume without an annotation: with its defaults 89 s were measured.
const KUBELET: SignedDuration = SignedDuration::from_mins(2);
/// The deadline of kinds without `progressDeadlineSeconds`: the default of a Deployment.
const DEADLINE: SignedDuration = SignedDuration::from_mins(10);

/// The token in the Secret.
#[derive(Clone, Copy, Debug)]
pub struct Token {
    /// When it was requested. The annotations contain this time.
    pub issued_at: Timestamp,
    /// A container that started before this time does not have it.
    pub since: Timestamp,
}

/// The input of a decision.
pub struct Facts<'f> {
    /// The Pods that read the Secret.
    pub readers: &'f [Reader],
    /// The workloads whose templates read it from the environment or by `subPath`.
    pub workloads: &'f [Workload],
    /// `spec.workloads`.
    pub wanted: &'f Workloads,
    /// The token.
    pub token: Token,
    /// The current time.
    pub now: Timestamp,
}

/// The result of a decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The workloads to restart now.
    pub restart: Vec<WorkloadName>,
    /// What the status reports.
    pub findings: Findings,
    /// The delay until the next round; `None`: after the next token.
    pub again: Option<Duration>,
}

/// What the status reports.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// Pods that mount the Secret.
    pub volumes: usize,
    /// Pods that read it from the environment or by `subPath`.
    pub environment: usize,
    /// The Pods among those that have an older token.
    pub stale: usize,
    /// Workloads that the operator restarted and whose rollout has not ended.
    pub rolling: Vec<WorkloadName>,
    /// Workloads that the operator restarted and whose rollout failed.
    pub failed: Vec<WorkloadName>,
    /// The next workload that may be restarted after its `minInterval`, and when.
    pub due: Option<(Timestamp, WorkloadName)>,
    /// The number of workloads that wait for rollouts of others.
    pub waiting: usize,
    /// Controllers with stale Pods that are not restarted, and why.
    pub left: Vec<(Owner, Left)>,
}

/// Why a controller with stale Pods is not restarted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::Display)]
pub enum Left {
    /// `spec.workloads.restart` is not set.
    #[strum(serialize = "restarts are not enabled")]
    NotEnabled,
    /// It is of another kind, or its template does not read the Secret.
    #[strum(serialize = "not a workload that reads the Secret in its own Pod template")]
    NotAWorkload,
    /// The selector does not select it.
    #[strum(serialize = "not selected")]
    NotSelected,
    /// It is paused.
    #[strum(serialize = "paused")]
    Paused,
    /// It is scaled to zero.
    #[strum(serialize = "scaled to zero")]
    Empty,
    /// Another rollout is in progress.
    #[strum(serialize = "already rolling")]
    Rolling,
    /// Its update strategy does not replace every Pod automatically.
    #[strum(serialize = "its update strategy waits for a person")]
    OnDelete,
    /// It was already restarted for this token.
    #[strum(serialize = "already restarted for this token")]
    Restarted,
}

enum Verdict {
    Now,
    At(Timestamp),
    Left(Left),
    /// The operator restarted it, and its rollout has not ended.
    Followed,
}

impl Token {
    /// Its value in annotations.
    pub fn mark(&self) -> String {
        self.issued_at.to_string()
    }

    /// Whether a running container of the Pod has an older token. (A Pod that a restart for this token created has the
    /// token, even if the clock of its node is wrong.)
    fn is_stale(&self, reader: &Reader) -> bool {
        reader.started_at.is_some_and(|started| started < self.since)
            && reader.restarted_for.as_deref() != Some(&*self.mark())
    }
}

/// The Pods to annotate: not those that were annotated for this token or are newer, and none if the kubelets have
/// updated the files anyway.
pub fn refresh<'f>(facts: &Facts<'f>) -> Vec<&'f Reader> {
    let token = facts.token;
    if !facts.wanted.refresh_volumes || !is_in_time(token, facts.now) {
        return Vec::new();
    }
    let newer = |reader: &Reader| reader.created_at.is_some_and(|created| created >= token.since);
    let marked = |reader: &Reader| reader.refreshed_for.as_deref() == Some(&*token.mark());
    facts.readers.iter().filter(|pod| pod.mounts && pod.running && !newer(pod) && !marked(pod)).collect()
}

/// Whether an annotation can still bring the token to a Pod earlier.
pub fn is_in_time(token: Token, now: Timestamp) -> bool {
    now.duration_since(token.since) < KUBELET
}

/// Decides which workloads to restart.
pub fn decide(facts: &Facts<'_>) -> Plan {
    let stale: Vec<_> = facts.readers.iter().filter(|reader| facts.token.is_stale(reader)).collect();
    let mut findings = Findings {
        volumes: facts.readers.iter().filter(|reader| reader.mounts).count(),
        environment: facts.readers.iter().filter(|reader| reader.environment).count(),
        stale: stale.len(),
        ..Findings::default()
    };
    let owners: BTreeSet<_> = stale.iter().map(|reader| &reader.owner).collect();
    let Some(restart) = &facts.wanted.restart else {
        findings.left = owners.into_iter().map(|owner| (owner.clone(), Left::NotEnabled)).collect();
        let again = (findings.stale > 0).then_some(LATER);
        return Plan { restart: Vec::new(), findings, again };
    };
    for workload in facts.workloads.iter().filter(|workload| workload.restarted_for.is_some()) {
        match rollout(facts, workload) {
            Rollout::Done => {}
            Rollout::Rolling => findings.rolling.push(workload.name.clone()),
            Rollout::Failed => findings.failed.push(workload.name.clone()),
        }
    }
    let mut now = Vec::new();
    for owner in owners {
        let workload = facts.workloads.iter().find(|workload| *owner == Owner::Workload(workload.name.clone()));
        match workload.map_or(Verdict::Left(Left::NotAWorkload), |workload| verdict(facts, restart, workload)) {
            Verdict::Now => now.extend(workload.map(|workload| workload.name.clone())),
            Verdict::At(at) => {
                let due = workload.map(|workload| (at, workload.name.clone()));
                findings.due = findings.due.into_iter().chain(due).min();
            }
            Verdict::Left(left) => findings.left.push((owner.clone(), left)),
            Verdict::Followed => {}
        }
    }
    // After a failed rollout no other workload is restarted.
    let free = restart.max_concurrent.saturating_sub(findings.rolling.len());
    let free = if findings.failed.is_empty() { free } else { 0 };
    findings.waiting = now.len().saturating_sub(free);
    now.truncate(free);
    findings.rolling.extend(now.iter().cloned());
    let again = again(&findings, facts.now);
    Plan { restart: now, findings, again }
}

fn verdict(facts: &Facts<'_>, restart: &Restart, workload: &Workload) -> Verdict {
    let marked = workload.restarted_for.as_deref() == Some(&*facts.token.mark());
    let rollout = rollout(facts, workload);
    let earliest = workload.restarted_at.and_then(|at| at.saturating_add(restart.min_interval).ok());
    match () {
        () if !restart.selector.matches(&workload.labels) => Verdict::Left(Left::NotSelected),
        () if workload.paused => Verdict::Left(Left::Paused),
        () if workload.empty => Verdict::Left(Left::Empty),
        () if !workload.rolls => Verdict::Left(Left::OnDelete),
        () if rollout != Rollout::Done && workload.restarted_for.is_some() => Verdict::Followed,
        () if rollout != Rollout::Done => Verdict::Left(Left::Rolling),
        () if marked => Verdict::Left(Left::Restarted),
        () => earliest.filter(|earliest| *earliest > facts.now).map_or(Verdict::Now, Verdict::At),
    }
}

/// The progress of a rollout. For kinds without their own deadline, it begins with the newest Pod.
fn rollout(facts: &Facts<'_>, workload: &Workload) -> Rollout {
    if workload.rollout != Rollout::Rolling || workload.name.kind == WorkloadKind::Deployment {
        return workload.rollout;
    }
    let owner = Owner::Workload(workload.name.clone());
    let pods = facts.readers.iter().filter(|reader| reader.running && reader.owner == owner);
    let last = pods.filter_map(|pod| pod.created_at).chain(workload.restarted_at).max();
    let marked = workload.restarted_for.as_deref() == Some(&*facts.token.mark());
    match last {
        // Pods may have become unavailable later because of an old token.
        Some(last) if facts.now.duration_since(last) > DEADLINE && workload.updated && !marked => Rollout::Done,
        Some(last) if facts.now.duration_since(last) > DEADLINE => Rollout::Failed,
        _ => Rollout::Rolling,
    }
}

fn again(findings: &Findings, now: Timestamp) -> Option<Duration> {
    let due = findings.due.as_ref().map(|(at, _)| Duration::try_from(at.duration_since(now)).unwrap_or_default());
    // A rollout may have ended between the list of Pods and the list of workloads.
    let rolls = findings.left.iter().any(|(_, left)| matches!(left, Left::Rolling | Left::Restarted));
    [
        (!findings.rolling.is_empty()).then_some(FOLLOW),
        (!findings.failed.is_empty() || rolls).then_some(SOON),
        due.map(|wait| wait.max(FOLLOW)),
        (findings.stale > 0).then_some(LATER),
    ]
    .into_iter()
    .flatten()
    .min()
}

#[cfg(test)]
mod tests;
