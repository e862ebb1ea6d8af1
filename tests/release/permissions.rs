//! Least privilege, from the API server's audit log: the permissions that a ServiceAccount has, and those that it used.

use std::path::Path;
use std::time::{Duration, Instant};

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::Value;

use crate::stage::{CLIENT_SECRET, Stage, until};

/// One verb on one resource, in one namespace or all, on one object or all.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Permission {
    namespace: Option<String>,
    group: String,
    resource: String,
    verb: String,
    name: Option<String>,
}

impl Permission {
    fn covers(&self, asked: &Self) -> bool {
        let within = |granted: &Option<String>, asked: &Option<String>| granted.is_none() || granted == asked;
        within(&self.namespace, &asked.namespace)
            && within(&self.name, &asked.name)
            && (&self.group, &self.resource, &self.verb) == (&asked.group, &asked.resource, &asked.verb)
    }
}

/// Makes the operator use all of its permissions in a namespace.
pub async fn exercise(stage: &Stage, namespace: &str) {
    stage.put(namespace, "rights", CLIENT_SECRET).await;
    stage.wait_for(namespace, "rights", "TokenValid").await;
    // A write to an existing Secret.
    stage.kubectl(&["label", "secret", "rights-token", "-n", namespace, "qlikcontext.dev/context-"]).await;
    let restored = ["get", "secret", "-n", namespace, "-l", "qlikcontext.dev/context=rights", "-o", "name"];
    until("the label is back", async || !stage.kubectl(&restored).await.is_empty()).await;
    // A repeated event, which increases the count of the existing one.
    for (suspend, reason) in [(true, "Suspended"), (false, "TokenValid")] {
        let patch = format!("{{\"spec\":{{\"suspend\":{suspend}}}}}");
        stage.kubectl(&["patch", "qctx", "rights", "-n", namespace, "--type=merge", "-p", &patch]).await;
        stage.wait_for(namespace, "rights", reason).await;
    }
    // An object that cannot be parsed is read as unstructured JSON.
    stage.wait_for(namespace, "of-older-schema", "SpecInvalid").await;
    assert!(stage.status(namespace, "of-older-schema").await.contains("Stalled"));
    // After the fix these conditions are gone, although the server has no record of their field manager.
    let mend = ["--type=merge", "-p", "{\"spec\":{\"suspend\":false}}"];
    stage.kubectl(&[&["patch", "qctx", "of-older-schema", "-n", namespace], &mend[..]].concat()).await;
    stage.wait_for(namespace, "of-older-schema", "SecretNotFound").await;
    let status = stage.status(namespace, "of-older-schema").await;
    assert!(!status.contains("Stalled") && !status.contains("SpecInvalid"), "{status}");
}

/// Checks that the account used exactly the permissions that it has, and that no request was denied.
pub async fn are_just_enough(stage: &Stage, namespace: &str, account: &str) {
    let granted = granted(stage, namespace, account).await;
    assert!(!granted.is_empty());
    let begin = Instant::now();
    loop {
        let asked = asked(stage.control_plane.audit_log(), namespace, account);
        let foreign: Vec<_> =
            asked.iter().filter(|asked| !granted.iter().any(|permission| permission.covers(asked))).collect();
        assert!(foreign.is_empty(), "requested, and not granted by the chart: {foreign:#?}");
        // There is no QlikOAuthClient here. `tests/cluster` has some.
        let granted = granted.iter().filter(|permission| !permission.resource.starts_with("qlikoauthclients"));
        let unused: Vec<_> = granted.filter(|permission| !asked.iter().any(|asked| permission.covers(asked))).collect();
        if unused.is_empty() {
            return;
        }
        // The log can lag behind, and the Lease is renewed every 2 s.
        assert!(begin.elapsed() < Duration::from_secs(20), "granted by the chart, and not used: {unused:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn granted(stage: &Stage, namespace: &str, account: &str) -> Vec<Permission> {
    let client = stage.control_plane.client().unwrap();
    let all = ListParams::default();
    let to_it = |subjects: Option<Vec<Subject>>| {
        subjects.into_iter().flatten().any(|subject| {
            (subject.kind.as_str(), subject.name.as_str(), subject.namespace.as_deref())
                == ("ServiceAccount", account, Some(namespace))
        })
    };
    let mut granted = Vec::new();
    for binding in Api::<ClusterRoleBinding>::all(client.clone()).list(&all).await.unwrap() {
        if to_it(binding.subjects) {
            granted.extend(permissions_of(stage, None, &binding.role_ref).await);
        }
    }
    for binding in Api::<RoleBinding>::all(client).list(&all).await.unwrap() {
        let namespace = binding.namespace();
        if to_it(binding.subjects) {
            granted.extend(permissions_of(stage, namespace, &binding.role_ref).await);
        }
    }
    granted
}

async fn permissions_of(stage: &Stage, namespace: Option<String>, role: &RoleRef) -> Vec<Permission> {
    let client = stage.control_plane.client().unwrap();
    let rules: Option<Vec<PolicyRule>> = match &namespace {
        Some(namespace) if role.kind == "Role" => {
            Api::<Role>::namespaced(client, namespace).get(&role.name).await.unwrap().rules
        }
        _ => Api::<ClusterRole>::all(client).get(&role.name).await.unwrap().rules,
    };
    let mut permissions = Vec::new();
    for rule in rules.into_iter().flatten() {
        assert_eq!(rule.non_resource_urls, None, "this check does not support paths");
        let names = rule.resource_names.map_or(vec![None], |names| names.into_iter().map(Some).collect());
        for group in rule.api_groups.as_deref().unwrap_or_default() {
            for resource in rule.resources.as_deref().unwrap_or_default() {
                for verb in &rule.verbs {
                    permissions.extend(names.iter().map(|name| Permission {
                        namespace: namespace.clone(),
                        group: group.clone(),
                        resource: resource.clone(),
                        verb: verb.clone(),
                        name: name.clone(),
                    }));
                }
            }
        }
    }
    permissions
}

/// The requests of the account to the API server. Also checks that none was denied.
fn asked(audit_log: &Path, namespace: &str, account: &str) -> Vec<Permission> {
    let user = format!("system:serviceaccount:{namespace}:{account}");
    let log = std::fs::read_to_string(audit_log).unwrap();
    // The last line can be incomplete.
    let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut asked = Vec::new();
    for entry in entries.filter(|entry| entry["user"]["username"] == user.as_str()) {
        assert_eq!(entry["annotations"]["authorization.k8s.io/decision"], "allow", "refused: {entry}");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let object = &entry["objectRef"];
        assert!(object.is_object(), "a request to a path: {entry}");
        let subresource = object["subresource"].as_str().map(|name| format!("/{name}")).unwrap_or_default();
        let permission = Permission {
            namespace: object["namespace"].as_str().map(str::to_owned),
            group: text(&object["apiGroup"]),
            resource: text(&object["resource"]) + &subresource,
            verb: text(&entry["verb"]),
            name: object["name"].as_str().map(str::to_owned),
        };
        // An apply that creates an object needs both permissions.
        if permission.verb == "patch" && entry["responseStatus"]["code"] == 201 {
            asked.push(Permission { verb: "create".into(), ..permission.clone() });
        }
        asked.push(permission);
    }
    asked.sort();
    asked.dedup();
    asked
}
