//! The shared setup of these tests and their helper functions.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use qlik_context_operator::api::QlikContext;
use serde_json::{Value, json};
use support::control_plane::{ControlPlane, Options};
use support::operator::{self, Operator};
use support::planted::Planted;
use support::tenant::{self, QlikCloud, Tenant};
use tokio::runtime::Builder;

pub const CLIENT_ID: &str = "82e0c353eca9a5d849c74d7e98f13f7e";
pub const CLIENT_SECRET: &str = "planted-client-secret-0123456789abcdef";
/// The prefix of every token of the fake tenant.
pub const TOKEN_BEGINNING: &str = "eyJhbGciOiJFUzM4NCIsImtpZCI6";
/// Texts that must not occur in any output of the operator: the prefix of every planted secret, of every token of the
/// fake tenant and of every signed assertion, and a part of each private key.
pub static PLANTED: LazyLock<Planted> = LazyLock::new(|| {
    Planted::new(&[
        "planted-",
        TOKEN_BEGINNING,
        "eyJhbGciOiJSUzI1NiIsImtpZCI6",
        "eyJhbGciOiJSUzUxMiIsImtpZCI6",
        "AN71/sSRT2CW+WYZO0bKJO9sDIUluzX2laMAloQB", // rsa-pkcs8.pem
        "AJaEAQFEuhk6K9TcGj93kmKctuWFdmvXnwQUGURm", // rsa-pkcs1.pem
        "4fqIKKYMQ6+gBwYFK4EEACKhZANiAAQfV18gn7zV", // p384-sec1.pem
        "wBv8TZFuvO_OsToDFUEW",                     // p384.jwk
        "-----BEGIN PRIVATE KEY-----",
    ])
    .unwrap()
});
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_qlik-context-operator");
/// Longer than the back-off after six failures.
const PATIENCE: Duration = Duration::from_mins(1);

pub struct World {
    pub control_plane: &'static ControlPlane,
    pub cloud: QlikCloud,
    pub operator: Operator,
}

/// Created once, on a runtime that lives as long as the process. The runtime of a test ends with the test.
pub fn world() -> &'static World {
    static WORLD: LazyLock<Result<World, String>> = LazyLock::new(|| {
        let build = || {
            let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let world = runtime.block_on(World::build());
            std::mem::forget(runtime);
            world.map_err(|error| format!("{error:#}"))
        };
        std::thread::spawn(build).join().unwrap()
    });
    WORLD.as_ref().unwrap_or_else(|error| panic!("{error}"))
}

impl World {
    async fn build() -> anyhow::Result<Self> {
        let mut install = operator::install();
        install.extend(["--set".into(), "workloads.enabled=true".into()]);
        let options = Options { audit: true, helm: vec![install], ..Options::default() };
        let control_plane = ControlPlane::shared(&options).await?;
        let cloud = QlikCloud::start().await?;
        let ca = control_plane.folder().join("tenant-ca.pem");
        cloud.write_ca(&ca)?;
        let operator = operator(control_plane, &cloud, &ca).await?;
        Ok(Self { control_plane, cloud, operator })
    }
}

/// The operator under test. It connects to one address directly, and to every name through the cloud's proxy.
pub async fn operator(control_plane: &ControlPlane, cloud: &QlikCloud, ca: &Path) -> anyhow::Result<Operator> {
    let log = control_plane.folder().join("operator.log");
    let hosts = format!("*.qlikcloud.com,{}", cloud.address());
    let flags = [
        "--tenant-ca-file",
        &ca.to_string_lossy(),
        "--allowed-tenant-hosts",
        &hosts,
        "--allow-private-addresses",
        "--oauth-clients",
        "--workloads",
        // The most verbose level: the whole log is searched for secrets.
        "--log-filter",
        "trace",
    ];
    let environment = [("HTTPS_PROXY", &*cloud.proxy_url()), ("NO_PROXY", "127.0.0.1")];
    Operator::start(control_plane, PROGRAM.as_ref(), &log, &flags, &environment).await
}

/// One test: its namespace and its tenant. At its end, all output of the operator is searched for planted secrets.
pub struct Case {
    pub world: &'static World,
    pub namespace: String,
    pub tenant: Tenant,
    pub client: Client,
    log_from: usize,
    audit_from: usize,
}

impl Drop for Case {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // `drop` cannot block on the runtime of the test.
            let search = || Builder::new_current_thread().enable_all().build().unwrap().block_on(self.search());
            std::thread::scope(|scope| scope.spawn(search).join().unwrap());
        }
    }
}

impl Case {
    /// Log, events, status and metrics contain no secret and no token, in any encoding. The API server denied no
    /// request of the operator.
    async fn search(&self) {
        let log = since(self.log_from, self.world.operator.process.log());
        let account = format!("\"username\":\"system:serviceaccount:{}:{}\"", operator::NAMESPACE, operator::RELEASE);
        let audit = since(self.audit_from, self.world.control_plane.audit_log());
        let mut theirs = audit.lines().filter(|line| line.contains(&account));
        assert_eq!(theirs.find(|line| line.contains("\"authorization.k8s.io/decision\":\"forbid\"")), None);
        let reported = self.kubectl(&["get", "events.events.k8s.io,qctx,qoauth", "-o", "json"]).await;
        let metrics = self.world.operator.get("/metrics").await.unwrap();
        for (sink, text) in [("log", log), ("status or events", reported), ("metrics", metrics)] {
            if let Some(spelling) = PLANTED.found(&text) {
                let line = text.lines().find(|line| line.contains(spelling)).unwrap_or_default();
                panic!("the {sink} contains {spelling}: {line}");
            }
        }
    }

    /// A new namespace, and a tenant with one valid client.
    pub async fn new(name: &str) -> Self {
        let world = tokio::task::spawn_blocking(world).await.unwrap();
        let namespace = world.control_plane.namespace(name).await.unwrap();
        let tenant = world.cloud.tenant(&format!("{namespace}.eu.qlikcloud.com"));
        tenant.add_client(tenant::Client::new(CLIENT_ID).secret(CLIENT_SECRET));
        let [log_from, audit_from] = [world.operator.process.log(), world.control_plane.audit_log()]
            .map(|log| std::fs::metadata(log).unwrap().len().try_into().unwrap());
        Self { world, namespace, tenant, client: world.control_plane.client().unwrap(), log_from, audit_from }
    }

    pub fn contexts(&self) -> Api<QlikContext> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A context as a user writes it; `changes` are merged into its spec.
    pub fn manifest(&self, name: &str, changes: &Value) -> Value {
        let mut manifest = json!({
            "apiVersion": "qlikcontext.dev/v1alpha1",
            "kind": "QlikContext",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"tenantUrl": self.tenant.url(), "auth": {"clientSecret": {"secretRef": {"name": "acme-oauth"}}}},
        });
        for (field, value) in changes.as_object().unwrap() {
            manifest["spec"][field] = value.clone();
        }
        manifest
    }

    /// Applies a context, as `kubectl apply --server-side` does.
    pub async fn apply(&self, name: &str, changes: &Value) -> QlikContext {
        let params = PatchParams::apply("a-user").force();
        self.contexts().patch(name, &params, &Patch::Apply(self.manifest(name, changes))).await.unwrap()
    }

    /// Creates or replaces a Secret.
    pub async fn put_secret(&self, name: &str, data: &[(&str, &str)]) {
        let data: BTreeMap<_, _> = data.iter().copied().collect();
        let manifest = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": self.namespace},
            "stringData": data,
        });
        let secrets = self.secrets();
        if secrets.get_opt(name).await.unwrap().is_some() {
            secrets.patch(name, &PatchParams::default(), &Patch::Merge(manifest)).await.unwrap();
        } else {
            secrets.create(&PostParams::default(), &serde_json::from_value(manifest).unwrap()).await.unwrap();
        }
    }

    /// The Secret `acme-oauth` with the client's valid credential.
    pub async fn put_credential(&self) {
        self.put_secret("acme-oauth", &[("client-id", CLIENT_ID), ("client-secret", CLIENT_SECRET)]).await;
    }

    pub async fn delete_secret(&self, name: &str) {
        self.secrets().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// The context, as soon as `holds` is true for it. Panics after a time with the status that it has instead.
    pub async fn wait_until(&self, name: &str, holds: impl Fn(&QlikContext) -> bool) -> QlikContext {
        let begin = Instant::now();
        loop {
            let context = self.contexts().get_opt(name).await.unwrap();
            match context {
                Some(context) if holds(&context) => return context,
                context if begin.elapsed() > PATIENCE => {
                    let status = context.map(|context| serde_json::to_string_pretty(&context.status).unwrap());
                    panic!("{name} is not as expected: {}\n{}", status.unwrap_or_default(), self.log());
                }
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Waits for a condition `Type=Status/Reason` of the current generation.
    pub async fn wait_for(&self, name: &str, condition: &str) -> QlikContext {
        self.wait_until(name, |context| conditions(context).iter().any(|held| held == condition)).await
    }

    /// The data of a Secret as text.
    pub async fn data(&self, name: &str) -> BTreeMap<String, String> {
        let data = self.secrets().get(name).await.unwrap().data.unwrap_or_default();
        data.into_iter().map(|(key, value)| (key, String::from_utf8(value.0).unwrap())).collect()
    }

    pub async fn metadata(&self, name: &str) -> ObjectMeta {
        self.secrets().get(name).await.unwrap().metadata
    }

    pub async fn kubectl(&self, args: &[&str]) -> String {
        let args: Vec<_> = ["-n", &self.namespace].iter().chain(args).copied().collect();
        self.world.control_plane.kubectl(&args).await.unwrap()
    }

    /// The status and events of this namespace.
    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(self.world.operator.process.log()).unwrap_or_default();
        let mut lines = String::new();
        let reported = |line: &&str| {
            line.contains(&self.namespace) && [" INFO ", " WARN "].iter().any(|level| line.contains(level))
        };
        for line in log.lines().filter(reported) {
            let _ = writeln!(lines, "{line}");
        }
        lines
    }
}

/// The part of a log after this many bytes.
fn since(begin: usize, log: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(log).unwrap()[begin..]).into_owned()
}

/// `Type=Status/Reason` of every condition of the current generation.
pub fn conditions(context: &QlikContext) -> Vec<String> {
    let conditions = context.status.iter().flat_map(|status| &status.conditions);
    let current = conditions.filter(|condition| condition.observed_generation == context.metadata.generation);
    current.map(|condition| format!("{}={}/{}", condition.type_, condition.status, condition.reason)).collect()
}

/// The message of a condition.
pub fn message(context: &QlikContext, condition: &str) -> String {
    let conditions = context.status.iter().flat_map(|status| &status.conditions);
    conditions.filter(|held| held.type_ == condition).map(|held| held.message.clone()).collect()
}
