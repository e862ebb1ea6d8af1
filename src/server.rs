//! `/livez`, `/readyz`, `/metrics`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::metrics::Metrics;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// A loop that was not polled for this long is wedged; nothing else would show it.
const WEDGED: Duration = Duration::from_mins(1);

/// How the process is.
pub struct Health {
    begun: Instant,
    /// Seconds after `begun` at which the loop was last polled.
    beat: AtomicU64,
    ready: AtomicBool,
}

impl Health {
    /// Alive from now, not ready.
    pub fn new() -> Self {
        Self { begun: Instant::now(), beat: AtomicU64::new(0), ready: AtomicBool::new(false) }
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
    answer(health.ready.load(Ordering::Relaxed), "the contexts are not known yet")
}

fn answer(good: bool, why_not: &'static str) -> Response {
    if good { "ok".into_response() } else { (StatusCode::SERVICE_UNAVAILABLE, why_not).into_response() }
}

async fn render(State((_, metrics, clock)): Shared) -> Response {
    match metrics.render(clock.now()) {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
