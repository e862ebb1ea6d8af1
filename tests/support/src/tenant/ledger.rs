//! What the tenant received: counts of everything, and a record of the latest requests with every byte.
//!
//! Records contain credentials on purpose, so that tests can check requests and search for leaks. The
//! fake itself never prints the ledger.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Result, anyhow};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde::Serialize;
use tokio::sync::watch;

use super::refusal::Refusal;
use super::routes::Route;

/// A request and its response.
#[derive(Clone, Debug)]
pub struct Record {
    /// The time of the response, by the tenant's clock.
    pub at: SystemTime,
    /// The host name of the tenant.
    pub host: String,
    /// The route.
    pub route: Route,
    /// The method.
    pub method: Method,
    /// The path, with the query.
    pub path: String,
    /// The client that sent it, or whose token it had.
    pub client_id: Option<String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The status of the response.
    pub status: StatusCode,
    /// Whether the request was processed successfully, even if the response was lost.
    pub done: bool,
}

/// Counts since the start or since the last clear.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    /// TCP connections accepted by the TLS port.
    pub connections: u64,
    /// TCP connections that are open now.
    pub open_connections: u64,
    /// TLS handshakes that succeeded.
    pub handshakes: u64,
    /// TLS handshakes that failed.
    pub failed_handshakes: u64,
    /// Requests.
    pub requests: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// The maximum of requests in flight.
    pub max_in_flight: u64,
    /// Requests by route.
    pub routes: BTreeMap<Route, u64>,
    /// Successfully processed requests by route, even if the response was lost.
    pub done: BTreeMap<Route, u64>,
    /// Requests by tenant host name.
    pub hosts: BTreeMap<String, u64>,
    /// Requests by client and route.
    pub clients: BTreeMap<String, BTreeMap<Route, u64>>,
    /// Issued tokens.
    pub issued: u64,
    /// Issued tokens by client.
    pub issued_to: BTreeMap<String, u64>,
    /// Token requests that got a scripted fault.
    pub faulted: u64,
    /// Rejected token requests by reason.
    pub refused: BTreeMap<Refusal, u64>,
    /// Tunnels that the proxy opened.
    pub tunnels: u64,
    /// Tunnels that the proxy refused.
    pub refused_tunnels: u64,
    /// The latest requests, oldest first.
    #[serde(skip)]
    pub records: VecDeque<Record>,
}

impl Ledger {
    /// Requests to this route.
    pub fn at(&self, route: Route) -> u64 {
        self.routes.get(&route).copied().unwrap_or_default()
    }

    /// Successfully processed requests to this route, even if the response was lost.
    pub fn done(&self, route: Route) -> u64 {
        self.done.get(&route).copied().unwrap_or_default()
    }

    /// Requests of this client to this route.
    pub fn by(&self, client_id: &str, route: Route) -> u64 {
        let routes = self.clients.get(client_id);
        routes.and_then(|routes| routes.get(&route)).copied().unwrap_or_default()
    }

    /// Tokens issued to this client.
    pub fn issued_to(&self, client_id: &str) -> u64 {
        self.issued_to.get(client_id).copied().unwrap_or_default()
    }

    /// Token requests rejected for this reason.
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.refused.get(&refusal).copied().unwrap_or_default()
    }
}

/// The result of a token request.
#[derive(Clone, Copy, Debug)]
pub(super) enum TokenOutcome {
    Issued,
    Faulted,
    Refused(Refusal),
}

/// The ledger to which the running tenant writes.
#[derive(Debug)]
pub(super) struct Books {
    ledger: Mutex<Ledger>,
    /// Changes whenever the ledger changes.
    changed: watch::Sender<()>,
}

/// The maximum number of records.
const RECORDS: usize = 4096;

impl Books {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { ledger: Mutex::default(), changed: watch::Sender::new(()) })
    }

    pub(super) fn read<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.lock())
    }

    pub(super) fn write<T>(&self, note: impl FnOnce(&mut Ledger) -> T) -> T {
        let noted = note(&mut self.lock());
        self.changed.send_replace(());
        noted
    }

    /// Waits until the ledger satisfies the condition.
    pub(super) async fn wait_for(&self, holds: impl Fn(&Ledger) -> bool, within: Duration) -> Result<()> {
        let mut changed = self.changed.subscribe();
        let waiting = async {
            while !self.read(&holds) {
                if changed.changed().await.is_err() {
                    break;
                }
            }
        };
        if tokio::time::timeout(within, waiting).await.is_ok() {
            return Ok(());
        }
        let counts = self.read(serde_json::to_string)?;
        Err(anyhow!("not within {within:?}; the ledger says {counts}"))
    }

    /// Clears everything except what is open or in flight.
    pub(super) fn clear(&self) {
        self.write(|ledger| {
            *ledger = Ledger {
                open_connections: ledger.open_connections,
                in_flight: ledger.in_flight,
                max_in_flight: ledger.in_flight,
                ..Ledger::default()
            };
        });
    }

    pub(super) fn request_begins(self: &Arc<Self>) -> InFlight {
        self.write(|ledger| {
            ledger.in_flight += 1;
            ledger.max_in_flight = ledger.max_in_flight.max(ledger.in_flight);
        });
        InFlight(Arc::clone(self))
    }

    pub(super) fn connection_opens(self: &Arc<Self>) -> OpenConnection {
        self.write(|ledger| {
            ledger.connections += 1;
            ledger.open_connections += 1;
        });
        OpenConnection(Arc::clone(self))
    }

    pub(super) fn record(&self, record: Record, outcome: Option<TokenOutcome>) {
        self.write(|ledger| {
            ledger.requests += 1;
            *ledger.routes.entry(record.route).or_default() += 1;
            if record.done {
                *ledger.done.entry(record.route).or_default() += 1;
            }
            *ledger.hosts.entry(record.host.clone()).or_default() += 1;
            if let Some(client_id) = record.client_id.clone() {
                let routes = ledger.clients.entry(client_id.clone()).or_default();
                *routes.entry(record.route).or_default() += 1;
                if let Some(TokenOutcome::Issued) = outcome {
                    *ledger.issued_to.entry(client_id).or_default() += 1;
                }
            }
            match outcome {
                Some(TokenOutcome::Issued) => ledger.issued += 1,
                Some(TokenOutcome::Faulted) => ledger.faulted += 1,
                Some(TokenOutcome::Refused(refusal)) => {
                    *ledger.refused.entry(refusal).or_default() += 1;
                }
                None => {}
            }
            if ledger.records.len() == RECORDS {
                ledger.records.pop_front();
            }
            ledger.records.push_back(record);
        });
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a request as in flight until it is dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Books>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.write(|ledger| ledger.in_flight -= 1);
    }
}

/// Counts a connection as open until it is dropped.
#[derive(Debug)]
pub(super) struct OpenConnection(Arc<Books>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.write(|ledger| ledger.open_connections -= 1);
    }
}
