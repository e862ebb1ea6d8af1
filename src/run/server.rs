//! `/livez`, `/readyz`, `/metrics`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::health::Health;
use crate::metrics::{Format, Metrics};

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
    told(health.liveness())
}

async fn readyz(State((health, ..)): Shared) -> Response {
    told(health.readiness())
}

fn told(judged: Result<(), &'static str>) -> Response {
    match judged {
        Ok(()) => "ok".into_response(),
        Err(why_not) => (StatusCode::SERVICE_UNAVAILABLE, why_not).into_response(),
    }
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
