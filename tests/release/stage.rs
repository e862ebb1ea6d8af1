//! A control plane with an audit log, a fake cloud, and the helper functions of these tests.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::control_plane::{ControlPlane, Options, Programs, to_stderr};
use support::operator::Operator;
use support::tenant::{Client, QlikCloud, Tenant};

pub const CLIENT_ID: &str = "82e0c353eca9a5d849c74d7e98f13f7e";
pub const CLIENT_SECRET: &str = "planted-client-secret-0123456789abcdef";
const PROGRAM: &str = env!("CARGO_BIN_EXE_qlik-context-operator");

pub struct Stage {
    pub control_plane: ControlPlane,
    pub cloud: QlikCloud,
    pub tenant: Tenant,
    ca: PathBuf,
}

impl Stage {
    /// Starts a control plane and runs these Helm commands. Streaming lists are disabled, so that every permission of
    /// the chart is used, and the operator runs with an API server that rejects them.
    /// `OwnerReferencesPermissionEnforcement` is enabled: it requires more permissions than a cluster does by default.
    pub async fn set(helm: &[Vec<&str>]) -> Self {
        let helm = helm.iter().map(|words| words.iter().map(|word| (*word).to_owned()).collect()).collect();
        let plugins = vec!["OwnerReferencesPermissionEnforcement".to_owned()];
        let feature_gates = vec!["WatchList=false".to_owned()];
        let options = Options { audit: true, admission_plugins: plugins, feature_gates, helm };
        let programs = tokio::task::spawn_blocking(|| Programs::find(&to_stderr)).await.unwrap().unwrap();
        let control_plane = ControlPlane::start_with(&programs, &options, &to_stderr).await.unwrap();
        let cloud = QlikCloud::start().await.unwrap();
        let ca = control_plane.folder().join("tenant-ca.pem");
        cloud.write_ca(&ca).unwrap();
        let tenant = cloud.tenant("acme.eu.qlikcloud.com");
        tenant.add_client(Client::new(CLIENT_ID).secret(CLIENT_SECRET));
        Self { control_plane, cloud, tenant, ca }
    }

    /// The operator of a release: namespace and name.
    pub async fn operator(&self, release: (&str, &str)) -> Operator {
        let log = self.control_plane.folder().join(format!("{}.{}.log", release.0, release.1));
        let (proxy, ca) = (self.cloud.proxy_url(), self.ca.to_string_lossy());
        let environment = [("HTTPS_PROXY", &*proxy), ("QLIK_CONTEXT_TENANT_CA_FILE", &*ca)];
        Operator::start_as_deployed(&self.control_plane, release, PROGRAM.as_ref(), &log, &environment).await.unwrap()
    }

    pub async fn kubectl(&self, args: &[&str]) -> String {
        self.control_plane.kubectl(args).await.unwrap()
    }

    pub async fn helm(&self, args: &[&str]) -> String {
        self.control_plane.helm(args).await.unwrap()
    }

    pub async fn apply(&self, namespace: &str, manifest: &str) {
        self.control_plane.kubectl_with_input(&["apply", "-n", namespace, "-f", "-"], manifest).await.unwrap();
    }

    /// Creates a valid or wrong credential and a context that uses it, both called `name`.
    pub async fn put(&self, namespace: &str, name: &str, client_secret: &str) {
        for object in objects(&self.tenant, name, client_secret) {
            self.apply(namespace, &object.to_string()).await;
        }
    }

    /// Waits until the `Ready` condition of a context has this reason.
    pub async fn wait_for(&self, namespace: &str, name: &str, reason: &str) {
        let path = format!("--for=jsonpath={{.status.conditions[?(@.type==\"Ready\")].reason}}={reason}");
        self.kubectl(&["wait", "-n", namespace, &path, &format!("qctx/{name}"), "--timeout=60s"]).await;
    }

    /// The status of a context, or an empty text.
    pub async fn status(&self, namespace: &str, name: &str) -> String {
        self.kubectl(&["get", "qctx", name, "-n", namespace, "-o", "jsonpath={.status.conditions}"]).await
    }

    pub fn issued(&self) -> u64 {
        self.cloud.ledger(|ledger| ledger.issued)
    }
}

/// The manifests of a credential and of a context that uses it.
pub fn objects(tenant: &Tenant, name: &str, client_secret: &str) -> [Value; 2] {
    let data = json!({"client-id": CLIENT_ID, "client-secret": client_secret});
    let credential = format!("{name}-oauth");
    let spec = json!({"tenantUrl": tenant.url(), "auth": {"clientSecret": {"secretRef": {"name": credential}}}});
    [
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": credential}, "stringData": data}),
        json!({"apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext", "metadata": {"name": name}, "spec": spec}),
    ]
}

/// Stops an operator as a rollout does: gracefully, so that it releases its Lease.
pub async fn stop(mut operator: Operator) {
    let ended = operator.process.stop(Duration::from_secs(10)).await.unwrap();
    assert_eq!(ended.code(), Some(0), "{}", operator.process.log_tail());
}

/// Waits until `holds` returns true.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !holds().await {
        assert!(begin.elapsed() < Duration::from_mins(1), "timed out waiting until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
