//! The checks of `doctor`. Each returns a finding, also when the check itself fails.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use qlik_context_operator::api::{ConditionType, OPERATOR_NAME, crd};

use super::Finding;
use crate::access::{self, Permission};
use crate::args::Kind;
use crate::cluster::Cluster;
use crate::object::{self, Reconciled};
use crate::{age, problem, screen};

/// The oldest minor version of Kubernetes 1 that has all that the CRD uses.
const OLDEST_MINOR: u32 = 32;
/// The permissions that the commands of this program need.
const PERMISSIONS: [Permission; 8] = [
    Permission::contexts("get"),
    Permission::contexts("list"),
    Permission::contexts("create"),
    Permission::contexts("patch"),
    Permission::secrets("get"),
    Permission::secrets("create"),
    Permission::secrets("patch"),
    Permission::pods("list"),
];
const INSTALL: &str = "Install the operator as docs/install.md says.";

/// Checks that the API server answers, and its version.
pub async fn api_server(cluster: &Cluster) -> Finding {
    const CHECK: &str = "Cluster";
    match cluster.client.apiserver_version().await {
        Err(error) => Finding::failed(CHECK, format!("{}: {}.", cluster.url, problem::sentence(&error)), ""),
        Ok(version) => {
            let digits: String = version.minor.chars().take_while(char::is_ascii_digit).collect();
            let text = format!("Kubernetes {} answers at {}.", screen::harmless(&version.git_version), cluster.url);
            if version.major == "1" && digits.parse().is_ok_and(|minor: u32| minor < OLDEST_MINOR) {
                return Finding::failed(CHECK, text, format!("The operator needs 1.{OLDEST_MINOR} or newer."));
            }
            Finding::ok(CHECK, text)
        }
    }
}

/// What is wrong with the kubeconfig.
pub fn kubeconfig(error: &anyhow::Error) -> Finding {
    Finding::failed(
        "Kubeconfig",
        format!("{error:#}."),
        "Then run kubectl qlik doctor again: without it no other check is possible.",
    )
}

/// The finding about a cluster without QlikContexts.
pub fn missing() -> Finding {
    Finding::failed("CRD", format!("{} is missing.", crd::qlik_contexts().name_any()), INSTALL)
}

/// Checks that a CRD is established and has the schema of this version; `None` when it is not installed.
pub async fn definition<K: Reconciled>(cluster: &Cluster, ours: &CustomResourceDefinition) -> Option<Finding> {
    const CHECK: &str = "CRD";
    let name = ours.name_any();
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    Some(match definitions.get_opt(&name).await {
        Ok(None) => return None,
        Err(error) => {
            // Reading it needs a permission that few users have; it is enough that the kind is served.
            let objects: Api<K> = cluster.objects();
            match objects.list_metadata(&ListParams::default().limit(1)).await {
                Ok(_) => Finding::ok(
                    CHECK,
                    format!("{name} is served. (Its version is unknown: {}.)", problem::sentence(&error)),
                ),
                Err(error) if problem::is_kind_unknown(&error) => return None,
                // A user without permissions for the second kind cannot see whether it is there, and does not need it.
                Err(error) if problem::is_forbidden(&error) && K::KIND == Kind::OAuthClients => return None,
                Err(error) => Finding::failed(CHECK, format!("{}.", problem::sentence(&error)), ""),
            }
        }
        Ok(Some(found)) => {
            let conditions = found.status.as_ref().and_then(|status| status.conditions.as_ref());
            let established = conditions
                .into_iter()
                .flatten()
                .any(|condition| condition.type_ == "Established" && condition.status == "True");
            if !established {
                return Some(Finding::failed(
                    CHECK,
                    format!("{name} is not established."),
                    format!("Look at kubectl describe crd {name}."),
                ));
            }
            let schema = |definition: &CustomResourceDefinition| {
                let versions = definition.spec.versions.iter();
                versions.map(|version| (version.name.clone(), version.schema.clone())).collect::<BTreeMap<_, _>>()
            };
            if schema(&found) == schema(ours) {
                Finding::ok(CHECK, format!("{name} is established, and as this version knows it."))
            } else {
                Finding::warning(
                    CHECK,
                    format!("{name} is of another version than kubectl qlik {}.", env!("CARGO_PKG_VERSION")),
                    "Use the versions of one release of the chart and of this program.",
                )
            }
        }
    })
}

/// Checks that an operator is installed, runs and holds its lease.
pub async fn operator(cluster: &Cluster, namespace: &str, now: Timestamp) -> Vec<Finding> {
    const CHECK: &str = "Operator";
    let labels = ListParams::default().labels(&format!("app.kubernetes.io/part-of={OPERATOR_NAME}"));
    let everywhere: Api<Deployment> = Api::all(cluster.client.clone());
    let (list, place) = match everywhere.list(&labels).await {
        Ok(list) => (Ok(list), "the whole cluster"),
        Err(_) => (Api::<Deployment>::namespaced(cluster.client.clone(), namespace).list(&labels).await, namespace),
    };
    let deployments = match list {
        Ok(list) => list.items,
        Err(error) => {
            let text = format!("{}.", problem::sentence(&error));
            return vec![Finding::warning(CHECK, text, "The QlikContexts below show whether it runs.")];
        }
    };
    if deployments.is_empty() {
        return vec![Finding::failed(CHECK, format!("No Deployment of it in {place}."), INSTALL)];
    }
    let mut findings = Vec::new();
    for deployment in deployments {
        let lease = lease(cluster, &deployment, now).await;
        findings.push(deployed(&deployment));
        findings.extend(lease);
    }
    findings
}

fn deployed(deployment: &Deployment) -> Finding {
    const CHECK: &str = "Operator";
    let place = format!("{}/{}", deployment.namespace().unwrap_or_default(), deployment.name_any());
    let version = deployment.labels().get("app.kubernetes.io/version").map_or("of an unknown version", String::as_str);
    let wanted = deployment.spec.replicas.unwrap_or(1);
    let ready = deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or_default();
    let text = format!("{place}, version {version}: {ready} of {wanted} Pods ready.");
    let namespace = deployment.namespace().unwrap_or_default();
    if wanted == 0 {
        Finding::warning(CHECK, text, "It is scaled to zero: scale it up, unless it runs outside of the cluster.")
    } else if ready < wanted {
        Finding::warning(CHECK, text, format!("Look at kubectl describe pods -n {namespace}, and at their logs."))
    } else if version != env!("CARGO_PKG_VERSION") {
        Finding::warning(
            CHECK,
            text,
            format!("This is kubectl qlik {}: use the same version as the operator.", env!("CARGO_PKG_VERSION")),
        )
    } else {
        Finding::ok(CHECK, text)
    }
}

/// Checks that the lease is held: only its holder is active.
async fn lease(cluster: &Cluster, deployment: &Deployment, now: Timestamp) -> Option<Finding> {
    const CHECK: &str = "Lease";
    let template = deployment.spec.template.spec.as_ref();
    let mut words =
        template.into_iter().flat_map(|pod| &pod.containers).flat_map(|container| container.args.iter().flatten());
    let name = words.find_map(|word| word.strip_prefix("--lease-name="))?;
    let namespace = deployment.namespace().unwrap_or_default();
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), &namespace);
    let logs = format!("Look at the logs: kubectl logs -n {namespace} deployment/{}.", deployment.name_any());
    let lease = match leases.get_opt(name).await {
        Ok(Some(lease)) => lease.spec.unwrap_or_default(),
        Ok(None) => {
            return Some(Finding::failed(
                CHECK,
                format!("{namespace}/{name} does not exist: no operator works."),
                logs,
            ));
        }
        Err(error) => return Some(Finding::warning(CHECK, format!("{}.", problem::sentence(&error)), "")),
    };
    let holder = screen::harmless(&lease.holder_identity.unwrap_or_default());
    let Some(renewed) = lease.renew_time.map(|time| time.0).filter(|_| !holder.is_empty()) else {
        return Some(Finding::failed(CHECK, format!("{namespace}/{name} has no holder: no operator works."), logs));
    };
    let seconds = lease.lease_duration_seconds.unwrap_or(15);
    let ago = age::since(renewed, now);
    // Twice the time after which another may take it: clocks differ.
    let fresh = now.duration_since(renewed).as_secs() <= i64::from(seconds) * 2;
    Some(if fresh {
        Finding::ok(CHECK, format!("{holder} holds it, renewed {ago} ago."))
    } else {
        Finding::failed(
            CHECK,
            format!("{holder} held it until {ago} ago, and no one has renewed it: no operator works."),
            logs,
        )
    })
}

/// Checks the permissions of the user.
pub async fn permissions(cluster: &Cluster, with_clients: bool) -> Finding {
    const CHECK: &str = "Permissions";
    let namespace = &cluster.namespace;
    let mut wanted = PERMISSIONS.to_vec();
    if with_clients {
        wanted.extend(["get", "list", "patch"].map(Permission::oauth_clients));
    }
    match access::missing(cluster, &wanted).await {
        Ok(missing) if missing.is_empty() => {
            Finding::ok(CHECK, format!("You have all permissions in namespace {namespace}."))
        }
        Ok(missing) => Finding::warning(
            CHECK,
            format!("In namespace {namespace} you may not {}.", access::list(&missing)),
            "Ask an administrator of the cluster for the role edit there.",
        ),
        Err(error) => Finding::warning(CHECK, format!("{error:#}."), ""),
    }
}

/// Counts the objects that are not ready, by reason; an unreachable tenant shows here.
pub async fn objects<K: Reconciled>(cluster: &Cluster, check: &'static str, typed: &str) -> Finding {
    let everywhere: Api<K> = Api::all(cluster.client.clone());
    let (list, place, flag) = match everywhere.list(&ListParams::default()).await {
        Ok(list) => (Ok(list), "the cluster".to_owned(), "-A".to_owned()),
        Err(_) => {
            let (here, namespace): (Api<K>, _) = (cluster.objects(), &cluster.namespace);
            (here.list(&ListParams::default()).await, format!("namespace {namespace}"), format!("-n {namespace}"))
        }
    };
    let items = match list {
        Ok(list) => list.items,
        Err(error) => return Finding::warning(check, format!("{}.", problem::sentence(&error)), ""),
    };
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for item in items.iter().filter(|item| !object::is_ready(*item)) {
        let ready = object::condition(item, ConditionType::Ready).filter(|_| object::is_current(item));
        *reasons
            .entry(ready.map_or("not processed yet".into(), |ready| screen::harmless(&ready.reason)))
            .or_default() += 1;
    }
    let all = items.len();
    if reasons.is_empty() {
        return Finding::ok(check, format!("{all} in {place}, all ready."));
    }
    let total: usize = reasons.values().sum();
    let reasons: Vec<_> = reasons.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    Finding::warning(
        check,
        format!("{all} in {place}, {total} not ready: {}.", reasons.join(", ")),
        format!(
            "kubectl qlik list {typed}{flag} shows them, kubectl qlik status {} what to do.",
            object::typed::<K>("NAME")
        ),
    )
}
