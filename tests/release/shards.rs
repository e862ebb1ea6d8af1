//! Shards: two releases for the whole cluster, each for the contexts with its label.

use crate::chart;
use crate::stage::{CLIENT_SECRET, Stage, stop, until};

/// The Helm command for one shard, in its own namespace.
fn install<'a>(chart: &'a str, namespace: &'a str, value: &'a str) -> Vec<&'a str> {
    vec!["install", "qlik-context-operator", chart, "--namespace", namespace, "--create-namespace", "--set", value]
}

#[tokio::test]
async fn a_context_that_moves_to_another_shard_keeps_its_secret_and_its_token() {
    let chart = chart::current();
    let mut second = install(&chart, "shard-y", "contextSelector=shard=y");
    second.extend(["--set", "crds.enabled=false"]);
    let stage = Stage::set(&[install(&chart, "shard-x", "contextSelector=shard=x"), second]).await;
    let (x, y) = (
        stage.operator(("shard-x", "qlik-context-operator")).await,
        stage.operator(("shard-y", "qlik-context-operator")).await,
    );
    let label = async |name: &str, shard: &str| {
        stage.kubectl(&["label", "--overwrite", "qctx", name, &format!("shard={shard}")]).await
    };
    let token = ["get", "secret", "moves-token", "-o", "yaml"];
    let knows = async |operator: &support::operator::Operator, name: &str| {
        operator.get("/metrics").await.unwrap().contains(&format!("namespace=\"default\",name=\"{name}\"}} 1\n"))
    };

    for name in ["moves", "stays", "unlabelled"] {
        stage.put("default", name, CLIENT_SECRET).await;
    }
    label("moves", "x").await;
    label("stays", "x").await;
    for name in ["moves", "stays"] {
        stage.wait_for("default", name, "TokenValid").await;
    }
    let before = (stage.kubectl(&token).await, stage.issued());

    label("moves", "y").await;
    until("the second shard has the context", async || knows(&y, "moves").await).await;
    until("the first shard has dropped the context", async || !knows(&x, "moves").await).await;
    assert!(knows(&x, "stays").await && !knows(&y, "stays").await);
    assert!((stage.kubectl(&token).await, stage.issued()) == before, "a move requests no token and writes nothing");
    assert_eq!(stage.status("default", "unlabelled").await, "");

    // After the first shard is removed, the second still works.
    stop(x).await;
    stage.kubectl(&["delete", "secret", "moves-token"]).await;
    stage.kubectl(&["wait", "--for=create", "secret/moves-token", "--timeout=30s"]).await;
}
