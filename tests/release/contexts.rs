//! QlikContexts in their own release, as a team would deploy them with its workload.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::chart;
use crate::stage::{CLIENT_SECRET, Stage, objects};

/// A chart with a valid or wrong credential, and a context.
fn of_a_team(stage: &Stage, folder: &Path, client_secret: &str) -> String {
    let [credential, context] = objects(&stage.tenant, "acme", client_secret);
    let templates = [("credential.yaml", credential.to_string()), ("context.yaml", context.to_string())];
    chart::of(folder, &templates).to_string_lossy().into_owned()
}

#[tokio::test]
async fn helm_waits_for_a_token_and_fails_at_once_when_the_context_is_stalled() {
    let operator = chart::current();
    let install = ["install", "qlik-context-operator", &operator, "--namespace", "qlik-system", "--create-namespace"];
    let stage = Stage::set(&[install.to_vec()]).await;
    let _operator = stage.operator(("qlik-system", "qlik-context-operator")).await;
    let folder = stage.control_plane.folder().join("team");
    let upgrade =
        ["upgrade", "--install", "team", "--namespace", "team", "--create-namespace", "--wait", "--timeout=3m"];

    let team = of_a_team(&stage, &folder, CLIENT_SECRET);
    stage.helm(&[&upgrade[..], &[&*team]].concat()).await;
    let ready =
        ["get", "qctx", "acme", "-n", "team", "-o", "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}"];
    assert_eq!(stage.kubectl(&ready).await, "True", "Helm returned before the context was ready");
    stage.kubectl(&["get", "secret", "acme-token", "-n", "team"]).await;

    let (begin, team) = (Instant::now(), of_a_team(&stage, &folder, "planted-wrong-secret"));
    let wrong = [&upgrade[..], &["--namespace=wrong", &*team]].concat();
    let said = stage.control_plane.helm(&wrong).await.unwrap_err().to_string();
    // A client that never worked may have been created a moment ago. It is retried for about a minute and a half.
    assert!(begin.elapsed() < Duration::from_secs(150), "{:?}: {said}", begin.elapsed());
    assert!(said.contains("status: Failed") && said.contains("The tenant refused the client id or secret"), "{said}");
}
