//! Pods as the API server shows them.

use super::*;
use serde_json::{Value, json};

const SECRET: &str = "acme-token";

fn pod(spec: &Value, changes: &Value) -> Option<Reader> {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-5d4f-x", "uid": "u", "labels": {"pod-template-hash": "5d4f"},
            "creationTimestamp": "2026-11-22T00:00:00Z",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4f", "uid": "r", "controller": true}]},
        "spec": spec,
        "status": {"phase": "Running", "containerStatuses": [
            {"name": "app", "state": {"running": {"startedAt": "2026-11-22T00:00:05Z"}}},
            {"name": "late", "state": {"running": {"startedAt": "2026-11-22T00:00:09Z"}}},
            {"name": "done", "state": {"terminated": {"exitCode": 0}}}]},
    });
    for (field, value) in changes.as_object().into_iter().flatten() {
        pod["metadata"][field] = value.clone();
    }
    reader(&serde_json::from_value(pod).unwrap(), SECRET)
}

fn environment(container: &str) -> Value {
    let variable = json!({"name": "T", "valueFrom": {"secretKeyRef": {"name": SECRET, "key": "token"}}});
    json!({"name": container, "env": [{"name": "PLAIN", "value": "x"}, variable]})
}

fn mounted(mount: &Value) -> Value {
    json!({"containers": [{"name": "app", "volumeMounts": [mount]}],
        "volumes": [{"name": "v", "secret": {"secretName": SECRET}}, {"name": "other", "secret": {"secretName": "x"}}]})
}

#[test]
fn each_source_of_a_value_is_distinguished() {
    let ways = |spec: Value| {
        let read = pod(&spec, &json!({})).map(|reader| (reader.mounts, reader.environment));
        let kept = serde_json::from_value::<PodSpec>(spec).unwrap().reads_any_secret();
        assert!(kept || read.is_none(), "what reads this Secret reads one");
        read
    };
    let all = json!({"containers": [{"name": "app", "envFrom": [{"prefix": "Q_", "secretRef": {"name": SECRET}}]}]});
    let projected = json!({"containers": [{"name": "app", "volumeMounts": [{"name": "v", "mountPath": "/q"}]}],
        "volumes": [{"name": "v", "projected": {"sources": [{"configMap": {"name": SECRET}}, {"secret": {"name": SECRET}}]}}]});
    assert_eq!(ways(json!({"containers": [environment("app")]})), Some((false, true)));
    assert_eq!(ways(json!({"initContainers": [environment("app")]})), Some((false, true)));
    assert_eq!(ways(json!({"ephemeralContainers": [environment("app")]})), Some((false, true)));
    assert_eq!(ways(all), Some((false, true)));
    assert_eq!(ways(projected), Some((true, false)));
    assert_eq!(ways(mounted(&json!({"name": "v", "mountPath": "/q"}))), Some((true, false)));
    assert_eq!(ways(mounted(&json!({"name": "v", "mountPath": "/q", "subPath": "token"}))), Some((false, true)));
    assert_eq!(ways(mounted(&json!({"name": "v", "mountPath": "/q", "subPathExpr": "$(X)"}))), Some((false, true)));
    assert_eq!(ways(mounted(&json!({"name": "other", "mountPath": "/q"}))), None);
    assert_eq!(ways(json!({"containers": [{"name": "app"}]})), None);
}

#[test]
fn a_pod_has_its_token_since_the_first_container_that_reads_it_and_runs_was_started() {
    let started = |spec: Value| pod(&spec, &json!({})).unwrap().started_at.map(|at| at.to_string());
    let of =
        |names: &[&str]| started(json!({"containers": names.iter().map(|name| environment(name)).collect::<Vec<_>>()}));
    assert_eq!(of(&["app"]).as_deref(), Some("2026-11-22T00:00:05Z"));
    assert_eq!(of(&["late", "app"]).as_deref(), Some("2026-11-22T00:00:05Z"));
    assert_eq!(of(&["late"]).as_deref(), Some("2026-11-22T00:00:09Z"));
    assert_eq!(of(&["done"]), None);
    assert_eq!(of(&["unknown"]), None);
}

#[test]
fn a_pod_that_is_leaving_reads_nothing() {
    let spec = json!({"containers": [environment("app")]});
    assert_eq!(pod(&spec, &json!({"deletionTimestamp": "2026-11-22T00:01:00Z"})), None);
}

#[test]
fn the_owner_is_the_workload_behind_the_pod() {
    let owner = |reference: Value| {
        let owners = reference.as_object().map_or_else(|| json!([]), |_| json!([reference]));
        pod(&json!({"containers": [environment("app")]}), &json!({ "ownerReferences": owners }))
            .unwrap()
            .owner
            .to_string()
    };
    let reference = |version: &str, kind: &str, name: &str| json!({"apiVersion": version, "kind": kind, "name": name, "uid": "r", "controller": true});
    assert_eq!(owner(reference("apps/v1", "ReplicaSet", "web-5d4f")), "Deployment web");
    assert_eq!(owner(reference("apps/v1", "ReplicaSet", "web5d4f")), "ReplicaSet web5d4f");
    assert_eq!(owner(reference("apps/v1", "ReplicaSet", "web-other")), "ReplicaSet web-other");
    assert_eq!(owner(reference("apps/v1", "StatefulSet", "db")), "StatefulSet db");
    assert_eq!(owner(reference("apps/v1", "DaemonSet", "log")), "DaemonSet log");
    assert_eq!(owner(reference("batch/v1", "Job", "once")), "Job once");
    assert_eq!(owner(reference("argoproj.io/v1alpha1", "StatefulSet", "db")), "StatefulSet db");
    assert_eq!(owner(Value::Null), "Pods without a controller");
    let other = pod(
        &json!({"containers": [environment("app")]}),
        &json!({"ownerReferences": [reference("example.com/v1", "StatefulSet", "db")]}),
    );
    assert_eq!(other.unwrap().owner, Owner::Other("StatefulSet".into(), "db".into()));
}
