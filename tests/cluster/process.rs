//! The program as a process: probes, metrics, errors and shutdown.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use support::control_plane::{ControlPlane, Folder, Options, Programs, to_stderr};
use support::operator::{self, Operator};
use support::tenant::{self, QlikCloud};

use crate::world::{self, Case, PLANTED, PROGRAM, world};

#[tokio::test]
async fn metrics_have_series_of_a_context_while_it_exists_and_contain_no_address() {
    let case = Case::new("metrics").await;
    case.put_credential().await;
    case.apply("acme", &json!({})).await;
    case.wait_for("acme", "Ready=True/TokenValid").await;
    let mine = format!("qlik_context_ready{{namespace=\"{}\",name=\"acme\"}} 1", case.namespace);
    let text = case.world.operator.get("/metrics").await.unwrap();
    assert!(text.contains(&mine), "{text}");
    for name in [
        "qlik_context_token_expiry_timestamp_seconds{",
        "qlik_context_token_renewal_timestamp_seconds{",
        "qlik_context_token_requests_total{grant=\"client_credentials\",outcome=\"Success\"}",
        "qlik_context_token_request_duration_seconds_bucket{",
        "qlik_context_verifications_total{outcome=\"Success\"}",
        "qlik_context_reconciles_total{outcome=\"Ready\"}",
        "qlik_context_reconcile_duration_seconds_bucket{",
        "qlik_context_secret_writes_total{operation=\"Create\"}",
        "qlik_context_build_info{",
    ] {
        assert!(text.contains(name), "{name} is missing in\n{text}");
    }
    assert!(!text.contains("qlikcloud"), "no label contains an address");
    assert!(case.world.operator.get("/livez").await.is_ok());
    case.contexts().delete("acme", &kube::api::DeleteParams::default()).await.unwrap();
    let begin = std::time::Instant::now();
    while case.world.operator.get("/metrics").await.unwrap().contains(&case.namespace) {
        assert!(begin.elapsed() < Duration::from_secs(5), "the series still exists after its context was deleted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A separate cluster and cloud, for operators that are stopped and killed.
struct Apart {
    control_plane: ControlPlane,
    cloud: QlikCloud,
    ca: PathBuf,
}

impl Apart {
    async fn new() -> Self {
        let options = Options { helm: vec![operator::install()], ..Options::default() };
        let programs = tokio::task::spawn_blocking(|| Programs::find(&to_stderr)).await.unwrap().unwrap();
        let control_plane = ControlPlane::start_with(&programs, &options, &to_stderr).await.unwrap();
        let cloud = QlikCloud::start().await.unwrap();
        let ca = control_plane.folder().join("tenant-ca.pem");
        cloud.write_ca(&ca).unwrap();
        Self { control_plane, cloud, ca }
    }

    async fn operator(&self) -> Operator {
        world::operator(&self.control_plane, &self.cloud, &self.ca).await.unwrap()
    }

    /// Contexts that share nothing. Each has its own client.
    async fn contexts(&self, count: usize) {
        let tenant = self.cloud.tenant("acme.eu.qlikcloud.com");
        for n in 0..count {
            tenant.add_client(tenant::Client::new(&format!("client-{n}")).secret("planted-secret-0123456789"));
            let data = json!({"client-id": format!("client-{n}"), "client-secret": "planted-secret-0123456789"});
            let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("oauth-{n}")}, "stringData": data});
            let spec = json!({"tenantUrl": tenant.url(), "auth": {"clientSecret": {"secretRef": {"name": format!("oauth-{n}")}}}});
            let context = json!({
                "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext", "metadata": {"name": format!("c{n}")}, "spec": spec
            });
            for manifest in [secret, context] {
                self.control_plane.kubectl_with_input(&["apply", "-f", "-"], &manifest.to_string()).await.unwrap();
            }
        }
    }

    async fn all_ready(&self) {
        self.control_plane.kubectl(&["wait", "--for=condition=Ready", "qctx", "--all", "--timeout=30s"]).await.unwrap();
    }

    fn issued(&self) -> u64 {
        self.cloud.ledger(|ledger| ledger.issued)
    }
}

impl Drop for Apart {
    /// The logs of its operators at TRACE contain no secret and no token.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let log = std::fs::read(self.control_plane.folder().join("operator.log")).unwrap();
            assert_eq!(PLANTED.found(&String::from_utf8_lossy(&log)), None);
        }
    }
}

#[tokio::test]
async fn a_killed_and_restarted_operator_requests_no_token_while_the_old_ones_are_valid() {
    let apart = Apart::new().await;
    let mut first = apart.operator().await;
    apart.contexts(5).await;
    apart.all_ready().await;
    assert_eq!(apart.issued(), 5);
    let before = apart.control_plane.kubectl(&["get", "secrets", "-o", "yaml"]).await.unwrap();
    first.process.kill().unwrap();
    apart.cloud.clear_ledger();
    let second = apart.operator().await;
    // The Lease of the killed operator has to expire first.
    let begin = Instant::now();
    while !second.get("/metrics").await.unwrap().contains("\nqlik_context_leader 1\n") {
        assert!(begin.elapsed() < Duration::from_secs(30), "there is no leader");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(apart.cloud.ledger(|ledger| ledger.requests), 0, "no token was requested or verified at the start");
    assert_eq!(apart.control_plane.kubectl(&["get", "secrets", "-o", "yaml"]).await.unwrap(), before);
    let ready =
        second.get("/metrics").await.unwrap().lines().filter(|line| line.starts_with("qlik_context_ready{")).count();
    assert_eq!(ready, 5, "every context was reconciled");
}

#[tokio::test]
async fn of_two_instances_one_leads_and_the_other_takes_over_at_once_when_it_is_stopped() {
    let apart = Apart::new().await;
    let mut first = apart.operator().await;
    let second = apart.operator().await;
    apart.contexts(2).await;
    apart.all_ready().await;
    assert!(first.get("/metrics").await.unwrap().contains("\nqlik_context_leader 1\n"));
    assert!(second.get("/metrics").await.unwrap().contains("\nqlik_context_leader 0\n"));
    assert!(second.get("/readyz").await.is_ok(), "a standby is ready");
    let status = first.process.stop(Duration::from_secs(10)).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", first.process.log_tail());
    let begin = Instant::now();
    while !second.get("/metrics").await.unwrap().contains("\nqlik_context_leader 1\n") {
        assert!(begin.elapsed() < Duration::from_secs(5), "the lease was not released");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(apart.issued(), 2, "a change of leader requests no token");
}

#[test]
fn a_wrong_flag_or_a_missing_cluster_gives_one_line_that_says_what_to_do() {
    for (args, kubeconfig, code, says) in [
        (&["run", "--allowed-tenant-hosts", "https://x"][..], "", 2, "--allowed-tenant-hosts"),
        (&["run", "--log-filter", "a=b=c"], "", 2, "--log-filter"),
        (&["run"], "/does/not/exist", 1, "KUBECONFIG"),
        (&["run", "--tenant-ca-file", "/does/not/exist"], "", 1, "--tenant-ca-file"),
        (&["run"], "", 1, "HTTPS_PROXY"),
    ] {
        let mut command = Command::new(PROGRAM);
        command.args(args).env_clear();
        let reachable = world().control_plane.admin_kubeconfig();
        if says == "HTTPS_PROXY" {
            command.env(says, "ftp://planted-password@proxy:3128");
        }
        command.env("KUBECONFIG", if kubeconfig.is_empty() { reachable.as_os_str() } else { kubeconfig.as_ref() });
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let errors: Vec<_> = said.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!((output.status.code(), errors.len()), (Some(code), 1), "{args:?}: {said}");
        assert!(errors[0].contains(says) && !said.contains("backtrace") && !said.contains("planted"), "{said}");
    }
}

#[test]
fn a_cluster_without_the_crd_gives_one_line_that_says_how_to_install_it() {
    // The response of an API server for an unknown API group.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let head =
                "HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: 19\r\n\r\n";
            stream.write_all(format!("{head}404 page not found\n").as_bytes()).unwrap();
        }
    });
    let folder = Folder::new().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "c", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    });
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let output = Command::new(PROGRAM).arg("run").env_clear().env("KUBECONFIG", &kubeconfig).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let cure = "install the CRD: qlik-context-operator crd | kubectl apply -f -";
    assert!(said.starts_with("error: ") && said.contains(cure) && said.lines().count() == 1, "{said}");
}

#[tokio::test]
async fn kubectl_get_shows_readiness_secret_and_expiry() {
    let case = Case::new("columns").await;
    case.put_credential().await;
    case.apply("acme", &json!({})).await;
    let context = case.wait_for("acme", "Ready=True/TokenValid").await;
    let table = case.kubectl(&["get", "qctx"]).await;
    let head: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["NAME", "READY", "REASON", "SECRET", "EXPIRES", "AGE"]);
    let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
    let expires = context.status.unwrap().token.unwrap().expires_at.unwrap().0.to_string();
    assert_eq!(row[..5], ["acme", "True", "TokenValid", "acme-token", &expires]);
    let selected =
        case.kubectl(&["get", "qctx", "--field-selector", &format!("spec.tenantUrl={}", case.tenant.url())]).await;
    assert!(selected.contains("acme"), "selectable field");
    assert!(case.kubectl(&["get", "qlik"]).await.contains("acme"), "category");
    let explained = case.kubectl(&["explain", "qlikcontext.spec.target.data"]).await;
    assert!(explained.contains("$(token)"), "{explained}");
}
