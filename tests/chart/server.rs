//! Everything that the chart renders is sent to an API server, as a dry run with strict validation. A warning is an
//! error.

use serde_json::{Value, json};
use support::control_plane::{ControlPlane, Options};

use super::helm::{NAMESPACE, Rendered, documents, read};
use super::values::alternatives;

/// Minimal CRDs of the Prometheus operator, whose own schemas are not part of this project.
fn kind_of_monitoring(kind: &str, plural: &str) -> Value {
    let group = "monitoring.coreos.com";
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced", "versions": [version],
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
        },
    })
}

async fn dry_run(control_plane: &ControlPlane, objects: &[Value]) -> anyhow::Result<String> {
    // Not as a list, because kubectl would validate that with an older schema.
    let documents: Vec<_> = objects.iter().map(Value::to_string).collect();
    let apply = [
        "apply",
        "--server-side",
        "--dry-run=server",
        "--validate=strict",
        "--warnings-as-errors",
        "--field-manager=helm",
    ];
    control_plane.kubectl_with_input(&[&apply[..], &["-f", "-"]].concat(), &documents.join("\n---\n")).await
}

#[tokio::test]
async fn an_api_server_accepts_everything_that_the_chart_renders_without_a_warning() {
    let control_plane = ControlPlane::shared(&Options::default()).await.unwrap();
    for (kind, plural) in [("ServiceMonitor", "servicemonitors"), ("PrometheusRule", "prometheusrules")] {
        let crd = kind_of_monitoring(kind, plural).to_string();
        control_plane.kubectl_with_input(&["create", "-f", "-"], &crd).await.unwrap();
        let name = format!("crd/{plural}.monitoring.coreos.com");
        control_plane.kubectl(&["wait", "--for=condition=Established", &name, "--timeout=30s"]).await.unwrap();
    }
    for namespace in [NAMESPACE, "a", "team"] {
        control_plane.kubectl(&["create", "namespace", namespace]).await.unwrap();
        // With this label the server warns about a Deployment whose Pods it would reject.
        let label = "pod-security.kubernetes.io/warn=restricted";
        control_plane.kubectl(&["label", "namespace", namespace, label]).await.unwrap();
    }
    for (what, values) in alternatives() {
        let said = dry_run(control_plane, &Rendered::new(&values).0).await;
        assert!(said.is_ok(), "{what}: {said:?}");
    }
    // Also over a release with the defaults: fields that the server defaulted do not prevent another strategy.
    let created: Vec<_> = Rendered::new(&json!({})).of_kind("Deployment").iter().map(ToString::to_string).collect();
    let apply = ["apply", "--server-side", "--field-manager=helm", "-f", "-"];
    control_plane.kubectl_with_input(&apply, &created.join("\n---\n")).await.unwrap();
    for values in [json!({"leaderElection": {"enabled": false}}), json!({"strategy": {"type": "Recreate"}})] {
        let deployment: Vec<_> = Rendered::new(&values).of_kind("Deployment").into_iter().cloned().collect();
        let said = dry_run(control_plane, &deployment).await;
        assert!(said.is_ok(), "{values}: {said:?}");
    }
    let manifest = documents(&read("deploy/kubernetes/qlik-context-operator.yaml"));
    let said = dry_run(control_plane, &manifest).await;
    assert!(said.is_ok(), "the manifest: {said:?}");
    // Checks that a warning is an error.
    let root = Rendered::new(&json!({"podSecurityContext": {"runAsNonRoot": false, "runAsUser": 0}}));
    let said = dry_run(control_plane, &root.0).await.unwrap_err().to_string();
    assert!(said.contains("would violate PodSecurity"), "{said}");
}
