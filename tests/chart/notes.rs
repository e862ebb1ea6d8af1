//! NOTES.txt: the text that Helm prints after an installation, with the steps that are still missing.

use serde_json::{Value, json};

use super::helm::{NAMESPACE, PROGRAMS, RELEASE, run};

/// The text after `helm install` with these values, rendered without a cluster.
fn notes(values: &Value) -> String {
    let chart = "charts/qlik-context-operator";
    let args = ["install", RELEASE, chart, "--namespace", NAMESPACE, "--dry-run=client", "--values", "-"];
    let said = run(&PROGRAMS.helm, &args, &values.to_string()).unwrap();
    said.split_once("\nNOTES:\n").unwrap().1.to_owned()
}

#[test]
fn the_notes_say_what_is_missing_when_no_registry_is_set() {
    let said = notes(&json!({}));
    assert!(said.contains("NO REGISTRY IS SET") && said.contains("image qlik-context-operator:0.1.0,"), "{said}");
    for tool in ["kind load image-archive", "k3d image import", "minikube image load", "ImagePullBackOff"] {
        assert!(said.contains(tool), "{tool}: {said}");
    }
    let named = [
        json!({"image": {"registry": "registry.example.com"}}),
        json!({"global": {"imageRegistry": "registry.example.com"}}),
        json!({"image": {"repository": "registry.example.com/qlik-context-operator"}}),
    ];
    for values in named {
        let said = notes(&values);
        assert!(!said.contains("NO REGISTRY"), "{said}");
        assert!(said.contains("(image registry.example.com/qlik-context-operator:0.1.0)"), "{said}");
        assert!(said.contains("kubectl rollout status deployment/qlik-context-operator -n qlik-system"), "{said}");
    }
}

#[test]
fn the_notes_say_that_nothing_runs_without_replicas() {
    let said = notes(&json!({"replicaCount": 0}));
    assert!(said.contains("NOTHING RUNS YET: replicaCount is 0") && !said.contains("NO REGISTRY"), "{said}");
    assert!(!notes(&json!({})).contains("NOTHING RUNS"));
}

#[test]
fn the_notes_name_what_has_to_be_installed_separately() {
    let said = notes(&json!({"crds": {"enabled": false}, "rbac": {"create": false}, "watchNamespaces": ["a", "b"]}));
    assert!(said.contains("installed for a, b. Add -n"), "{said}");
    assert!(said.contains("The CRD is not part of this release (crds.enabled=false)"), "{said}");
    assert!(said.contains("the ServiceAccount qlik-context-operator needs them"), "{said}");
}
