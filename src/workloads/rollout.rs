//! A workload and the progress of its rollout, as in `kubectl rollout status`. Pure; only the needed parts are parsed.

use std::fmt;

use kube::core::Object;
use serde::Deserialize;
use std::collections::BTreeMap;

use super::pods::PodSpec;
use crate::api::{RESTARTED_FOR_ANNOTATION, WorkloadKind};
use crate::clock::Timestamp;

/// The annotation that `kubectl rollout restart` sets.
pub const RESTARTED_AT_ANNOTATION: &str = "kubectl.kubernetes.io/restartedAt";

/// Kind and name of a workload.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct WorkloadName {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
}

/// A workload whose own Pod template reads the Secret from the environment or by `subPath`.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate fact")]
pub struct Workload {
    /// Its name.
    pub name: WorkloadName,
    /// The version that was read.
    pub resource_version: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it is paused.
    pub paused: bool,
    /// Whether it is scaled to zero.
    pub empty: bool,
    /// Whether a changed template replaces every Pod automatically.
    pub rolls: bool,
    /// When it was last restarted, by any client.
    pub restarted_at: Option<Timestamp>,
    /// The token for which the operator restarted it last.
    pub restarted_for: Option<String>,
    /// Whether every Pod has the current template, available or not.
    pub updated: bool,
    /// The progress of its rollout.
    pub rollout: Rollout,
}

/// The progress of a rollout.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rollout {
    /// Every Pod has the current template.
    Done,
    /// Some Pods have an older template.
    Rolling,
    /// `progressDeadlineSeconds` have passed.
    Failed,
}

/// The parts of a spec that are parsed, for all three kinds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadSpec {
    replicas: Option<i64>,
    paused: bool,
    update_strategy: Strategy,
    template: Template,
}

impl WorkloadSpec {
    /// The spec of its Pods.
    pub fn pods(&self) -> &PodSpec {
        &self.template.spec
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Strategy {
    #[serde(rename = "type")]
    kind: String,
    rolling_update: RollingUpdate,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct RollingUpdate {
    partition: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Template {
    metadata: TemplateMetadata,
    spec: PodSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct TemplateMetadata {
    annotations: BTreeMap<String, String>,
}

/// The parts of a status that are parsed, for all three kinds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadStatus {
    observed_generation: i64,
    replicas: i64,
    updated_replicas: i64,
    available_replicas: i64,
    current_revision: String,
    update_revision: String,
    desired_number_scheduled: i64,
    updated_number_scheduled: i64,
    number_available: i64,
    conditions: Vec<WorkloadCondition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WorkloadCondition {
    #[serde(rename = "type")]
    kind: String,
    reason: String,
}

/// The workload, if its own Pod template reads the Secret from the environment or by `subPath`. An owner reference of a
/// Pod alone never leads to a restart.
pub fn workload(kind: WorkloadKind, object: &Object<WorkloadSpec, WorkloadStatus>, secret: &str) -> Option<Workload> {
    let (spec, meta) = (&object.spec, &object.metadata);
    if meta.deletion_timestamp.is_some() || !spec.pods().reads_environment(secret) {
        return None;
    }
    let annotations = &spec.template.metadata.annotations;
    let status = object.status.clone().unwrap_or_default();
    let strategy = &spec.update_strategy;
    Some(Workload {
        name: WorkloadName { kind, name: meta.name.clone().unwrap_or_default() },
        resource_version: meta.resource_version.clone(),
        labels: meta.labels.clone().unwrap_or_default(),
        paused: spec.paused,
        empty: match kind {
            WorkloadKind::DaemonSet => false,
            _ => spec.replicas == Some(0),
        },
        rolls: strategy.kind != "OnDelete" && strategy.rolling_update.partition == 0,
        restarted_at: annotations.get(RESTARTED_AT_ANNOTATION).and_then(|at| at.parse().ok()),
        restarted_for: annotations.get(RESTARTED_FOR_ANNOTATION).cloned(),
        updated: kind == WorkloadKind::DaemonSet && status.updated_number_scheduled >= status.desired_number_scheduled,
        rollout: if status.observed_generation < meta.generation.unwrap_or_default() {
            Rollout::Rolling
        } else {
            rollout(kind, spec, &status)
        },
    })
}

fn rollout(kind: WorkloadKind, spec: &WorkloadSpec, status: &WorkloadStatus) -> Rollout {
    let replicas = spec.replicas.unwrap_or(1);
    let progress = status.conditions.iter().find(|condition| condition.kind == "Progressing");
    let progress = progress.map(|progress| progress.reason.as_str()).unwrap_or_default();
    let done = match kind {
        // Pods that become unavailable after a rollout, perhaps because of an old token, are not a new rollout.
        WorkloadKind::Deployment => {
            status.updated_replicas >= replicas
                && status.replicas <= status.updated_replicas
                && (status.available_replicas >= status.updated_replicas || progress == "NewReplicaSetAvailable")
        }
        WorkloadKind::StatefulSet => status.current_revision == status.update_revision,
        WorkloadKind::DaemonSet => {
            status.updated_number_scheduled >= status.desired_number_scheduled
                && status.number_available >= status.desired_number_scheduled
        }
    };
    match (done, progress) {
        (true, _) => Rollout::Done,
        (false, "ProgressDeadlineExceeded") => Rollout::Failed,
        (false, _) => Rollout::Rolling,
    }
}

impl fmt::Display for WorkloadName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests;
