//! Which containers read the token Secret, how, and which of them have an old token.
//!
//! A file of a volume follows the Secret. An environment variable, and a file mounted by `subPath`, stay as they were when
//! the container started (<https://kubernetes.io/docs/concepts/configuration/secret/>).

use k8s_openapi::api::core::v1::{Container, ContainerStatus, EphemeralContainer, Pod, PodSpec, Volume, VolumeMount};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use serde::Serialize;

use crate::cluster::Cluster;
use crate::problem::Explain as _;

/// Pods in one answer of the API server.
const PAGE: u32 = 500;

/// A container, and one of the sources from which it gets values of the Secret.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reader {
    pub pod: String,
    pub container: String,
    pub source: Source,
    /// Path of the mount, or name of the variable.
    pub place: String,
    pub state: State,
    pub started_at: Option<Timestamp>,
}

/// How a container reads a Secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, strum::Display)]
#[serde(rename_all = "camelCase")]
#[strum(serialize_all = "camelCase")]
pub enum Source {
    Volume,
    SubPath,
    Env,
    EnvFrom,
}

/// Which token a container has.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// The token of the Secret, always, as soon as the kubelet has updated the volume.
    Follows,
    /// The token of the Secret, until there is a new one.
    Current,
    /// An older token.
    Stale,
    /// None: the container does not run.
    NotRunning,
}

/// Every reader among the Pods of the namespace that have not ended.
pub async fn read(cluster: &Cluster, secret: &str, issued_at: Option<Timestamp>) -> anyhow::Result<Vec<Reader>> {
    let pods: Api<Pod> = cluster.objects();
    let mut params = ListParams::default().limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = pods.list(&params).await.explain("cannot look for the Pods that read the token")?;
        found.extend(page.items.iter().flat_map(|pod| readers(pod, secret, issued_at)));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    found.sort_by(|one, other| (&one.pod, &one.container).cmp(&(&other.pod, &other.container)));
    Ok(found)
}

/// The readers of one Pod.
fn readers(pod: &Pod, secret: &str, issued_at: Option<Timestamp>) -> Vec<Reader> {
    let Some(spec) = &pod.spec else {
        return Vec::new();
    };
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    if matches!(phase, "Succeeded" | "Failed") {
        return Vec::new();
    }
    let volumes = spec.volumes.iter().flatten().filter(|volume| holds(volume, secret));
    let volumes: Vec<&str> = volumes.map(|volume| volume.name.as_str()).collect();
    let mut found = Vec::new();
    for container in containers(spec) {
        let started_at = started(pod, &container.name);
        for (source, place) in sources(&container, secret, &volumes) {
            let state = match (source, started_at, issued_at) {
                (_, None, _) => State::NotRunning,
                (Source::Volume, ..) => State::Follows,
                (_, Some(started), Some(issued)) if started < issued => State::Stale,
                _ => State::Current,
            };
            let (pod, container) = (pod.name_any(), container.name.clone());
            found.push(Reader { pod, container, source, place, state, started_at });
        }
    }
    found
}

/// Containers of all three kinds.
fn containers(spec: &PodSpec) -> impl Iterator<Item = Container> {
    let usual = spec.init_containers.iter().flatten().chain(&spec.containers).cloned();
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|container: &EphemeralContainer| Container {
        name: container.name.clone(),
        env: container.env.clone(),
        env_from: container.env_from.clone(),
        volume_mounts: container.volume_mounts.clone(),
        ..Container::default()
    });
    usual.chain(ephemeral)
}

/// Since when a container runs.
fn started(pod: &Pod, container: &str) -> Option<Timestamp> {
    let status = pod.status.as_ref()?;
    let lists = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    let mut statuses = lists.into_iter().flatten().flatten();
    let status: &ContainerStatus = statuses.find(|status| status.name == container)?;
    let running = status.state.as_ref()?.running.as_ref()?;
    running.started_at.as_ref().map(|time| time.0)
}

/// True when the Secret is in a volume, alone or projected with others.
fn holds(volume: &Volume, secret: &str) -> bool {
    let alone = volume.secret.as_ref().and_then(|source| source.secret_name.as_deref());
    let projected = volume.projected.iter().flat_map(|source| source.sources.iter().flatten());
    let projected = projected.filter_map(|source| source.secret.as_ref()).map(|source| source.name.as_str());
    alone.into_iter().chain(projected).any(|name| name == secret)
}

fn sources(container: &Container, secret: &str, volumes: &[&str]) -> Vec<(Source, String)> {
    let mounts = container.volume_mounts.iter().flatten().filter(|mount| volumes.contains(&mount.name.as_str()));
    let mounts = mounts.map(|mount: &VolumeMount| {
        let frozen = [&mount.sub_path, &mount.sub_path_expr].into_iter().flatten().any(|path| !path.is_empty());
        (if frozen { Source::SubPath } else { Source::Volume }, mount.mount_path.clone())
    });
    let variables = container.env.iter().flatten().filter(|variable| {
        let source = variable.value_from.as_ref().and_then(|source| source.secret_key_ref.as_ref());
        source.is_some_and(|source| source.name == secret)
    });
    let variables = variables.map(|variable| (Source::Env, variable.name.clone()));
    let all = container
        .env_from
        .iter()
        .flatten()
        .filter(|source| source.secret_ref.as_ref().is_some_and(|source| source.name == secret));
    let all = all.map(|source| (Source::EnvFrom, format!("{}*", source.prefix.as_deref().unwrap_or_default())));
    mounts.chain(variables).chain(all).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(started: &str) -> Pod {
        let running = |name: &str| {
            json!({"name": name, "ready": true, "image": "", "imageID": "", "restartCount": 0,
            "state": {"running": {"startedAt": started}}})
        };
        pod_with(&json!({"phase": "Running", "containerStatuses": [running("app"), running("other")],
            "initContainerStatuses": [running("sidecar")]}))
    }

    fn pod_with(status: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web"},
            "spec": {
                "initContainers": [{"name": "sidecar", "envFrom": [{"prefix": "Q_", "secretRef": {"name": "acme-token"}}]}],
                "containers": [
                    {"name": "app", "volumeMounts": [
                        {"name": "qlik", "mountPath": "/qlik"},
                        {"name": "both", "mountPath": "/t", "subPath": "token"},
                        {"name": "else", "mountPath": "/x"}],
                     "env": [
                        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "acme-token", "key": "token"}}},
                        {"name": "OTHER", "valueFrom": {"secretKeyRef": {"name": "other", "key": "token"}}}]},
                    {"name": "other"}],
                "volumes": [
                    {"name": "qlik", "secret": {"secretName": "acme-token"}},
                    {"name": "both", "projected": {"sources": [{"secret": {"name": "acme-token"}}]}},
                    {"name": "else", "secret": {"secretName": "other"}}]
            },
            "status": status
        }))
        .expect("a Pod")
    }

    fn states(pod: &Pod, issued: &str) -> Vec<(String, Source, State)> {
        let issued = issued.parse().ok();
        readers(pod, "acme-token", issued)
            .into_iter()
            .map(|reader| (reader.place, reader.source, reader.state))
            .collect()
    }

    #[test]
    fn only_a_value_that_is_read_once_becomes_stale() {
        let pod = pod("2026-01-01T10:00:00Z");
        let expected = |frozen| {
            vec![
                ("Q_*".to_owned(), Source::EnvFrom, frozen),
                ("/qlik".into(), Source::Volume, State::Follows),
                ("/t".into(), Source::SubPath, frozen),
                ("TOKEN".into(), Source::Env, frozen),
            ]
        };
        assert_eq!(states(&pod, "2026-01-01T10:00:01Z"), expected(State::Stale));
        assert_eq!(states(&pod, "2026-01-01T10:00:00Z"), expected(State::Current));
        assert_eq!(states(&pod, "not issued yet"), expected(State::Current));
    }

    #[test]
    fn a_container_that_does_not_run_has_no_token_and_a_pod_that_has_ended_is_left_out() {
        let waiting = pod_with(&json!({"phase": "Pending"}));
        assert!(states(&waiting, "2026-01-01T10:00:00Z").iter().all(|(_, _, state)| *state == State::NotRunning));
        let ended = pod_with(&json!({"phase": "Succeeded"}));
        assert_eq!(states(&ended, "2026-01-01T10:00:00Z"), []);
    }
}
