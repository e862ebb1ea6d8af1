//! What `/metrics` serves is what Prometheus reads, in both formats.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use qlik_context_operator::clock::{Clock, SignedDuration};
use qlik_context_operator::health::Health;
use qlik_context_operator::metrics::{Format, Metrics, Reconciled, RequestVerb, SecretWrite, Watch};
use qlik_context_operator::oauth::request::Grant;
use qlik_context_operator::run::server;
use qlik_context_operator::scheduler::RequestKind;
use qlik_context_operator::tokens::CallObserver as _;
use support::control_plane::Folder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::prometheus::{Prometheus, assert_content, promtool};

/// Metrics of an operator to which everything has happened.
pub fn busy() -> Arc<Metrics> {
    let (metrics, now) = (Arc::new(Metrics::new()), Clock::system().now());
    let hours = |hours| now + SignedDuration::from_hours(hours);
    metrics.context("team", "acme", true, Some((hours(6), hours(4))), now);
    metrics.context("team", "other", false, None, now);
    metrics.token_request(&Grant::ClientCredentials, None, Duration::from_millis(300));
    metrics.verification(None);
    metrics.reconciled(Reconciled::Ready, Duration::from_millis(700));
    metrics.secret_written(SecretWrite::Create);
    metrics.oauth_client("team", "reporting", false, Some(hours(-2)));
    metrics.oauth_client_request(RequestKind::Token, None);
    metrics.oauth_client_reconciled(Reconciled::Ready, Duration::from_millis(900));
    metrics.stale_pods("team", "acme", Some(2));
    metrics.watch_failed(Watch::Contexts);
    metrics.kubernetes_requested(RequestVerb::patch, Some(200), Duration::from_millis(4));
    metrics.kubernetes_requested(RequestVerb::list, None, Duration::from_secs(5));
    metrics.leads(true);
    metrics
}

/// Serves them as the operator does.
pub async fn serve(metrics: Arc<Metrics>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(server::serve(listener, Arc::new(Health::new()), metrics, Clock::system()));
    address
}

async fn get(address: SocketAddr, accept: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\nAccept: {accept}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let kind = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap();
    (kind.to_owned(), body.to_owned())
}

#[test]
fn promtool_finds_nothing_to_criticise_in_the_text_format() {
    let text = busy().render_as(Format::Text, Clock::system().now()).unwrap();
    let folder = Folder::new().unwrap();
    let output = promtool(&["check", "metrics"], folder.path(), &text);
    assert_content(&output);
    // It only remarks on a name that it would have otherwise.
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let open_metrics = busy().render(Clock::system().now()).unwrap();
    assert!(!promtool(&["check", "metrics"], folder.path(), &open_metrics).status.success(), "it accepts anything");
}

#[tokio::test]
async fn a_client_gets_the_format_that_it_asks_for() {
    let address = serve(busy()).await;
    let (kind, body) = get(address, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5").await;
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(body.ends_with("# EOF\n") && body.contains("# TYPE qlik_context_build info\n"), "{body}");
    for accept in ["*/*", "text/plain;version=0.0.4"] {
        let (kind, body) = get(address, accept).await;
        assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
        assert!(body.contains("# TYPE qlik_context_token_requests_total counter\n"), "{body}");
    }
}

#[tokio::test]
async fn prometheus_reads_the_same_from_both_formats() {
    let address = serve(busy()).await;
    let mut found = Vec::new();
    for protocol in ["OpenMetricsText1.0.0", "PrometheusText0.0.4"] {
        let prometheus = Prometheus::scraping(address, &[protocol]).await;
        let targets = prometheus.targets().await;
        assert_eq!((&targets[0]["health"], &targets[0]["lastError"]), (&"up".into(), &"".into()), "{targets}");
        let mut names: Vec<_> = prometheus.query("count by (__name__) ({job=\"qlik-context-operator\"})").await;
        names.sort_by_key(|sample| sample["metric"]["__name__"].as_str().unwrap().to_owned());
        let counted = names.iter().map(|sample| {
            (sample["metric"]["__name__"].as_str().unwrap().to_owned(), sample["value"][1].as_str().unwrap().to_owned())
        });
        let counted: Vec<_> =
            counted.filter(|(name, _)| name.starts_with("qlik_") || name.starts_with("process_")).collect();
        assert!(counted.len() > 30, "{counted:?}");
        found.push(counted);
    }
    assert_eq!(found[0], found[1]);
}
