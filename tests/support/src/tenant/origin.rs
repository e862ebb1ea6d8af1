//! The origin server without sockets: takes a request and returns a reply.
//!
//! All decisions of the fake are here, so that TLS and the in-memory transport give the same
//! responses.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use bytes::Bytes;
use http::Request;
use http::header::{DATE, HOST, HeaderName};
use http::uri::{Authority, PathAndQuery};
use tokio::sync::watch;

use super::account::{Account, bearer_of};
use super::clock::Clock;
use super::faults::{self, Echoed, Fault, Script};
use super::fields::one_header;
use super::ledger::{Books, Record, TokenOutcome};
use super::mint::Mint;
use super::oauth_clients::ClientsEndpoint;
use super::refusal::{Refusal, Refused};
use super::reply::{QlikError, Reply};
use super::routes::{Route, Visit};
use super::token_endpoint::{Endpoint, TokenRequest};

/// Longer than any request of the documented API.
pub(super) const LONGEST_BODY: usize = 64 * 1024;

/// The tenants of one server.
#[derive(Debug)]
pub(super) struct Origin {
    /// The port that a host name can have in addition to 443: the TLS port.
    port: u16,
    pub(super) clock: Clock,
    pub(super) mint: Mint,
    accounts: Mutex<Vec<Account>>,
    scripts: Mutex<Vec<Script>>,
    pub(super) books: Arc<Books>,
    /// Changes when every open connection has to be closed.
    pub(super) cut: watch::Sender<()>,
}

impl Origin {
    pub(super) fn new(port: u16, clock: Clock, seed: Option<u64>) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            port,
            clock,
            mint: Mint::new(seed)?,
            accounts: Mutex::default(),
            scripts: Mutex::default(),
            books: Books::new(),
            cut: watch::Sender::new(()),
        }))
    }

    pub(super) fn accounts(&self) -> MutexGuard<'_, Vec<Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn scripts(&self) -> MutexGuard<'_, Vec<Script>> {
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a tenant has this host name.
    pub(super) fn knows(&self, host: &str) -> bool {
        position(&self.accounts(), &self.name_of(host)).is_some()
    }

    /// Calls a function with the tenant of this host name. It is created if it does not exist.
    pub(super) fn with_account<T>(&self, host: &str, work: impl FnOnce(&mut Account) -> T) -> T {
        let name = self.name_of(host);
        let mut accounts = self.accounts();
        let at = position(&accounts, &name).unwrap_or_else(|| {
            accounts.push(Account::new(&name));
            accounts.len() - 1
        });
        work(&mut accounts[at])
    }

    /// The host name in lower case, without a default port.
    pub(super) fn name_of(&self, host: &str) -> String {
        let host = host.to_ascii_lowercase();
        match host.rsplit_once(':') {
            Some((name, port)) if port == "443" || port.parse() == Ok(self.port) => name.to_owned(),
            _ => host,
        }
    }

    /// Responds to a request.
    pub(super) fn handle(&self, request: &Request<Bytes>) -> Reply {
        let in_flight = self.books.request_begins();
        let arrival = Arrival::of(request);
        let name = self.name_of(&arrival.host);
        let decided = self.decide(&arrival, &name);
        let mut reply = decided.reply;
        reply.in_flight = Some(in_flight);
        let uri = request.uri();
        let record = Record {
            at: self.clock.now(),
            host: name,
            route: arrival.route,
            method: request.method().clone(),
            path: uri.path_and_query().map_or(uri.path(), PathAndQuery::as_str).to_owned(),
            client_id: decided.client_id,
            headers: request.headers().clone(),
            body: request.body().clone(),
            status: reply.status,
            done: decided.done,
        };
        self.books.record(record, decided.outcome);
        reply
    }

    fn decide(&self, arrival: &Arrival<'_>, name: &str) -> Decided {
        let mut accounts = self.accounts();
        let account = position(&accounts, name).map(|at| &mut accounts[at]);
        let client_id = arrival.client_id(account.as_deref());
        let fault = faults::take(&mut self.scripts(), arrival.route, name, client_id.as_deref());
        let errors = QlikError {
            form: account.as_deref().map(|account| account.status_form).unwrap_or_default(),
            trace_id: self.mint.trace_id(),
        };
        let instead = fault.as_ref().and_then(|fault| fault.instead(&errors, &arrival.echoed(), &self.clock));
        let (reply, outcome) = match (instead, account) {
            (Some(reply), _) => (reply, TokenOutcome::Faulted),
            (None, account) => match self.answer(arrival, account, fault.as_ref()) {
                Ok(reply) => (reply, TokenOutcome::Issued),
                Err(refused) => (errors.refuse(refused), TokenOutcome::Refused(refused.refusal)),
            },
        };
        let done = matches!(outcome, TokenOutcome::Issued) && reply.status.as_u16() < 400;
        Decided {
            done,
            reply: self.delivered(reply, fault.as_ref()),
            outcome: (arrival.route == Route::Token).then_some(outcome),
            client_id,
        }
    }

    fn answer(
        &self,
        arrival: &Arrival<'_>,
        account: Option<&mut Account>,
        fault: Option<&Fault>,
    ) -> Result<Reply, Refused> {
        let account = account.ok_or(Refusal::UnknownHost)?;
        let request = arrival.request;
        if request.body().len() > LONGEST_BODY {
            return Err(Refusal::TooLarge.into());
        }
        if arrival.route.is_of_clients() {
            let endpoint = ClientsEndpoint {
                mint: &self.mint,
                clock: &self.clock,
                host: &arrival.host,
                path: request.uri().path(),
                query: request.uri().query().unwrap_or_default(),
                headers: request.headers(),
                body: request.body(),
            };
            return endpoint.answer(arrival.route, account);
        }
        let Some(token_request) = &arrival.token_request else {
            let visit = Visit {
                host: &arrival.host,
                path: request.uri().path(),
                headers: request.headers(),
                body: request.body(),
                fault,
            };
            return visit.answer(arrival.route, account);
        };
        if request.uri().query().is_some() {
            return Err(Refusal::Malformed.because("the token endpoint takes no query"));
        }
        let endpoint = Endpoint {
            mint: &self.mint,
            clock: &self.clock,
            url: format!("https://{}/oauth/token", arrival.host),
            fault,
        };
        endpoint.answer(account, token_request)
    }

    /// The reply with its date and the faults of its delivery.
    fn delivered(&self, mut reply: Reply, fault: Option<&Fault>) -> Reply {
        let mut seconds = 0;
        match fault {
            Some(Fault::Delivery(pacing)) => reply.pacing = *pacing,
            Some(Fault::DateOff(off)) => seconds = *off,
            Some(Fault::ManyHeaders(count)) => {
                for n in 0..*count {
                    if let Ok(name) = HeaderName::try_from(format!("x-{n}")) {
                        reply = reply.with(name, "one of many");
                    }
                }
            }
            Some(Fault::Header { name, value }) => {
                // An invalid header value is omitted.
                if let Ok(name) = HeaderName::try_from(name) {
                    reply = reply.with(name, value);
                }
            }
            _ => {}
        }
        reply.with(DATE, &self.clock.http_date(seconds))
    }
}

/// A request and its parsed parts.
struct Arrival<'a> {
    request: &'a Request<Bytes>,
    route: Route,
    /// The host from the request, without the default port.
    host: String,
    token_request: Option<TokenRequest>,
}

impl<'a> Arrival<'a> {
    fn of(request: &'a Request<Bytes>) -> Self {
        let route = Route::of(request.method(), request.uri().path());
        let target = request.uri().authority().map(Authority::as_str);
        let header = one_header(request.headers(), &HOST).ok().flatten();
        let host = target.or(header).unwrap_or_default().to_ascii_lowercase();
        Self {
            request,
            route,
            host: host.strip_suffix(":443").unwrap_or(&host).to_owned(),
            token_request: (route == Route::Token).then(|| TokenRequest::read(request.headers(), request.body())),
        }
    }

    /// The client id in the request, or the client of its token.
    fn client_id(&self, account: Option<&Account>) -> Option<String> {
        if let Some(token_request) = &self.token_request {
            return token_request.client_id().map(str::to_owned);
        }
        let issued = account?.token(bearer_of(self.request.headers())?)?;
        issued.client_id.clone()
    }

    fn echoed(&self) -> Echoed<'_> {
        let credential = match &self.token_request {
            Some(token_request) => token_request.credential(),
            None => bearer_of(self.request.headers()),
        };
        Echoed { credential: credential.unwrap_or_default(), body: self.request.body() }
    }
}

struct Decided {
    reply: Reply,
    /// Whether the request was processed successfully.
    done: bool,
    client_id: Option<String>,
    outcome: Option<TokenOutcome>,
}

fn position(accounts: &[Account], name: &str) -> Option<usize> {
    let named = |account: &Account| account.hostnames.iter().any(|hostname| hostname == name);
    accounts.iter().position(named)
}
