//! Values that switch everything on, for tests that look at all that the chart can make.

use serde_json::{Value, json};

/// Everything at once. What excludes another is in [`alternatives`].
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
        ("CRDs that go", json!({"crds": {"keep": false}, "commonLabels": {"a": "b"}})),
        ("no rights", json!({"rbac": {"create": false}})),
        ("another account", json!({"serviceAccount": {"create": false, "name": "other"}})),
        ("no election", json!({"leaderElection": {"enabled": false}})),
        ("a Secret with authorities", json!({"tenantCA": {"secret": {"name": "authorities"}}})),
        ("a digest", json!({"image": {"registry": "r.example.com", "digest": format!("sha256:{}", "a".repeat(64))}})),
        ("percentages", json!({"podDisruptionBudget": {"enabled": true, "minAvailable": "50%"}})),
        ("OpenShift", json!({"podSecurityContext": {"runAsUser": null, "runAsGroup": null}})),
        ("no probes", json!({"livenessProbe": null, "readinessProbe": null})),
        ("a parent chart's", json!({"enabled": true, "global": {"domain": "example.com"}})),
    ]
}
