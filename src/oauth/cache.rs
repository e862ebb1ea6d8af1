//! One token for equal requests.
//!
//! Everything a token request leads to belongs to its key: the token, its verification, the failure and the back-off.
//! Whoever asks with the same key while a request is under way waits for it and takes its result. A token that was issued
//! but could not be verified yet is kept, and only the verification is repeated. A token that was found in a Secret serves
//! that Secret alone: whoever may write one Secret must not choose the token of another. Tokens live in memory alone;
//! nothing here is ever written down or printed.

mod entry;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use secrecy::ExposeSecret;

use self::entry::{Entry, State};
use super::identity::{Identity, who_is};
use super::request::{Credential, RequestKey, RequestKeys, TokenRequest};
use super::token::{AccessToken, Token, VerifiedToken};
use super::token_endpoint::request_token;
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

/// Every token this process knows, by request.
pub struct TokenCache {
    transport: Arc<dyn Transport>,
    keys: RequestKeys,
    entries: Mutex<HashMap<RequestKey, Arc<Entry>>>,
    /// Tokens that their tenant no longer accepts, whichever request they came from, and until when that matters.
    rejected: Mutex<HashMap<TokenDigest, Timestamp>>,
    clock: Clock,
    jitter: Jitter,
    metrics: Arc<Metrics>,
}

/// Names a token without holding it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct TokenDigest([u8; 32]);

impl TokenDigest {
    fn of(token: &AccessToken) -> Self {
        let digest = digest(&SHA256, token.expose_secret().as_bytes());
        Self(digest.as_ref().first_chunk().copied().unwrap_or_default())
    }
}

/// Who asks about a request.
#[derive(Clone, Copy, Default)]
pub struct Asker<'a> {
    /// The uid of the context.
    pub uid: &'a str,
    /// The token in its Secret, when that belongs to this request.
    pub held: Option<&'a AccessToken>,
    /// The refresh request that the token has to answer.
    pub refresh: Option<&'a str>,
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
    pub fn new(transport: Arc<dyn Transport>, clock: Clock, jitter: Jitter, metrics: Arc<Metrics>) -> Self {
        let (keys, entries, rejected) = (RequestKeys::new(), Mutex::default(), Mutex::default());
        Self { transport, keys, entries, rejected, clock, jitter, metrics }
    }

    /// What is known of this request; a refresh request is noted when it is seen first.
    pub fn known(&self, request: &TokenRequest, asker: Asker<'_>) -> Known {
        self.entry(request).state().known(asker, &self.clock)
    }

    /// Takes note of the token in a Secret. With an identity it is good for that Secret, unless the tenant has rejected it;
    /// without one, it has to be verified first.
    pub fn found(&self, request: &TokenRequest, token: &Token, identity: Option<Identity>) {
        if !self.is_rejected(&token.access_token) {
            self.entry(request).state().find(token, identity, &self.clock);
        }
    }

    /// True when a tenant no longer accepts this token.
    pub fn is_rejected(&self, token: &AccessToken) -> bool {
        self.rejected().contains_key(&TokenDigest::of(token))
    }

    /// A verified token that `fresh` accepts at the time given to it: the known one, else a new one.
    ///
    /// While the back-off of this key lasts nobody is asked, and the failure it waits for is returned again; only a refresh
    /// request may cut a wait short that the tenant did not ask for, once a minute. `left` is what is left of a token that
    /// still works.
    pub async fn obtain(
        &self,
        request: &TokenRequest,
        asker: Asker<'_>,
        left: Option<Duration>,
        fresh: impl Fn(&VerifiedToken, Timestamp) -> bool,
    ) -> Result<Arc<VerifiedToken>, Setback> {
        let entry = self.entry(request);
        let _flight = entry.flight.lock().await;
        let known = entry.state().known(asker, &self.clock);
        let usable = known.token.as_ref().filter(|token| fresh(token, known.now));
        if let Some(token) = usable.filter(|_| !known.refresh_waits) {
            return Ok(token.clone());
        }
        let forced = known.refresh_waits && known.refresh_allowed_at <= known.now;
        let binding = |setback: &Setback| !forced || setback.failure.retry_after.is_some();
        if let Some(setback) = known.setback.filter(|setback| setback.next > known.now && binding(setback)) {
            return Err(setback);
        }
        let candidate = entry.state().begin(forced, known.refresh_after, &self.clock);
        let result = self.mint(request, candidate, &entry).await;
        let mut state = entry.state();
        match result {
            Ok(token) => Ok(state.succeed(token, &self.clock)),
            Err(failure) => {
                // A refresh of a token that works may be tried again only when the next one is allowed.
                let not_before = usable.map(|_| state.known(asker, &self.clock).refresh_allowed_at);
                Err(state.fail(failure, left, not_before, &self.clock, self.jitter.draw()))
            }
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
    ) -> Result<Checked, Setback> {
        let entry = self.entry(request);
        let _flight = entry.flight.lock().await;
        if self.is_rejected(&token.access_token) {
            return Ok(Checked::Rejected);
        }
        let known = entry.state().known(asker, &self.clock);
        if let Some(current) = known.token.clone().filter(|_| !due(&known)) {
            return Ok(Checked::Good(current));
        }
        if let Some(setback) = known.setback.filter(|setback| setback.next > known.now) {
            return Err(setback);
        }
        let answer = self.verify(request, token).await;
        let mut state = entry.state();
        match answer {
            Ok(identity) => Ok(Checked::Good(state.confirm(token, identity, &self.clock))),
            Err(failure) if is_end(&failure) => {
                self.reject(token, &mut state);
                Ok(Checked::Rejected)
            }
            Err(failure) => Err(state.fail(failure, left, None, &self.clock, self.jitter.draw())),
        }
    }

    async fn mint(
        &self,
        request: &TokenRequest,
        candidate: Option<Token>,
        entry: &Entry,
    ) -> Result<VerifiedToken, Failure> {
        let token = match candidate {
            Some(token) => token,
            None => {
                let token = self.issue(request).await?;
                // Before anything else can go wrong: whatever happens to this run, the token is not asked for again.
                entry.state().issued(&token);
                token
            }
        };
        match self.verify(request, &token).await {
            Ok(identity) => Ok(VerifiedToken { token, identity: Arc::new(identity) }),
            Err(failure) => {
                if failure.reason == Reason::TokenRejected {
                    self.reject(&token, &mut entry.state());
                }
                Err(failure)
            }
        }
    }

    async fn issue(&self, request: &TokenRequest) -> Result<Token, Failure> {
        let timer = self.metrics.token_request(&request.grant);
        let issued = request_token(&*self.transport, request, self.clock.now()).await;
        // An API key is its own token: nobody was asked.
        if !matches!(request.credential, Credential::ApiKey(_)) {
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
        answer
    }

    fn reject(&self, token: &Token, state: &mut State) {
        state.reject(&token.access_token);
        // An API key may be accepted again, when its user is; a token is not.
        let now = self.clock.now();
        let until = token.expires_at.or_else(|| now.checked_add(LONGEST_LIFE).ok()).unwrap_or(Timestamp::MAX);
        let mut rejected = self.rejected();
        rejected.retain(|_, until| *until > now);
        rejected.insert(TokenDigest::of(&token.access_token), until);
    }

    fn rejected(&self) -> MutexGuard<'_, HashMap<TokenDigest, Timestamp>> {
        self.rejected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, request: &TokenRequest) -> Arc<Entry> {
        let key = self.keys.of(request);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(&key) {
            return entry.clone();
        }
        // A new key is rare: the moment to let go of those that nothing can ask for again with profit.
        let now = self.clock.now();
        entries.retain(|_, entry| Arc::strong_count(entry) > 1 || entry.state().worth_keeping(now));
        entries.entry(key).or_default().clone()
    }
}

/// What ends a token that worked: revoked, or its user is.
fn is_end(failure: &Failure) -> bool {
    matches!(failure.reason, Reason::TokenRejected | Reason::UserInactive)
}
