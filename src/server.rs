//! `/livez`, `/readyz`, `/metrics`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::metrics::{Format, Metrics};

/// A loop that was not polled for this long is wedged; nothing else would show it.
const WEDGED: Duration = Duration::from_mins(1);
/// Failures of the Kubernetes API that last longer than this make the instance unready.
const FAILING: Duration = Duration::from_mins(1);

/// How the process is.
pub struct Health {
    begun: Instant,
    /// Seconds after `begun` at which the loop was last polled.
    beat: AtomicU64,
    ready: AtomicBool,
    /// Since when every call of the Kubernetes API has failed; `None`: the last one was answered.
    failing: Mutex<Option<Instant>>,
}

impl Health {
    /// Alive from now, not ready.
    pub fn new() -> Self {
        Self {
            begun: Instant::now(),
            beat: AtomicU64::new(0),
            ready: AtomicBool::new(false),
            failing: Mutex::new(None),
        }
    }

    /// The loop was polled.
    pub fn beat(&self) {
        self.beat.store(self.begun.elapsed().as_secs(), Ordering::Relaxed);
    }

    /// Beats while no loop runs that could.
    pub async fn beat_alone(&self) {
        let mut interval = tokio::time::interval(WEDGED / 6);
        loop {
            interval.tick().await;
            self.beat();
        }
    }

    /// Every context is known, or another instance leads.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// A call of the Kubernetes API failed.
    pub fn kubernetes_failed(&self) {
        self.failing.lock().get_or_insert_with(Instant::now);
    }

    /// A call of the Kubernetes API was answered.
    pub fn kubernetes_answered(&self) {
        *self.failing.lock() = None;
    }

    /// Everything is known, and the Kubernetes API has not failed for so long that the status may be untrue.
    fn readiness(&self) -> Result<(), &'static str> {
        if !self.ready.load(Ordering::Relaxed) {
            return Err("the contexts are not known yet");
        }
        match *self.failing.lock() {
            Some(since) if since.elapsed() >= FAILING => {
                Err("the Kubernetes API does not take what the operator writes")
            }
            _ => Ok(()),
        }
    }

    fn alive(&self) -> bool {
        let silent = self.begun.elapsed().as_secs().saturating_sub(self.beat.load(Ordering::Relaxed));
        silent < WEDGED.as_secs()
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

/// Opens the port; an unspecified IPv6 address falls back to IPv4 where there is no IPv6.
pub async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(_) if address.is_ipv6() && address.ip().is_unspecified() => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        other => other,
    }
}

/// Serves until the process ends: probes and a last scrape are answered while runs are drained.
pub async fn serve(
    listener: TcpListener,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    clock: Clock,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state((health, metrics, clock));
    axum::serve(listener, router).await
}

type Shared = State<(Arc<Health>, Arc<Metrics>, Clock)>;

async fn livez(State((health, ..)): Shared) -> Response {
    answer(health.alive(), "the controller loop is wedged")
}

async fn readyz(State((health, ..)): Shared) -> Response {
    match health.readiness() {
        Ok(()) => answer(true, ""),
        Err(why_not) => answer(false, why_not),
    }
}

fn answer(good: bool, why_not: &'static str) -> Response {
    if good { "ok".into_response() } else { (StatusCode::SERVICE_UNAVAILABLE, why_not).into_response() }
}

async fn render(State((_, metrics, clock)): Shared, headers: HeaderMap) -> Response {
    // A header that comes several times is one list.
    let accept: Vec<_> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Format::accepted(&accept.join(","));
    let told = [(header::CONTENT_TYPE, format.content_type()), (header::VARY, "Accept")];
    match metrics.render_as(format, clock.now()) {
        Ok(text) => (told, text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
