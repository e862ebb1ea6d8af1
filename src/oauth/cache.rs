//! One token for equal requests.
//!
//! Everything a token request leads to belongs to its key: the token, its verification, the failure and the back-off.
//! Whoever asks with the same key while a request is under way waits for it and takes its result. A token that was issued
//! but could not be verified yet is kept, and only the verification is repeated. Tokens live in memory alone; nothing here
//! is ever written down or printed.

mod entry;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use self::entry::Entry;
use super::identity::{Identity, who_is};
use super::request::{Credential, RequestKey, RequestKeys, TokenRequest};
use super::token::{Token, VerifiedToken};
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

/// Every token this process knows, by request.
pub struct TokenCache {
    transport: Arc<dyn Transport>,
    keys: RequestKeys,
    entries: Mutex<HashMap<RequestKey, Arc<Entry>>>,
    clock: Clock,
    jitter: Jitter,
    metrics: Arc<Metrics>,
}

/// Why a known token is not good enough.
#[derive(Clone, Copy)]
pub struct Need<'a> {
    /// What is left of a token that still works, if there is one.
    pub left: Option<Duration>,
    /// A refresh request that the token has to answer.
    pub refresh: Option<&'a str>,
}

/// What a tenant says of a token that it has confirmed before.
pub enum Checked {
    /// It still works.
    Good(Arc<VerifiedToken>),
    /// It is revoked, or its user is no longer active; it is forgotten, and a new one may be asked for at once.
    Rejected,
}

impl TokenCache {
    /// An empty cache over a transport.
    pub fn new(transport: Arc<dyn Transport>, clock: Clock, jitter: Jitter, metrics: Arc<Metrics>) -> Self {
        Self { transport, keys: RequestKeys::new(), entries: Mutex::default(), clock, jitter, metrics }
    }

    /// What is known of this request; a refresh request is noted when it is seen first.
    pub fn known(&self, request: &TokenRequest, refresh: Option<&str>) -> Known {
        let entry = self.entry(request);
        let mut state = entry.state();
        state.known(refresh, &self.clock)
    }

    /// Remembers a token that was found in a Secret and belongs to this request, unless a newer one is known or the tenant
    /// has rejected it.
    pub fn remember(&self, request: &TokenRequest, token: &VerifiedToken) {
        self.entry(request).state().remember(token, &self.clock);
    }

    /// Remembers a token of this request of which nobody has said yet whose it is: verifying it is enough.
    pub fn suggest(&self, request: &TokenRequest, token: &Token) {
        self.entry(request).state().suggest(token);
    }

    /// A verified token that `fresh` accepts at the time given to it: the known one, else a new one.
    ///
    /// While the back-off of this key lasts nobody is asked, and the failure it waits for is returned again; only a refresh
    /// request may cut a wait short that the tenant did not ask for, once a minute.
    pub async fn obtain(
        &self,
        request: &TokenRequest,
        need: Need<'_>,
        fresh: impl Fn(&VerifiedToken, Timestamp) -> bool,
    ) -> Result<Arc<VerifiedToken>, Setback> {
        let entry = self.entry(request);
        let _flight = entry.flight.lock().await;
        let candidate = {
            let mut state = entry.state();
            let known = state.known(need.refresh, &self.clock);
            if let Some(token) = known.token.filter(|token| !known.refresh_waits && fresh(token, known.now)) {
                return Ok(token);
            }
            let forced = known.refresh_waits && known.refresh_allowed_at <= known.now;
            let binding = |setback: &Setback| !forced || setback.failure.retry_after.is_some();
            let waits = known.setback.filter(|setback| setback.next > known.now && binding(setback));
            if let Some(setback) = waits {
                return Err(setback);
            }
            state.begin(known.refresh_waits, &self.clock)
        };
        let result = self.mint(request, candidate, &entry).await;
        let mut state = entry.state();
        match result {
            Ok(token) => Ok(state.succeed(token, &self.clock)),
            Err(failure) => Err(state.fail(failure, need.left, &self.clock, self.jitter.draw())),
        }
    }

    /// Asks again whose a known token is, unless `due` says that somebody has just done so.
    pub async fn verify_again(
        &self,
        request: &TokenRequest,
        token: &Arc<VerifiedToken>,
        left: Option<Duration>,
        due: impl Fn(&Known) -> bool,
    ) -> Result<Checked, Setback> {
        let entry = self.entry(request);
        let _flight = entry.flight.lock().await;
        let known = entry.state().known(None, &self.clock);
        if let Some(current) = known.token.clone().filter(|current| !Arc::ptr_eq(current, token) || !due(&known)) {
            return Ok(Checked::Good(current));
        }
        if let Some(setback) = known.setback.filter(|setback| setback.next > known.now) {
            return Err(setback);
        }
        let answer = self.verify(request, &token.token).await;
        let mut state = entry.state();
        match answer {
            Ok(identity) => Ok(Checked::Good(state.confirm(token, identity, &self.clock))),
            Err(failure) if matches!(failure.reason, Reason::TokenRejected | Reason::UserInactive) => {
                state.reject(token);
                Ok(Checked::Rejected)
            }
            Err(failure) => Err(state.fail(failure, left, &self.clock, self.jitter.draw())),
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
            None => self.issue(request).await?,
        };
        match self.verify(request, &token).await {
            Ok(identity) => Ok(VerifiedToken { token, identity: Arc::new(identity) }),
            Err(failure) => {
                if failure.reason != Reason::TokenRejected {
                    entry.state().suggest(&token);
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
        let secrets = request.client_secrets();
        let ask = || who_is(&*self.transport, &request.tenant, &token.access_token, &secrets);
        let mut answer = ask().await;
        let rejected = matches!(&answer, Err(failure) if failure.reason == Reason::TokenRejected);
        if rejected && self.clock.now().duration_since(token.issued_at) < YOUNG {
            tokio::time::sleep(SECOND_LOOK).await;
            answer = ask().await;
        }
        self.metrics.verification(answer.as_ref().err().map(|failure| failure.reason));
        answer
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
