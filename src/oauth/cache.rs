//! One token for equal requests.
//!
//! Everything a token request leads to belongs to its key: the token, its verification, the failure and the back-off.
//! Whoever asks with the same key while a request is under way is woken when it ends, and finds its result. Nothing is sent
//! before [`Traffic`] lets it go. A token that was issued but could not be verified yet is kept, and only the verification
//! is repeated. A token that was found in a Secret serves
//! that Secret alone: whoever may write one Secret must not choose the token of another. Tokens live in memory alone;
//! nothing here is ever written down or printed.

mod entry;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use secrecy::ExposeSecret;
use tokio::time::Instant;
use zeroize::Zeroizing;

use self::entry::{Entry, State};
use super::identity::{Identity, who_is};
use super::request::{RequestKey, RequestKeys, TokenRequest};
use super::tenant::TenantUrl;
use super::token::{AccessToken, Token, VerifiedToken};
use super::token_endpoint::request_token;
use super::traffic::{Bid, Cause, Errand, Permit, Traffic, Urgency, Wait};
use super::transport::Transport;
use crate::api::Reason;
use crate::clock::{Clock, Jitter, SignedDuration, Timestamp};
use crate::error::Failure;
use crate::metrics::Metrics;

pub use self::entry::{Known, Setback};

/// A token this young may not be known everywhere in the tenant yet: a 401 is then asked once more.
const YOUNG: SignedDuration = SignedDuration::from_secs(10);
const SECOND_LOOK: Duration = Duration::from_secs(1);
/// No token lives longer, so none has to be remembered as rejected for longer.
const LONGEST_LIFE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// So few requests are remembered in any case.
const FEW: usize = 64;
/// Who waits for a request that is under way is woken when it ends; this is for the case that it never does.
const JOINED: Wait = Wait { again: Duration::from_mins(1), cause: Cause::Flight };

/// Every token this process knows, by request.
pub struct TokenCache {
    transport: Arc<dyn Transport>,
    traffic: Traffic,
    wake: Wake,
    keys: RequestKeys,
    entries: Mutex<HashMap<RequestKey, Arc<Entry>>>,
    /// With so many it is time to look which are still of use.
    enough: AtomicUsize,
    /// Tokens that their tenant no longer accepts, whichever request they came from, and until when that matters.
    rejected: Mutex<HashMap<TokenDigest, Timestamp>>,
    /// Tokens that serve on while their renewal fails, and when each was looked at last.
    serving: Mutex<HashMap<TokenDigest, Timestamp>>,
    clock: Clock,
    jitter: Jitter,
    metrics: Arc<Metrics>,
}

/// Names a token of a tenant without holding it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct TokenDigest([u8; 32]);

impl TokenDigest {
    fn of(tenant: &TenantUrl, token: &AccessToken) -> Self {
        let text = Zeroizing::new(format!("{tenant} {}", token.expose_secret()));
        Self(digest(&SHA256, text.as_bytes()).as_ref().first_chunk().copied().unwrap_or_default())
    }
}

/// Somebody to be woken.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Caller {
    /// The namespace of the context.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Wakes somebody who waits for a request that is under way.
pub type Wake = Box<dyn Fn(Caller) + Send + Sync>;

/// Who asks about a request.
#[derive(Clone, Copy, Default)]
pub struct Asker<'a> {
    /// The uid of the context.
    pub uid: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its last attempt failed, as the status says; it may have been another process that tried.
    pub failed: bool,
    /// The token in its Secret, when that belongs to this request.
    pub held: Option<&'a AccessToken>,
    /// The refresh request that the token has to answer.
    pub refresh: Option<&'a str>,
}

impl Asker<'_> {
    fn caller(self) -> Caller {
        Caller { namespace: self.namespace.to_owned(), name: self.name.to_owned() }
    }
}

/// Why there is no answer yet.
pub enum NotYet {
    /// The last attempt failed, and the next is due at a time.
    Failed(Setback),
    /// It is not this request's turn.
    Waits(Wait),
}

/// Why an attempt stopped.
enum Stop {
    Failed(Failure),
    Waits(Wait),
}

/// What a tenant says of a token that is in use.
pub enum Checked {
    /// It works.
    Good(Arc<VerifiedToken>),
    /// It is revoked, or its user is no longer active; a new one may be asked for at once.
    Rejected,
}

impl TokenCache {
    /// An empty cache over a transport.
    pub fn new(
        transport: Arc<dyn Transport>,
        traffic: Traffic,
        wake: Wake,
        clock: Clock,
        jitter: Jitter,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            transport,
            traffic,
            wake,
            keys: RequestKeys::new(),
            entries: Mutex::default(),
            enough: AtomicUsize::new(FEW),
            rejected: Mutex::default(),
            serving: Mutex::default(),
            clock,
            jitter,
            metrics,
        }
    }

    /// What is known of this request; a refresh request is noted when it is seen first.
    pub fn known(&self, request: &TokenRequest, asker: Asker<'_>) -> Known {
        self.entry(request).state().known(asker, &self.clock)
    }

    /// Takes note of the token in the Secret of a context. With an identity it is good for that Secret, unless the tenant has
    /// rejected it; without one, it has to be verified first.
    pub fn found(&self, request: &TokenRequest, uid: &str, token: &Token, identity: Option<Identity>) {
        if !self.is_rejected(&request.tenant, &token.access_token) {
            self.entry(request).state().find(uid, token, identity, &self.clock);
        }
    }

    /// True when the tenant no longer accepts this token.
    pub fn is_rejected(&self, tenant: &TenantUrl, token: &AccessToken) -> bool {
        self.rejected().contains_key(&TokenDigest::of(tenant, token))
    }

    /// A context is gone.
    pub fn forget(&self, uid: &str) {
        let entries: Vec<_> = self.entries().values().cloned().collect();
        entries.iter().for_each(|entry| entry.state().forget(uid));
        self.traffic.leave(uid);
    }

    /// A verified token that `fresh` accepts at the time given to it: the known one, else a new one.
    ///
    /// While the back-off of this key lasts nobody is asked, and the failure it waits for is returned again; only a refresh
    /// request may cut a wait short that the tenant did not ask for: once, and once a minute. `left` is what is left of a token that
    /// still works.
    pub async fn obtain(
        &self,
        request: &TokenRequest,
        asker: Asker<'_>,
        left: Option<Duration>,
        fresh: impl Fn(&VerifiedToken, Timestamp) -> bool,
    ) -> Result<Arc<VerifiedToken>, NotYet> {
        let entry = self.entry(request);
        let Some(_flight) = entry.begin(&asker.caller(), &self.wake) else {
            return Err(NotYet::Waits(JOINED));
        };
        let known = entry.state().known(asker, &self.clock);
        let usable = known.token.as_ref().filter(|token| fresh(token, known.now));
        if let Some(token) = usable.filter(|_| !known.refresh_waits) {
            return Ok(token.clone());
        }
        let forced = known.refresh_waits && known.refresh_allowed_at <= known.now;
        let cut_short = forced && known.refresh_untried;
        let binding = |setback: &Setback| !cut_short || setback.failure.retry_after.is_some();
        if let Some(setback) = known.setback.as_ref().filter(|setback| setback.next > known.now && binding(setback)) {
            return Err(NotYet::Failed(setback.clone()));
        }
        let left = left.filter(|left| !left.is_zero());
        // A token that another request led to, before the credential was changed, makes nothing urgent: else whoever changes
        // one all the time would always come first.
        let own = known.token.as_ref().is_some_and(|token| token.token.is_live(known.now));
        let working = own || left.is_some();
        let urgency = match left {
            _ if usable.is_some() => Urgency::Routine,
            Some(left) if own => Urgency::Due { left },
            _ if known.setback.is_some() || (left.is_none() && asker.failed) => Urgency::Failed,
            _ => Urgency::New,
        };
        let candidate = entry.state().candidate(known.refresh_after, &self.clock);
        let errand = if candidate.is_some() || request.is_api_key() { Errand::Check } else { Errand::Token };
        let permit = self.enter(request, asker, errand, urgency, working).map_err(NotYet::Waits)?;
        if candidate.is_none() {
            entry.state().asks(forced, &self.clock);
        }
        let result = self.mint(request, candidate, &entry).await;
        let mut state = entry.state();
        match result {
            Ok(token) => {
                permit.ended(None, Instant::now());
                Ok(state.succeed(token, &self.clock))
            }
            Err(Stop::Failed(failure)) => {
                permit.ended(Some(&failure), Instant::now());
                // A refresh of a token that works may be tried again only when the next one is allowed.
                let not_before = usable.map(|_| state.known(asker, &self.clock).refresh_allowed_at);
                Err(NotYet::Failed(state.fail(failure, left, not_before, &self.clock, self.jitter.draw())))
            }
            Err(Stop::Waits(wait)) => Err(NotYet::Waits(wait)),
        }
    }

    /// Asks whose a token is that is in use, unless `due` says that somebody has just done so.
    pub async fn check(
        &self,
        request: &TokenRequest,
        asker: Asker<'_>,
        token: &Token,
        left: Option<Duration>,
        due: impl Fn(&Known) -> bool,
    ) -> Result<Checked, NotYet> {
        let entry = self.entry(request);
        let Some(_flight) = entry.begin(&asker.caller(), &self.wake) else {
            return Err(NotYet::Waits(JOINED));
        };
        if self.is_rejected(&request.tenant, &token.access_token) {
            return Ok(Checked::Rejected);
        }
        let known = entry.state().known(asker, &self.clock);
        if let Some(current) = known.token.clone().filter(|_| !due(&known)) {
            return Ok(Checked::Good(current));
        }
        if let Some(setback) = known.setback.filter(|setback| setback.next > known.now) {
            return Err(NotYet::Failed(setback));
        }
        let working = known.token.is_some();
        let urgency = if working { Urgency::Routine } else { Urgency::New };
        let permit = self.enter(request, asker, Errand::Check, urgency, working).map_err(NotYet::Waits)?;
        let answer = self.verify(request, token).await;
        permit.ended(answer.as_ref().err(), Instant::now());
        let mut state = entry.state();
        match answer {
            Ok(identity) => Ok(Checked::Good(state.confirm(token, identity, &self.clock))),
            Err(failure) if is_end(&failure) => {
                self.reject(request, token, &mut state);
                Ok(Checked::Rejected)
            }
            Err(failure) => Err(NotYet::Failed(state.fail(failure, left, None, &self.clock, self.jitter.draw()))),
        }
    }

    /// Looks, once in each interval, at a token that serves on while its renewal fails: whether the tenant still accepts it,
    /// and when the next look is due. An answer that says neither changes nothing.
    pub async fn still_serves(
        &self,
        request: &TokenRequest,
        asker: Asker<'_>,
        token: &Token,
        interval: Duration,
    ) -> (bool, Timestamp) {
        let (now, digest) = (self.clock.now(), TokenDigest::of(&request.tenant, &token.access_token));
        let after = |time: Timestamp| time.checked_add(interval).unwrap_or(Timestamp::MAX);
        let serving = || self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        let last = {
            let mut serving = serving();
            serving.retain(|_, last| now.duration_since(*last) < LONGEST_LIFE);
            *serving.entry(digest).or_insert(now)
        };
        if after(last) > now {
            return (true, after(last));
        }
        let permit = match self.enter(request, asker, Errand::Check, Urgency::Routine, true) {
            Ok(permit) => permit,
            Err(wait) => return (true, now.checked_add(wait.again).unwrap_or(Timestamp::MAX)),
        };
        // Whoever else holds it need not ask as well.
        serving().insert(digest, now);
        let due = after(now);
        let answer = self.verify(request, token).await;
        permit.ended(answer.as_ref().err(), Instant::now());
        match answer {
            Err(failure) if is_end(&failure) => {
                self.reject(request, token, &mut self.entry(request).state());
                (false, due)
            }
            _ => (true, due),
        }
    }

    async fn mint(
        &self,
        request: &TokenRequest,
        candidate: Option<Token>,
        entry: &Entry,
    ) -> Result<VerifiedToken, Stop> {
        let token = match candidate {
            Some(token) => token,
            None => {
                let token = self.issue(request).await.map_err(Stop::Failed)?;
                // Before anything else can go wrong: whatever happens to this run, the token is not asked for again.
                entry.state().issued(&token);
                if let Some(pause) = self.traffic.paused(&request.tenant.authority(), Instant::now()) {
                    return Err(Stop::Waits(pause));
                }
                token
            }
        };
        match self.verify(request, &token).await {
            Ok(identity) => Ok(VerifiedToken { token, identity: Arc::new(identity) }),
            Err(failure) => {
                if failure.reason == Reason::TokenRejected {
                    self.reject(request, &token, &mut entry.state());
                }
                Err(Stop::Failed(failure))
            }
        }
    }

    /// Asks for leave to send something.
    fn enter(
        &self,
        request: &TokenRequest,
        asker: Asker<'_>,
        errand: Errand,
        urgency: Urgency,
        working: bool,
    ) -> Result<Permit<'_>, Wait> {
        let (host, key) = (&request.tenant.authority(), self.keys.of(request));
        let bid = Bid { host, key, uid: asker.uid, namespace: asker.namespace, errand, urgency, working };
        self.traffic.enter(&bid, Instant::now())
    }

    async fn issue(&self, request: &TokenRequest) -> Result<Token, Failure> {
        let timer = self.metrics.token_request(&request.grant);
        let issued = request_token(&*self.transport, request, self.clock.now()).await;
        // An API key is its own token: nobody was asked.
        if !request.is_api_key() {
            timer.done(issued.as_ref().err().map(|failure| failure.reason));
        }
        issued
    }

    async fn verify(&self, request: &TokenRequest, token: &Token) -> Result<Identity, Failure> {
        let ask = || who_is(&*self.transport, request, &token.access_token);
        let mut answer = ask().await;
        let rejected = matches!(&answer, Err(failure) if failure.reason == Reason::TokenRejected);
        if rejected && self.clock.now().duration_since(token.issued_at) < YOUNG {
            tokio::time::sleep(SECOND_LOOK).await;
            answer = ask().await;
        }
        self.metrics.verification(answer.as_ref().err().map(|failure| failure.reason));
        if answer.is_ok() {
            self.rejected().remove(&TokenDigest::of(&request.tenant, &token.access_token));
        }
        answer
    }

    fn reject(&self, request: &TokenRequest, token: &Token, state: &mut State) {
        state.reject(&token.access_token);
        // An API key may be accepted again, when its user is; a token is not.
        if request.is_api_key() {
            return;
        }
        let now = self.clock.now();
        let mut rejected = self.rejected();
        rejected.retain(|_, until| *until > now);
        let until = now.checked_add(LONGEST_LIFE).unwrap_or(Timestamp::MAX);
        rejected.insert(TokenDigest::of(&request.tenant, &token.access_token), until);
    }

    fn rejected(&self) -> MutexGuard<'_, HashMap<TokenDigest, Timestamp>> {
        self.rejected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<RequestKey, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, request: &TokenRequest) -> Arc<Entry> {
        let key = self.keys.of(request);
        let mut entries = self.entries();
        if let Some(entry) = entries.get(&key) {
            return entry.clone();
        }
        let entry = entries.entry(key).or_default().clone();
        // Where there are twice as many as were left last time, those go that nothing can ask for again with profit.
        if entries.len() >= self.enough.load(Relaxed) {
            let now = self.clock.now();
            entries.retain(|_, entry| Arc::strong_count(entry) > 1 || entry.state().worth_keeping(now));
            self.traffic.keep(|known| entries.contains_key(known), Instant::now());
            self.enough.store(FEW.max(entries.len() * 2), Relaxed);
        }
        entry
    }
}

/// What ends a token that worked: revoked, or its user is.
fn is_end(failure: &Failure) -> bool {
    matches!(failure.reason, Reason::TokenRejected | Reason::UserInactive)
}
