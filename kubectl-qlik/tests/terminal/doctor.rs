//! `doctor`, on a cluster that is ready and on one without the operator.

use std::process::Command;

use serde_json::Value;
use support::control_plane::{ControlPlane, Options, Programs, to_stderr};
use support::operator;

use crate::golden;
use crate::world::{CLIENT_SECRET, Case, PROGRAM, kubeconfig_without_permissions, read};

#[test]
fn a_ready_cluster_passes_and_the_missing_kubelet_is_reported() {
    let case = Case::new("healthy");
    case.ready("acme");
    let shown = case.shows(&["doctor"]);
    assert_eq!(shown.status, 0, "{}", shown.screen);
    let screen = shown.screen.split_whitespace().collect::<Vec<_>>().join(" ");
    for line in [
        "✓ Cluster Kubernetes v1.",
        "✓ CRD qlikcontexts.qlikcontext.dev is established, and as this version knows it.",
        "✓ CRD qlikoauthclients.qlikcontext.dev is established, and as this version knows it.",
        " OAuth clients ",
        "! Operator qlik-system/qlik-context-operator, version 0.1.0: 0 of 1 Pods ready.",
        "✓ Lease ",
        "✓ Permissions You have all permissions in namespace healthy.",
    ] {
        assert!(screen.contains(line), "{line} is not in\n{}", shown.screen);
    }
    let (_, out, _) = case.pipes(&["doctor", "-o", "json"], "");
    let findings: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(findings.as_array().unwrap().len(), 8, "{findings}");
}

#[test]
fn a_user_with_few_permissions_gets_a_result_as_well() {
    let case = Case::new("modest");
    let kubeconfig = kubeconfig_without_permissions("modest");
    let (status, out, err) = case.pipes(&["doctor", "--kubeconfig", kubeconfig.to_str().unwrap()], "");
    assert_eq!(status, 1, "{out}{err}");
    assert!(out.contains("In namespace modest you may not get, list, create and patch qlikcontexts; get, create and patch secrets; list pods."), "{out}");
}

#[test]
fn a_missing_kubeconfig_is_a_finding_with_advice() {
    let case = Case::new("nofile");
    let (status, out, _) = case.pipes(&["doctor", "-o", "json", "--kubeconfig", "/nowhere"], "");
    let findings: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &findings[0]["check"], &findings[0]["verdict"]), (1, &"Kubeconfig".into(), &"failed".into()));
    assert!(findings[0]["advice"].as_str().unwrap().contains("run kubectl qlik doctor again"), "{findings}");
}

#[test]
fn on_a_cluster_without_the_operator_it_says_what_to_install() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let programs = Programs::find(&to_stderr).unwrap();
    let empty = runtime.block_on(ControlPlane::start(&programs, &to_stderr)).unwrap();
    let run = |args: &[&str], input: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(args).env_clear().env("KUBECONFIG", empty.admin_kubeconfig());
        read(&mut command, input)
    };
    let (status, out, _) = run(&["doctor"], "");
    assert_eq!(status, 1);
    golden::compare("doctor-empty", &fold(&out));
    let init = [
        "init",
        "acme",
        "--tenant-url",
        "acme.eu.qlikcloud.com",
        "--client-id",
        "id",
        "--client-secret-file",
        "-",
        "--yes",
    ];
    for args in [&["list"][..], &["status", "acme"], &["suspend", "acme"], &init] {
        let (status, _, err) = run(args, CLIENT_SECRET);
        assert!(
            status == 1 && err.contains("this cluster has no QlikContexts, so the operator is not installed"),
            "{args:?}: {err}"
        );
    }
}

#[test]
fn a_cluster_without_the_second_kind_gets_no_finding() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let programs = Programs::find(&to_stderr).unwrap();
    let options = Options {
        helm: vec![[operator::install(), vec!["--set".into(), "oauthClients.enabled=false".into()]].concat()],
        ..Options::default()
    };
    let plane = runtime.block_on(ControlPlane::start_with(&programs, &options, &to_stderr)).unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(args).env_clear().env("KUBECONFIG", plane.admin_kubeconfig());
        read(&mut command, "")
    };
    let (_, out, _) = run(&["doctor"]);
    assert!(out.contains("✓ CRD           qlikcontexts.qlikcontext.dev is established"), "{out}");
    assert!(!out.to_lowercase().contains("oauth"), "{out}");
    for args in
        [&["list", "oauthclients"][..], &["rotate", "x"], &["status", "oauthclient/x"], &["suspend", "qoauth/x"]]
    {
        let (status, _, err) = run(args);
        assert!(status == 1 && err.contains("this cluster has no QlikOAuthClients"), "{args:?}: {err}");
    }
}

/// Golden files are for a terminal of 80 columns. This output came through a pipe.
fn fold(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut width = 0;
        for word in line.split(' ') {
            if width + word.chars().count() >= 80 {
                out.push('\n');
                width = 0;
            }
            out += word;
            out.push(' ');
            width += word.chars().count() + 1;
        }
        out.push('\n');
    }
    out
}
