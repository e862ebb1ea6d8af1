//! The permissions of the operator's ServiceAccount, and of users for QlikContexts: exactly these.

use serde_json::{Value, json};

use super::helm::{NAMESPACE, RELEASE, Rendered};

/// The documented permissions.
fn operator_rules() -> Value {
    json!([
        {"apiGroups": ["qlikcontext.dev"], "resources": ["qlikcontexts"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["qlikcontext.dev"], "resources": ["qlikcontexts/status"], "verbs": ["patch"]},
        {"apiGroups": ["qlikcontext.dev"], "resources": ["qlikoauthclients"], "verbs": ["get", "list", "watch", "patch"]},
        {"apiGroups": ["qlikcontext.dev"], "resources": ["qlikoauthclients/status"], "verbs": ["patch"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch", "create", "patch"]},
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
    ])
}

fn lease_rules() -> Value {
    json!([
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": [RELEASE], "verbs": ["get", "update"]},
    ])
}

/// Namespace, name and rules of every role. A cluster-wide role has no namespace.
fn roles(rendered: &Rendered) -> Vec<(Option<&str>, &str, &Value)> {
    let roles = rendered.0.iter().filter(|object| object["kind"] == "Role" || object["kind"] == "ClusterRole");
    roles
        .map(|role| {
            let metadata = &role["metadata"];
            assert_eq!(metadata["namespace"].is_string(), role["kind"] == "Role");
            (metadata["namespace"].as_str(), metadata["name"].as_str().unwrap(), &role["rules"])
        })
        .collect()
}

/// Every binding binds the role of the same name and namespace to the ServiceAccount of the release and to no other
/// subject.
fn assert_bindings(rendered: &Rendered, account: &str) {
    let bindings = rendered.0.iter().filter(|object| object["kind"].as_str().unwrap().ends_with("Binding"));
    for binding in bindings {
        let kind = binding["kind"].as_str().unwrap().trim_end_matches("Binding");
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": binding["metadata"]["name"]});
        assert_eq!(binding["roleRef"], role);
        assert_eq!(binding["subjects"], json!([{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}]));
        assert!(rendered.of_kind(kind).iter().any(|role| {
            role["metadata"]["name"] == binding["metadata"]["name"]
                && role["metadata"]["namespace"] == binding["metadata"]["namespace"]
        }));
    }
}

#[test]
fn without_a_list_the_operator_has_one_role_in_the_cluster_and_one_for_its_lease() {
    let rendered = Rendered::new(&json!({"rbac": {"aggregateToView": false, "aggregateToEdit": false}}));
    let (operator, lease) = (operator_rules(), lease_rules());
    assert_eq!(
        roles(&rendered),
        [
            (None, "qlik-system:qlik-context-operator", &operator),
            (Some(NAMESPACE), "qlik-context-operator-leader-election", &lease),
        ]
    );
    assert_eq!(rendered.of_kind("ClusterRoleBinding").len() + rendered.of_kind("RoleBinding").len(), 2);
    assert_bindings(&rendered, RELEASE);
}

#[test]
fn with_a_list_it_has_a_role_in_each_namespace_and_cluster_wide_only_reads_the_crd() {
    let rendered = Rendered::new(&json!({"watchNamespaces": ["a", NAMESPACE]}));
    let (operator, lease) = (operator_rules(), lease_rules());
    let mut found = roles(&rendered);
    found.sort_by_key(|(namespace, name, _)| (*namespace, *name));
    assert_eq!(
        found,
        [
            (Some("a"), "qlik-system:qlik-context-operator", &operator),
            (Some(NAMESPACE), "qlik-context-operator-leader-election", &lease),
            (Some(NAMESPACE), "qlik-system:qlik-context-operator", &operator),
        ]
    );
    assert_eq!(rendered.of_kind("RoleBinding").len(), 3);
    assert_bindings(&rendered, RELEASE);
    let clusterwide = rendered.0.iter().filter(|object| object["metadata"]["namespace"].is_null());
    assert!(clusterwide.clone().all(|object| object["kind"] == "CustomResourceDefinition"));
    assert_eq!(clusterwide.count(), 2);
    assert!(rendered.args().contains(&"--watch-namespaces=a,qlik-system"));
}

#[test]
fn without_oauth_clients_there_is_no_crd_permission_or_flag_for_them() {
    for values in
        [json!({}), json!({"watchNamespaces": ["a"], "rbac": {"aggregateToView": true, "aggregateToEdit": true}})]
    {
        let with = Rendered::new(&values);
        let mut values = values;
        values["oauthClients"] = json!({"enabled": false});
        let without = Rendered::new(&values);
        let text = serde_json::to_string(&without.0).unwrap();
        assert!(!text.contains("qlikoauthclients") && !text.contains("oauth-clients"));
        assert_eq!(without.of_kind("CustomResourceDefinition").len(), 1);
        assert_eq!(with.of_kind("CustomResourceDefinition").len(), 2);
        assert!(with.args().contains(&"--oauth-clients"));
    }
}

#[test]
fn with_workloads_there_are_their_permissions_and_the_flag_and_otherwise_neither() {
    for (namespaces, roles_with_them) in [(json!([]), 1), (json!(["a", "b"]), 2)] {
        let without = Rendered::new(&json!({ "watchNamespaces": namespaces }));
        let text = serde_json::to_string(&without.0).unwrap();
        assert!(!text.contains("\"pods\"") && !text.contains("\"deployments\"") && !text.contains("--workloads"));
        let with = Rendered::new(&json!({ "watchNamespaces": namespaces, "workloads": {"enabled": true} }));
        let mut wanted = operator_rules();
        wanted.as_array_mut().unwrap().extend([
            json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "patch"]}),
            json!({"apiGroups": ["apps"], "resources": ["deployments", "statefulsets", "daemonsets"], "verbs": ["get", "list", "patch"]}),
        ]);
        let found = roles(&with).into_iter().filter(|(_, _, rules)| **rules == wanted).count();
        assert_eq!(found, roles_with_them, "{namespaces}");
        assert!(with.args().contains(&"--workloads"));
    }
}

#[test]
fn the_lease_role_depends_on_leader_election_and_every_role_on_rbac_create() {
    let rendered = Rendered::new(&json!({"leaderElection": {"enabled": false}}));
    assert!(rendered.of_kind("Role").is_empty() && rendered.of_kind("RoleBinding").is_empty());
    assert_eq!(rendered.only("Deployment")["spec"]["strategy"], json!({"type": "Recreate"}));
    let rendered = Rendered::new(&json!({"rbac": {"create": false, "aggregateToView": true}}));
    assert!(roles(&rendered).is_empty());
}

#[test]
fn permissions_are_granted_to_the_service_account_of_the_pods() {
    let rendered = Rendered::new(&json!({"serviceAccount": {"create": false, "name": "other"}}));
    assert_bindings(&rendered, "other");
    assert_eq!(rendered.pod()["spec"]["serviceAccountName"], "other");
    assert!(rendered.of_kind("ServiceAccount").is_empty());
}

#[test]
fn the_aggregated_roles_read_and_edit_contexts_and_nothing_else() {
    let rule = |verbs: Value| json!([{"apiGroups": ["qlikcontext.dev"], "resources": ["qlikcontexts", "qlikoauthclients"], "verbs": verbs}]);
    let view = rule(json!(["get", "list", "watch"]));
    let edit = rule(json!(["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]));
    let namespaces = json!(["a"]);
    let cases = [
        (json!({}), true, true),
        (json!({"watchNamespaces": namespaces}), false, false),
        (json!({"watchNamespaces": namespaces, "rbac": {"aggregateToView": true}}), true, false),
        (json!({"rbac": {"aggregateToEdit": false}}), true, false),
        (json!({"rbac": {"aggregateToView": false}}), false, true),
    ];
    for (values, views, edits) in cases {
        let rendered = Rendered::new(&values);
        for (role, rules, wanted) in [("view", &view, views), ("edit", &edit, edits)] {
            let label = format!("rbac.authorization.k8s.io/aggregate-to-{role}");
            let mut found = rendered.of_kind("ClusterRole");
            found.retain(|object| object["metadata"]["labels"][&label] == "true");
            let found: Vec<_> = found.iter().map(|object| &object["rules"]).collect();
            assert_eq!(found, if wanted { vec![rules] } else { vec![] }, "{values}: {role}");
        }
    }
}
