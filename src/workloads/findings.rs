//! The part of the status that is about workloads. Pure.

use std::fmt::Write as _;

use super::decide::Findings;
use super::pods::Owner;
use super::rollout::WorkloadName;
use crate::api::ConditionType::WorkloadsSynced;
use crate::api::Reason;
use crate::api::v1alpha1::WorkloadsStatus;
use crate::conditions::Finding;
use crate::error::bounded;

/// The maximum number of names in a message.
const NAMED: usize = 3;

/// A restart that the API server rejected.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// The workload.
    pub name: WorkloadName,
    /// `HTTP 422`, or `no answer`.
    pub answer: String,
}

/// The counts in the status.
pub fn counts(findings: &Findings) -> WorkloadsStatus {
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    WorkloadsStatus {
        volumes: count(findings.volumes),
        environment: count(findings.environment),
        stale: count(findings.stale),
    }
}

/// The condition `WorkloadsSynced`.
pub fn finding(findings: &Findings, refused: Option<&Refused>, secret: &str) -> Finding {
    let (good, reason, message) = if !findings.failed.is_empty() {
        (false, Reason::RolloutFailing, rollout_failing(&findings.failed))
    } else if findings.stale == 0 && findings.rolling.is_empty() && refused.is_none() {
        let message = format!("No running Pod has an older token of Secret {secret} in its environment.");
        (true, Reason::WorkloadsFresh, message)
    } else {
        (false, Reason::WorkloadsStale, stale(findings, refused, secret))
    };
    Finding { condition: WorkloadsSynced, good, reason, message: bounded(message) }
}

/// The message about a failed rollout.
pub fn rollout_failing(failed: &[WorkloadName]) -> String {
    let first = failed.first().map(|name| format!("{}/{}", name.kind.to_string().to_lowercase(), name.name));
    format!(
        "The rollout of {} does not end, so nothing else is restarted. Look at kubectl rollout status {}, and correct or undo it.",
        list(failed.iter().map(ToString::to_string)),
        first.unwrap_or_default()
    )
}

/// The note of the event for stale Pods of a context without `spec.workloads`.
pub fn token_not_refreshed(findings: &Findings, secret: &str) -> String {
    format!(
        "{} Pods read Secret {secret} from an environment variable or by subPath, so they keep an older token until they restart. \
         Mount the Secret as a volume, or set spec.workloads.restart.",
        findings.stale
    )
}

fn stale(findings: &Findings, refused: Option<&Refused>, secret: &str) -> String {
    let mut message = format!(
        "{} of {} Pods that read Secret {secret} from an environment variable or by subPath have an older token.",
        findings.stale, findings.environment
    );
    // Writing to a String does not fail.
    if let Some(Refused { name, answer }) = refused {
        let _ = write!(message, " {name} could not be restarted ({answer}); the operator retries.");
    } else if !findings.rolling.is_empty() {
        let names = list(findings.rolling.iter().map(ToString::to_string));
        let _ = write!(message, " Being restarted: {names}.");
    }
    if findings.waiting > 0 {
        let _ = write!(message, " Waiting for that: {}.", findings.waiting);
    }
    if let Some((at, name)) = &findings.due {
        let _ = write!(message, " {name} is restarted at {at} (minInterval).");
    }
    if !findings.left.is_empty() {
        let left = findings.left.iter().map(|(owner, why)| format!("{owner} ({why})"));
        let _ =
            write!(message, " Not restarted: {}. Restart them yourself, or mount the Secret as a volume.", list(left));
    }
    message
}

fn list(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(NAMED);
    let first = names.take(NAMED).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{first} and {more} more") } else { first }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => write!(formatter, "Pods without a controller"),
            Self::Workload(name) => write!(formatter, "{name}"),
            Self::Other(kind, name) => write!(formatter, "{kind} {name}"),
        }
    }
}
