//! Values that enable everything, for tests of all objects that the chart can render.

use serde_json::{Value, json};

/// Everything at once. Values that exclude each other are in [`alternatives`].
pub fn everything() -> Value {
    serde_saphyr::from_str(include_str!("everything.yaml")).unwrap()
}

/// Sets of values that have to work, each with its name.
pub fn alternatives() -> Vec<(&'static str, Value)> {
    vec![
        ("nothing", json!({})),
        ("everything", everything()),
        ("namespaces", json!({"watchNamespaces": ["a", "qlik-system"]})),
        ("no CRDs", json!({"crds": {"enabled": false}})),
        ("CRDs that are not kept", json!({"crds": {"keep": false}, "commonLabels": {"a": "b"}})),
        ("no rights", json!({"rbac": {"create": false}})),
        ("another account", json!({"serviceAccount": {"create": false, "name": "other"}})),
        ("no election", json!({"leaderElection": {"enabled": false}})),
        ("a Secret with CA certificates", json!({"tenantCA": {"secret": {"name": "authorities"}}})),
        ("a digest", json!({"image": {"registry": "r.example.com", "digest": format!("sha256:{}", "a".repeat(64))}})),
        ("percentages", json!({"podDisruptionBudget": {"enabled": true, "minAvailable": "50%"}})),
        ("OpenShift", json!({"podSecurityContext": {"runAsUser": null, "runAsGroup": null}})),
        ("no probes", json!({"livenessProbe": null, "readinessProbe": null})),
        ("values of a parent chart", json!({"enabled": true, "global": {"domain": "example.com"}})),
    ]
}
