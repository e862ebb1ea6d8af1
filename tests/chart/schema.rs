//! Only the values of values.yaml can be set.

use serde_json::{Value, json};

use super::helm::{NAMESPACE, PROGRAMS, RELEASE, Rendered, chart, read, run};
use super::values::{alternatives, everything};

/// Helm's error for these values.
fn refusal(values: &Value) -> String {
    match Rendered::try_new(RELEASE, NAMESPACE, values) {
        Ok(_) => panic!("{values} is accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_set_of_values_renders_objects_with_a_kind_and_a_name() {
    for (what, values) in alternatives() {
        for object in Rendered::new(&values).0 {
            assert!(object["apiVersion"].is_string() && object["kind"].is_string(), "{what}: {object}");
            assert!(object["metadata"]["name"].is_string(), "{what}: {object}");
        }
    }
}

#[test]
fn helm_lint_finds_nothing() {
    for values in [json!({}), everything()] {
        let args = ["lint", "--strict", "charts/qlik-context-operator", "--values", "-"];
        let said = run(&PROGRAMS.helm, &args, &values.to_string());
        assert!(said.is_ok(), "{said:?}");
    }
}

#[test]
fn every_set_of_values_in_the_readme_and_the_docs_is_accepted() {
    for page in ["charts/qlik-context-operator/README.md", "docs/install.md", "docs/rbac.md"] {
        let text = read(page);
        let blocks = text.split("```yaml\n").skip(1).map(|text| text.split("```").next().unwrap());
        // The other blocks are manifests.
        let recipes: Vec<_> = blocks.filter(|block| !block.contains("kind: ")).collect();
        assert!(!recipes.is_empty(), "{page}");
        for recipe in recipes {
            Rendered::new(&serde_saphyr::from_str(recipe).unwrap());
        }
    }
}

#[test]
fn an_older_kubernetes_is_rejected_and_a_vendors_version_is_accepted() {
    for (version, taken) in [("v1.31.9", false), ("v1.32.0", true), ("v1.32.1-gke.100", true), ("v1.33.1+k3s1", true)] {
        let args = ["template", RELEASE, "charts/qlik-context-operator", "--kube-version", version];
        assert_eq!(run(&PROGRAMS.helm, &args, "").is_ok(), taken, "{version}");
    }
}

#[test]
fn a_wrong_value_is_rejected_with_its_name() {
    let cases = [
        (json!({"replicas": 2}), "replicas"),
        (json!({"image": {"registry": "https://registry.example.com"}}), "registry"),
        // Anyone who can read the Deployment would see the password.
        (json!({"proxy": {"httpsProxy": "http://user:word@proxy:3128"}}), "httpsProxy"),
        (json!({"image": {"name": "x"}}), "name"),
        (json!({"tenantCA": {"configmap": {"name": "x"}}}), "configmap"),
        (json!({"tenantCA": {"secret": {"keys": "x"}}}), "keys"),
        (json!({"proxy": {"https": "http://proxy"}}), "https"),
        (json!({"budget": {"hostTokenRequests": 1}}), "hostTokenRequests"),
        (json!({"leaderElection": {"enable": true}}), "enable"),
        (json!({"log": {"level": "debug"}}), "level"),
        (json!({"crds": {"install": true}}), "install"),
        (json!({"rbac": {"aggregatetoview": true}}), "aggregatetoview"),
        (json!({"serviceAccount": {"labels": {}}}), "labels"),
        (json!({"podDisruptionBudget": {"maxunavailable": 1}}), "maxunavailable"),
        (json!({"networkPolicy": {"ingress": []}}), "ingress"),
        (json!({"service": {"type": "NodePort"}}), "type"),
        (json!({"serviceMonitor": {"intervall": "30s"}}), "intervall"),
        (json!({"prometheusRules": {"overrides": {"QlikContextNotReady": {"severity": "x"}}}}), "severity"),
        (
            json!({"prometheusRules": {"enabled": true, "overrides": {"NotReady": {}}}}),
            "NotReady: there is no such alert",
        ),
        (json!({"grafanaDashboard": {"label": {}}}), "label"),
        (json!({"imagePullSecrets": ["pull"]}), "/imagePullSecrets/0"),
        (json!({"image": {"tag": 1.0}}), "/image/tag"),
        (json!({"image": {"digest": "sha256:abc"}}), "/image/digest"),
        (json!({"watchNamespaces": "a,b"}), "/watchNamespaces"),
        (json!({"watchNamespaces": ["a,b"]}), "/watchNamespaces/0"),
        (json!({"watchNamespaces": ["a", "a"]}), "/watchNamespaces"),
        (json!({"allowedTenantHosts": ["a.example.com,b.example.com"]}), "/allowedTenantHosts/0"),
        (json!({"allowedTenantHosts": ["https://a.example.com"]}), "/allowedTenantHosts/0"),
        (json!({"concurrency": 0}), "/concurrency"),
        (json!({"budget": {"keyTokenRequestsPerMinute": -1}}), "/budget/keyTokenRequestsPerMinute"),
        (json!({"log": {"format": "xml"}}), "/log/format"),
        (json!({"networkPolicy": {"egressPorts": [70000]}}), "/networkPolicy/egressPorts/0"),
        (json!({"serviceMonitor": {"interval": "30"}}), "/serviceMonitor/interval"),
        (json!({"image": null}), "image"),
        (json!({"tenantCA": {"configMap": {"name": "a"}, "secret": {"name": "b"}}}), "/tenantCA"),
        (json!({"podDisruptionBudget": {"minAvailable": 1, "maxUnavailable": 1}}), "/podDisruptionBudget"),
        (json!({"replicaCount": 2, "leaderElection": {"enabled": false}}), "needs leaderElection.enabled"),
        (json!({"dnsPolicy": "none"}), "/dnsPolicy"),
        (json!({"dnsPolicy": "None"}), "needs dnsConfig.nameservers"),
        (json!({"dnsConfig": {"nameserver": ["192.0.2.53"]}}), "nameserver"),
        (json!({"dnsConfig": {"options": [{"name": "ndots", "value": 1}]}}), "/dnsConfig/options/0/value"),
        (json!({"hostAliases": [{"ip": "192.0.2.1"}]}), "hostnames"),
        (json!({"hostAliases": [{"ip": "acme", "hostnames": ["acme"]}]}), "/hostAliases/0/ip"),
        (json!({"service": {"ipFamilies": ["ipv4"]}}), "/service/ipFamilies/0"),
        (json!({"revisionHistoryLimit": -1}), "/revisionHistoryLimit"),
        (
            json!({"strategy": {"type": "RollingUpdate"}, "leaderElection": {"enabled": false}}),
            "strategy: without leaderElection.enabled",
        ),
        (json!({"serviceAccount": {"create": false}}), "serviceAccount.name"),
        (json!({"serviceMonitor": {"enabled": true}, "service": {"enabled": false}}), "needs service.enabled"),
    ];
    for (values, named) in cases {
        let error = refusal(&values);
        assert!(error.contains(named), "{values}: {error}");
    }
}

/// The paths of the values in a schema, except where Kubernetes defines the fields.
fn paths(schema: &Value, definitions: &Value, path: &str, found: &mut Vec<String>) {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => &definitions[reference.trim_start_matches("#/$defs/")],
        None => schema,
    };
    let Some(properties) = schema["properties"].as_object() else {
        found.push(path.to_owned());
        return;
    };
    // A parent chart adds its own values there.
    assert!(schema["additionalProperties"] == false || path == "global", "{path} accepts unknown fields");
    for (name, property) in properties {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        paths(property, definitions, &path, found);
    }
}

/// The sections of values.yaml that contain values. They cannot be omitted.
fn groups(paths: &[String]) -> Vec<String> {
    let mut groups: Vec<_> = paths.iter().filter_map(|path| Some(path.split_once('.')?.0.to_owned())).collect();
    groups.sort();
    groups.dedup();
    groups
}

#[test]
fn schema_and_values_have_the_same_values() {
    let schema: Value = serde_json::from_str(&chart("values.schema.json")).unwrap();
    let mut known = Vec::new();
    paths(&schema, &schema["$defs"], "", &mut known);
    let mut documented: Vec<_> = super::generated::rows().into_iter().map(|row| row.path).collect();
    known.sort();
    documented.sort();
    assert_eq!(known, documented);

    // Without this, a `null` in place of a section gives an error message from Go.
    let mut required: Vec<_> =
        schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    required.retain(|name| *name != "replicaCount");
    required.sort_unstable();
    assert_eq!(required, groups(&documented));
}
