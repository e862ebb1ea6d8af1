//! Workloads that use a token, in the three ways that the documentation shows.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use support::control_plane::to_stderr;
use support::node::WORKLOAD;
use support::tenant::Client;

use crate::stage::{CLIENT_SECRET, HOST, Stage, TEAM, context, get, until};

/// A Deployment of the application with these fields in its container and these volumes, in addition to the CA
/// certificates.
pub async fn deploy(stage: &Stage, name: &str, env: Value, mounts: &[Value], volumes: &[Value]) {
    let mut env: Vec<Value> = env.as_array().unwrap().clone();
    env.push(json!({"name": "TENANT_URL", "value": format!("https://{HOST}")}));
    env.push(json!({"name": "GODEBUG", "value": "netdns=go"}));
    let mounts = [&[json!({"name": "ca", "mountPath": "/ca", "readOnly": true})], mounts].concat();
    let volumes = [&[json!({"name": "ca", "configMap": {"name": "tenant-ca"}})], volumes].concat();
    let container = json!({
        "name": "app", "image": WORKLOAD, "imagePullPolicy": "Never", "args": ["serve"], "env": env, "volumeMounts": mounts,
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        },
    });
    let pod = json!({
        "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
        "terminationGracePeriodSeconds": 2,
        "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container], "volumes": volumes,
    });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
        },
    });
    stage.apply(TEAM, &[deployment]).await;
    stage.rolled_out(TEAM, name).await;
}

fn mount(path: &str) -> Value {
    json!({"name": "qlik", "mountPath": path, "readOnly": true})
}

fn volume(secret: &str) -> Value {
    json!({"name": "qlik", "secret": {"secretName": secret}})
}

/// The state that the application reports.
pub async fn state(stage: &Stage, name: &str) -> Value {
    let path = "jsonpath={.items[-1:].status.podIP}";
    let selector = format!("app={name}");
    let sort = "--sort-by=.metadata.creationTimestamp";
    let address = stage.kubectl(&["get", "pods", "-n", TEAM, "-l", &selector, sort, "-o", path]).await;
    serde_json::from_str(&get(&address, 8080, "/").await.unwrap()).unwrap()
}

/// A workload that mounts the Secret as the README shows.
pub async fn mounted(stage: &Stage, name: &str) {
    let env = json!([{"name": "TOKEN_FILE", "value": "/qlik/token"}]);
    deploy(stage, name, env, &[mount("/qlik")], &[volume("acme-token")]).await;
}

/// Requests a new token. Returns how long after its write to the Secret the workload reads it.
pub async fn delay(stage: &Stage, name: &str) -> Duration {
    delay_of(stage, "acme", name).await
}

/// The same, for the token of this context.
pub async fn delay_of(stage: &Stage, context: &str, name: &str) -> Duration {
    let before = state(stage, name).await;
    stage.refresh(context).await;
    let published = SystemTime::now();
    let mut seen = 0;
    until("the new token is in the file", async || {
        let now = state(stage, name).await;
        seen = now["fileSince"].as_u64().unwrap();
        now["file"] != before["file"]
    })
    .await;
    let seen = UNIX_EPOCH + Duration::from_millis(seen);
    seen.duration_since(published).unwrap_or_default()
}

pub async fn file(stage: &mut Stage) {
    mounted(stage, "file").await;
    let first = state(stage, "file").await;
    assert_eq!(first["fileStatus"], 200, "{first}");
    let took = delay(stage, "file").await;
    to_stderr(&format!("a renewed token was in the mounted file {:.1} s after it was published", took.as_secs_f32()));
    let second = state(stage, "file").await;
    assert_ne!(first["file"], second["file"]);
    assert_eq!(second["fileStatus"], 200, "{second}");
}

pub async fn environment(stage: &mut Stage) {
    // Its own client, because a client gets a new token on request only once a minute.
    stage.tenant.add_client(Client::new("of-environment").secret(CLIENT_SECRET));
    stage.apply(TEAM, &context("other", HOST, "of-environment")).await;
    stage.wait_for("other", "TokenValid").await;
    // The same Secret is also mounted as a file, which shows when the kubelet has the new token.
    let from = json!({"secretKeyRef": {"name": "other-token", "key": "token"}});
    let env = json!([{"name": "QLIK_TOKEN", "valueFrom": from}, {"name": "TOKEN_FILE", "value": "/qlik/token"}]);
    deploy(stage, "environment", env, &[mount("/qlik")], &[volume("other-token")]).await;
    let first = state(stage, "environment").await;
    assert_eq!(first["environmentStatus"], 200, "{first}");
    assert_eq!(first["environment"], first["file"], "the same token in both places");
    stage.refresh("other").await;
    until("the new token is in the file", async || state(stage, "environment").await["file"] != first["file"]).await;
    assert_eq!(
        state(stage, "environment").await["environment"],
        first["environment"],
        "the environment keeps the token from the start"
    );
    stage.kubectl(&["rollout", "restart", "-n", TEAM, "deployment/environment"]).await;
    stage.rolled_out(TEAM, "environment").await;
    let second = state(stage, "environment").await;
    assert_ne!(second["environment"], first["environment"], "a restart brings the new token");
    assert_eq!(second["environmentStatus"], 200);
}

pub async fn contexts(stage: &mut Stage) {
    let env = json!([{"name": "HOME", "value": "/home/qlik"}]);
    deploy(stage, "contexts", env, &[mount("/home/qlik/.qlik")], &[volume("acme-token")]).await;
    let said = state(stage, "contexts").await;
    let contexts: Value = serde_saphyr::from_str(said["contexts"].as_str().unwrap()).unwrap();
    let current = contexts["current-context"].as_str().unwrap().to_owned();
    let context = &contexts["contexts"][&current];
    assert_eq!(context["server"], format!("https://{HOST}"), "{contexts}");
    assert_eq!(context["headers"]["Authorization"], "Bearer TOKEN", "{contexts}");
}
