//! One token for equal requests.
//!
//! Everything that belongs to a token request is stored under its key: the token, its verification, the failure and the
//! back-off. The decision is made under the lock of that key, and the resulting request begins under the same lock, so nothing
//! has to be decided twice. Contexts with the same key are woken when a request in flight ends. Nothing is sent without a
//! permit of the [`scheduler`](crate::scheduler). A token that was issued but could not be verified yet is kept, and only the
//! verification is repeated. A token that was found in a Secret is used for that Secret only: anyone who can write one Secret
//! must not be able to choose the token of another. Tokens are kept in memory only; the state of a request is dropped with the
//! last context that uses it.

mod entry;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{self, SHA256, digest};
use parking_lot::Mutex;
use secrecy::ExposeSecret;
use tokio::time::Instant;
use zeroize::Zeroizing;

use self::entry::Entry;
use crate::api::Reason;
use crate::clock::{Clock, Jitter, SignedDuration, Timestamp};
use crate::error::Failure;
use crate::oauth::identity::{Identity, Subject, who_is};
use crate::oauth::request::{Credential, Grant, RequestKey, RequestKeys, TokenRequest};
use crate::oauth::token::{AccessToken, Token};
use crate::oauth::token_endpoint::request_token;
use crate::oauth::transport::Transport;
use crate::scheduler::{Caller, Health, Permit, RequestEnd, RequestKind, Scheduler, Wait, WaitReason};
use crate::tenant_failure;
use crate::values::{Call, CallKind, TokenSnapshot};

pub use self::entry::Flight;

/// A token this young may not be known everywhere in the tenant yet: after a 401 the request is sent once more.
const YOUNG: SignedDuration = SignedDuration::from_secs(10);
const SECOND_LOOK: Duration = Duration::from_secs(1);
/// The longest lifetime of a token, after which it need not be remembered as rejected.
const LONGEST_LIFE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// With fewer rejected tokens than this, nothing is pruned.
const PRUNED_FROM: usize = 64;

/// Receives the result of each call to a tenant; `why` is `None` on success.
pub trait CallObserver: Send + Sync {
    /// A token request ended.
    fn token_request(&self, grant: &Grant, why: Option<Reason>, took: Duration);
    /// A verification ended.
    fn verification(&self, why: Option<Reason>);
}

/// Wakes a context.
pub type Wake = Arc<dyn Fn(&Caller) + Send + Sync>;

/// All tokens in the memory of this process, by request.
pub struct TokenCache {
    transport: Arc<dyn Transport>,
    /// Decides when a request may be sent.
    pub scheduler: Scheduler,
    wake: Wake,
    keys: RequestKeys,
    entries: Mutex<Entries>,
    rejected: Mutex<Rejected>,
    clock: Clock,
    jitter: Jitter,
    observer: Box<dyn CallObserver>,
}

#[derive(Default)]
struct Entries {
    all: HashMap<RequestKey, Arc<Entry>>,
    /// The request of each context, by uid.
    of_context: HashMap<Arc<str>, RequestKey>,
    /// The requests of each OAuth client.
    of_client: HashMap<ClientKey, HashSet<RequestKey>>,
}

/// Tokens that their tenant no longer accepts, from whatever request, and until when each is remembered.
#[derive(Default)]
struct Rejected {
    until: HashMap<TokenDigest, Timestamp>,
    /// With so many, the expired ones are dropped.
    prune_at: usize,
}

/// Names an OAuth client of a tenant, or an API key: when one of its tokens was rejected, the others may be revoked as well.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
struct ClientKey([u8; 32]);

/// Names a token of a tenant without holding it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The fingerprint of a token of this host.
    pub fn of(host: &str, token: &AccessToken) -> Self {
        let text = Zeroizing::new(format!("{host} {}", token.expose_secret()));
        Self(bytes(digest(&SHA256, text.as_bytes())))
    }
}

impl ClientKey {
    fn of(request: &TokenRequest) -> Self {
        let host = request.tenant.authority();
        if let Credential::ApiKey(key) = &request.credential {
            return Self(TokenDigest::of(&host, key).0);
        }
        let text = format!("{host} {}", request.credential.client_id());
        Self(bytes(digest(&SHA256, text.as_bytes())))
    }
}

fn bytes(digest: digest::Digest) -> [u8; 32] {
    digest.as_ref().first_chunk().copied().unwrap_or_default()
}

/// A context with its token request.
pub struct Requester<'a> {
    /// Its name.
    pub caller: &'a Caller,
    /// The token in its Secret.
    pub held: Option<Held<'a>>,
    /// The token that its Secret held last, as far as this process knows.
    pub held_last: Option<TokenDigest>,
    /// The refresh request for which the token has to be issued, and how long ago it was seen.
    pub refresh: Option<(&'a str, Duration)>,
}

/// The token in the Secret of a context.
#[derive(Clone, Copy)]
pub struct Held<'a> {
    /// The token.
    pub token: &'a Token,
    /// It came from this request, according to its binding.
    pub of_request: bool,
    /// Its identity, if the status confirms it.
    pub identity: Option<&'a Identity>,
}

impl Requester<'_> {
    fn holds(&self, token: &Token) -> bool {
        let held = self.held.filter(|held| held.of_request);
        held.is_some_and(|held| held.token.access_token == token.access_token)
    }
}

/// The decision, and the request that has begun with it.
pub enum Planned<S> {
    /// No request is needed.
    Step(S),
    /// A request has to be sent to the tenant.
    Flight(S, Flight),
    /// The same request is already in flight; the context is woken when it ends.
    Joined,
}

/// Waits for a request in flight.
pub const JOINED: Wait = Wait { reason: WaitReason::Flight, expected: Duration::ZERO };

impl TokenCache {
    /// An empty cache over a transport.
    pub fn new(
        transport: Arc<dyn Transport>,
        scheduler: Scheduler,
        wake: Wake,
        clock: Clock,
        jitter: Jitter,
        observer: Box<dyn CallObserver>,
    ) -> Self {
        let (keys, entries, rejected) = (RequestKeys::new(), Mutex::default(), Mutex::default());
        Self { transport, scheduler, wake, keys, entries, rejected, clock, jitter, observer }
    }

    /// A context makes this request from now on, and no other.
    pub fn enroll(&self, request: &TokenRequest, caller: &Caller) -> RequestKey {
        let key = self.keys.of(request);
        let mut entries = self.entries.lock();
        let before = entries.of_context.insert(caller.uid.clone(), key);
        if before != Some(key) {
            if let Some(before) = before {
                self.leave(&mut entries, before, &caller.uid);
            }
            let client = ClientKey::of(request);
            let new = || Arc::new(Entry::new(request.tenant.authority(), client));
            entries.all.entry(key).or_insert_with(new).state().join(caller);
            entries.of_client.entry(client).or_default().insert(key);
        }
        key
    }

    /// A context is gone.
    pub fn forget(&self, uid: &str) {
        self.scheduler.leave(uid, Instant::now());
        let mut entries = self.entries.lock();
        if let Some(key) = entries.of_context.remove(uid) {
            self.leave(&mut entries, key, uid);
        }
    }

    fn leave(&self, entries: &mut Entries, key: RequestKey, uid: &str) {
        let unused = entries.all.get(&key).is_some_and(|entry| entry.state().leave(uid));
        if unused {
            self.remove(entries, key);
        }
    }

    fn remove(&self, entries: &mut Entries, key: RequestKey) {
        let Some(entry) = entries.all.remove(&key) else { return };
        if let Some(keys) = entries.of_client.get_mut(&entry.client) {
            keys.remove(&key);
            if keys.is_empty() {
                entries.of_client.remove(&entry.client);
            }
        }
        self.scheduler.forget(&entry.host, key, Instant::now());
    }

    /// True when the tenant no longer accepts this token.
    pub fn is_rejected(&self, token: TokenDigest) -> bool {
        self.rejected.lock().until.contains_key(&token)
    }

    /// Decides on the state of a request, and begins the resulting request, in one step. `None`: no context uses this request
    /// any more.
    pub fn plan<S>(
        &self,
        key: RequestKey,
        requester: &Requester<'_>,
        decide: impl FnOnce(&TokenSnapshot) -> S,
        asks: impl FnOnce(&S) -> bool,
    ) -> Option<Planned<S>> {
        let entry = self.entries.lock().all.get(&key).cloned()?;
        let mut state = entry.state();
        if let Some(held) = requester.held.filter(|held| held.of_request)
            && !self.is_rejected(TokenDigest::of(&entry.host, &held.token.access_token))
        {
            state.adopt(&requester.caller.uid, held.token, held.identity, &self.clock);
        }
        let held_last = |token: &Token| {
            requester.held_last.is_some_and(|last| last == TokenDigest::of(&entry.host, &token.access_token))
        };
        let held = requester.held.map(|held| TokenDigest::of(&entry.host, &held.token.access_token));
        let mut snapshot = state.snapshot(requester, held, &held_last, &self.clock);
        snapshot.held_rejected = held.is_some_and(|held| self.is_rejected(held));
        let step = decide(&snapshot);
        if !asks(&step) {
            return Some(Planned::Step(step));
        }
        let flight = Flight::begin(&entry, &mut state, requester.caller, &self.wake);
        Some(flight.map_or(Planned::Joined, |flight| Planned::Flight(step, flight)))
    }

    /// Calls the tenant with a permit and stores the result. `Some`: the tenant requested a pause meanwhile.
    /// `failed_before`: the status reports that the last attempt failed, perhaps one of another process.
    pub async fn call(
        &self,
        key: RequestKey,
        flight: Flight,
        call: &Call,
        subject: Subject<'_>,
        permit: &Permit,
        failed_before: bool,
    ) -> Option<Wait> {
        let waits = self.carry_out(key, &flight, call, subject, permit, failed_before).await;
        drop(flight);
        let mut entries = self.entries.lock();
        let unused = entries.all.get(&key).is_some_and(|entry| entry.state().is_unused());
        if unused {
            self.remove(&mut entries, key);
        }
        waits
    }

    async fn carry_out(
        &self,
        key: RequestKey,
        flight: &Flight,
        call: &Call,
        subject: Subject<'_>,
        permit: &Permit,
        failed_before: bool,
    ) -> Option<Wait> {
        let entry = &*flight.entry;
        let fail = |failure: Failure, still_fresh: bool| {
            let draw = self.jitter.draw();
            entry.state().fail(failure, call.serving, still_fresh, failed_before, &self.clock, draw);
        };
        let (token, still_fresh) = match &call.kind {
            CallKind::Issue { forced, still_fresh } => {
                let Subject::Request(request) = subject else { return None };
                entry.state().begins(*forced, &self.clock);
                let repeat = || permit.follow(key, RequestKind::Token, call.working, Instant::now());
                match self.issue(request, repeat).await {
                    Err(pause) => {
                        permit.ended(RequestEnd { health: Health::Answers, pause: None }, Instant::now());
                        return Some(Wait { reason: WaitReason::Pause, expected: pause });
                    }
                    Ok(Ok(token)) => {
                        // Before anything else can fail: whatever happens to this run, the token is not requested again.
                        entry.state().issued(&token, &self.clock);
                        if let Some(pause) = self.scheduler.paused(&entry.host, Instant::now()) {
                            permit.ended(end(None, call.working), Instant::now());
                            return Some(Wait { reason: WaitReason::Pause, expected: pause });
                        }
                        (token, *still_fresh)
                    }
                    Ok(Err(failure)) => {
                        permit.ended(end(Some(&failure), call.working), Instant::now());
                        fail(failure, *still_fresh);
                        return None;
                    }
                }
            }
            CallKind::Verify(token) | CallKind::Recheck(token) => (token.clone(), false),
        };
        let answer = self.verify(entry, subject, &token).await;
        permit.ended(end(answer.as_ref().err(), call.working), Instant::now());
        // For a token that is not in use yet, only a rejection by the tenant counts.
        let in_use = !matches!(call.kind, CallKind::Issue { .. }) && !entry.state().is_candidate(&token);
        match (answer, &call.kind) {
            (Ok(_), CallKind::Recheck(_)) => {
                entry.state().rechecked(TokenDigest::of(&entry.host, &token.access_token), &self.clock);
            }
            (Ok(identity), _) => match subject {
                Subject::Request(_) => entry.state().confirm(&token, identity, &self.clock),
                Subject::Token(_) => entry.state().confirm_same(&token, &identity, &self.clock),
            },
            (Err(failure), _) if in_use && ends(&failure) => self.reject(entry, &flight.by, &token),
            (Err(_), CallKind::Recheck(_)) => {
                // A response that neither confirms nor rejects it changes nothing.
                entry.state().rechecked(TokenDigest::of(&entry.host, &token.access_token), &self.clock);
            }
            (Err(failure), _) => {
                if failure.reason == Reason::TokenRejected {
                    self.reject(entry, &flight.by, &token);
                }
                fail(failure, still_fresh);
            }
        }
        None
    }

    /// `repeat` charges a second request, which is signed by the tenant's clock. `Err`: the host requested a pause before it.
    async fn issue(
        &self,
        request: &TokenRequest,
        repeat: impl FnOnce() -> Result<(), Duration>,
    ) -> Result<Result<Token, Failure>, Duration> {
        let (begun, mut paused) = (Instant::now(), None);
        let may_repeat = || {
            paused = repeat().err();
            paused.is_none()
        };
        let issued = request_token(&*self.transport, request, self.clock.now(), may_repeat).await;
        if let Some(pause) = paused {
            return Err(pause);
        }
        let issued = issued.map_err(|error| tenant_failure::of_token_request(request, error));
        // An API key is its own token: no request was sent.
        if !request.is_api_key() {
            let why = issued.as_ref().err().map(|failure| failure.reason);
            self.observer.token_request(&request.grant, why, begun.elapsed());
        }
        Ok(issued)
    }

    async fn verify(&self, entry: &Entry, subject: Subject<'_>, token: &Token) -> Result<Identity, Failure> {
        let ask = async || {
            let answer = who_is(&*self.transport, subject, &token.access_token).await;
            answer.map_err(|error| tenant_failure::of_verification(subject, error))
        };
        let mut answer = ask().await;
        let rejected = matches!(&answer, Err(failure) if failure.reason == Reason::TokenRejected);
        if rejected && self.clock.now().duration_since(token.issued_at) < YOUNG {
            tokio::time::sleep(SECOND_LOOK).await;
            answer = ask().await;
        }
        self.observer.verification(answer.as_ref().err().map(|failure| failure.reason));
        if answer.is_ok() {
            self.rejected.lock().until.remove(&TokenDigest::of(&entry.host, &token.access_token));
        }
        answer
    }

    /// The tenant no longer accepts this token. Other tokens of its client may have been revoked with it, and are verified before
    /// they are used again. An API key may be accepted again, when its user is active again: each attempt verifies it.
    fn reject(&self, entry: &Entry, by: &Caller, token: &Token) {
        entry.state().reject(&token.access_token);
        let now = self.clock.now();
        {
            let mut rejected = self.rejected.lock();
            if rejected.until.len() >= rejected.prune_at.max(PRUNED_FROM) {
                rejected.until.retain(|_, until| *until > now);
                rejected.prune_at = rejected.until.len() * 2;
            }
            let until = now.checked_add(LONGEST_LIFE).unwrap_or(Timestamp::MAX);
            rejected.until.insert(TokenDigest::of(&entry.host, &token.access_token), until);
        }
        // Contexts that share the request hold the same token.
        let sharing = entry.state().users();
        sharing.iter().filter(|caller| **caller != *by).for_each(|caller| (self.wake)(caller));
        let siblings: Vec<_> = {
            let entries = self.entries.lock();
            let keys = entries.of_client.get(&entry.client).into_iter().flatten();
            keys.filter_map(|key| entries.all.get(key)).cloned().collect()
        };
        for sibling in siblings {
            let users = {
                let mut state = sibling.state();
                if state.doubt() { state.users() } else { Vec::new() }
            };
            users.iter().for_each(|caller| (self.wake)(caller));
        }
    }
}

/// Whether a failure means that a token no longer works: it was revoked, its user is not active, or it lost its permissions.
fn ends(failure: &Failure) -> bool {
    matches!(failure.reason, Reason::TokenRejected | Reason::UserInactive | Reason::AccessDenied)
}

fn end(failure: Option<&Failure>, working: bool) -> RequestEnd {
    let health = match failure.map(|failure| failure.reason) {
        None => Health::Up,
        Some(Reason::TenantUnavailable | Reason::TenantUnreachable) => Health::Down,
        Some(_) => Health::Answers,
    };
    // A pause for a key without a working token applies to that key only.
    let pause = failure.and_then(|failure| failure.retry_after).filter(|_| working);
    RequestEnd { health, pause }
}
