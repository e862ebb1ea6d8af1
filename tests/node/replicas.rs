//! Several Pods: a rolling update and a drained node cause no token request.

use serde_json::{Value, json};
use support::node;
use support::operator::{NAMESPACE, RELEASE};

use crate::stage::{PROGRAM, Stage, Standing, until};

/// The leader has reconciled the context, so it would have requested a token by now.
async fn one_of_two_leads(stage: &Stage) {
    until("one of two leads, and has found the context ready", async || {
        stage.standings("acme").await == [Standing::LeadsAndFoundReady, Standing::Follows]
    })
    .await;
}

pub async fn rolling_update(stage: &mut Stage) {
    let before = stage.issued();
    stage.helm(&json!({"replicaCount": 2})).await;
    stage.rolled_out(NAMESPACE, RELEASE).await;
    one_of_two_leads(stage).await;
    let old = stage.node.pids(PROGRAM);
    assert_eq!(old.len(), 2);
    stage.helm(&json!({"replicaCount": 2, "podAnnotations": {"rolled": "yes"}})).await;
    stage.rolled_out(NAMESPACE, RELEASE).await;
    one_of_two_leads(stage).await;
    assert!(stage.node.pids(PROGRAM).iter().all(|pid| !old.contains(pid)), "every Pod is a new one");
    stage.wait_for("acme", "TokenValid").await;
    assert_eq!(stage.issued(), before, "no Pod requested a token");
}

pub async fn drain(stage: &mut Stage) {
    let before = stage.issued();
    let names = |pods: Vec<Value>| -> Vec<String> {
        pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let old = names(stage.pods(NAMESPACE).await);
    let select = format!("--pod-selector=app.kubernetes.io/instance={RELEASE}");
    stage.kubectl(&["drain", node::NAME, "--timeout=60s", &select]).await;
    until("nothing runs", async || stage.node.pids(PROGRAM).is_empty()).await;
    stage.kubectl(&["uncordon", node::NAME]).await;
    stage.rolled_out(NAMESPACE, RELEASE).await;
    one_of_two_leads(stage).await;
    let new = names(stage.pods(NAMESPACE).await);
    assert!(new.iter().all(|name| !old.contains(name)), "every Pod is a new one");
    stage.wait_for("acme", "TokenValid").await;
    assert_eq!(stage.issued(), before, "the token was read from its Secret");
}
