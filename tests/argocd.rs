//! The Argo CD action for a QlikContext, run by Argo CD's own Lua. tests/states.rs tests the health script.
//!
//! Also generates `deploy/argocd/argocd-cm.yaml` from the scripts: written if `WRITE_GENERATED` is set, compared
//! otherwise.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use qlik_context_operator::clock::Timestamp;
use serde_json::{Value, json};

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/argocd").join(file)
}

fn script(file: &str) -> String {
    std::fs::read_to_string(path(file)).unwrap()
}

/// The available actions for each object, and the object after the action.
fn acted_on(objects: &Value) -> Vec<Value> {
    let mut child = support::go::run("verdicts")
        .unwrap()
        .args([path("actions/discovery.lua"), path("actions/refresh/action.lua")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(objects.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_action_requests_a_new_token_and_changes_nothing_else() {
    let plain = json!({
        "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext",
        "metadata": {"name": "acme", "namespace": "demo", "generation": 2},
        "spec": {
            "tenantUrl": "https://acme.eu.qlikcloud.com", "scopes": ["a", "b"],
            "auth": {"clientSecret": {"secretRef": {"name": "acme-oauth"}}},
        },
    });
    let mut annotated = plain.clone();
    annotated["metadata"]["annotations"] = json!({"a": "b", "qlikcontext.dev/refresh-requested-at": "once"});
    let mut suspended = plain.clone();
    suspended["spec"]["suspend"] = true.into();

    let objects = [plain, annotated, suspended];
    for (mut before, after) in objects.iter().cloned().zip(acted_on(&json!(objects))) {
        let suspended = before["spec"]["suspend"] == true;
        assert_eq!(after["actions"]["refresh"]["disabled"], suspended);
        assert_eq!(after["actions"].as_object().unwrap().len(), 1);
        let asked = &after["object"]["metadata"]["annotations"]["qlikcontext.dev/refresh-requested-at"];
        let asked: Timestamp = asked.as_str().unwrap().parse().unwrap();
        assert!(asked > Timestamp::from_second(1_700_000_000).unwrap());
        before["metadata"]["annotations"]["qlikcontext.dev/refresh-requested-at"] = json!(asked.to_string());
        assert_eq!(after["object"], before);
    }
}

/// The lines of a script, with the indentation of its block of YAML.
fn block(script: &str, depth: usize) -> String {
    let line = |line: &str| if line.is_empty() { "\n".to_owned() } else { format!("{}{line}\n", " ".repeat(depth)) };
    script.lines().map(line).collect()
}

#[test]
fn the_config_map_holds_the_scripts() {
    let mut file = String::from(
        "# For Argo CD: kubectl patch configmap argocd-cm --namespace argocd --patch-file argocd-cm.yaml\n\
         # Generated from the scripts in this folder by `cargo xtask generate`.\n\
         data:\n",
    );
    let kind = "qlikcontext.dev_QlikContext";
    let kinds = [kind, "qlikcontext.dev_QlikOAuthClient"];
    for kind in kinds {
        let health = block(&script("health.lua"), 4);
        writeln!(file, "  resource.customizations.health.{kind}: |\n{}", health.trim_end()).unwrap();
    }
    writeln!(file, "  resource.customizations.actions.{kind}: |").unwrap();
    writeln!(file, "    discovery.lua: |\n{}", block(&script("actions/discovery.lua"), 6).trim_end()).unwrap();
    writeln!(file, "    definitions:\n      - name: refresh\n        action.lua: |").unwrap();
    file += &block(&script("actions/refresh/action.lua"), 10);

    // Argo CD reads exactly the bytes of the scripts from it.
    let data = serde_saphyr::from_str::<Value>(&file).unwrap()["data"].clone();
    for kind in kinds {
        assert_eq!(data[format!("resource.customizations.health.{kind}")], script("health.lua"));
    }
    let actions = data[format!("resource.customizations.actions.{kind}")].as_str().unwrap();
    let actions: Value = serde_saphyr::from_str(actions).unwrap();
    assert_eq!(actions["discovery.lua"], script("actions/discovery.lua"));
    assert_eq!(actions["definitions"][0]["action.lua"], script("actions/refresh/action.lua"));

    if std::env::var_os("WRITE_GENERATED").is_some() {
        std::fs::write(path("argocd-cm.yaml"), &file).unwrap();
    }
    let found = std::fs::read_to_string(path("argocd-cm.yaml")).unwrap_or_default();
    assert!(found == file, "deploy/argocd/argocd-cm.yaml is out of date: run cargo xtask generate");
}
