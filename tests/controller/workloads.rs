//! Workloads that read a token are annotated and restarted, the status reports it, and nothing else is changed. The
//! tests write what a kubelet and the Deployment controller would write.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use qlik_context_operator::api::Reason;
use serde_json::{Value, json};
use support::api_server::{Fault, Kind, Script, Verb};

mod fleet;

use crate::reasons::OF_WORKLOADS;
use crate::world::{HOUR, LIFE, World, pass};

const MINUTE: Duration = Duration::from_mins(1);
const STEP: Duration = Duration::from_secs(10);
const RESTARTED_FOR: &str = "qlikcontext.dev/restarted-for";

/// A running controller that updates workloads.
async fn running() -> World {
    let mut world = World::new();
    world.workloads = true;
    world.start();
    pass(STEP).await;
    world
}

/// The same, with a context `acme` that has a token and these `spec.workloads`.
async fn with(workloads: Value) -> World {
    let world = running().await;
    world.add("a", "acme", LIFE, &json!({ "workloads": workloads }));
    pass(STEP).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
    world
}

fn restart() -> Value {
    json!({"restart": {}})
}

fn environment(secret: &str) -> Value {
    let variable = json!({"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": secret, "key": "token"}}});
    json!({"containers": [{"name": "app", "env": [variable]}]})
}

fn volume(secret: &str) -> Value {
    json!({
        "containers": [{"name": "app", "volumeMounts": [{"name": "token", "mountPath": "/token"}]}],
        "volumes": [{"name": "token", "secret": {"secretName": secret}}],
    })
}

/// Creates a Pod that starts now.
fn pod(world: &World, namespace: &str, name: &str, spec: &Value, owner: Option<&str>, annotations: &Value) {
    let now = world.clock.now().to_string();
    let owner = owner.map(|name| {
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-5d4f"), "uid": "r", "controller": true}])
    });
    let running = json!([{"name": "app", "state": {"running": {"startedAt": now}}}]);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"pod-template-hash": "5d4f"},
            "annotations": annotations, "ownerReferences": owner, "creationTimestamp": now},
        "spec": spec, "status": {"phase": "Running", "containerStatuses": running},
    });
    world.api.put(pod).unwrap();
}

/// Creates a Deployment with one Pod, which starts now.
fn deploy(world: &World, namespace: &str, name: &str, spec: &Value) {
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {"replicas": 1, "template": {"metadata": {"labels": {"app": name}}, "spec": spec}},
        "status": rolled(1, 1, "NewReplicaSetAvailable"),
    });
    world.api.put(deployment).unwrap();
    pod(world, namespace, &format!("{name}-0"), spec, Some(name), &json!({}));
}

fn rolled(generation: i64, updated: i64, reason: &str) -> Value {
    json!({
        "observedGeneration": generation, "replicas": 1, "updatedReplicas": updated, "availableReplicas": 1,
        "conditions": [{"type": "Progressing", "reason": reason}],
    })
}

fn generation(world: &World, namespace: &str, name: &str) -> i64 {
    world.api.get(Kind::Deployment, namespace, name).unwrap()["metadata"]["generation"].as_i64().unwrap()
}

/// Writes the status of the Deployment controller during a rollout.
fn rolling(world: &World, name: &str, reason: &str) {
    let status = rolled(generation(world, "a", name), 0, reason);
    world.api.edit(Kind::Deployment, "a", name, |deployment| deployment["status"] = status).unwrap();
}

/// Ends a rollout: replaces the Pod.
fn roll_out(world: &World, namespace: &str, name: &str) {
    let status = rolled(generation(world, namespace, name), 1, "NewReplicaSetAvailable");
    let rolled = |deployment: &mut Value| deployment["status"] = status;
    let deployment = world.api.edit(Kind::Deployment, namespace, name, rolled).unwrap();
    let template = &deployment["spec"]["template"];
    world.api.delete(Kind::Pod, namespace, &format!("{name}-0"));
    pod(world, namespace, &format!("{name}-0"), &template["spec"], Some(name), &template["metadata"]["annotations"]);
}

fn restarted_for(world: &World, name: &str) -> Option<String> {
    let deployment = world.api.get(Kind::Deployment, "a", name)?;
    deployment["spec"]["template"]["metadata"]["annotations"][RESTARTED_FOR].as_str().map(str::to_owned)
}

fn restarts(world: &World) -> usize {
    world.api.log(|log| log.count(Verb::Patch, Kind::Deployment))
}

fn pod_patches(world: &World) -> usize {
    world.api.log(|log| log.count(Verb::Patch, Kind::Pod))
}

/// The number of requests about Pods and workloads.
fn looks(world: &World) -> usize {
    let kinds = [Kind::Pod, Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet];
    world.api.log(|log| log.count_if(|call| kinds.contains(&call.kind)))
}

fn reported(world: &World) -> String {
    let condition = world.condition("a", "acme", "WorkloadsSynced");
    format!("{}/{}", condition["status"].as_str().unwrap_or("-"), condition["reason"].as_str().unwrap_or("-"))
}

fn counted(world: &World) -> Value {
    world.api.get(Kind::QlikContext, "a", "acme").unwrap()["status"]["workloads"].clone()
}

fn stale_pods(world: &World) -> Option<String> {
    let metrics = world.metrics.render(world.clock.now()).unwrap();
    let series = "qlik_context_stale_pods{namespace=\"a\",name=\"acme\"} ";
    metrics.lines().find_map(|line| line.strip_prefix(series)).map(str::to_owned)
}

/// Until right before the renewal, which is due after 3.6 to 4.02 h.
async fn until_renewal(world: &World) {
    while world.issued() < 2 {
        pass(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_replaced_while_another_request_hangs_causes_no_restart() {
    let world = with(json!({"refreshVolumes": true, "restart": {}})).await;
    pod(&world, "a", "p0", &volume("acme-token"), None, &json!({}));
    deploy(&world, "a", "reader", &environment("acme-token"));
    world.api.script(Script::on(Verb::Patch, Kind::Pod, Fault::Silence).once());
    until_renewal(&world).await;
    pass(STEP).await;
    assert_eq!((pod_patches(&world), restarts(&world)), (1, 0), "the first request hangs");
    roll_out(&world, "a", "reader");
    pass(MINUTE).await;
    assert_eq!((restarts(&world), reported(&world).as_str()), (0, "True/WorkloadsFresh"));
}

#[tokio::test(start_paused = true)]
async fn pods_that_mount_the_secret_are_annotated_once_for_each_new_token_and_cost_one_list_more() {
    let world = with(json!({})).await;
    for n in 0..3 {
        pod(&world, "a", &format!("p{n}"), &volume("acme-token"), None, &json!({}));
    }
    pod(&world, "a", "other", &volume("another-token"), None, &json!({}));
    pod(&world, "b", "p0", &volume("acme-token"), None, &json!({}));
    world.api.clear_log();
    until_renewal(&world).await;
    pass(3 * Duration::from_secs(1)).await;
    let marked = |namespace: &str, name: &str| {
        let pod = world.api.get(Kind::Pod, namespace, name).unwrap();
        pod["metadata"]["annotations"]["qlikcontext.dev/token-issued-at"].as_str().map(str::to_owned)
    };
    let secret = world.api.get(Kind::Secret, "a", "acme-token").unwrap();
    let issued = secret["metadata"]["annotations"]["qlikcontext.dev/issued-at"].as_str().map(str::to_owned);
    for n in 0..3 {
        assert_eq!(marked("a", &format!("p{n}")), issued);
    }
    assert_eq!((marked("a", "other"), marked("b", "p0")), (None, None));
    // One list and the patches. Nothing else is written.
    pass(HOUR).await;
    assert_eq!((pod_patches(&world), looks(&world)), (3, 4));
    assert_eq!(reported(&world), "True/WorkloadsFresh");
    assert_eq!(counted(&world), json!({"volumes": 3, "environment": 0, "stale": 0}));
    let metrics = world.metrics.render(world.clock.now()).unwrap();
    assert!(metrics.contains("qlik_context_pod_refreshes_total{outcome=\"Success\"} 3"));
}

#[tokio::test(start_paused = true)]
async fn workloads_that_read_the_environment_are_restarted_one_after_the_other_and_none_twice() {
    let mut world = with(restart()).await;
    for name in ["one", "three", "two"] {
        deploy(&world, "a", name, &environment("acme-token"));
    }
    deploy(&world, "a", "other", &environment("another-token"));
    pass(HOUR).await;
    assert_eq!((restarts(&world), reported(&world)), (0, "True/WorkloadsFresh".to_owned()));
    until_renewal(&world).await;
    for (done, name) in ["one", "three", "two"].into_iter().enumerate() {
        pass(STEP).await;
        assert_eq!((restarts(&world), reported(&world)), (done + 1, "False/WorkloadsStale".to_owned()));
        assert_eq!(counted(&world), json!({"volumes": 0, "environment": 3, "stale": 3 - done}));
        assert_eq!(stale_pods(&world), Some((3 - done).to_string()));
        assert!(restarted_for(&world, name).is_some());
        rolling(&world, name, "ReplicaSetUpdated");
        pass(MINUTE).await;
        assert_eq!(restarts(&world), done + 1, "{name} is followed to its end");
        // Another instance takes over during a rollout.
        world.start();
        pass(MINUTE).await;
        assert_eq!(restarts(&world), done + 1, "{name} is followed to its end");
        roll_out(&world, "a", name);
    }
    pass(STEP).await;
    assert_eq!(reported(&world), "True/WorkloadsFresh");
    assert_eq!(counted(&world), json!({"volumes": 0, "environment": 3, "stale": 0}));
    assert_eq!(stale_pods(&world).as_deref(), Some("0"));
    assert_eq!(restarted_for(&world, "other"), None);
    let events: BTreeSet<_> = world.notes("WorkloadRestarted").into_iter().collect();
    assert_eq!(events.len(), 3, "{events:?}");
    // Neither a restart of the operator nor routine verifications restart anything.
    world.start();
    pass(3 * HOUR).await;
    assert_eq!((world.issued(), restarts(&world)), (2, 3));
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_fails_stops_the_rest_and_is_reported_and_does_not_touch_ready() {
    let world = with(restart()).await;
    for name in ["one", "two"] {
        deploy(&world, "a", name, &environment("acme-token"));
    }
    until_renewal(&world).await;
    pass(STEP).await;
    rolling(&world, "one", "ProgressDeadlineExceeded");
    pass(HOUR).await;
    assert_eq!((restarts(&world), reported(&world)), (1, "False/RolloutFailing".to_owned()));
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
    assert_eq!(world.notes("RolloutFailing").len(), 1);
    roll_out(&world, "a", "one");
    pass(MINUTE).await;
    assert_eq!(restarts(&world), 2);
    roll_out(&world, "a", "two");
    pass(MINUTE).await;
    assert_eq!((restarts(&world), reported(&world)), (2, "True/WorkloadsFresh".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_references_another_secret_is_never_restarted_whatever_a_pod_says_of_its_owner() {
    let world = with(restart()).await;
    deploy(&world, "a", "victim", &environment("another-token"));
    deploy(&world, "b", "victim", &environment("acme-token"));
    // A Pod of a user, with the owner reference and label of a Pod of the victim.
    pod(&world, "a", "crafted", &environment("acme-token"), Some("victim"), &json!({}));
    until_renewal(&world).await;
    pass(HOUR).await;
    assert_eq!((restarts(&world), pod_patches(&world)), (0, 0));
    assert!(
        world
            .reported("a", "acme", "WorkloadsSynced")
            .contains("Deployment victim (not a workload that reads the Secret")
    );
}

#[tokio::test(start_paused = true)]
async fn a_context_whose_target_is_a_secret_of_another_owner_restarts_and_annotates_nothing() {
    let world = running().await;
    let foreign = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "database", "namespace": "a"},
        "stringData": {"token": "a value of someone else"},
    });
    world.api.put(foreign).unwrap();
    deploy(&world, "a", "reads", &environment("database"));
    pod(&world, "a", "mounts", &volume("database"), None, &json!({}));
    pass(MINUTE).await;
    world.add("a", "acme", LIFE, &json!({"target": {"name": "database"}, "workloads": restart()}));
    pass(HOUR).await;
    assert_eq!(world.ready("a", "acme"), "False/SecretNotOwned");
    let issued_at = "2027-01-01T00:00:00Z";
    let change =
        |secret: &mut Value| secret["metadata"]["annotations"] = json!({"qlikcontext.dev/issued-at": issued_at});
    world.api.edit(Kind::Secret, "a", "database", change).unwrap();
    let forge = |context: &mut Value| context["status"]["token"] = json!({"issuedAt": issued_at});
    world.api.edit(Kind::QlikContext, "a", "acme", forge).unwrap();
    pass(HOUR).await;
    assert_eq!((looks(&world), reported(&world).as_str()), (0, "-/-"));
}

#[tokio::test(start_paused = true)]
async fn a_status_that_somebody_forged_restarts_nothing() {
    let world = with(restart()).await;
    deploy(&world, "a", "one", &environment("acme-token"));
    pass(MINUTE).await;
    let forge = |context: &mut Value| {
        context["status"]["token"]["issuedAt"] = "2027-01-01T00:00:00Z".into();
        context["status"]["workloads"] = json!({"volumes": 0, "environment": 1, "stale": 1});
    };
    world.api.edit(Kind::QlikContext, "a", "acme", forge).unwrap();
    pass(HOUR).await;
    assert_eq!((world.issued(), restarts(&world)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn without_the_permissions_the_condition_names_the_value_of_the_chart_and_tokens_are_renewed() {
    for denied in [Verb::List, Verb::Patch] {
        let world = with(json!({})).await;
        pod(&world, "a", "p", &volume("acme-token"), None, &json!({}));
        world.api.script(Script::on(denied, Kind::Pod, Fault::Forbidden));
        until_renewal(&world).await;
        pass(STEP).await;
        assert_eq!(reported(&world), "False/NotPermitted", "{denied}");
        assert!(world.reported("a", "acme", "WorkloadsSynced").contains("workloads.enabled"), "{denied}");
        assert_eq!((world.ready("a", "acme").as_str(), world.issued()), ("True/TokenValid", 2));
    }
}

#[tokio::test(start_paused = true)]
async fn while_it_is_switched_off_nothing_is_requested_and_the_condition_says_so() {
    let requests = async |workloads: Value, enabled: bool| {
        let mut world = World::new();
        world.workloads = enabled;
        world.add("a", "acme", LIFE, &workloads);
        world.start();
        until_renewal(&world).await;
        pass(HOUR).await;
        let mut requests = BTreeMap::new();
        world.api.log(|log| {
            for record in log.records.iter().filter(|record| record.call.verb != Verb::Watch) {
                *requests.entry((record.call.verb, record.resource())).or_insert(0_usize) += 1;
            }
        });
        (requests, reported(&world), looks(&world))
    };
    let (today, absent, _) = requests(json!({}), false).await;
    let (off, reported, looks) = requests(json!({"workloads": {"restart": {}}}), false).await;
    assert_eq!((off, reported.as_str(), looks), (today, "False/NotPermitted", 0));
    assert_eq!(absent, "-/-");
    // With the permissions and without the field, a replaced token costs one list.
    let (_, reported, looks) = requests(json!({}), true).await;
    assert_eq!((reported.as_str(), looks), ("-/-", 1));
}

#[tokio::test(start_paused = true)]
async fn without_the_field_a_pod_that_keeps_an_old_token_is_one_warning() {
    let world = running().await;
    world.add("a", "acme", LIFE, &json!({}));
    pass(STEP).await;
    deploy(&world, "a", "one", &environment("acme-token"));
    until_renewal(&world).await;
    pass(9 * HOUR).await;
    assert!(world.issued() >= 4);
    let notes = world.notes("TokenNotRefreshed");
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("spec.workloads.restart"), "{notes:?}");
    assert_eq!((restarts(&world), pod_patches(&world), counted(&world)), (0, 0, Value::Null));
}

#[tokio::test(start_paused = true)]
async fn a_field_that_is_taken_away_takes_its_condition_counts_and_series_with_it() {
    let world = with(json!({})).await;
    assert_eq!((reported(&world).as_str(), stale_pods(&world).as_deref()), ("True/WorkloadsFresh", Some("0")));
    world.put_context("a", "acme", "acme", &json!({}));
    pass(STEP).await;
    assert_eq!((reported(&world), counted(&world), stale_pods(&world)), ("-/-".to_owned(), Value::Null, None));
    world.put_context("a", "acme", "acme", &json!({"workloads": {}}));
    pass(STEP).await;
    assert_eq!(reported(&world), "True/WorkloadsFresh");
    world.put_context("a", "acme", "acme", &json!({"workloads": {"restart": {}}, "suspend": true}));
    world.api.clear_log();
    pass(HOUR).await;
    assert_eq!(looks(&world), 0, "a suspended context is left alone");
}

#[tokio::test(start_paused = true)]
async fn a_refused_restart_is_reported_and_repeated_and_a_failing_list_too() {
    let world = with(restart()).await;
    deploy(&world, "a", "one", &environment("acme-token"));
    let denied = Fault::Status { code: 422, reason: "Invalid", retry_after: None };
    world.api.script(Script::on(Verb::Patch, Kind::Deployment, denied).times(2));
    world.api.script(Script::on(Verb::List, Kind::Pod, Fault::unavailable()).once());
    until_renewal(&world).await;
    pass(MINUTE).await;
    assert!(world.reported("a", "acme", "WorkloadsSynced").contains("could not be restarted (HTTP 422)"));
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
    pass(3 * MINUTE).await;
    assert!(restarted_for(&world, "one").is_some());
    let metrics = world.metrics.render(world.clock.now()).unwrap();
    for (outcome, count) in [("Failed", 2), ("Success", 1)] {
        let series =
            format!("qlik_context_workload_restarts_total{{kind=\"Deployment\",outcome=\"{outcome}\"}} {count}");
        assert!(metrics.contains(&series), "{series}");
    }
}

#[test]
fn every_reason_of_workloads_is_played_here() {
    let text = include_str!("workloads.rs");
    for reason in OF_WORKLOADS {
        let status = if reason == Reason::WorkloadsFresh { "True" } else { "False" };
        assert!(text.contains(&format!("\"{status}/{reason}\"")), "{reason}");
    }
}
