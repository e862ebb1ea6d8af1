//! A cluster, a cloud, and some instances of the operator, each with a wire of its own to the API server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};
use support::control_plane::{ControlPlane, Options, Programs, to_stderr};
use support::operator::{self, Operator};
use support::tenant::{self, QlikCloud};
use support::wire::Wire;
use tokio::time::timeout;

use crate::audit;

const PROGRAM: &str = env!("CARGO_BIN_EXE_qlik-context-operator");
const SECRET: &str = "planted-secret-0123456789";

pub struct Instance {
    pub name: String,
    pub operator: Operator,
    pub wire: Wire,
}

impl Instance {
    /// Whether it says that it leads; `None` when it does not answer.
    pub async fn leads(&self) -> Option<bool> {
        let metrics = timeout(Duration::from_secs(1), self.operator.get("/metrics")).await.ok()?.ok()?;
        Some(metrics.contains("\nqlik_context_leader 1\n"))
    }

    pub async fn answers(&self, path: &str) -> bool {
        timeout(Duration::from_secs(2), self.operator.get(path)).await.is_ok_and(|answer| answer.is_ok())
    }
}

pub struct Stage {
    pub control_plane: ControlPlane,
    pub cloud: QlikCloud,
    pub instances: Vec<Instance>,
    ca: PathBuf,
    contexts: u64,
    /// Instances so far, the gone ones too: the credentials by which the audit log knows them, and their names.
    known: Vec<(String, String)>,
}

impl Stage {
    pub async fn with(instances: usize) -> Self {
        let options = Options { audit: true, helm: vec![operator::install()], ..Options::default() };
        let programs = tokio::task::spawn_blocking(|| Programs::find(&to_stderr)).await.unwrap().unwrap();
        let control_plane = ControlPlane::start_with(&programs, &options, &to_stderr).await.unwrap();
        let cloud = QlikCloud::start().await.unwrap();
        let ca = control_plane.folder().join("tenant-ca.pem");
        cloud.write_ca(&ca).unwrap();
        let mut stage = Self { control_plane, cloud, instances: Vec::new(), ca, contexts: 0, known: Vec::new() };
        for _ in 0..instances {
            stage.start().await;
        }
        for _ in 0..5 {
            stage.new_context_is_ready().await;
        }
        stage
    }

    /// One more instance.
    pub async fn start(&mut self) {
        let name = format!("operator-{}", self.known.len());
        let server: SocketAddr = self.control_plane.url().trim_start_matches("https://").parse().unwrap();
        let wire = Wire::to(server).await.unwrap();
        let account = self.control_plane.kubeconfig_for_service_account(operator::NAMESPACE, operator::RELEASE);
        let kubeconfig = std::fs::read_to_string(account.await.unwrap()).unwrap();
        let credential = credential_id(&kubeconfig);
        let path = self.control_plane.folder().join(format!("{name}.kubeconfig"));
        std::fs::write(&path, kubeconfig.replace(&server.to_string(), &wire.address().to_string())).unwrap();
        let hosts = format!("*.qlikcloud.com,{}", self.cloud.address());
        let ca = self.ca.to_string_lossy();
        let lease = ["--leader-elect", "--lease-name", operator::RELEASE, "--lease-namespace", operator::NAMESPACE];
        let tenants = ["--tenant-ca-file", &ca, "--allowed-tenant-hosts", &hosts, "--allow-private-addresses"];
        let words: Vec<_> = ["run"].iter().chain(&lease).chain(&tenants).copied().collect();
        let proxy = self.cloud.proxy_url();
        let environment = [("HTTPS_PROXY", &*proxy), ("NO_PROXY", "127.0.0.1"), ("HOSTNAME", &*name)];
        let log = self.control_plane.folder().join(format!("{name}.log"));
        let operator = Operator::launch(&path, PROGRAM.as_ref(), &log, &words, &environment).await.unwrap();
        self.known.push((credential, name.clone()));
        self.instances.push(Instance { name, operator, wire });
    }

    /// The one that leads, among those that answer, as soon as there is one.
    pub async fn leader(&self) -> usize {
        let begin = Instant::now();
        loop {
            for (index, instance) in self.instances.iter().enumerate() {
                if instance.leads().await == Some(true) {
                    return index;
                }
            }
            assert!(begin.elapsed() < Duration::from_mins(1), "nobody leads: {}", self.logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// One leads that is not this one; how long that took.
    pub async fn another_leads(&self, than: usize) -> Duration {
        let begin = Instant::now();
        loop {
            for (index, instance) in self.instances.iter().enumerate() {
                if index != than && instance.leads().await == Some(true) {
                    return begin.elapsed();
                }
            }
            assert!(begin.elapsed() < Duration::from_mins(1), "no other leads: {}", self.logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// This one says that it does not lead, after so long.
    pub async fn stops_leading(&self, index: usize) -> Duration {
        let begin = Instant::now();
        while self.instances[index].leads().await != Some(false) {
            assert!(begin.elapsed() < Duration::from_mins(1), "it goes on leading: {}", self.logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        begin.elapsed()
    }

    /// A new context with a client of its own gets a token; how long that took.
    pub async fn new_context_is_ready(&mut self) -> Duration {
        let begin = Instant::now();
        let (n, tenant) = (self.contexts, self.cloud.tenant("acme.eu.qlikcloud.com"));
        self.contexts += 1;
        tenant.add_client(tenant::Client::new(&format!("client-{n}")).secret(SECRET));
        let data = json!({"client-id": format!("client-{n}"), "client-secret": SECRET});
        let named = |name: String| json!({"name": name, "namespace": "default"});
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": named(format!("oauth-{n}")), "stringData": data});
        let auth = json!({"clientSecret": {"secretRef": {"name": format!("oauth-{n}")}}});
        let context = json!({
            "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext", "metadata": named(format!("c{n}")),
            "spec": {"tenantUrl": tenant.url(), "auth": auth},
        });
        for manifest in [secret, context] {
            self.control_plane.kubectl_with_input(&["apply", "-f", "-"], &manifest.to_string()).await.unwrap();
        }
        let name = format!("qctx/c{n}");
        let waited = self.control_plane.kubectl(&["wait", "--for=condition=Ready", &name, "--timeout=60s"]).await;
        waited.unwrap_or_else(|error| panic!("{error:#}\n{}", self.logs()));
        begin.elapsed()
    }

    /// The Lease as it stands.
    pub async fn lease(&self) -> Value {
        let args = ["get", "lease", operator::RELEASE, "-n", operator::NAMESPACE, "-o", "json"];
        serde_json::from_str(&self.control_plane.kubectl(&args).await.unwrap()).unwrap()
    }

    /// Edits the Lease by hand.
    pub async fn edit_lease(&self, spec: &Value) {
        let patch = json!({"spec": spec}).to_string();
        let args = ["patch", "lease", operator::RELEASE, "-n", operator::NAMESPACE, "--type=merge", "-p", &patch];
        self.control_plane.kubectl(&args).await.unwrap();
    }

    pub async fn delete_lease(&self) {
        let args = ["delete", "lease", operator::RELEASE, "-n", operator::NAMESPACE];
        self.control_plane.kubectl(&args).await.unwrap();
    }

    /// Every process still runs and is alive.
    pub async fn all_live(&mut self) {
        for instance in &mut self.instances {
            instance.operator.process.check().unwrap();
            assert!(instance.answers("/livez").await, "{}", instance.name);
        }
    }

    /// One token for each context, and never two instances that acted: the API server's own record says so.
    pub fn judge(&self) {
        assert_eq!(self.cloud.ledger(|ledger| ledger.issued), self.contexts, "tokens");
        let log = std::fs::read_to_string(self.control_plane.audit_log()).unwrap();
        audit::judge(&log, &self.known);
    }

    fn logs(&self) -> String {
        let tails = self
            .instances
            .iter()
            .map(|instance| format!("{}:\n{}\n", instance.name, instance.operator.process.log_tail()));
        tails.collect()
    }
}

/// The id of the token in a kubeconfig, as the audit log has it.
fn credential_id(kubeconfig: &str) -> String {
    let claims = kubeconfig[kubeconfig.find("eyJ").unwrap()..].split('.').nth(1).unwrap();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    format!("JTI={}", claims["jti"].as_str().unwrap())
}
