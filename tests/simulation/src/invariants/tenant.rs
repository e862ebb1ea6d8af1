//! The requests to the tenant: budgets, pauses, and whether each token was needed.
//!
//! A token request is needed when its key has no token yet, or one that is due for renewal by the spec of a context, or when
//! an event makes a new token necessary. Each such event allows one token for each key of a client: equal requests share one token. A
//! token that was never published is requested again only if the response was lost, the process ended, or the tenant rejected it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{Checker, Invariant, State};

/// An event allows no more tokens when one is issued this long after it, in addition to the delay of watches.
const SERVED: Duration = Duration::from_mins(3);
const MINUTE: Duration = Duration::from_mins(1);
/// How often the proof of a new credential is repeated.
const REPEATED_PROOFS: usize = 3;
/// A request that was refused because of the clock is signed again within this time, which is shorter than any back-off.
const SIGNED_AGAIN: Duration = Duration::from_secs(9);
/// Times in objects are whole seconds.
const SECOND: Duration = Duration::from_secs(2);

/// The sender of a request to the tenant, and its token request.
#[derive(Clone, Debug, Default)]
pub struct Requester {
    /// The process, and its term as the leader.
    pub process: String,
    /// The host of the tenant.
    pub host: String,
    /// The OAuth client.
    pub client: String,
    /// The scopes in one text.
    pub scopes: String,
    /// The client secret of a token request, or the API key.
    pub secret: String,
    /// The key id and the requested user of a token request.
    pub signer_and_user: String,
}

#[derive(Debug, Default)]
pub(super) struct Requests {
    /// The requests of the last minute, by process, and token requests also by process and key.
    sent: HashMap<String, Vec<Sent>>,
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
    pub(super) proven: HashSet<(String, String)>,
    /// The number of tokens that were lost by a crash between issue and publish.
    lost: u64,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Instant,
    /// It proves a new credential.
    is_proof: bool,
    /// It repeats a request with another signature.
    is_repeat: bool,
}

/// How a token was last issued.
#[derive(Debug)]
struct Issued {
    requester: Requester,
    begun: Instant,
    at: Instant,
    lifetime: Duration,
    /// The wall clock was set back, and then another process began to lead, for which it looks younger than it is.
    age_unknown: bool,
}

#[derive(Clone, Debug)]
struct Last {
    token: String,
    process: String,
    at: Instant,
    lifetime: Duration,
    /// The tenant issued it before: a Secret may have it with earlier times.
    repeated: bool,
}

impl Requester {
    fn key(&self) -> String {
        format!("{} {} {} {} {}", self.host, self.client, self.scopes, self.secret, self.signer_and_user)
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

    /// When the operator began a request that reached the tenant at this time, or the one that it repeats with another signature.
    fn begun(&self, requester: &Requester, sent: Instant) -> Instant {
        let of_key = self.sent.get(&format!("tokens of {} {}", requester.process, requester.key()));
        let mut before = of_key.into_iter().flatten().rev().skip_while(|other| other.at > sent);
        let this = before.next();
        let first = this.filter(|this| this.is_repeat).and_then(|_| before.next());
        first.or(this).map_or(sent, |first| first.at)
    }

    /// When the operator began the request for a token: from then on it counts the age.
    pub(super) fn begun_at(&self, token: &str) -> Option<Instant> {
        self.issued.get(token).map(|issued| issued.begun)
    }

    /// When a token was last issued.
    pub(super) fn issued_at(&self, token: &str) -> Option<Instant> {
        self.issued.get(token).map(|issued| issued.at)
    }

    /// Whether a token has expired by the tenant's clock, and the operator can know that without a verification.
    pub(super) fn has_expired(&self, token: &str) -> bool {
        self.issued.get(token).is_some_and(|issued| !issued.age_unknown && issued.at.elapsed() >= issued.lifetime)
    }

    /// The ages of tokens that were issued before this are not known.
    pub(super) fn ages_unknown(&mut self, before: Instant) {
        self.issued.values_mut().filter(|issued| issued.at <= before).for_each(|issued| issued.age_unknown = true);
    }
}

impl State {
    /// Whether all contexts of a client have this token in their Secrets.
    fn is_published_everywhere(&self, token: &str, client: &str) -> bool {
        let of_client = self.contexts.iter().filter(|(_, context)| context.credential() == Some(client));
        let mut secrets = of_client.map(|((namespace, name), _)| (namespace.clone(), format!("{name}-token")));
        self.published.contains(token)
            && secrets
                .all(|name| self.secrets.get(&name).is_some_and(|secret| secret.token == token && !secret.is_deleted))
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
        let of_key = format!("tokens of {paused}");
        let before = state.requests.sent.get(&of_key).and_then(|sent| sent.last());
        let is_repeat = token
            && requester.secret.is_empty()
            && before.is_some_and(|before| !before.is_repeat && before.at.elapsed() < SIGNED_AGAIN);
        let mut over = None;
        let mut count = |sort: String, limit: u32| {
            let sent = state.requests.sent.entry(sort.clone()).or_default();
            sent.push(Sent { at: now, is_proof: !requester.is_of_contexts(), is_repeat });
            sent.retain(|sent| now.duration_since(sent.at) < MINUTE);
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            // A full budget can be used at once, and is refilled within the same minute. A proof that is repeated and a request that
            // is signed again wait for no turn; they delay the requests after them.
            let proofs = if sent.iter().any(|sent| sent.is_proof) { REPEATED_PROOFS } else { 0 };
            let repeats = sent.iter().filter(|sent| sent.is_repeat).count().min(limit);
            if sent.len() > limit.saturating_mul(2) + proofs + repeats {
                over = Some(format!("{sort}: {} requests in a minute, {limit} allowed", sent.len()));
            }
        };
        if token {
            count(of_key, limits.2);
            count(format!("tokens of {} at {}", requester.process, requester.host), limits.0);
        } else {
            count(format!("checks of {} at {}", requester.process, requester.host), limits.1);
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
        if !body["token_type"].as_str().is_none_or(|token_type| token_type.eq_ignore_ascii_case("bearer")) {
            return self.useless(requester);
        }
        let lifetime = body["expires_in"].as_u64().map_or(self.lifetime, Duration::from_secs);
        let now = Instant::now();
        let mut state = self.lock();
        let begun = state.requests.begun(requester, sent);
        let issued = Issued { requester: requester.clone(), begun, at: sent, lifetime, age_unknown: false };
        let repeated = state.requests.issued.insert(token.clone(), issued).is_some();
        let this = Last { token: token.clone(), process: requester.process.clone(), at: begun, lifetime, repeated };
        let last = state.requests.last.insert(requester.key(), this);
        let needs = state.requests.needs.get(&requester.client).cloned().unwrap_or_default();
        let mut served = state.requests.served.get(&requester.key()).copied().unwrap_or_default();
        let is_open = served < needs.len();
        let Some(last) = last.filter(|_| requester.is_of_contexts()) else {
            drop_old(&needs, &mut served, now, SERVED + state.lag);
            state.requests.served.insert(requester.key(), served);
            return;
        };
        let contexts = || state.contexts.values().filter(|context| context.credential() == Some(&requester.client));
        let pinned = contexts().any(super::KnownContext::has_pin);
        let renewed_after = contexts().map(|context| context.renewed_after(last.lifetime)).min();
        let age = sent.duration_since(last.at);
        let usable = lifetime >= Duration::from_secs(10) && last.lifetime >= Duration::from_secs(10);
        let due = age >= renewed_after.unwrap_or(last.lifetime).saturating_sub(SECOND)
            || last.token == token
            || !usable
            || pinned;
        let was_published = state.published.contains(&last.token);
        // A process that ends in between does not publish its token, or not in the Secrets of all contexts that share it.
        let crashed = last.process != requester.process
            && (last.repeated || !state.is_published_everywhere(&last.token, &requester.client));
        if crashed && !due && !was_published {
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
    pub fn answered(&self, token: &str, status: u16, body: &[u8]) {
        let mut state = self.lock();
        let requester = state.requests.origin(token).cloned();
        if status == 200 && is_active(body) {
            state.verified.insert(token.to_owned());
            state.rejected.remove(token);
            state.requests.proven.extend(requester.map(|requester| (requester.client, requester.secret)));
            return;
        }
        if status == 401 && !is_of_no_tenant(body) {
            state.rejected.insert(token.to_owned());
        }
        drop(state);
        if let Some(requester) = requester.filter(|_| matches!(status, 200 | 401 | 403)) {
            self.useless(&requester);
        }
    }
}

/// Whether the body is a user that is not said to be inactive. The status is optional.
fn is_active(body: &[u8]) -> bool {
    let user = serde_json::from_slice::<Value>(body).unwrap_or_default();
    user["id"].is_string() && user.get("status").is_none_or(|status| status == "active")
}

/// Whether the body reports that no tenant has the host name, which tells nothing about the token.
fn is_of_no_tenant(body: &[u8]) -> bool {
    let error = serde_json::from_slice::<Value>(body).unwrap_or_default();
    error["errors"][0]["code"] == "LOGIN-2"
}

/// Counts the events as served that happened too long ago.
fn drop_old(needs: &[Instant], served: &mut usize, now: Instant, age: Duration) {
    while needs.get(*served).is_some_and(|at| now.duration_since(*at) >= age) {
        *served += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_signed_again_began_with_the_first_one() {
        let requester = Requester { process: "replica-0".into(), client: "client-0".into(), ..Requester::default() };
        let mut requests = Requests::default();
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let sent = |at, is_repeat| Sent { at, is_proof: false, is_repeat };
        let of_key = vec![sent(at(0), false), sent(at(60), false), sent(at(67), true), sent(at(90), false)];
        requests.sent.insert(format!("tokens of {} {}", requester.process, requester.key()), of_key);
        for (arrived, begun) in [(0, 0), (60, 60), (67, 60), (68, 60), (90, 90)] {
            assert_eq!(requests.begun(&requester, at(arrived)), at(begun), "{arrived}");
        }
        let other = Requester { client: "client-1".into(), ..requester };
        assert_eq!(requests.begun(&other, at(67)), at(67));
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_name_without_a_tenant_rejects_no_token() {
        let checker = Checker::new(Duration::from_mins(30), || unreachable!("no time is read"));
        let says = |code: &str| format!(r#"{{"errors": [{{"code": "{code}"}}]}}"#);
        let is_rejected = || checker.lock().rejected.contains("token");
        checker.answered("token", 401, says("LOGIN-2").as_bytes());
        assert!(!is_rejected());
        checker.answered("token", 401, says("AUTH-1").as_bytes());
        assert!(is_rejected());
        checker.answered("token", 401, says("LOGIN-2").as_bytes());
        assert!(is_rejected(), "a token that was rejected before stays rejected");
        checker.answered("token", 200, br#"{"id": "ada"}"#);
        assert!(!is_rejected());
    }
}
