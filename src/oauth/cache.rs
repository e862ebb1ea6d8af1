//! One token for equal requests.
//!
//! Everything a token request leads to belongs to its key: the token, its verification, the failure and the back-off.
//! Whoever asks with the same key while a request is under way waits for it and takes its result. A token that was issued
//! but could not be verified yet is kept, and only the verification is repeated. Tokens live in memory alone; nothing here
//! is ever written down or printed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::identity::{Identity, who_is};
use super::request::{RequestKey, RequestKeys, TokenRequest};
use super::token::{Token, VerifiedToken};
use super::token_endpoint::request_token;
use super::transport::Transport;
use crate::api::Reason;
use crate::clock::{Clock, Jitter, Timestamp};
use crate::error::Failure;
use crate::metrics::Metrics;
use crate::retry;

/// A token this young may not be known everywhere in the tenant yet: a 401 is then asked once more.
const YOUNG: Duration = Duration::from_secs(10);
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// Failures in a row of one key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Setback {
    /// The last failure; its trace id is that of the first of its kind.
    pub failure: Failure,
    /// How many in a row.
    pub count: u32,
    /// When the last attempt ended.
    pub last: Timestamp,
    /// When the next may begin.
    pub next: Timestamp,
}

/// What is known of a key without asking anyone.
#[derive(Clone, Default)]
pub struct Known {
    /// The newest verified token.
    pub token: Option<Arc<VerifiedToken>>,
    /// When it was last verified.
    pub verified_at: Option<Timestamp>,
    /// Failures since.
    pub setback: Option<Setback>,
}

#[derive(Default)]
struct State {
    known: Known,
    /// Issued, not verified yet.
    candidate: Option<Token>,
}

#[derive(Default)]
struct Entry {
    state: Mutex<State>,
    /// Held while a request of this key is under way.
    flight: tokio::sync::Mutex<()>,
}

impl Entry {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere ends the process; until then the state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every token this process knows, by request.
pub struct TokenCache {
    transport: Arc<dyn Transport>,
    keys: RequestKeys,
    entries: Mutex<HashMap<RequestKey, Arc<Entry>>>,
    clock: Clock,
    jitter: Jitter,
    metrics: Arc<Metrics>,
}

impl TokenCache {
    /// An empty cache over a transport.
    pub fn new(
        transport: Arc<dyn Transport>,
        clock: Clock,
        jitter: Jitter,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            transport,
            keys: RequestKeys::new(),
            entries: Mutex::default(),
            clock,
            jitter,
            metrics,
        }
    }

    /// What is known of this request.
    pub fn known(&self, request: &TokenRequest) -> Known {
        self.entry(request).state().known.clone()
    }

    /// Remembers a token that was found in a Secret and belongs to this request, unless a newer one is known.
    pub fn remember(&self, request: &TokenRequest, token: &VerifiedToken) {
        let entry = self.entry(request);
        let mut state = entry.state();
        let newer = state
            .known
            .token
            .as_ref()
            .is_some_and(|known| known.token.issued_at >= token.token.issued_at);
        if !newer {
            state.known.token = Some(Arc::new(token.clone()));
        }
    }

    /// Remembers a token of this request of which nobody has said yet whose it is: verifying it is enough.
    pub fn suggest(&self, request: &TokenRequest, token: &Token) {
        let entry = self.entry(request);
        let mut state = entry.state();
        if state.known.token.is_none() && state.candidate.is_none() {
            state.candidate = Some(token.clone());
        }
    }

    /// A verified token that `fresh` accepts: the known one, else a new one.
    ///
    /// While the back-off of this key lasts nobody is asked, and the failure it waits for is returned again.
    /// `left` is what is left of a token that still works, if there is one.
    pub async fn obtain(
        &self,
        request: &TokenRequest,
        left: Option<Duration>,
        fresh: impl Fn(&VerifiedToken) -> bool,
    ) -> Result<Arc<VerifiedToken>, Setback> {
        let entry = self.entry(request);
        let _flight = entry.flight.lock().await;
        let candidate = {
            let mut state = entry.state();
            if let Some(token) = state.known.token.as_ref().filter(|token| fresh(token)) {
                return Ok(token.clone());
            }
            if let Some(setback) = state
                .known
                .setback
                .as_ref()
                .filter(|setback| setback.next > self.clock.now())
            {
                return Err(setback.clone());
            }
            let now = self.clock.now();
            state
                .candidate
                .take()
                .filter(|token| token.expires_at > now)
        };
        match self.mint(request, candidate, &entry).await {
            Ok(token) => {
                let token = Arc::new(token);
                let mut state = entry.state();
                state.known = Known {
                    token: Some(token.clone()),
                    verified_at: Some(self.clock.now()),
                    setback: None,
                };
                Ok(token)
            }
            Err(failure) => Err(self.note(&entry, failure, left)),
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
                let timer = self.metrics.token_request(&request.grant);
                let issued = request_token(&*self.transport, request, self.clock.now()).await;
                timer.done(issued.as_ref().err().map(|failure| failure.reason));
                issued?
            }
        };
        match self.verify(request, &token).await {
            Ok(identity) => Ok(VerifiedToken {
                token,
                identity: Arc::new(identity),
            }),
            Err(failure) => {
                if failure.reason != Reason::TokenRejected {
                    entry.state().candidate = Some(token);
                }
                Err(failure)
            }
        }
    }

    async fn verify(&self, request: &TokenRequest, token: &Token) -> Result<Identity, Failure> {
        let secrets = request.client_secrets();
        let ask = || {
            who_is(
                &*self.transport,
                &request.tenant,
                &token.access_token,
                &secrets,
            )
        };
        let mut answer = ask().await;
        let rejected = matches!(&answer, Err(failure) if failure.reason == Reason::TokenRejected);
        let age = self.clock.now().duration_since(token.issued_at);
        if rejected && age < YOUNG.try_into().unwrap_or_default() {
            tokio::time::sleep(SECOND_LOOK).await;
            answer = ask().await;
        }
        self.metrics
            .verification(answer.as_ref().err().map(|failure| failure.reason));
        answer
    }

    fn note(&self, entry: &Entry, mut failure: Failure, left: Option<Duration>) -> Setback {
        let mut state = entry.state();
        let before = state.known.setback.take();
        let same = before
            .as_ref()
            .filter(|before| before.failure.reason == failure.reason);
        if let Some(first) = same.and_then(|before| before.failure.trace_id.clone()) {
            failure.trace_id = Some(first);
        }
        let count = before
            .as_ref()
            .map_or(1, |before| before.count.saturating_add(1));
        let now = self.clock.now();
        let wait = retry::delay(
            failure.reason.class(),
            count,
            failure.retry_after,
            left,
            self.jitter.draw(),
        );
        // Times are whole seconds; one more keeps the wait a promise.
        let wait = Duration::from_secs(wait.as_secs() + 1);
        let next = now.saturating_add(wait).unwrap_or(Timestamp::MAX);
        let setback = Setback {
            failure,
            count,
            last: now,
            next,
        };
        state.known.setback = Some(setback.clone());
        setback
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

impl State {
    fn worth_keeping(&self, now: Timestamp) -> bool {
        self.known
            .token
            .as_ref()
            .is_some_and(|token| token.token.expires_at > now)
            || self
                .candidate
                .as_ref()
                .is_some_and(|token| token.expires_at > now)
            || self
                .known
                .setback
                .as_ref()
                .is_some_and(|setback| setback.next.duration_since(now) > -HOUR)
    }
}

const HOUR: crate::clock::SignedDuration = crate::clock::SignedDuration::from_hours(1);
