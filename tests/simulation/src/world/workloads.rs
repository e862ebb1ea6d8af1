//! Workloads that read tokens, and the work of kubelets and of the Deployment controller.

use std::time::Duration;

use serde_json::{Value, json};
use support::api_server::Kind;
use tokio::time::Instant;

use super::World;
use super::objects::{USERS, target};

/// A namespace without contexts, with Deployments that read Secrets of the same names.
const ELSEWHERE: &str = "elsewhere";
/// The time from a change of a template until its new Pod runs.
const ROLLOUT: Duration = Duration::from_secs(10);
/// The label of a Pod with the generation of its Deployment.
const GENERATION: &str = "generation";

impl World {
    /// For each of these contexts, one Deployment that reads its token from the environment, the same in another namespace, a
    /// Deployment that reads no token, and a Pod that mounts the Secret.
    pub(super) fn create_workloads(&self) -> anyhow::Result<()> {
        for context in &self.history.workloads {
            let secret = target(*context);
            for namespace in [USERS, ELSEWHERE] {
                self.put(&deployment(namespace, &reader(*context), &environment(&secret)))?;
            }
            self.put(&deployment(USERS, &format!("bystander-{context}"), &json!({"containers": [{"name": "app"}]})))?;
            let volume = json!({
                "containers": [{"name": "app", "volumeMounts": [{"name": "token", "mountPath": "/token"}]}],
                "volumes": [{"name": "token", "secret": {"secretName": secret}}],
            });
            self.put(&self.pod(USERS, &format!("volume-{context}"), &volume, None, &json!({})))?;
        }
        Ok(())
    }

    /// Starts the Pods of Deployments whose template was changed, and Pods that are gone.
    pub(super) fn roll_out(&mut self) {
        for deployment in self.api.list(Kind::Deployment, None) {
            let text = |field: &str| deployment["metadata"][field].as_str().unwrap_or_default().to_owned();
            let (namespace, name) = (text("namespace"), text("name"));
            let generation = deployment["metadata"]["generation"].to_string();
            let pod = self.api.get(Kind::Pod, &namespace, &format!("{name}-0"));
            if pod.is_some_and(|pod| pod["metadata"]["labels"][GENERATION] == generation) {
                continue;
            }
            let place = (namespace.clone(), name.clone());
            let begun = *self.rollouts.entry(place.clone()).or_insert_with(Instant::now);
            // Without its Secret, a container does not start.
            let has_secret = secret_of(&deployment)
                .is_none_or(|secret| namespace != USERS || self.api.get(Kind::Secret, USERS, &secret).is_some());
            if begun.elapsed() < ROLLOUT || !has_secret {
                continue;
            }
            self.rollouts.remove(&place);
            self.api.delete(Kind::Pod, &namespace, &format!("{name}-0"));
            let template = &deployment["spec"]["template"];
            let annotations = &template["metadata"]["annotations"];
            let mut pod = self.pod(&namespace, &format!("{name}-0"), &template["spec"], Some(&name), annotations);
            pod["metadata"]["labels"][GENERATION] = generation.into();
            // An object that was deleted meanwhile is not changed.
            let _ = self.put(&pod);
            let status = rolled(&deployment["metadata"]["generation"]);
            let _ = self.api.edit(Kind::Deployment, &namespace, &name, |stored| stored["status"] = status);
        }
    }

    /// The Pod of the Deployment of this context is deleted, and replaced by a new one.
    pub(super) fn replace_pod(&self, context: usize) {
        self.api.delete(Kind::Pod, USERS, &format!("{}-0", reader(context)));
    }

    /// The Deployment of this context reads another Secret, or its token again.
    pub(super) fn read_secret(&self, context: usize, own: bool) {
        let secret = if own { target(context) } else { "another".to_owned() };
        let spec = environment(&secret);
        let edit = |stored: &mut Value| stored["spec"]["template"]["spec"] = spec;
        let _ = self.api.edit(Kind::Deployment, USERS, &reader(context), edit);
    }

    fn pod(&self, namespace: &str, name: &str, spec: &Value, owner: Option<&str>, annotations: &Value) -> Value {
        let now = self.clock.now().to_string();
        let owner = owner.map(|name| {
            json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-5d4f"), "uid": "r", "controller": true}])
        });
        let annotations = if annotations.is_object() { annotations.clone() } else { json!({}) };
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": {"pod-template-hash": "5d4f"},
                "annotations": annotations, "ownerReferences": owner, "creationTimestamp": now},
            "spec": spec,
            "status": {"phase": "Running", "containerStatuses": [{"name": "app", "state": {"running": {"startedAt": now}}}]},
        })
    }
}

/// The Deployment that reads the token of this context.
fn reader(context: usize) -> String {
    format!("reader-{context}")
}

fn environment(secret: &str) -> Value {
    let variable = json!({"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": secret, "key": "token"}}});
    json!({"containers": [{"name": "app", "env": [variable]}]})
}

fn deployment(namespace: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {"replicas": 1, "template": {"metadata": {"labels": {"app": name}}, "spec": spec}},
    })
}

fn rolled(generation: &Value) -> Value {
    json!({
        "observedGeneration": generation, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1,
        "conditions": [{"type": "Progressing", "reason": "NewReplicaSetAvailable"}],
    })
}

/// The Secret that the Pods of a Deployment need.
fn secret_of(deployment: &Value) -> Option<String> {
    let variable = &deployment["spec"]["template"]["spec"]["containers"][0]["env"][0];
    variable["valueFrom"]["secretKeyRef"]["name"].as_str().map(str::to_owned)
}
