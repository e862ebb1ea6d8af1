//! The program from outside: its probes and metrics, its errors, its end.

use std::process::Command;
use std::time::Duration;

use serde_json::json;
use support::control_plane::{ControlPlane, Options, Programs, to_stderr};
use support::operator;
use support::tenant::QlikCloud;

use crate::world::{self, Case, PROGRAM, world};

#[tokio::test]
async fn metrics_speak_of_a_context_while_it_exists_and_hold_no_address() {
    let case = Case::new("metrics").await;
    case.put_credential().await;
    case.apply("acme", &json!({})).await;
    case.wait_for("acme", "Ready=True/TokenValid").await;
    let mine = format!(
        "qlik_context_ready{{namespace=\"{}\",name=\"acme\"}} 1",
        case.namespace
    );
    let text = case.world.operator.get("/metrics").await.unwrap();
    assert!(text.contains(&mine), "{text}");
    for name in [
        "qlik_context_token_expiry_timestamp_seconds{",
        "qlik_context_token_renewal_timestamp_seconds{",
        "qlik_context_token_requests_total{grant=\"client_credentials\",outcome=\"Success\"}",
        "qlik_context_token_request_duration_seconds_bucket{",
        "qlik_context_verifications_total{outcome=\"Success\"}",
        "qlik_context_reconciles_total{outcome=\"Ready\"}",
        "qlik_context_reconcile_duration_seconds_bucket{",
        "qlik_context_secret_writes_total{operation=\"Create\"}",
        "qlik_context_build_info{",
    ] {
        assert!(text.contains(name), "{name} is missing in\n{text}");
    }
    assert!(!text.contains("qlikcloud"), "no address in a label");
    assert!(case.world.operator.get("/livez").await.is_ok());
    case.contexts()
        .delete("acme", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    let begin = std::time::Instant::now();
    while case
        .world
        .operator
        .get("/metrics")
        .await
        .unwrap()
        .contains(&case.namespace)
    {
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "the series outlives its context"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn sigterm_ends_it_with_success_and_soon() {
    // A cluster of its own: two operators at once would work against each other.
    let options = Options {
        helm: vec![operator::install()],
        ..Options::default()
    };
    let programs = tokio::task::spawn_blocking(|| Programs::find(&to_stderr))
        .await
        .unwrap()
        .unwrap();
    let control_plane = ControlPlane::start_with(&programs, &options, &to_stderr)
        .await
        .unwrap();
    let cloud = QlikCloud::start().await.unwrap();
    let ca = control_plane.folder().join("tenant-ca.pem");
    cloud.write_ca(&ca).unwrap();
    let mut operator = world::operator(&control_plane, &cloud, &ca).await.unwrap();
    let status = operator
        .process
        .stop(Duration::from_secs(10))
        .await
        .unwrap();
    assert_eq!(status.code(), Some(0), "{}", operator.process.log_tail());
}

#[test]
fn a_mistake_on_the_command_line_or_no_cluster_is_one_line_that_says_what_to_do() {
    for (args, kubeconfig, code, says) in [
        (
            &["run", "--allowed-tenant-hosts", "https://x"][..],
            "",
            2,
            "--allowed-tenant-hosts",
        ),
        (&["run", "--log-filter", "a=b=c"], "", 2, "--log-filter"),
        (&["run"], "/does/not/exist", 1, "KUBECONFIG"),
        (
            &["run", "--tenant-ca-file", "/does/not/exist"],
            "",
            1,
            "--tenant-ca-file",
        ),
    ] {
        let mut command = Command::new(PROGRAM);
        command.args(args).env_clear();
        let reachable = world().control_plane.admin_kubeconfig();
        command.env(
            "KUBECONFIG",
            if kubeconfig.is_empty() {
                reachable.as_os_str()
            } else {
                kubeconfig.as_ref()
            },
        );
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let errors: Vec<_> = said
            .lines()
            .filter(|line| line.starts_with("error: "))
            .collect();
        assert_eq!(
            (output.status.code(), errors.len()),
            (Some(code), 1),
            "{args:?}: {said}"
        );
        assert!(
            errors[0].contains(says) && !said.contains("backtrace"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn kubectl_get_shows_what_a_user_wants_to_know() {
    let case = Case::new("columns").await;
    case.put_credential().await;
    case.apply("acme", &json!({})).await;
    let context = case.wait_for("acme", "Ready=True/TokenValid").await;
    let table = case.kubectl(&["get", "qctx"]).await;
    let head: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(
        head,
        ["NAME", "READY", "REASON", "SECRET", "EXPIRES", "AGE"]
    );
    let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
    let expires = context
        .status
        .unwrap()
        .token
        .unwrap()
        .expires_at
        .unwrap()
        .0
        .to_string();
    assert_eq!(
        row[..5],
        ["acme", "True", "TokenValid", "acme-token", &expires]
    );
    let selected = case
        .kubectl(&[
            "get",
            "qlik",
            "--field-selector",
            &format!("spec.tenantUrl={}", case.tenant.url()),
        ])
        .await;
    assert!(selected.contains("acme"), "category and selectable field");
    let explained = case
        .kubectl(&["explain", "qlikcontext.spec.target.data"])
        .await;
    assert!(explained.contains("$(token)"), "{explained}");
}
