//! The requests to the tenant: budgets, pauses, and whether each token was needed.
//!
//! A token request is needed when its key has no token yet, or one that is due for renewal by the spec of a context, or when
//! an event makes a new token necessary. Each such event allows one token for each key of a client: equal requests share one token. A
//! token that was never published is requested again only if the response was lost, the process ended, or the tenant rejected it.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{Checker, Invariant, State};

/// An event allows no more tokens when one is issued this long after it, in addition to the delay of watches.
const SERVED: Duration = Duration::from_mins(3);
const MINUTE: Duration = Duration::from_mins(1);
/// How often the proof of a new credential is repeated.
const REPEATED_PROOFS: usize = 3;
/// Times in objects are whole seconds.
const SECOND: Duration = Duration::from_secs(2);

/// The sender of a request to the tenant, and its token request.
#[derive(Clone, Debug)]
pub struct Requester {
    /// The process, and its term as the leader.
    pub process: String,
    /// The OAuth client.
    pub client: String,
    /// The scopes in one text.
    pub scopes: String,
    /// The client secret of a token request.
    pub secret: String,
    /// The key id and the requested user of a token request.
    pub signer_and_user: String,
}

#[derive(Debug, Default)]
pub(super) struct Requests {
    /// The times of requests, by process, and of token requests also by process and key; and whether each was sent for a proof.
    sent: HashMap<String, Vec<(Instant, bool)>>,
    /// The end of the pause of each process and key.
    pauses: HashMap<String, Instant>,
    /// The last token of each key.
    last: HashMap<String, Last>,
    /// Each token that was issued.
    issued: HashMap<String, Issued>,
    /// The times of events that make a new token necessary, by client.
    needs: HashMap<String, Vec<Instant>>,
    /// For each key, the number of those events for which a token was issued, or that are too old.
    served: HashMap<String, usize>,
    /// Client ids and secrets with a confirmed token.
    pub(super) proven: std::collections::HashSet<(String, String)>,
    /// The number of tokens that were lost by a crash between issue and publish.
    lost: u64,
}

/// How a token was last issued.
#[derive(Debug)]
struct Issued {
    requester: Requester,
    at: Instant,
    lifetime: Duration,
}

#[derive(Clone, Debug)]
struct Last {
    token: String,
    process: String,
    at: Instant,
    lifetime: Duration,
}

impl Requester {
    fn key(&self) -> String {
        format!("{} {} {} {}", self.client, self.scopes, self.secret, self.signer_and_user)
    }

    /// Whether contexts use this client. The tokens of others prove a credential of a QlikOAuthClient.
    pub fn is_of_contexts(&self) -> bool {
        self.client == "admin" || self.client.starts_with("client-")
    }
}

impl Requests {
    /// The requester of a token, if it was issued in this history.
    pub(super) fn origin(&self, token: &str) -> Option<&Requester> {
        self.issued.get(token).map(|issued| &issued.requester)
    }

    /// When a token was last issued.
    pub(super) fn issued_at(&self, token: &str) -> Option<Instant> {
        self.issued.get(token).map(|issued| issued.at)
    }

    /// Whether a token has expired, by the tenant's clock.
    pub(super) fn has_expired(&self, token: &str) -> bool {
        self.issued.get(token).is_some_and(|issued| issued.at.elapsed() >= issued.lifetime)
    }
}

impl State {
    /// Whether all contexts of a client have this token in their Secrets.
    fn is_published_everywhere(&self, token: &str, client: &str) -> bool {
        let of_client = self.contexts.iter().filter(|(_, context)| context.credential() == Some(client));
        let mut secrets = of_client.map(|((namespace, name), _)| (namespace.clone(), format!("{name}-token")));
        self.published.contains(token)
            && secrets.all(|name| self.secrets.get(&name).is_some_and(|secret| secret.token == token))
    }
}

impl Checker {
    /// An event makes a new token of this client necessary.
    pub fn need(&self, client: &str) {
        self.lock().requests.needs.entry(client.to_owned()).or_default().push(Instant::now());
    }

    /// The number of tokens that were lost because a process ended before it published them.
    pub fn lost_tokens(&self) -> u64 {
        self.lock().requests.lost
    }

    /// The requester of this token.
    pub fn origin(&self, token: &str) -> Option<Requester> {
        self.lock().requests.origin(token).cloned()
    }

    /// A process sends a request to the tenant. `token`: to the token endpoint; `is_turn`: it does not follow
    /// from an earlier one.
    pub fn sends(&self, requester: &Requester, token: bool, is_turn: bool, limits: (u32, u32, u32)) {
        let now = Instant::now();
        let mut state = self.lock();
        let paused = format!("{} {}", requester.process, requester.key());
        if is_turn && state.requests.pauses.get(&paused).is_some_and(|until| now < *until) {
            drop(state);
            return self.violated(
                Invariant::PausesHold,
                format!("{}: a request for {} during a pause", requester.process, requester.client),
            );
        }
        let mut over = None;
        let mut count = |sort: String, limit: u32| {
            let times = state.requests.sent.entry(sort.clone()).or_default();
            times.push((now, !requester.is_of_contexts()));
            times.retain(|(time, _)| now.duration_since(*time) < MINUTE);
            // A full budget can be used at once, and is refilled within the same minute. A proof that is repeated waits for no turn;
            // it delays the requests after it.
            let repeated = if times.iter().any(|(_, is_proof)| *is_proof) { REPEATED_PROOFS } else { 0 };
            if times.len() > usize::try_from(limit).unwrap_or(usize::MAX).saturating_mul(2) + repeated {
                over = Some(format!("{sort}: {} requests in a minute, {limit} allowed", times.len()));
            }
        };
        if token {
            count(format!("tokens of {paused}"), limits.2);
            count(format!("tokens of {}", requester.process), limits.0);
        } else {
            count(format!("checks of {}", requester.process), limits.1);
        }
        drop(state);
        if let Some(over) = over {
            self.violated(Invariant::BudgetsHold, over);
        }
    }

    /// The tenant requested a pause for a process and key.
    pub fn pause(&self, requester: &Requester, pause: Duration) {
        // The operator pauses for five minutes at most.
        let until = Instant::now() + pause.min(MINUTE * 5);
        let mut state = self.lock();
        let kept = state.requests.pauses.entry(format!("{} {}", requester.process, requester.key())).or_insert(until);
        *kept = (*kept).max(until);
    }

    /// The response to a request of this client was lost, or rejects the token: another may be requested.
    pub fn useless(&self, requester: &Requester) {
        self.need(&requester.client);
    }

    /// The token endpoint issued a token for a request that was sent at this time.
    pub fn issued(&self, requester: &Requester, body: &[u8], sent: Instant) {
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return self.useless(requester) };
        let Some(token) = body["access_token"].as_str().map(str::to_owned) else { return self.useless(requester) };
        let lifetime = body["expires_in"].as_u64().map_or(self.lifetime, Duration::from_secs);
        let now = Instant::now();
        let mut state = self.lock();
        state.requests.issued.insert(token.clone(), Issued { requester: requester.clone(), at: sent, lifetime });
        let part = state.contexts.values().map(super::KnownContext::renewed_after).fold(0.45, f64::min);
        let pinned = state.contexts.values().any(super::KnownContext::has_pin);
        let this = Last { token: token.clone(), process: requester.process.clone(), at: sent, lifetime };
        let last = state.requests.last.insert(requester.key(), this);
        let needs = state.requests.needs.get(&requester.client).cloned().unwrap_or_default();
        let mut served = state.requests.served.get(&requester.key()).copied().unwrap_or_default();
        let is_open = served < needs.len();
        let Some(last) = last.filter(|_| requester.is_of_contexts()) else {
            drop_old(&needs, &mut served, now, SERVED + state.lag);
            state.requests.served.insert(requester.key(), served);
            return;
        };
        let age = sent.duration_since(last.at);
        let usable = lifetime >= Duration::from_secs(10) && last.lifetime >= Duration::from_secs(10);
        let due = age >= last.lifetime.mul_f64(part).saturating_sub(SECOND) || last.token == token || !usable || pinned;
        let was_published = state.published.contains(&last.token);
        // A process that ends in between does not publish its token, or not in the Secrets of all contexts that share it.
        let crashed =
            last.process != requester.process && !state.is_published_everywhere(&last.token, &requester.client);
        if crashed && !due {
            state.requests.lost += 1;
        }
        let needed = due || crashed || is_open;
        served += usize::from(needed && !due && !crashed);
        drop_old(&needs, &mut served, now, SERVED + state.lag);
        state.requests.served.insert(requester.key(), served);
        drop(state);
        if !needed {
            let seen = format!(
                "{} got a token for {} {} s after the last one, which {} got and {}",
                requester.process,
                requester.client,
                age.as_secs(),
                last.process,
                if was_published { "published" } else { "did not publish" }
            );
            self.violated(Invariant::NoSurplusTokens, seen);
        }
    }

    /// The tenant answered a verification.
    pub fn answered(&self, token: &str, confirmed: bool, status: u16) {
        let mut state = self.lock();
        let requester = state.requests.origin(token).cloned();
        if confirmed {
            state.verified.insert(token.to_owned());
            state.rejected.remove(token);
            state.requests.proven.extend(requester.map(|requester| (requester.client, requester.secret)));
            return;
        }
        if status == 401 {
            state.rejected.insert(token.to_owned());
        }
        drop(state);
        if let Some(requester) = requester.filter(|_| matches!(status, 200 | 401 | 403)) {
            self.useless(&requester);
        }
    }
}

/// Counts the events as served that happened too long ago.
fn drop_old(needs: &[Instant], served: &mut usize, now: Instant, age: Duration) {
    while needs.get(*served).is_some_and(|at| now.duration_since(*at) >= age) {
        *served += 1;
    }
}
