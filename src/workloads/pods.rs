//! Finds out which Pods read a Secret, how, and since when. Pure; only the needed parts of a Pod are parsed.
//!
//! A file of a volume follows the Secret. An environment variable, and a file mounted by `subPath`, stay as they were
//! when the container started (<https://kubernetes.io/docs/concepts/configuration/secret/>).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::core::Object;
use serde::Deserialize;

use super::rollout::WorkloadName;
use crate::api::{RESTARTED_FOR_ANNOTATION, TOKEN_ISSUED_AT_ANNOTATION, WorkloadKind};
use crate::clock::Timestamp;

/// The label by which the Deployment controller distinguishes its ReplicaSets.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// A Pod that reads the Secret.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reader {
    /// Name of the Pod.
    pub name: String,
    /// Its uid, because another Pod can have the same name later.
    pub uid: Option<String>,
    /// The controller that created it.
    pub owner: Owner,
    /// Whether a container mounts the Secret as a volume, so that the kubelet updates its files.
    pub mounts: bool,
    /// Whether a container reads it from its environment or by `subPath`.
    pub environment: bool,
    /// Whether it runs.
    pub running: bool,
    /// When the first running container that reads it from its environment or by `subPath` started.
    pub started_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// The token for which it was annotated last.
    pub refreshed_for: Option<String>,
    /// The token for which a restart created it.
    pub restarted_for: Option<String>,
}

/// The controller of a Pod.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Owner {
    /// None.
    #[default]
    None,
    /// A workload that can be restarted.
    Workload(WorkloadName),
    /// Any other controller: kind and name.
    Other(String, String),
}

/// The parts of a Pod's spec that show which Secrets it reads.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    init_containers: Vec<Container>,
    containers: Vec<Container>,
    ephemeral_containers: Vec<Container>,
    volumes: Vec<Volume>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    name: String,
    env: Vec<Variable>,
    env_from: Vec<Variables>,
    volume_mounts: Vec<Mount>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Variable {
    value_from: ValueFrom,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ValueFrom {
    secret_key_ref: Named,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Variables {
    secret_ref: Named,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Mount {
    name: String,
    sub_path: String,
    sub_path_expr: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Volume {
    name: String,
    secret: SecretVolume,
    projected: Projected,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SecretVolume {
    secret_name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Projected {
    sources: Vec<Source>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Source {
    secret: Named,
}

/// The parts of a Pod's status that show which containers run.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    phase: String,
    init_container_statuses: Vec<ContainerStatus>,
    container_statuses: Vec<ContainerStatus>,
    ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    name: String,
    state: State,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    running: Running,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Running {
    started_at: Option<Time>,
}

impl PodSpec {
    fn all(&self) -> impl Iterator<Item = &Container> {
        self.init_containers.iter().chain(&self.containers).chain(&self.ephemeral_containers)
    }

    fn mounts<'c>(&'c self, container: &'c Container, secret: &'c str) -> impl Iterator<Item = &'c Mount> {
        let holds = move |volume: &&Volume| {
            let projected = || volume.projected.sources.iter().any(|source| source.secret.name == secret);
            volume.secret.secret_name == secret || projected()
        };
        container
            .volume_mounts
            .iter()
            .filter(move |mount| self.volumes.iter().filter(holds).any(|volume| volume.name == mount.name))
    }

    fn reads_once(&self, container: &Container, secret: &str) -> bool {
        container.env.iter().any(|variable| variable.value_from.secret_key_ref.name == secret)
            || container.env_from.iter().any(|all| all.secret_ref.name == secret)
            || self.mounts(container, secret).any(Mount::is_fixed)
    }

    /// Whether a container reads the Secret only when it starts.
    pub fn reads_environment(&self, secret: &str) -> bool {
        self.all().any(|container| self.reads_once(container, secret))
    }

    /// Whether it references any Secret.
    pub fn reads_any_secret(&self) -> bool {
        let in_volume = |volume: &Volume| {
            let projected = || volume.projected.sources.iter().any(|source| !source.secret.name.is_empty());
            !volume.secret.secret_name.is_empty() || projected()
        };
        let in_environment = |container: &Container| {
            container.env.iter().any(|variable| !variable.value_from.secret_key_ref.name.is_empty())
                || container.env_from.iter().any(|all| !all.secret_ref.name.is_empty())
        };
        self.volumes.iter().any(in_volume) || self.all().any(in_environment)
    }

    /// Whether a container has files of the Secret that the kubelet updates.
    pub fn reads_volume(&self, secret: &str) -> bool {
        self.all().any(|container| self.mounts(container, secret).any(|mount| !mount.is_fixed()))
    }
}

impl Mount {
    /// Whether it is mounted by `subPath`: the kubelet does not update such files.
    fn is_fixed(&self) -> bool {
        !self.sub_path.is_empty() || !self.sub_path_expr.is_empty()
    }
}

impl PodStatus {
    fn started(&self, container: &str) -> Option<Timestamp> {
        let lists = [&self.init_container_statuses, &self.container_statuses, &self.ephemeral_container_statuses];
        let mut all = lists.into_iter().flatten().filter(|status| status.name == container);
        all.find_map(|status| status.state.running.started_at.as_ref()).map(|time| time.0)
    }
}

/// The Pod as a reader of this Secret; `None` if it does not read it, or is being deleted.
pub fn reader(pod: &Object<PodSpec, PodStatus>, secret: &str) -> Option<Reader> {
    let (spec, meta) = (&pod.spec, &pod.metadata);
    let (mounts, environment) = (spec.reads_volume(secret), spec.reads_environment(secret));
    if meta.deletion_timestamp.is_some() || !(mounts || environment) {
        return None;
    }
    let status = pod.status.clone().unwrap_or_default();
    let once = spec.all().filter(|container| spec.reads_once(container, secret));
    let annotation = |name: &str| meta.annotations.as_ref()?.get(name).cloned();
    Some(Reader {
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone(),
        owner: owner(meta),
        mounts,
        environment,
        running: status.phase == "Running",
        started_at: once.filter_map(|container| status.started(&container.name)).min(),
        created_at: meta.creation_timestamp.as_ref().map(|time| time.0),
        refreshed_for: annotation(TOKEN_ISSUED_AT_ANNOTATION),
        restarted_for: annotation(RESTARTED_FOR_ANNOTATION),
    })
}

/// The controller of a Pod. The name of a Deployment's ReplicaSet consists of the name of the Deployment and the hash
/// in the Pod's label. Before a restart, the Deployment is read to check that it exists and its template reads the
/// Secret.
fn owner(meta: &ObjectMeta) -> Owner {
    let mut owners = meta.owner_references.iter().flatten();
    let Some(controller) = owners.find(|owner| owner.controller == Some(true)) else { return Owner::None };
    let workload = |kind, name: &str| Owner::Workload(WorkloadName { kind, name: name.into() });
    let hash = meta.labels.as_ref().and_then(|labels| labels.get(TEMPLATE_HASH));
    match (controller.api_version.as_str(), controller.kind.as_str()) {
        ("apps/v1", "StatefulSet") => workload(WorkloadKind::StatefulSet, &controller.name),
        ("apps/v1", "DaemonSet") => workload(WorkloadKind::DaemonSet, &controller.name),
        ("apps/v1", "ReplicaSet") => {
            let named = hash.and_then(|hash| controller.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
            named.map_or_else(
                || Owner::Other(controller.kind.clone(), controller.name.clone()),
                |name| workload(WorkloadKind::Deployment, name),
            )
        }
        _ => Owner::Other(controller.kind.clone(), controller.name.clone()),
    }
}

#[cfg(test)]
mod tests;
