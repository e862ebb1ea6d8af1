//! Workloads as the API server shows them.

use super::*;
use serde_json::{Value, json};

fn parsed(kind: WorkloadKind, spec: &Value, status: &Value) -> Option<Workload> {
    let container = json!({"name": "app", "envFrom": [{"secretRef": {"name": "acme-token"}}]});
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": kind.to_string(),
        "metadata": {"name": "web", "generation": 3, "resourceVersion": "7", "labels": {"app": "web"}},
        "spec": {"replicas": 2, "template": {
            "metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "2026-11-22T01:00:00+01:00", "qlikcontext.dev/restarted-for": "t"}},
            "spec": {"containers": [container]}}},
        "status": status,
    });
    for (field, value) in spec.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    workload(kind, &serde_json::from_value(object).unwrap(), "acme-token")
}

#[test]
fn a_workload_counts_only_when_its_own_template_reads_the_secret() {
    let other = json!({"template": {"spec": {"containers": [{"name": "app"}]}}});
    assert_eq!(parsed(WorkloadKind::Deployment, &other, &json!({})), None);
    let web = parsed(WorkloadKind::Deployment, &json!({}), &json!({})).unwrap();
    assert_eq!(web.restarted_at.unwrap().to_string(), "2026-11-22T00:00:00Z");
    assert_eq!((web.restarted_for.as_deref(), web.resource_version.as_deref()), (Some("t"), Some("7")));
    assert!(!web.paused && !web.empty && web.rolls);
}

#[test]
fn paused_empty_and_waiting_workloads_are_recognised() {
    let deployment = |spec: Value| parsed(WorkloadKind::Deployment, &spec, &json!({})).unwrap();
    assert!(deployment(json!({"paused": true})).paused);
    assert!(deployment(json!({"replicas": 0})).empty);
    let rolls = |spec: Value| parsed(WorkloadKind::StatefulSet, &spec, &json!({})).unwrap().rolls;
    assert!(!rolls(json!({"updateStrategy": {"type": "OnDelete"}})));
    assert!(!rolls(json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}})));
    assert!(rolls(json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}})));
}

#[test]
fn a_rollout_is_where_kubectl_says_it_is() {
    use Rollout::{Done, Failed, Rolling};
    use WorkloadKind::{DaemonSet, Deployment, StatefulSet};
    let progressing =
        |reason: &str| json!([{"type": "Available", "reason": "x"}, {"type": "Progressing", "reason": reason}]);
    let of = |replicas: i64, updated: i64, available: i64, reason: &str| {
        json!({"observedGeneration": 3, "replicas": replicas, "updatedReplicas": updated, "availableReplicas": available,
            "conditions": progressing(reason)})
    };
    for (kind, status, wanted) in [
        (Deployment, json!({"observedGeneration": 2}), Rolling),
        (Deployment, of(2, 2, 2, "NewReplicaSetAvailable"), Done),
        (Deployment, of(3, 1, 2, "ReplicaSetUpdated"), Rolling),
        (Deployment, of(3, 2, 2, "ReplicaSetUpdated"), Rolling),
        (Deployment, of(2, 2, 1, "ReplicaSetUpdated"), Rolling),
        (Deployment, of(3, 1, 2, "ProgressDeadlineExceeded"), Failed),
        // Unavailable after the rollout, perhaps for its old token.
        (Deployment, of(2, 2, 0, "NewReplicaSetAvailable"), Done),
        (StatefulSet, json!({"observedGeneration": 3, "currentRevision": "a", "updateRevision": "b"}), Rolling),
        (StatefulSet, json!({"observedGeneration": 3, "currentRevision": "b", "updateRevision": "b"}), Done),
        (
            DaemonSet,
            json!({"observedGeneration": 3, "desiredNumberScheduled": 2, "updatedNumberScheduled": 1, "numberAvailable": 2}),
            Rolling,
        ),
        (
            DaemonSet,
            json!({"observedGeneration": 3, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 1}),
            Rolling,
        ),
        (
            DaemonSet,
            json!({"observedGeneration": 3, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2}),
            Done,
        ),
    ] {
        assert_eq!(parsed(kind, &json!({}), &status).unwrap().rollout, wanted, "{kind} {status}");
    }
}
