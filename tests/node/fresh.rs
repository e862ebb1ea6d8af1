//! New tokens reach running workloads: in files within seconds, in environments by restarts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use support::control_plane::to_stderr;
use support::operator::{NAMESPACE, RELEASE};

use crate::arrival::{SHORT, arrivals, calls, mount, with_lifetime};
use crate::stage::{Stage, TEAM, until};
use crate::workloads::{deploy, state};

pub const LIFE: Duration = Duration::from_hours(6);
const NAMES: [&str; 3] = ["restarted-a", "restarted-b", "restarted-c"];

/// The operator with permissions for workloads.
pub async fn switched_on(stage: &Stage) {
    stage.helm(&json!({"workloads": {"enabled": true}})).await;
    stage.rolled_out(NAMESPACE, RELEASE).await;
}

pub async fn files(stage: &mut Stage) {
    // The kubelet's default. With it, only the operator's annotation updates a file within seconds.
    stage.node.restart_kubelet("1m").await.unwrap();
    switched_on(stage).await;
    with_lifetime(stage, "refreshed", LIFE, &json!({})).await;
    mount(stage, "refreshed").await;
    let took = arrivals(stage, "refreshed").await[0];
    to_stderr(&format!(
        "a refreshed file had the renewed token {:.1} s after the Secret was written",
        took.as_secs_f32()
    ));
    assert!(took < Duration::from_secs(15), "{took:?}: without an annotation the kubelet takes about a minute");
}

pub async fn restarts(stage: &mut Stage) {
    stage.node.restart_kubelet("1m").await.unwrap();
    switched_on(stage).await;
    with_lifetime(stage, "short", SHORT, &json!({})).await;
    mount(stage, "short").await;
    let stage = &*stage;
    // During the calls tokens expire, and the operator is restarted twice.
    let done = AtomicBool::new(false);
    let answers = calls(stage, "short", SHORT * 3 / 2, &done);
    let (answers, ()) = futures::join!(answers, async {
        restarted_one_after_the_other(stage).await;
        done.store(true, Ordering::Relaxed);
    });
    to_stderr(&format!("tokens of 60 s in a file: {answers:?}"));
    assert_eq!((answers.unauthorized, answers.others), (0, 0), "{answers:?}");
    assert!(answers.tokens >= 3 && answers.calls >= 100, "{answers:?}");
}

async fn restarted_one_after_the_other(stage: &Stage) {
    with_lifetime(stage, "restarted", LIFE, &json!({"restart": {}})).await;
    let from = json!({"secretKeyRef": {"name": "restarted-token", "key": "token"}});
    let setting = json!({"configMapKeyRef": {"name": "setting", "key": "key"}});
    stage.apply(TEAM, &[setting_of_b()]).await;
    let mut before = Vec::new();
    for name in NAMES {
        let mut env = vec![json!({"name": "QLIK_TOKEN", "valueFrom": from})];
        env.extend((name == NAMES[1]).then(|| json!({"name": "SETTING", "valueFrom": setting})));
        deploy(stage, name, json!(env), &[], &[]).await;
        before.push(state(stage, name).await["environment"].clone());
    }
    let soon = "{\"spec\":{\"progressDeadlineSeconds\":15}}";
    stage.kubectl(&["patch", "-n", TEAM, "deployment/restarted-b", "--type=merge", "-p", soon]).await;
    // A new Pod of the second cannot start.
    stage.kubectl(&["delete", "-n", TEAM, "configmap/setting"]).await;
    let restarts = async || {
        let path = "jsonpath={.spec.template.metadata.annotations.qlikcontext\\.dev/restarted-for}";
        let all = NAMES.map(async |name| {
            !stage.kubectl(&["get", "-n", TEAM, &format!("deployment/{name}"), "-o", path]).await.is_empty()
        });
        futures::future::join_all(all).await
    };
    let synced = async || {
        let path = "jsonpath={.status.conditions[?(@.type==\"WorkloadsSynced\")].reason} {.status.workloads.stale} {.status.conditions[?(@.type==\"Ready\")].reason}";
        stage.kubectl(&["get", "qctx", "restarted", "-n", TEAM, "-o", path]).await
    };
    let generations = generations(stage).await;
    stage.refresh("restarted").await;
    until("the second fails to roll", async || synced().await == "RolloutFailing 2 TokenValid").await;
    assert_eq!(restarts().await, [true, true, false], "the third waits");
    operator_restarts(stage).await;
    until("it is seen again", async || synced().await == "RolloutFailing 2 TokenValid").await;
    assert_eq!(restarts().await, [true, true, false], "the third still waits");

    stage.apply(TEAM, &[setting_of_b()]).await;
    until("every workload has the new token", async || synced().await == "WorkloadsFresh 0 TokenValid").await;
    for (name, before) in NAMES.into_iter().zip(before) {
        let now = state(stage, name).await;
        assert_ne!(now["environment"], before, "{name}");
        assert_eq!(now["environmentStatus"], 200, "{name}: {now}");
    }
    let once: Vec<_> = generations.iter().map(|generation| generation + 1).collect();
    assert_eq!(self::generations(stage).await, once, "each was restarted once");
    operator_restarts(stage).await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(self::generations(stage).await, once, "a restart of the operator restarts nothing");
}

fn setting_of_b() -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "setting"}, "data": {"key": "value"}})
}

async fn generations(stage: &Stage) -> Vec<u64> {
    let path = "jsonpath={.metadata.generation}";
    let all = NAMES.map(async |name| {
        stage.kubectl(&["get", "-n", TEAM, &format!("deployment/{name}"), "-o", path]).await.parse().unwrap()
    });
    futures::future::join_all(all).await
}

async fn operator_restarts(stage: &Stage) {
    stage.kubectl(&["rollout", "restart", "-n", NAMESPACE, "deployment/qlik-context-operator"]).await;
    stage.rolled_out(NAMESPACE, RELEASE).await;
    stage.works("restarted").await;
}
