//! `status`: the stages, the message, and the Pods that read the token.

use serde_json::{Value, json};

use crate::golden;
use crate::world::Case;

/// One Pod for each way to read the Secret. There is no kubelet: the test sets the start time of the container.
fn pod(case: &Case, name: &str, container: &Value, started: Option<&str>) {
    let mut container = container.clone();
    container["name"] = json!("app");
    container["image"] = json!("app");
    case.apply(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [container], "volumes": [{"name": "qlik", "secret": {"secretName": "acme-token"}}]},
    }));
    if let Some(started) = started {
        let running = json!({"status": {"phase": "Running", "containerStatuses": [{
            "name": "app", "ready": true, "image": "app", "imageID": "app", "restartCount": 0,
            "state": {"running": {"startedAt": started}},
        }]}});
        case.kubectl(&["patch", "pod", name, "--subresource=status", "--type=merge", "-p", &running.to_string()]);
    }
}

#[test]
fn a_working_token_is_shown_with_its_readers_and_the_outdated_ones() {
    let case = Case::new("readers");
    case.ready("acme");
    let volume = json!({"volumeMounts": [{"name": "qlik", "mountPath": "/qlik"}]});
    let frozen = json!({"volumeMounts": [{"name": "qlik", "mountPath": "/t", "subPath": "token"}]});
    let variable = json!({"env": [{"name": "QLIK_API_KEY", "valueFrom": {"secretKeyRef": {"name": "acme-token", "key": "token"}}}]});
    let (past, future) = ("2020-01-01T00:00:00Z", "2090-01-01T00:00:00Z");
    pod(&case, "mounts", &volume, Some(past));
    pod(&case, "mounts-a-file", &frozen, Some(past));
    pod(&case, "reads-env", &variable, Some(past));
    pod(&case, "reads-env-new", &variable, Some(future));
    pod(&case, "waits", &variable, None);
    pod(&case, "other", &json!({}), Some(past));
    let shown = case.shows(&["status", "acme"]);
    assert_eq!(shown.status, 0, "{}", shown.screen);
    golden::compare("status", &shown.screen);

    let report: Value = serde_json::from_str(&case.pipes(&["status", "acme", "-o", "json"], "").1).unwrap();
    let pods = report["pods"].as_array().unwrap();
    let states: Vec<_> =
        pods.iter().map(|pod| format!("{} {} {}", pod["pod"], pod["source"], pod["state"]).replace('"', "")).collect();
    assert_eq!(
        states,
        [
            "mounts volume follows",
            "mounts-a-file subPath stale",
            "reads-env env stale",
            "reads-env-new env current",
            "waits env notRunning",
        ]
    );
    assert_eq!((&report["ready"], &report["reason"]), (&json!(true), &json!("TokenValid")));
}

#[test]
fn a_failing_context_shows_the_cause_and_exits_with_status_1() {
    let case = Case::new("broken");
    assert_eq!(case.pipes(&case.init("acme"), "planted-but-wrong").0, 1);
    let shown = case.shows(&["status", "acme"]);
    assert_eq!(shown.status, 1);
    // The number of attempts, the time of the next one and the trace id differ in each run.
    assert!(shown.screen.contains(" failed in a row, the next in "), "{}", shown.screen);
    let (head, rest) = shown.screen.split_once("  Attempts  ").unwrap();
    let (_, rest) = rest.split_once("\n\n").unwrap();
    golden::compare("status-broken", &format!("{head}\n{rest}"));
    let (status, out, _) = case.pipes(&["status", "acme", "-o", "yaml"], "");
    assert!(status == 1 && out.contains("reason: InvalidClient"), "{out}");
}

#[test]
fn on_a_narrow_terminal_no_word_is_broken() {
    let case = Case::new("narrow");
    case.ready("acme");
    let line = format!("stty cols 40; exec {} status acme -n narrow", crate::world::PROGRAM);
    let shown = case.ended(case.shell(&line));
    assert_eq!(shown.status, 0, "{}", shown.screen);
    let words: Vec<_> = shown.screen.split_whitespace().collect();
    for word in ["CredentialsAvailable", "TokenValid", "REASON", "MESSAGE", "https://narrow.eu.qlikcloud.com"] {
        assert!(words.contains(&word), "{word} is broken across lines:\n{}", shown.screen);
    }
}

#[test]
fn parts_without_read_permission_are_omitted_with_a_note() {
    let case = Case::new("half");
    case.ready("acme");
    case.kubectl(&["create", "role", "half", "--verb=get", "--resource=qlikcontexts.qlikcontext.dev"]);
    case.kubectl(&["create", "rolebinding", "half", "--role=half", "--serviceaccount=half:default"]);
    let kubeconfig = crate::world::kubeconfig_without_permissions("half");
    let (status, out, err) = case.pipes(&["status", "acme", "--kubeconfig", kubeconfig.to_str().unwrap()], "");
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("✓ Verified"), "{out}");
    assert!(
        out.contains("Pods that read Secret acme-token\n  unknown\n") && out.contains("Events\n  unknown"),
        "{out}"
    );
    let args = ["status", "acme", "-o", "json", "--kubeconfig", kubeconfig.to_str().unwrap()];
    let report: Value = serde_json::from_str(&case.pipes(&args, "").1).unwrap();
    assert_eq!(
        (&report["pods"], &report["events"]),
        (&Value::Null, &Value::Null),
        "unknown differs from an empty list"
    );
    assert!(err.contains("may not list pods in the namespace half") && err.contains("may not list events"), "{err}");
}
