//! Two releases with the same name, each for its own namespaces.

use serde_json::Value;

use crate::stage::{CLIENT_SECRET, Stage, stop};
use crate::{chart, permissions};

const NORTH: (&str, &str) = ("north", "qlik-context-operator");
const SOUTH: (&str, &str) = ("south", "qlik-context-operator");

/// North watches two namespaces. South watches one, and another in which it has no Role.
async fn stage() -> Stage {
    let stage = Stage::set(&[]).await;
    let folder = stage.control_plane.folder();
    let (current, older) = (chart::current(), chart::older(folder));
    for namespace in ["north", "n1", "n2", "south", "s1", "s2", "nobodys"] {
        stage.kubectl(&["create", "namespace", namespace]).await;
    }
    // The CRD belongs to the north release, and was an older one.
    let north = ["--namespace", "north", "--set", "watchNamespaces={n1,n2}"];
    stage.helm(&[&["install", "qlik-context-operator", &older], &north[..]].concat()).await;
    for namespace in ["n1", "n2", "s1"] {
        stage.apply(namespace, &chart::of_the_older_schema(namespace).to_string()).await;
    }
    stage.helm(&[&["upgrade", "qlik-context-operator", &current], &north[..]].concat()).await;
    let south = ["--namespace", "south", "--set", "watchNamespaces={s1}", "--set", "crds.enabled=false"];
    stage.helm(&[&["install", "qlik-context-operator", &current], &south[..]].concat()).await;
    stage
}

/// The namespaces of all requests of an account. A cluster-wide request has an empty one.
fn touched(stage: &Stage, (namespace, account): (&str, &str)) -> Vec<String> {
    let user = format!("system:serviceaccount:{namespace}:{account}");
    let log = std::fs::read_to_string(stage.control_plane.audit_log()).unwrap();
    let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let theirs = entries.filter(|entry| entry["user"]["username"] == user.as_str());
    let mut namespaces: Vec<_> =
        theirs.map(|entry| entry["objectRef"]["namespace"].as_str().unwrap_or_default().to_owned()).collect();
    namespaces.sort();
    namespaces.dedup();
    namespaces
}

#[tokio::test]
async fn two_releases_for_different_namespaces_do_not_affect_each_other_and_have_least_privilege() {
    let stage = stage().await;
    let north = stage.operator(NORTH).await;
    let south = stage.operator(SOUTH).await;
    stage.put("nobodys", "acme", CLIENT_SECRET).await;
    for namespace in ["n1", "n2", "s1"] {
        permissions::exercise(&stage, namespace).await;
    }
    for (namespace, release) in [NORTH, SOUTH] {
        permissions::are_just_enough(&stage, namespace, release).await;
    }
    assert_eq!(touched(&stage, NORTH), ["n1", "n2", "north"]);
    assert_eq!(touched(&stage, SOUTH), ["s1", "south"]);
    assert_eq!(stage.status("nobodys", "acme").await, "", "no release watches this namespace");
    for (operator, contexts) in [(&north, 4), (&south, 2)] {
        let metrics = operator.get("/metrics").await.unwrap();
        assert_eq!(metrics.lines().filter(|line| line.starts_with("qlik_context_ready{")).count(), contexts);
        assert!(metrics.contains("\nqlik_context_leader 1\n"), "each release has its own leader");
    }
    stop(south).await;

    // From here on south watches one more namespace, at first without permissions for it.
    let wider = ["--namespace", "south", "--set", "watchNamespaces={s1,s2}", "--set", "crds.enabled=false"];
    let chart = chart::current();
    stage.helm(&[&["upgrade", "qlik-context-operator", &chart], &wider[..]].concat()).await;
    let role = "south:qlik-context-operator";
    stage.kubectl(&["delete", "rolebinding", role, "-n", "s2"]).await;
    stage.put("s2", "acme", CLIENT_SECRET).await;
    let south = stage.operator(SOUTH).await;
    stage.put("s1", "new", CLIENT_SECRET).await;
    stage.wait_for("s1", "new", "TokenValid").await;
    assert_eq!(stage.status("s2", "acme").await, "", "the operator has no permission yet");
    assert!(south.get("/metrics").await.unwrap().contains("watch_errors_total{watch=\"Contexts\"}"));
    stage.helm(&[&["upgrade", "qlik-context-operator", &chart], &wider[..]].concat()).await;
    stage.wait_for("s2", "acme", "TokenValid").await;
}
