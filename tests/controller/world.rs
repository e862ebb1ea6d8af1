//! A controller, an API server and a fake cloud in this process, on tokio's paused clock.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Once};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use qlik_context_operator::clock::{Clock, Jitter, SignedDuration, Timestamp};
use qlik_context_operator::controller::scope::Scope;
use qlik_context_operator::controller::{Parts, control};
use qlik_context_operator::health::Health;
use qlik_context_operator::lease::Leadership;
use qlik_context_operator::metrics::{CountRequests, Metrics};
use qlik_context_operator::oauth::transport::{Answer, Request, Transport, TransportFailure, retry_after};
use qlik_context_operator::run::telemetry::filtered;
use qlik_context_operator::scheduler::Limits;
use qlik_context_operator::spans::Traced;
use secrecy::{ExposeSecret, SecretSlice};
use serde_json::{Value, json};
use support::api_server::{ApiServer, Fault, Kind, Verb};
use support::planted::{Planted, Searched};
use support::tenant::{self, QlikCloud, Route, Tenant};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::Layer as _;
use tracing::Subscriber;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

pub const CLIENT_SECRET: &str = "planted-client-secret-0123456789abcdef";
const TOKEN_BEGINNING: &str = "eyJhbGciOiJFUzM4NCIsImtpZCI6";
/// 2026-11-22T00:00:00Z.
pub const BEGIN: i64 = 1_795_305_600;

pub struct World {
    pub api: ApiServer,
    pub cloud: QlikCloud,
    pub tenant: Tenant,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    pub clock: Clock,
    pub limits: Limits,
    /// Failures of requests on the network.
    pub transport_faults: Option<TransportFaults>,
    /// The namespaces and selectors of the next start.
    pub scope: Scope,
    /// Whether it reconciles QlikOAuthClients.
    pub oauth_clients: bool,
    /// Whether it updates workloads.
    pub workloads: bool,
    /// Kills the controller at a request.
    pub killer: Option<Arc<Killer>>,
    running: Option<(JoinHandle<()>, CancellationToken)>,
}

/// Texts that must not occur in any output of the operator: the prefix of every planted secret, of every token of the
/// fake tenant and of every signed assertion, and a part of the private key.
static PLANTED: LazyLock<Planted> = LazyLock::new(|| {
    let key = "AN71/sSRT2CW+WYZO0bKJO9sDIUluzX2laMAloQB";
    let made = "-----BEGIN PRIVATE KEY-----";
    Planted::new(&["planted-", TOKEN_BEGINNING, "eyJhbGciOiJSUzI1NiIsImtpZCI6", key, made]).unwrap()
});

/// The destination of the log, at TRACE.
static LOG: LazyLock<Searched> = LazyLock::new(|| Searched::new(PLANTED.clone()));

fn log_everything() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::registry().with(lines()).init();
    });
}

/// The log, at TRACE.
pub fn lines<S: Subscriber + for<'span> LookupSpan<'span>>() -> impl Layer<S> {
    filtered(tracing_subscriber::fmt::layer().with_writer(|| &*LOG), "trace").unwrap()
}

impl World {
    pub fn new() -> Self {
        log_everything();
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(BEGIN.unsigned_abs());
        let wall = tenant::Clock::starting_at(start);
        let cloud = QlikCloud::builder().clock(wall).without_sockets().unwrap();
        let tenant = cloud.tenant("acme.eu.qlikcloud.com");
        let clock = Clock::starting_at(Timestamp::UNIX_EPOCH + SignedDuration::from_secs(BEGIN));
        let metrics = Arc::new(Metrics::new());
        Self {
            api: ApiServer::with_clock(wall),
            cloud,
            tenant,
            metrics,
            health: Arc::new(Health::new()),
            clock,
            limits: Limits::default(),
            transport_faults: None,
            scope: Scope::default(),
            oauth_clients: false,
            workloads: false,
            killer: None,
            running: None,
        }
    }

    /// Starts the controller. A running one is killed first, as by `kill -9`.
    pub fn start(&mut self) {
        if let Some((task, _)) = self.running.take() {
            task.abort();
        }
        let stop = CancellationToken::new();
        let parts = self.parts(Leadership::undisputed());
        #[expect(clippy::disallowed_methods, reason = "the controller runs concurrently with the test")]
        let running = tokio::spawn(control(parts, stop.clone()));
        self.running = Some((running, stop));
    }

    /// The parts of a new process.
    pub fn parts(&mut self, leadership: Leadership) -> Parts {
        (self.metrics, self.health) = (Arc::new(Metrics::new()), Arc::new(Health::new()));
        let counts = CountRequests::new(self.metrics.clone(), self.health.clone());
        Parts {
            client: kube::Client::new(counts.layer(self.api.service()), "default"),
            scope: self.scope.clone(),
            transport: Arc::new(Traced(InMemory(
                self.cloud.clone(),
                self.transport_faults.clone(),
                self.killer.clone(),
            ))),
            allowed_hosts: "*.qlikcloud.com".parse().unwrap(),
            limits: self.limits,
            leadership,
            instance: "operator-0".into(),
            metrics: self.metrics.clone(),
            health: self.health.clone(),
            clock: self.clock.clone(),
            jitter: Jitter::fixed(0.5),
            oauth_clients: self.oauth_clients,
            workloads: self.workloads,
        }
    }

    /// A client, the Secret with its credential, and a context, all called `name`.
    pub fn add(&self, namespace: &str, name: &str, lifetime: Duration, changes: &Value) {
        self.tenant.add_client(tenant::Client::new(name).secret(CLIENT_SECRET).lifetime(lifetime));
        self.put_credential(namespace, name, name, CLIENT_SECRET);
        self.put_context(namespace, name, name, changes);
    }

    pub fn put_credential(&self, namespace: &str, name: &str, client_id: &str, client_secret: &str) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
            "stringData": {"client-id": client_id, "client-secret": client_secret},
        });
        self.api.put(secret).unwrap();
    }

    pub fn put_context(&self, namespace: &str, name: &str, secret: &str, changes: &Value) {
        let mut spec =
            json!({"tenantUrl": self.tenant.url(), "auth": {"clientSecret": {"secretRef": {"name": secret}}}});
        for (field, value) in changes.as_object().unwrap() {
            spec[field] = value.clone();
        }
        let context = json!({
            "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext",
            "metadata": {"name": name, "namespace": namespace}, "spec": spec,
        });
        self.api.put(context).unwrap();
    }

    pub fn token(&self, namespace: &str, name: &str) -> Option<String> {
        use base64::Engine as _;
        let secret = self.api.get(Kind::Secret, namespace, &format!("{name}-token"))?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(secret["data"]["token"].as_str()?).unwrap();
        Some(String::from_utf8(bytes).unwrap())
    }

    /// When the token in the Secret expires.
    pub fn expiry(&self, namespace: &str, name: &str) -> Option<Timestamp> {
        let secret = self.api.get(Kind::Secret, namespace, &format!("{name}-token"))?;
        secret["metadata"]["annotations"]["qlikcontext.dev/expires-at"].as_str()?.parse().ok()
    }

    /// Status and reason of `Ready`, for example `True/TokenValid`.
    pub fn ready(&self, namespace: &str, name: &str) -> String {
        let context = self.api.get(Kind::QlikContext, namespace, name).unwrap_or_default();
        let conditions = context["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready").unwrap_or_default();
        format!("{}/{}", ready["status"].as_str().unwrap_or("-"), ready["reason"].as_str().unwrap_or("-"))
    }

    /// A condition from the status; `null` if it does not exist.
    pub fn condition(&self, namespace: &str, name: &str, condition: &str) -> Value {
        let context = self.api.get(Kind::QlikContext, namespace, name).unwrap_or_default();
        let conditions = context["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|reported| reported["type"] == condition).unwrap_or_default()
    }

    /// Status, reason and message of a condition: `False/WriteRejected: …`.
    pub fn reported(&self, namespace: &str, name: &str, condition: &str) -> String {
        let reported = self.condition(namespace, name, condition);
        let text = |field: &str| reported[field].as_str().unwrap_or("-").to_owned();
        format!("{}/{}: {}", text("status"), text("reason"), text("message"))
    }

    /// The messages of the events with this reason.
    pub fn notes(&self, reason: &str) -> Vec<String> {
        let events = self.api.list(Kind::Event, None).into_iter().filter(|event| event["reason"] == reason);
        events.map(|event| event["note"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The metric `qlik_context_ready` of a context.
    pub fn ready_metric(&self, namespace: &str, name: &str) -> Option<String> {
        let series = format!("qlik_context_ready{{namespace=\"{namespace}\",name=\"{name}\"}} ");
        let metrics = self.metrics.render(self.clock.now()).unwrap();
        metrics.lines().find_map(|line| line.strip_prefix(&series)).map(str::to_owned)
    }

    /// The number of tokens that the cloud issued.
    pub fn issued(&self) -> u64 {
        self.cloud.ledger(|ledger| ledger.issued)
    }

    pub fn token_requests(&self) -> u64 {
        self.cloud.ledger(|ledger| ledger.at(Route::Token))
    }

    pub fn secret_writes(&self) -> usize {
        self.api.log(|log| log.count(Verb::Patch, Kind::Secret))
    }

    /// Checks that no output and no object other than the token Secrets contains a planted secret.
    pub fn nothing_leaked(&self) {
        assert_eq!(LOG.leak(), None, "a secret in the log");
        assert!(LOG.lines() > 100, "the log has too few lines for the search to mean anything");
        let mut sinks = vec![("metrics", self.metrics.render(self.clock.now()).unwrap())];
        let kinds = [("a status", Kind::QlikContext), ("a status", Kind::QlikOAuthClient), ("an event", Kind::Event)];
        for (sink, kind) in kinds {
            sinks.extend(self.api.list(kind, None).into_iter().map(|object| (sink, object.to_string())));
        }
        for (sink, text) in sinks {
            assert_eq!(PLANTED.found(&text), None, "in {sink}: {text}");
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.nothing_leaked();
        }
    }
}

/// The failure of a request to a host and path, if there is one. Can also script the tenant's response.
pub type TransportFaults = Arc<dyn Fn(&QlikCloud, &str, &str) -> Option<TransportFailure> + Send + Sync>;

/// A transport without sockets. The code that uses the trait works the same as over sockets.
struct InMemory(QlikCloud, Option<TransportFaults>, Option<Arc<Killer>>);

/// Counts requests to tenants and to the API server, and kills the controller at a chosen one: neither this request nor
/// a later one gets a response until the controller is started again.
#[derive(Default)]
pub struct Killer {
    count: AtomicUsize,
    /// The number of the request at which the controller is killed, counted from 1; 0: never.
    at: usize,
    /// Whether the server processes this request before the kill.
    done: bool,
    killed: Notify,
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// The client gets a response.
    Answered,
    /// The server processes it, and no response arrives.
    Unanswered,
    /// It never reaches the server.
    Lost,
}

impl Killer {
    /// Kills the controller at the request of this number.
    pub fn at(number: usize, done: bool) -> Arc<Self> {
        Arc::new(Self { at: number, done, ..Self::default() })
    }

    /// The number of requests so far.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns once the controller was killed.
    pub async fn killed(&self) {
        self.killed.notified().await;
    }

    fn judge(&self) -> Fate {
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        match (self.at, number) {
            (0, _) => Fate::Answered,
            (at, number) if number < at => Fate::Answered,
            (at, number) if number == at => {
                self.killed.notify_one();
                if self.done { Fate::Unanswered } else { Fate::Lost }
            }
            _ => Fate::Lost,
        }
    }

    /// Also counts requests to the API server, except watches, lists and events. Nothing waits for an event.
    pub fn watch(self: &Arc<Self>, api: &ApiServer) {
        let killer = self.clone();
        api.intercept(Some(Arc::new(move |call| {
            let matters = !matches!(call.verb, Verb::Watch | Verb::List) && call.kind != Kind::Event;
            match matters.then(|| killer.judge()) {
                None | Some(Fate::Answered) => None,
                Some(Fate::Unanswered) => Some(Fault::DoneThenSilence),
                Some(Fate::Lost) => Some(Fault::Silence),
            }
        })));
    }
}

impl Transport for InMemory {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Answer, TransportFailure>> {
        let limit = Duration::from_secs(15);
        Box::pin(async move {
            tokio::time::timeout(limit, self.exchange(request)).await.unwrap_or(Err(TransportFailure::Timeout))
        })
    }
}

impl InMemory {
    async fn exchange(&self, request: Request) -> Result<Answer, TransportFailure> {
        let (mut path, mut hops) = (request.path.to_string(), request.redirects);
        loop {
            let method = request.method.to_string();
            let mut call =
                http::Request::builder().method(&*method).uri(&path).header("host", request.tenant.authority());
            if let Some((name, value)) = &request.header {
                call = call.header(*name, value);
            }
            if let Some(authorization) = &request.authorization {
                call = call.header("authorization", authorization.expose_secret());
            }
            let body = request.body.as_ref().map(|body| Bytes::from(body.expose_secret().to_owned()));
            let call = call.header("content-type", "application/json").body(body.unwrap_or_default()).unwrap();
            // Without a latency no request would ever overlap with another.
            tokio::time::sleep(LATENCY).await;
            let authority = request.tenant.authority();
            match self.1.as_ref().and_then(|transport_faults| transport_faults(&self.0, &authority, &path)) {
                Some(TransportFailure::Timeout) => std::future::pending().await,
                Some(failure) => return Err(failure),
                None => {}
            }
            let fate = self.2.as_ref().map_or(Fate::Answered, |killer| killer.judge());
            if fate == Fate::Lost {
                std::future::pending::<()>().await;
            }
            let answer = self.0.exchange(&call).await.map_err(|_| TransportFailure::Connection)?;
            if fate == Fate::Unanswered {
                std::future::pending::<()>().await;
            }
            let (head, body) = answer.into_parts();
            let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            if head.status.is_redirection() {
                path = header("location").filter(|to| to.starts_with('/')).ok_or(TransportFailure::Redirect)?;
                hops = hops.checked_sub(1).ok_or(TransportFailure::TooManyRedirects)?;
                continue;
            }
            let date = header("date").and_then(|date| httpdate::parse_http_date(&date).ok());
            let pause = header("retry-after").and_then(|value| retry_after(&value, date));
            let status = head.status.as_u16();
            let body = body.collect().await.map_err(|_| TransportFailure::Connection)?.to_bytes();
            if body.len() > request.limit {
                return Err(TransportFailure::AnswerTooLarge);
            }
            return Ok(Answer { status, date, retry_after: pause, body: SecretSlice::from(body.to_vec()) });
        }
    }
}

/// The latency of each request to a tenant.
const LATENCY: Duration = Duration::from_millis(300);

/// Lets virtual time pass.
pub async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

pub const HOUR: Duration = Duration::from_hours(1);
pub const LIFE: Duration = Duration::from_hours(6);
