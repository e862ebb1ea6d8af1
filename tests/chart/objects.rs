//! The other objects: names and labels, PodDisruptionBudget, NetworkPolicy, and objects that users add.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::helm::{NAMESPACE, RELEASE, Rendered};
use super::values::{alternatives, everything};

/// Kind, namespace and name.
fn key(object: &Value) -> (String, String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&object["kind"]), text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]))
}

fn selects(selector: &Value, labels: &Value) -> bool {
    let selector = selector.as_object().unwrap();
    !selector.is_empty() && selector.iter().all(|(key, value)| labels[key] == *value)
}

#[test]
fn names_have_at_most_63_characters_for_a_release_name_of_any_length() {
    let release = "r".repeat(53);
    let values = [everything(), json!({"fullnameOverride": format!("{}-{}", "f".repeat(60), "aa")})];
    for values in values {
        let rendered = Rendered::try_new(&release, NAMESPACE, &values).unwrap();
        for (kind, _, name) in rendered.0.iter().map(key) {
            // Names of roles can be longer, because they are not used as labels or in addresses.
            let name = name.strip_prefix("qlik-system:").unwrap_or(&name);
            let name = name.trim_end_matches(":view").trim_end_matches(":edit");
            assert!(name.len() <= 63 && !name.ends_with('-'), "{kind} {name}");
        }
        let labels = rendered.0.iter().filter_map(|object| object["metadata"]["labels"].as_object()).flatten();
        for (key, value) in labels {
            assert!(value.as_str().unwrap().len() <= 63, "{key}");
        }
    }
}

#[test]
fn a_release_name_that_yaml_reads_as_another_type_works() {
    for release in ["y", "on", "1", "null"] {
        let rendered = Rendered::try_new(release, NAMESPACE, &everything()).unwrap();
        let labels = rendered.0.iter().filter_map(|object| object["metadata"]["labels"].as_object()).flatten();
        for (key, value) in labels {
            assert!(value.is_string(), "{release}: {key} is {value}");
        }
    }
}

#[test]
fn two_releases_in_one_cluster_share_only_the_crd() {
    let releases = [(RELEASE, "a"), (RELEASE, "a-b"), ("b-qlik-context-operator", "a"), ("x", "a")];
    let values = json!({"watchNamespaces": ["shared"], "rbac": {"aggregateToView": true, "aggregateToEdit": true}});
    let mut everything = everything();
    // Users choose the names of objects that they add.
    everything["extraObjects"] = json!([]);
    for values in [everything, values] {
        let mut seen = HashSet::new();
        for (release, namespace) in releases {
            for object in Rendered::try_new(release, namespace, &values).unwrap().0 {
                let key = key(&object);
                assert!(key.0 == "CustomResourceDefinition" || seen.insert(key.clone()), "{key:?}");
            }
        }
    }
}

#[test]
fn namespaced_objects_are_in_the_namespace_of_the_release_and_have_the_usual_labels() {
    for (what, values) in alternatives() {
        for object in Rendered::new(&values).0 {
            let (kind, namespace, name) = key(&object);
            if name.starts_with(RELEASE) && !name.ends_with("-object") && !name.ends_with("-text") {
                assert_eq!(namespace, NAMESPACE, "{what}: {kind} {name}");
                let labels = &object["metadata"]["labels"];
                assert_eq!(labels["app.kubernetes.io/name"], RELEASE, "{what}: {kind} {name}");
                assert_eq!(labels["app.kubernetes.io/instance"], RELEASE, "{what}: {kind} {name}");
            }
        }
    }
}

#[test]
fn common_labels_are_on_every_object_and_do_not_replace_the_charts_labels() {
    let mut values = everything();
    values["extraObjects"] = json!([]);
    values["commonLabels"] = json!({"team": "analytics", "app.kubernetes.io/name": "mine"});
    values["podLabels"] = json!({"app.kubernetes.io/instance": "mine", "team": "pods"});
    let rendered = Rendered::new(&values);
    for object in &rendered.0 {
        assert_eq!(object["metadata"]["labels"]["team"], "analytics", "{:?}", key(object));
    }
    let (selector, labels) = (&rendered.only("Deployment")["spec"]["selector"], &rendered.pod()["metadata"]["labels"]);
    assert!(selects(&selector["matchLabels"], labels));
    assert_eq!(labels["team"], "pods");
    assert_eq!(*selector, Rendered::new(&json!({})).only("Deployment")["spec"]["selector"]);
}

#[test]
fn every_selector_of_pods_matches_the_operators_pods() {
    let rendered = Rendered::new(&everything());
    let labels = &rendered.pod()["metadata"]["labels"];
    assert!(selects(&rendered.only("Service")["spec"]["selector"], labels));
    assert!(selects(&rendered.only("PodDisruptionBudget")["spec"]["selector"]["matchLabels"], labels));
    assert!(selects(&rendered.only("NetworkPolicy")["spec"]["podSelector"]["matchLabels"], labels));
}

#[test]
fn the_crd_is_kept_unless_the_values_disable_that() {
    let policy = |values: &Value| {
        let rendered = Rendered::new(values);
        let crds = rendered.of_kind("CustomResourceDefinition");
        let policies = crds.iter().map(|crd| crd["metadata"]["annotations"]["helm.sh/resource-policy"].clone());
        policies.reduce(|one, other| if one == other { one } else { "not the same".into() }).unwrap()
    };
    assert_eq!(policy(&json!({})), "keep");
    assert_eq!(policy(&json!({"crds": {"keep": false}})), Value::Null);
    assert!(Rendered::new(&json!({"crds": {"enabled": false}})).of_kind("CustomResourceDefinition").is_empty());
}

#[test]
fn a_disruption_budget_has_exactly_one_of_its_two_numbers() {
    let spec = |values: Value| {
        let mut budget = values;
        budget["enabled"] = true.into();
        Rendered::new(&json!({"podDisruptionBudget": budget})).only("PodDisruptionBudget")["spec"].clone()
    };
    let cases = [
        (json!({}), "maxUnavailable", json!(1)),
        (json!({"maxUnavailable": "50%"}), "maxUnavailable", json!("50%")),
        (json!({"maxUnavailable": 0}), "maxUnavailable", json!(0)),
        (json!({"minAvailable": 0}), "minAvailable", json!(0)),
    ];
    for (values, field, number) in cases {
        let spec = spec(values);
        assert_eq!(spec[field], number);
        assert_eq!(spec.as_object().unwrap().len(), 3, "{spec}");
        assert_eq!(spec["unhealthyPodEvictionPolicy"], "AlwaysAllow");
    }
}

#[test]
fn the_network_policy_allows_the_operators_egress_and_ingress_to_the_metrics() {
    let spec = |values: Value| {
        let mut values = values;
        values["networkPolicy"]["enabled"] = true.into();
        Rendered::new(&values).only("NetworkPolicy")["spec"].clone()
    };
    let ports = |spec: &Value| -> Vec<u64> {
        let rules = spec["egress"].as_array().unwrap().iter();
        let ports = rules.flat_map(|rule| rule["ports"].as_array().into_iter().flatten());
        ports.filter_map(|port| port["port"].as_u64()).collect()
    };
    let plain = spec(json!({}));
    assert_eq!(plain["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(ports(&plain), [53, 53, 443, 6443]);
    assert_eq!(plain["ingress"], json!([{"ports": [{"port": "http", "protocol": "TCP"}]}]));
    for (proxy, port) in [
        ("http://proxy.example.com:3128", 3128),
        ("proxy:3128", 3128),
        ("http://[2001:db8::1]:3128", 3128),
        ("http://[2001:db8::1]", 80),
        ("http://proxy", 80),
        ("https://proxy", 443),
    ] {
        let values = json!({"proxy": {"httpsProxy": proxy}, "networkPolicy": {"egressPorts": [6443]}});
        assert_eq!(ports(&spec(values)), [53, 53, 6443, port], "{proxy}");
    }
    let (to, from) = (json!({"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}), json!([{"podSelector": {}}]));
    let strict = spec(json!({"networkPolicy": {"egressPorts": [], "egress": [to], "ingressFrom": from}}));
    assert_eq!(ports(&strict), [53, 53]);
    assert_eq!(strict["egress"][1], to);
    assert_eq!(strict["ingress"][0]["from"], from);
}

#[test]
fn extra_objects_are_rendered_as_templates() {
    let rendered = Rendered::new(&everything());
    let names: Vec<_> = rendered.of_kind("ConfigMap").iter().map(|object| object["metadata"]["name"].clone()).collect();
    for name in ["qlik-context-operator-object", "qlik-context-operator-text"] {
        assert!(names.contains(&json!(name)), "{names:?}");
    }
}
