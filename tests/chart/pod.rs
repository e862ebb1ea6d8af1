//! The Pod: its security context, its image and its scheduling.

use serde_json::{Value, json};

use super::helm::Rendered;
use super::values::alternatives;

/// The controls of Pod Security `restricted` that apply to this Pod.
fn assert_restricted(what: &str, pod: &Value) {
    let spec = &pod["spec"];
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        assert!(spec[host].is_null(), "{what}: {host}");
    }
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true, "{what}");
    assert_ne!(spec["securityContext"]["runAsUser"], 0, "{what}");
    assert_eq!(spec["securityContext"]["seccompProfile"], json!({"type": "RuntimeDefault"}), "{what}");
    assert!(spec["initContainers"].is_null(), "{what}");
    for container in spec["containers"].as_array().unwrap() {
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false, "{what}");
        assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}), "{what}");
        assert_eq!(context["readOnlyRootFilesystem"], true, "{what}");
        assert!(context["privileged"].is_null(), "{what}");
        for port in container["ports"].as_array().unwrap() {
            assert!(port["hostPort"].is_null(), "{what}");
        }
    }
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        let kinds: Vec<_> = volume.as_object().unwrap().keys().filter(|key| *key != "name").collect();
        assert!(matches!(kinds[..], [kind] if ["configMap", "secret", "emptyDir"].contains(&kind.as_str())), "{what}");
    }
}

#[test]
fn the_pod_meets_pod_security_restricted_with_any_values() {
    for (what, values) in alternatives() {
        assert_restricted(what, Rendered::new(&values).pod());
    }
}

#[test]
fn the_image_is_what_the_values_say() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let cases = [
        (json!({}), "qlik-context-operator:0.1.0".to_owned()),
        (json!({"image": {"tag": "1"}}), "qlik-context-operator:1".into()),
        (json!({"image": {"registry": "r:5000", "repository": "a/b"}}), "r:5000/a/b:0.1.0".into()),
        (
            json!({"image": {"registry": "r"}, "global": {"imageRegistry": "g/"}}),
            "g/qlik-context-operator:0.1.0".into(),
        ),
        (json!({"image": {"tag": "1", "digest": digest}}), format!("qlik-context-operator@{digest}")),
    ];
    for (values, image) in cases {
        assert_eq!(Rendered::new(&values).container()["image"], image, "{values}");
    }
}

#[test]
fn only_the_operators_pods_mount_the_token_of_its_service_account() {
    let rendered = Rendered::new(&json!({}));
    assert_eq!(rendered.only("ServiceAccount")["automountServiceAccountToken"], false);
    assert_eq!(rendered.pod()["spec"]["automountServiceAccountToken"], true);
    let rendered =
        Rendered::new(&json!({"automountServiceAccountToken": false, "serviceAccount": {"automount": true}}));
    assert_eq!(rendered.only("ServiceAccount")["automountServiceAccountToken"], true);
    assert_eq!(rendered.pod()["spec"]["automountServiceAccountToken"], false);
}

#[test]
fn probes_and_fields_that_kubernetes_defines_are_passed_on() {
    let probe = json!({"tcpSocket": {"port": "http"}, "httpGet": null, "periodSeconds": 7});
    let passed_on = [
        ("nodeSelector", json!({"a": "b"})),
        ("tolerations", json!([{"operator": "Exists"}])),
        ("affinity", json!({"podAntiAffinity": {}})),
        ("priorityClassName", json!("high")),
        ("hostUsers", json!(false)),
        ("imagePullSecrets", json!([{"name": "pull"}])),
        ("runtimeClassName", json!("gvisor")),
        ("dnsPolicy", json!("None")),
        ("dnsConfig", json!({"nameservers": ["192.0.2.53"], "options": [{"name": "ndots", "value": "1"}]})),
        ("hostAliases", json!([{"ip": "192.0.2.1", "hostnames": ["acme.eu.qlikcloud.com"]}])),
        ("enableServiceLinks", json!(true)),
    ];
    let mut values =
        json!({"livenessProbe": probe, "readinessProbe": null, "extraVolumes": [{"name": "v", "emptyDir": {}}]});
    values["resources"] = json!({"limits": {"memory": "1Gi"}});
    values["extraVolumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    for (name, value) in &passed_on {
        values[name] = value.clone();
    }
    let rendered = Rendered::new(&values);
    for (name, value) in &passed_on {
        assert_eq!(rendered.pod()["spec"][name], *value, "{name}");
    }
    let container = rendered.container();
    assert_eq!(container["livenessProbe"], json!({"tcpSocket": {"port": "http"}, "periodSeconds": 7}));
    assert!(container["readinessProbe"].is_null());
    assert_eq!(container["resources"]["limits"]["memory"], "1Gi");
    assert_eq!(container["volumeMounts"], values["extraVolumeMounts"]);
    assert_eq!(rendered.pod()["spec"]["volumes"], values["extraVolumes"]);
}

#[test]
fn the_deployment_has_the_annotations_labels_and_strategy_of_the_values_and_the_pods_do_not() {
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    let rendered = Rendered::new(&json!({
        "deploymentAnnotations": {"reloader.stakater.com/auto": "true"}, "deploymentLabels": {"tier": "operators"},
        "strategy": strategy, "revisionHistoryLimit": 3,
    }));
    let deployment = rendered.only("Deployment");
    assert_eq!(deployment["metadata"]["annotations"], json!({"reloader.stakater.com/auto": "true"}));
    assert_eq!(deployment["metadata"]["labels"]["tier"], "operators");
    assert_eq!((&deployment["spec"]["strategy"], &deployment["spec"]["revisionHistoryLimit"]), (&strategy, &json!(3)));
    let pod = &rendered.pod()["metadata"];
    assert!(pod["annotations"].is_null() && pod["labels"]["tier"].is_null(), "{pod}");
    let plain = Rendered::new(&json!({})).only("Deployment").clone();
    assert!(plain["metadata"]["annotations"].is_null(), "{plain}");
    assert_eq!(plain["spec"]["strategy"], strategy, "the new Pod first");
    let alone = Rendered::new(&json!({"leaderElection": {"enabled": false}, "strategy": {"type": "Recreate"}}));
    assert_eq!(alone.only("Deployment")["spec"]["strategy"], json!({"type": "Recreate"}));
}

#[test]
fn pull_secrets_of_a_parent_chart_are_used_beside_those_of_the_chart() {
    let values =
        json!({"global": {"imagePullSecrets": [{"name": "a"}, {"name": "b"}]}, "imagePullSecrets": [{"name": "a"}]});
    assert_eq!(Rendered::new(&values).pod()["spec"]["imagePullSecrets"], json!([{"name": "a"}, {"name": "b"}]));
}

#[test]
fn a_spread_without_a_selector_counts_the_operators_own_pods() {
    let own = json!({"topologyKey": "a", "labelSelector": {"matchLabels": {"a": "b"}}});
    let rendered = Rendered::new(&json!({"topologySpreadConstraints": [{"topologyKey": "a"}, own]}));
    let spread = &rendered.pod()["spec"]["topologySpreadConstraints"];
    assert_eq!(spread[0]["labelSelector"], rendered.only("Deployment")["spec"]["selector"]);
    assert_eq!(spread[1]["labelSelector"]["matchLabels"]["a"], "b");
}
