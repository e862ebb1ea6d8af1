//! Traces reach a receiver that decodes them with OpenTelemetry's own types. They come from the whole controller on
//! virtual time, and from the program, configured only by its environment. Needs the feature `otlp`, and Go.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use qlik_context_operator::run::telemetry::otlp;
use serde_json::{Value, json};
use support::api_server::{self, Kind, Verb};
use support::tenant::{Fault, FaultBody, Route, Script};
use tracing_subscriber::layer::SubscriberExt as _;

use self::world::{CLIENT_SECRET, HOUR, LIFE, World, pass};

#[expect(dead_code, reason = "this test uses a part of the world of the controller's tests")]
#[path = "controller/world.rs"]
mod world;

/// A receiver on 127.0.0.1.
struct Receiver {
    process: Child,
    /// Its output is read immediately, because a full pipe would block it.
    lines: JoinHandle<Vec<String>>,
    address: String,
}

impl Receiver {
    fn start() -> Self {
        let pipe = Stdio::piped;
        let mut go = support::go::run("otlp").unwrap();
        let mut process = go.stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        let mut address = String::new();
        lines.read_line(&mut address).unwrap();
        assert!(!address.is_empty(), "{}", said(&mut process));
        let lines = std::thread::spawn(move || lines.lines().map(Result::unwrap).collect());
        Self { process, lines, address: address.trim().to_owned() }
    }

    /// Every received span, with its resource.
    fn spans(mut self) -> Vec<Span> {
        drop(self.process.stdin.take());
        let mut spans = Vec::new();
        for line in self.lines.join().unwrap() {
            let request: Value = serde_json::from_str(&line).unwrap();
            for of_resource in list(&request["resourceSpans"]) {
                for of_scope in list(&of_resource["scopeSpans"]) {
                    let spans_of = list(&of_scope["spans"]).iter().cloned();
                    spans.extend(spans_of.map(|span| Span { resource: of_resource["resource"].clone(), span }));
                }
            }
        }
        assert_eq!(said(&mut self.process), "", "the program sent invalid OTLP");
        self.process.wait().unwrap();
        spans
    }
}

fn said(process: &mut Child) -> String {
    let mut text = String::new();
    process.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

struct Span {
    resource: Value,
    span: Value,
}

impl Span {
    fn name(&self) -> &str {
        self.span["name"].as_str().unwrap()
    }

    /// An attribute as text; empty if it does not exist.
    fn is(&self, key: &str) -> String {
        value(&self.span, key)
    }

    fn keys(&self) -> BTreeSet<&str> {
        list(&self.span["attributes"]).iter().map(|attribute| attribute["key"].as_str().unwrap()).collect()
    }
}

fn value(holder: &Value, key: &str) -> String {
    let found = list(&holder["attributes"]).iter().find(|attribute| attribute["key"] == key);
    let value = found.and_then(|attribute| attribute["value"].as_object()?.values().next());
    value.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).unwrap_or_default()
}

/// The attributes of a span in docs/reference.md.
fn documented(span: &str) -> BTreeSet<String> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference.md")).unwrap();
    let section = page.split("\n## Traces\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let row = section.lines().find(|line| line.starts_with(&format!("| {span} |"))).unwrap_or_else(|| panic!("{span}"));
    row.split('|').nth(3).unwrap().split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn every_reconciliation_and_request_is_a_span_with_the_documented_attributes_and_no_secret() {
    let receiver = Receiver::start();
    let (layer, traces) = otlp::to(Some(&format!("http://{}/v1/traces", receiver.address))).unwrap();
    let mut world = World::new();
    let subscriber = tracing_subscriber::registry().with(world::lines()).with(layer);
    let heard = tracing::subscriber::set_default(subscriber);
    world.add("a", "acme", LIFE, &json!({}));
    world.add("a", "wrong", LIFE, &json!({}));
    world.put_credential("a", "wrong", "planted-client-id", CLIENT_SECRET);
    world.start();
    pass(HOUR).await;
    world.api.script(api_server::Script::on(Verb::Watch, Kind::Secret, api_server::Fault::unavailable()));
    world.api.end_watches();
    pass(HOUR).await;
    world.api.clear_scripts();
    world.cloud.script(Script::at(Route::Token, Fault::Answer { status: 503, body: FaultBody::Html }));
    pass(LIFE).await;
    assert_eq!(world.ready("a", "wrong"), "False/TenantUnavailable");
    drop(heard);
    tokio::task::spawn_blocking(move || drop(traces)).await.unwrap();
    let spans = receiver.spans();

    let of = |kind: &str| match kind {
        "a run" => spans.iter().filter(|span| span.name() == "reconcile").collect::<Vec<_>>(),
        "a request to a tenant" => spans.iter().filter(|span| !span.is("url.template").is_empty()).collect(),
        _ => spans.iter().filter(|span| !span.is("kubernetes.verb").is_empty()).collect(),
    };
    let kinds = ["a run", "a request to a tenant", "a request to the Kubernetes API"];
    assert_eq!(kinds.iter().map(|kind| of(kind).len()).sum::<usize>(), spans.len(), "a span of an unknown kind");
    for kind in kinds {
        let documented = documented(kind);
        let seen: BTreeSet<_> = of(kind).iter().flat_map(|span| span.keys()).map(str::to_owned).collect();
        assert_eq!(seen, documented, "{kind}");
    }

    let issued = of("a request to a tenant")
        .into_iter()
        .find(|span| span.name() == "POST /oauth/token" && span.is("http.response.status_code") == "200");
    let issued = issued.unwrap();
    assert_eq!((issued.is("server.address"), issued.is("server.port")), ("acme.eu.qlikcloud.com".into(), "443".into()));
    assert_eq!(issued.span["kind"], "SPAN_KIND_CLIENT");
    let run = of("a run").into_iter().find(|span| span.span["spanId"] == issued.span["parentSpanId"]).unwrap();
    assert_eq!((run.is("qlikcontext.name"), run.is("qlikcontext.outcome")), ("acme".into(), "Ready".into()));
    assert_eq!((run.is("k8s.namespace.name"), run.is("qlikcontext.kind")), ("a".into(), "QlikContext".into()));
    assert_eq!(value(&run.resource, "service.name"), "qlik-context-operator");
    let children: BTreeSet<_> = spans
        .iter()
        .filter(|span| span.span["parentSpanId"] == run.span["spanId"] && span.span["traceId"] == run.span["traceId"])
        .map(Span::name)
        .collect();
    let expected = ["GET /api/v1/users/me", "POST /oauth/token", "get secrets", "patch qlikcontexts", "patch secrets"];
    assert_eq!(children, BTreeSet::from(expected), "the requests for a new token");
    let failed = of("a request to a tenant").into_iter().find(|span| span.is("error.type") == "503").unwrap();
    assert_eq!(failed.span["status"]["code"], "STATUS_CODE_ERROR");

    let text: String = spans.iter().map(|span| span.span.to_string()).collect();
    for secret in ["planted", "eyJ", "?", "Bearer"] {
        assert!(!text.contains(secret), "{secret} in a span");
    }
    assert!(
        spans.iter().all(|span| span.span["events"].is_null()),
        "a span has an event, which could contain a message"
    );
}

/// Runs the program with an API server that does not respond. Returns its exit code and its standard error.
fn run(endpoint: &str) -> (Option<i32>, String) {
    let folder = support::control_plane::Folder::new().unwrap();
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:1"}}], "users": [{"name": "a", "user": {}}],
    });
    let file = folder.path().join("kubeconfig");
    std::fs::write(&file, kubeconfig.to_string()).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_qlik-context-operator"));
    program.arg("run").env_clear().env("KUBECONFIG", &file).env("OTEL_SERVICE_NAME", "of-the-test");
    let output = program.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_program_sends_its_traces_to_the_endpoint_in_the_environment_and_flushes_them_at_its_end() {
    let receiver = Receiver::start();
    let (code, said) = run(&format!("http://{}", receiver.address));
    assert_eq!(code, Some(1), "{said}");
    let spans = receiver.spans();
    let [span] = &spans[..] else { panic!("{} spans", spans.len()) };
    assert_eq!((span.name(), span.is("error.type")), ("list qlikcontexts", "connection".into()));
    assert_eq!(value(&span.resource, "service.name"), "of-the-test");
}

#[test]
fn a_collector_that_does_not_respond_gives_one_line_in_the_log_without_the_endpoint() {
    let (code, said) = run("http://user:planted@127.0.0.1:1");
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(said.matches("traces cannot be sent").count(), 1, "{said}");
    assert!(said.contains("cannot reach the Kubernetes API") && !said.contains("planted"), "{said}");
}
