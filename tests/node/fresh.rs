//! New tokens that the operator brings to running workloads: files within seconds, environments by restarts.

use std::time::Duration;

use serde_json::{Value, json};
use support::control_plane::to_stderr;
use support::operator::{NAMESPACE, RELEASE};
use support::tenant::Client;

use crate::stage::{CLIENT_SECRET, HOST, Stage, TEAM, context, until};
use crate::workloads::{deploy, state};

/// The operator with permissions for workloads, and a context of this name with this `spec.workloads`.
async fn begin(stage: &Stage, name: &str, workloads: Value) {
    stage.helm(&json!({"workloads": {"enabled": true}})).await;
    stage.rolled_out(NAMESPACE, RELEASE).await;
    stage.tenant.add_client(Client::new(name).secret(CLIENT_SECRET));
    let mut objects = context(name, HOST, name);
    objects[1]["spec"]["workloads"] = workloads;
    stage.apply(TEAM, &objects).await;
    stage.wait_for(name, "TokenValid").await;
}

pub async fn files(stage: &mut Stage) {
    begin(stage, "refreshed", json!({})).await;
    let env = json!([{"name": "TOKEN_FILE", "value": "/qlik/token"}]);
    let mount = json!({"name": "qlik", "mountPath": "/qlik", "readOnly": true});
    let volume = json!({"name": "qlik", "secret": {"secretName": "refreshed-token"}});
    deploy(stage, "refreshed", env, &[mount], &[volume]).await;
    let took = crate::workloads::delay_of(stage, "refreshed", "refreshed").await;
    to_stderr(&format!("a refreshed file had the renewed token {:.1} s after it was published", took.as_secs_f32()));
    assert!(took < Duration::from_secs(15), "{took:?}: a kubelet that nobody wakes takes up to 79 s");
}

pub async fn restarts(stage: &mut Stage) {
    begin(stage, "restarted", json!({"restart": {}})).await;
    let from = json!({"secretKeyRef": {"name": "restarted-token", "key": "token"}});
    let names = ["restarted-a", "restarted-b", "restarted-c"];
    let mut before = Vec::new();
    for name in names {
        deploy(stage, name, json!([{"name": "QLIK_TOKEN", "valueFrom": from}]), &[], &[]).await;
        before.push(state(stage, name).await["environment"].clone());
    }
    stage.refresh("restarted").await;
    let synced = async || {
        let path = "jsonpath={.status.conditions[?(@.type==\"WorkloadsSynced\")].reason} {.status.workloads.stale}";
        stage.kubectl(&["get", "qctx", "restarted", "-n", TEAM, "-o", path]).await
    };
    until("something is restarted", async || synced().await.starts_with("WorkloadsStale")).await;
    until("every workload has the new token", async || synced().await == "WorkloadsFresh 0").await;
    for (name, before) in names.into_iter().zip(before) {
        let now = state(stage, name).await;
        assert_ne!(now["environment"], before, "{name}");
        assert_eq!(now["environmentStatus"], 200, "{name}: {now}");
    }
    let generations = async || {
        let path = "jsonpath={.items[*].metadata.generation}";
        let mut all = Vec::new();
        for name in names {
            let selector = format!("--field-selector=metadata.name={name}");
            all.push(stage.kubectl(&["get", "deployments", "-n", TEAM, &selector, "-o", path]).await);
        }
        all
    };
    assert_eq!(generations().await, ["2", "2", "2"], "each was restarted once");
    stage.kubectl(&["rollout", "restart", "-n", NAMESPACE, "deployment/qlik-context-operator"]).await;
    stage.rolled_out(NAMESPACE, RELEASE).await;
    stage.works("restarted").await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(generations().await, ["2", "2", "2"], "a restart of the operator restarts nothing");
}
