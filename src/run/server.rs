//! `/livez`, `/readyz`, `/metrics`.
//!
//! Anyone in the cluster may reach the port, so nothing that a client does costs more than a bound: so many connections, each for
//! so long and for one request; so many answers of `/metrics` in memory. When all connections are taken, the oldest makes way, so
//! that clients that do nothing do not keep out a probe.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::StreamExt as _;
use futures::future::{AbortHandle, abortable};
use futures::stream::{self, FuturesUnordered};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::clock::Clock;
use crate::health::Health;
use crate::metrics::{Format, Metrics};

/// More than the kubelet and a few scrapers ever have at once.
const CONNECTIONS: usize = 64;
/// For the head of a request.
const HEAD: Duration = Duration::from_secs(5);
/// For a request and its answer; the time that Prometheus and the kubelet wait at most by default.
const CONNECTION: Duration = Duration::from_secs(10);
/// What is read of a request, and of an answer that is not yet sent.
const BUFFER: usize = 16 * 1024;
/// Answers of `/metrics` at once: each is all of the text, which grows with the contexts.
const SCRAPES: usize = 4;
/// After the system refused a connection, as when there are no file descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

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
///
/// All connections are one task: none of them computes for long.
pub async fn serve(listener: TcpListener, health: Arc<Health>, metrics: Arc<Metrics>, clock: Clock) -> Infallible {
    let shown = Shown { health, metrics, clock, scrapes: Arc::new(Semaphore::new(SCRAPES)) };
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state(shown);
    let mut open = FuturesUnordered::new();
    let mut oldest: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    sleep(PAUSE).await;
                    continue;
                };
                if oldest.len() >= CONNECTIONS && let Some(oldest) = oldest.pop_front() {
                    oldest.abort();
                }
                let (connection, handle) = abortable(timeout(CONNECTION, answer(stream, router.clone())));
                let ended = handle.clone();
                open.push(async move {
                    // Whether it was answered, broke or took too long: it is over.
                    let _ = connection.await;
                    ended.abort();
                });
                oldest.push_back(handle);
            }
            Some(()) = open.next() => oldest.retain(|connection| !connection.is_aborted()),
        }
    }
}

/// One request and its answer.
async fn answer(stream: TcpStream, router: Router) -> Result<(), hyper::Error> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await
}

#[derive(Clone)]
struct Shown {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    clock: Clock,
    scrapes: Arc<Semaphore>,
}

async fn livez(State(shown): State<Shown>) -> Response {
    respond(shown.health.liveness())
}

async fn readyz(State(shown): State<Shown>) -> Response {
    respond(shown.health.readiness())
}

fn respond(health: Result<(), &'static str>) -> Response {
    match health {
        Ok(()) => "ok".into_response(),
        Err(why_not) => (StatusCode::SERVICE_UNAVAILABLE, why_not).into_response(),
    }
}

async fn render(State(shown): State<Shown>, headers: HeaderMap) -> Response {
    // A header that comes several times is one list.
    let accept: Vec<_> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Format::accepted(&accept.join(","));
    let headers = [(header::CONTENT_TYPE, format.content_type()), (header::VARY, "Accept")];
    let Ok(place) = shown.scrapes.acquire_owned().await else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let Ok(text) = shown.metrics.render_as(format, shown.clock.now()) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let length = [(header::CONTENT_LENGTH, text.len())];
    // In pieces, so that the place is taken until the last of them is on its way.
    let pieces = stream::unfold((Bytes::from(text), place), |(mut left, place)| async move {
        let piece = left.split_to(left.len().min(BUFFER));
        (!piece.is_empty()).then_some((Ok::<_, Infallible>(piece), (left, place)))
    });
    (headers, length, Body::from_stream(pieces)).into_response()
}
