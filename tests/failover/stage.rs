//! A cluster, a fake cloud, and some instances of the operator, each with its own connection to the API server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use serde_json::{Value, json};
use support::control_plane::{ControlPlane, Options, Programs, to_stderr};
use support::operator::{self, Operator};
use support::tenant::{self, QlikCloud, Route};
use support::wire::Wire;
use tokio::time::timeout;

use crate::audit;

const PROGRAM: &str = env!("CARGO_BIN_EXE_qlik-context-operator");
const SECRET: &str = "planted-secret-0123456789";
/// Short enough that the longer tests include renewals. Half of it is left at a renewal, which is longer than any time
/// without a leader.
const LIFE: Duration = Duration::from_mins(5);
/// The earliest renewal: half the lifetime, less the jitter of a tenth, less the latency.
const EARLIEST: Duration = Duration::from_secs(150 - 15 - 1);
/// The time from the tenant's record of a token to the write of the Secret.
const PUBLISHED: Duration = Duration::from_secs(5);

pub struct Instance {
    pub name: String,
    pub operator: Operator,
    pub wire: Wire,
}

impl Instance {
    /// Whether the instance reports that it leads; `None` if it does not respond.
    pub async fn leads(&self) -> Option<bool> {
        let metrics = timeout(Duration::from_secs(1), self.operator.get("/metrics")).await.ok()?.ok()?;
        Some(metrics.contains("\nqlik_context_leader 1\n"))
    }

    /// Resident memory, in MiB.
    pub async fn memory(&self) -> f64 {
        let metrics = self.operator.get("/metrics").await.unwrap();
        let bytes = metrics.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes ")).unwrap();
        bytes.parse::<f64>().unwrap() / f64::from(1 << 20)
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
    /// All instances, including stopped ones: their credential ids in the audit log, and their names.
    known: Vec<(String, String)>,
}

impl Stage {
    pub async fn with(instances: usize) -> Self {
        let mut stage = Self::without_contexts(instances).await;
        for _ in 0..5 {
            stage.new_context_is_ready().await;
        }
        stage
    }

    pub async fn without_contexts(instances: usize) -> Self {
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
        stage
    }

    /// Starts another instance.
    pub async fn start(&mut self) {
        self.start_with(&[]).await;
    }

    /// Starts another instance, with these environment variables.
    pub async fn start_with(&mut self, more: &[(&str, &str)]) {
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
        let usual = [("HTTPS_PROXY", &*proxy), ("NO_PROXY", "127.0.0.1"), ("HOSTNAME", &*name)];
        let environment: Vec<_> = usual.iter().chain(more).copied().collect();
        let log = self.control_plane.folder().join(format!("{name}.log"));
        let operator = Operator::launch(&path, PROGRAM.as_ref(), &log, &words, &environment).await.unwrap();
        self.known.push((credential, name.clone()));
        self.instances.push(Instance { name, operator, wire });
    }

    /// Waits for a leader among the instances that respond, and returns it.
    pub async fn leader(&self) -> usize {
        let begin = Instant::now();
        loop {
            for (index, instance) in self.instances.iter().enumerate() {
                if instance.leads().await == Some(true) {
                    return index;
                }
            }
            assert!(begin.elapsed() < Duration::from_mins(1), "there is no leader: {}", self.logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until another instance leads. Returns how long that took.
    pub async fn another_leads(&self, than: usize) -> Duration {
        let begin = Instant::now();
        loop {
            for (index, instance) in self.instances.iter().enumerate() {
                if index != than && instance.leads().await == Some(true) {
                    return begin.elapsed();
                }
            }
            assert!(begin.elapsed() < Duration::from_mins(1), "no other instance leads: {}", self.logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until this instance reports that it does not lead. Returns how long that took.
    pub async fn stops_leading(&self, index: usize) -> Duration {
        let begin = Instant::now();
        while self.instances[index].leads().await != Some(false) {
            assert!(begin.elapsed() < Duration::from_mins(1), "the instance still leads: {}", self.logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        begin.elapsed()
    }

    /// Waits until a new context with its own client gets a token. Returns how long that took.
    pub async fn new_context_is_ready(&mut self) -> Duration {
        self.new_contexts_are_ready(1).await
    }

    /// Waits until this many new contexts, each with its own client, get a token. Returns how long that took.
    pub async fn new_contexts_are_ready(&mut self, count: u64) -> Duration {
        let begin = Instant::now();
        let mut items = Vec::new();
        let added: Vec<_> = (self.contexts..self.contexts + count).map(|n| format!("qctx/c{n}")).collect();
        for n in self.contexts..self.contexts + count {
            // At most fifty for each tenant, because of its request budget.
            let tenant = self.cloud.tenant(&format!("t{}.eu.qlikcloud.com", n / 50));
            tenant.add_client(tenant::Client::new(&format!("client-{n}")).secret(SECRET).lifetime(LIFE));
            let data = json!({"client-id": format!("client-{n}"), "client-secret": SECRET});
            let named = |name: String| json!({"name": name, "namespace": "default"});
            let metadata = named(format!("oauth-{n}"));
            items.push(json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}));
            let auth = json!({"clientSecret": {"secretRef": {"name": format!("oauth-{n}")}}});
            items.push(json!({
                "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext", "metadata": named(format!("c{n}")),
                "spec": {"tenantUrl": tenant.url(), "auth": auth},
            }));
        }
        self.contexts += count;
        let manifest = json!({"apiVersion": "v1", "kind": "List", "items": items});
        self.control_plane.kubectl_with_input(&["apply", "-f", "-"], &manifest.to_string()).await.unwrap();
        let added = added.iter().map(String::as_str);
        let words: Vec<_> = ["wait", "--for=condition=Ready", "--timeout=120s"].into_iter().chain(added).collect();
        let waited = self.control_plane.kubectl(&words).await;
        waited.unwrap_or_else(|error| panic!("{error:#}\n{}", self.logs()));
        begin.elapsed()
    }

    /// The current Lease.
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

    /// Checks that every process still runs and passes its liveness probe.
    pub async fn all_live(&mut self) {
        for instance in &mut self.instances {
            instance.operator.process.check().unwrap();
            assert!(instance.answers("/livez").await, "{}", instance.name);
        }
    }

    /// Checks the tenant's record: no token was requested before its renewal was due, and none after the last one had
    /// expired. Also checks that never two instances acted.
    pub async fn check(&self) {
        let mut issued: BTreeMap<String, Vec<SystemTime>> = BTreeMap::new();
        self.cloud.ledger(|ledger| {
            assert_eq!(ledger.requests, ledger.records.len() as u64, "the record is complete");
            for record in ledger.records.iter().filter(|record| record.route == Route::Token && record.done) {
                issued.entry(record.client_id.clone().unwrap()).or_default().push(record.at);
            }
        });
        assert_eq!(issued.len() as u64, self.contexts);
        let (mut tokens, mut surplus, mut oldest) = (0, 0, Duration::ZERO);
        for (client, times) in &mut issued {
            tokens += times.len();
            times.push(SystemTime::now());
            let ages: Vec<_> = times.windows(2).map(|two| two[1].duration_since(two[0]).unwrap()).collect();
            // The last age ends now, not at a request.
            surplus += ages[..ages.len() - 1].iter().filter(|age| **age < EARLIEST).count();
            oldest = oldest.max(ages.into_iter().max().unwrap());
            assert!(oldest + PUBLISHED < LIFE, "{client}: a token was served for {oldest:?}");
        }
        for instance in &self.instances {
            let metrics = instance.operator.get("/metrics").await.unwrap();
            assert!(metrics.contains("\nqlik_context_expired_served_seconds_total 0.0\n"), "{metrics}");
        }
        eprintln!(
            "{} contexts, {tokens} tokens of {} s, {surplus} surplus; none served for more than {:.0} s, none expired",
            self.contexts,
            LIFE.as_secs(),
            oldest.as_secs_f64()
        );
        assert_eq!(surplus, 0, "tokens were requested before their renewal was due: {issued:?}");
        self.check_writes();
    }

    /// Checks in the audit log that never two instances acted.
    pub fn check_writes(&self) {
        let log = std::fs::read_to_string(self.control_plane.audit_log()).unwrap();
        audit::check(&log, &self.known);
    }

    /// Token requests to which the tenants have responded.
    pub fn token_requests(&self) -> usize {
        self.cloud
            .ledger(|ledger| ledger.records.iter().filter(|record| record.route == Route::Token && record.done).count())
    }

    fn logs(&self) -> String {
        let tails = self
            .instances
            .iter()
            .map(|instance| format!("{}:\n{}\n", instance.name, instance.operator.process.log_tail()));
        tails.collect()
    }
}

/// The id of the token in a kubeconfig, as in the audit log.
fn credential_id(kubeconfig: &str) -> String {
    let claims = kubeconfig[kubeconfig.find("eyJ").unwrap()..].split('.').nth(1).unwrap();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    format!("JTI={}", claims["jti"].as_str().unwrap())
}
