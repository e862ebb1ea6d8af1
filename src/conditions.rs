//! Conditions. Pure; the one place that makes them, for every kind.
//!
//! A transition time moves only when a condition's status does. kstatus's rules hold: `Stalled` or `Reconciling` while not
//! ready, never both, neither while ready.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::ConditionType::{self, Ready, Reconciling, Stalled};
use crate::api::Reason;
use crate::clock::Timestamp;
use crate::error::Failure;

/// A finding: one condition without its transition time.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Its type.
    pub condition: ConditionType,
    /// `True` or `False`.
    pub good: bool,
    /// Its reason.
    pub reason: Reason,
    /// Its message.
    pub message: String,
}

/// The conditions of an object of this generation. `before`: those in the present status; `failure`: what is wrong, if anything.
pub fn conditions(
    before: &[Condition],
    observed_generation: Option<i64>,
    findings: Vec<Finding>,
    failure: Option<&Failure>,
    now: Timestamp,
) -> Vec<Condition> {
    let make = |condition: ConditionType, good: bool, reason: String, message: String| {
        let (type_, status) = (condition.to_string(), if good { "True" } else { "False" }.to_owned());
        let unchanged = before.iter().find(|old| old.type_ == type_ && old.status == status);
        let last_transition_time = unchanged.map_or(Time(now), |old| old.last_transition_time.clone());
        Condition { type_, status, reason, message, last_transition_time, observed_generation }
    };
    let kstatus = findings.iter().find(|finding| finding.condition == Ready && !finding.good).and_then(|ready| {
        if ready.reason == Reason::Suspended {
            return None;
        }
        let stalled = failure.is_some_and(|failure| failure.stalled);
        let condition = if stalled { Stalled } else { Reconciling };
        Some(make(condition, true, ready.reason.to_string(), ready.message.clone()))
    });
    let conditions = findings
        .into_iter()
        .map(|finding| make(finding.condition, finding.good, finding.reason.to_string(), finding.message));
    conditions.chain(kstatus).collect()
}
