//! The requests of a process to the tenant, without sockets, at the operator's interface for transports.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use qlik_context_operator::oauth::transport::{Answer, Request, Transport, TransportFailure, retry_after};
use qlik_context_operator::scheduler::Limits;
use secrecy::{ExposeSecret as _, SecretSlice};
use serde_json::Value;
use support::tenant::QlikCloud;
use tokio::time::{Instant, sleep, timeout};

use crate::invariants::{Checker, Requester};
use crate::kill_switch::KillSwitch;

/// The latency of each request, so that requests overlap.
const LATENCY: Duration = Duration::from_millis(300);
/// The timeout of the operator's own transport.
const TIMEOUT: Duration = Duration::from_secs(15);
const TOKEN: &str = "/oauth/token";

/// A fault of a connection to the tenant.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// The request is done, and the connection breaks before the response.
    Answer,
    /// The request is not delivered, and there is no response.
    Silence,
    /// The request fails at once.
    Failure(TransportFailure),
}

/// The faults of the next requests, in order.
#[derive(Debug, Default)]
pub struct Losses(Mutex<VecDeque<Loss>>);

impl Losses {
    /// Adds a fault for the next requests.
    pub fn add(&self, loss: Loss, times: u32) {
        let mut losses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        losses.extend((0..times).map(|_| loss));
    }

    /// Removes all faults.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn take(&self) -> Option<Loss> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// The transport of one process.
pub struct InMemory {
    pub cloud: QlikCloud,
    pub checker: Checker,
    pub process: String,
    pub limits: Limits,
    pub losses: Arc<Losses>,
    pub kill_switch: Arc<KillSwitch>,
}

impl Transport for InMemory {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Answer, TransportFailure>> {
        Box::pin(async move {
            self.kill_switch.before(true).await;
            let requester = self.requester(&request);
            let answer = timeout(TIMEOUT, self.exchange(request, &requester)).await;
            let answer = answer.unwrap_or(Err(TransportFailure::Timeout));
            self.kill_switch.after(true).await;
            if answer.is_err() {
                // A token may have been issued in the lost response.
                self.checker.useless(&requester);
            }
            answer
        })
    }
}

impl InMemory {
    async fn exchange(&self, request: Request, requester: &Requester) -> Result<Answer, TransportFailure> {
        let (mut path, mut hops) = (request.path.to_string(), request.redirects);
        let bearer = bearer(&request);
        loop {
            let method = request.method.to_string();
            let host = request.tenant.authority();
            let mut call = http::Request::builder().method(&*method).uri(&path).header("host", &host);
            if let Some((name, value)) = &request.header {
                call = call.header(*name, value);
            }
            if let Some(authorization) = &request.authorization {
                call = call.header("authorization", authorization.expose_secret());
            }
            let body = request.body.as_ref().map(|body| Bytes::from(body.expose_secret().to_owned()));
            let call = call.header("content-type", "application/json").body(body.unwrap_or_default());
            let call = call.map_err(|_| TransportFailure::Connection)?;
            self.checker.record(&format!("{} {method} {host}{path}", self.process));
            if method != "GET" && path.starts_with("/api/v1/oauth-clients") {
                let identity = self.process.split('/').next().unwrap_or_default();
                self.checker.writes(identity, &format!("{method} {path} to the tenant"));
            }
            let is_of_token = path == TOKEN || path.starts_with("/api/v1/users/");
            if is_of_token {
                let limits = self.limits;
                let limits =
                    (limits.host_tokens_per_minute, limits.host_requests_per_minute, limits.key_tokens_per_minute);
                // A verification is one turn: users/me, then the user.
                let is_turn = path == TOKEN || path.starts_with("/api/v1/users/me");
                self.checker.sends(requester, path == TOKEN, is_turn, limits);
            }
            sleep(LATENCY).await;
            let sent = Instant::now();
            let loss = self.losses.take();
            match loss {
                Some(Loss::Silence) => std::future::pending().await,
                Some(Loss::Failure(failure)) => return Err(failure),
                Some(Loss::Answer) | None => {}
            }
            let answer = self.cloud.exchange(&call).await.map_err(|_| TransportFailure::Connection)?;
            self.checker.changed();
            let (head, body) = answer.into_parts();
            let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            if head.status.is_redirection() {
                let location = header("location").unwrap_or_default();
                let to = location.strip_prefix(&format!("https://{host}")).unwrap_or(&location);
                let to = Some(to).filter(|to| to.starts_with('/')).map(String::from);
                path = to.ok_or(TransportFailure::Redirect)?;
                hops = hops.checked_sub(1).ok_or(TransportFailure::TooManyRedirects)?;
                continue;
            }
            let status = head.status.as_u16();
            let body = body.collect().await.map_err(|_| TransportFailure::Connection)?.to_bytes();
            if path == TOKEN && status == 200 {
                self.checker.issued(requester, &body, sent);
            }
            if loss.is_some() {
                std::future::pending::<()>().await;
            }
            let date = header("date").and_then(|date| httpdate::parse_http_date(&date).ok());
            let pause = header("retry-after").and_then(|value| retry_after(&value, date));
            // A pause of a QlikOAuthClient without a working credential applies to that object only.
            if let Some(pause) = pause.filter(|_| matches!(status, 429 | 503) && is_of_token) {
                self.checker.pause(requester, pause);
            }
            if let Some(token) = bearer.as_ref().filter(|_| path.starts_with("/api/v1/users/")) {
                self.checker.answered(token, status, &body);
            }
            if body.len() > request.limit {
                return Err(TransportFailure::AnswerTooLarge);
            }
            return Ok(Answer { status, date, retry_after: pause, body: SecretSlice::from(body.to_vec()) });
        }
    }

    /// The requester of a request: from the body of a token request, or from the token that the request carries.
    fn requester(&self, request: &Request) -> Requester {
        let body = request.body.as_ref().map(|body| body.expose_secret().to_owned()).unwrap_or_default();
        let body: Value = serde_json::from_slice(body.as_ref()).unwrap_or_default();
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let (bearer, process, host) = (bearer(request), self.process.clone(), request.tenant.authority());
        let known = bearer.as_ref().and_then(|token| self.checker.origin(token));
        match (known, bearer) {
            (Some(known), _) => Requester { process, host, ..known },
            (None, Some(api_key)) => Requester { process, host, secret: api_key, ..Requester::default() },
            (None, None) => {
                let (client, scopes, secret) = (text("client_id"), text("scope"), text("client_secret"));
                let header = text("client_assertion").split('.').next().map(str::to_owned).unwrap_or_default();
                let signer_and_user = format!("{header}{}", body["user_lookup"]);
                Requester { process, host, client, scopes, secret, signer_and_user }
            }
        }
    }
}

fn bearer(request: &Request) -> Option<String> {
    let authorization = request.authorization.as_ref()?;
    authorization.expose_secret().strip_prefix("Bearer ").map(str::to_owned)
}
