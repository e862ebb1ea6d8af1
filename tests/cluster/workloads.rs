//! Workloads on a real API server, with the chart's permissions and the real Deployment controller. There is no
//! kubelet: the tests write the status of Pods.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::world::{Case, conditions, message};

const PATIENCE: Duration = Duration::from_mins(1);
const REFRESHED_FOR: &str = "qlikcontext.dev/token-issued-at";
const RESTARTED_FOR: &str = "qlikcontext.dev/restarted-for";

fn pods(case: &Case) -> Api<Pod> {
    Api::namespaced(case.client.clone(), &case.namespace)
}

fn deployments(case: &Case) -> Api<Deployment> {
    Api::namespaced(case.client.clone(), &case.namespace)
}

/// Writes the status of a Pod as the kubelet does for a running Pod.
async fn run(case: &Case, pod: &str) {
    // The container starts at the time of this write.
    let now = Timestamp::now().to_string();
    let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": now});
    let container = json!({
        "name": "app", "image": "app", "imageID": "app", "ready": true, "restartCount": 0,
        "state": {"running": {"startedAt": now}},
    });
    let status = json!({"status": {"phase": "Running", "conditions": [ready], "containerStatuses": [container]}});
    pods(case).patch_status(pod, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !holds().await {
        assert!(begin.elapsed() < PATIENCE, "timed out waiting until {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A Deployment whose Pod reads this Secret from its environment, as it stands in Git.
fn manifest(name: &str, secret: &str) -> Value {
    let variable = json!({"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": secret, "key": "token"}}});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": "app", "env": [variable]}]},
            },
        },
    })
}

async fn deploy(case: &Case, name: &str, secret: &str) {
    let deployment = serde_json::from_value(manifest(name, secret)).unwrap();
    deployments(case).create(&PostParams::default(), &deployment).await.unwrap();
    run_newest(case, name, 1).await;
}

/// Marks the newest Pod of a Deployment as running, once the Deployment has this many Pods.
async fn run_newest(case: &Case, name: &str, count: usize) {
    let of = ListParams::default().labels(&format!("app={name}"));
    let mut pending = None;
    until("the Deployment controller creates a Pod", async || {
        let all = pods(case).list(&of).await.unwrap().items;
        let waits = |pod: &&Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Pending");
        pending = all.iter().find(waits).map(kube::ResourceExt::name_any);
        all.len() == count && pending.is_some()
    })
    .await;
    run(case, &pending.unwrap()).await;
}

/// The token for which the Deployment was restarted.
async fn restarted_for(case: &Case, name: &str) -> Option<String> {
    let deployment = deployments(case).get_opt(name).await.ok()??;
    deployment.spec.template.metadata?.annotations?.get(RESTARTED_FOR).cloned()
}

/// A new credential of the same client leads to a new token.
async fn new_token(case: &Case) -> String {
    let issued = async || case.metadata("acme-token").await.annotations.unwrap()["qlikcontext.dev/issued-at"].clone();
    let before = issued().await;
    // A container that started in the same second as the new token was issued may have the old one.
    tokio::time::sleep(Duration::from_secs(2)).await;
    case.apply("acme", &with_workloads(json!({"scopes": ["user_default"]}))).await;
    until("there is a new token", async || issued().await != before).await;
    issued().await
}

fn with_workloads(mut changes: Value) -> Value {
    changes["workloads"] = json!({"restart": {"maxConcurrent": 2}});
    changes
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_permissions_of_the_chart_pods_are_annotated_and_deployments_restarted_and_followed() {
    let case = Case::new("workloads").await;
    case.put_credential().await;
    case.apply("acme", &with_workloads(json!({}))).await;
    case.wait_for("acme", "Ready=True/TokenValid").await;
    let mounted = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "mounted"},
        "spec": {
            "containers": [{"name": "app", "image": "app", "volumeMounts": [{"name": "token", "mountPath": "/token"}]}],
            "volumes": [{"name": "token", "secret": {"secretName": "acme-token"}}],
        },
    });
    pods(&case).create(&PostParams::default(), &serde_json::from_value(mounted).unwrap()).await.unwrap();
    run(&case, "mounted").await;
    deploy(&case, "web", "acme-token").await;
    deploy(&case, "other", "another-secret").await;
    let issued = new_token(&case).await;
    until("the Pod that mounts the Secret is annotated", async || {
        let pod = pods(&case).get("mounted").await.unwrap();
        pod.annotations().get(REFRESHED_FOR) == Some(&issued)
    })
    .await;
    until("the Deployment is restarted", async || restarted_for(&case, "web").await.as_ref() == Some(&issued)).await;
    let stale = case.wait_for("acme", "WorkloadsSynced=False/WorkloadsStale").await;
    assert!(message(&stale, "WorkloadsSynced").contains("Being restarted: Deployment web."), "{stale:?}");
    assert_eq!(
        serde_json::to_value(stale.status.unwrap().workloads).unwrap(),
        json!({"volumes": 1, "environment": 1, "stale": 1})
    );
    // The new Pod becomes available, and the controller deletes the old one.
    run_newest(&case, "web", 2).await;
    let fresh = case.wait_for("acme", "WorkloadsSynced=True/WorkloadsFresh").await;
    assert!(conditions(&fresh).contains(&"Ready=True/TokenValid".to_owned()), "{fresh:?}");
    assert_eq!(
        serde_json::to_value(fresh.status.unwrap().workloads).unwrap(),
        json!({"volumes": 1, "environment": 1, "stale": 0})
    );
    assert_eq!(restarted_for(&case, "other").await, None);
    let web = deployments(&case).get("web").await.unwrap();
    assert_eq!(web.metadata.generation, Some(2), "it was restarted once");
    let managers = web.metadata.managed_fields.unwrap_or_default();
    assert!(managers.iter().any(|entry| entry.manager.as_deref() == Some("qlik-context-operator")));
    until("an event reports it", async || {
        case.kubectl(&["get", "events.events.k8s.io", "-o", "json"]).await.contains("\"WorkloadRestarted\"")
    })
    .await;
}

/// Applies manifests in the way of `kubectl apply` and Argo CD, and in that of Flux and of Argo CD with server-side apply.
const WAYS: [(&str, &[&str]); 2] =
    [("client", &[]), ("server", &["--server-side", "--force-conflicts", "--field-manager=kustomize-controller"])];

#[tokio::test(flavor = "multi_thread")]
async fn tools_that_apply_from_git_see_no_difference_after_a_restart_and_do_not_undo_it() {
    let case = Case::new("gitops").await;
    case.put_credential().await;
    case.apply("acme", &with_workloads(json!({}))).await;
    case.wait_for("acme", "Ready=True/TokenValid").await;
    let git = async |verb: &str, (name, flags): (&str, &[&str])| {
        let args = [&["-n", &case.namespace, verb, "-f", "-"], flags].concat();
        case.world.control_plane.kubectl_with_input(&args, &manifest(name, "acme-token").to_string()).await
    };
    for way in WAYS {
        git("apply", way).await.unwrap();
        run_newest(&case, way.0, 1).await;
    }
    let issued = new_token(&case).await;
    for way in WAYS {
        until("it is restarted", async || restarted_for(&case, way.0).await.as_ref() == Some(&issued)).await;
        // It ends with an error where there is a difference.
        git("diff", way).await.unwrap();
        git("apply", way).await.unwrap();
        assert_eq!(restarted_for(&case, way.0).await, Some(issued.clone()), "{}", way.0);
        assert_eq!(deployments(&case).get(way.0).await.unwrap().metadata.generation, Some(2), "{}", way.0);
    }
    // What is in Git is seen, to be sure that a difference would be.
    let mut changed = manifest("client", "acme-token");
    changed["spec"]["template"]["metadata"]["annotations"] = json!({"a": "b"});
    let args = ["-n", &case.namespace, "diff", "-f", "-"];
    let difference = case.world.control_plane.kubectl_with_input(&args, &changed.to_string()).await;
    assert!(difference.is_err());
}
