//! What is remembered of one request, and how each outcome changes it. No waiting, no asking.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Reading, SignedDuration, Timestamp};
use crate::error::Failure;
use crate::oauth::identity::Identity;
use crate::oauth::token::{AccessToken, Token, VerifiedToken};
use crate::retry;

/// Refresh requests lead to at most one token request in this time.
const FORCED_SPACING: Duration = Duration::from_mins(1);
/// A failure that nobody came back to for so long is forgotten.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(1);
/// More refresh requests than this at once are those of a hostile user; the oldest answers stay valid in the status.
const REFRESHES: usize = 256;

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

/// What is known of a request without asking anyone.
#[derive(Clone)]
pub struct Known {
    /// The newest verified token.
    pub token: Option<Arc<VerifiedToken>>,
    /// This request's time, by which everything here is to be judged.
    pub now: Timestamp,
    /// When the token was last verified by this process.
    pub verified_at: Option<Timestamp>,
    /// Since when this process knows the token.
    pub since: Option<Timestamp>,
    /// Failures since.
    pub setback: Option<Setback>,
    /// The last token that the tenant no longer accepted.
    pub rejected: Option<AccessToken>,
    /// The refresh request that was asked about is not answered by this token.
    pub refresh_waits: bool,
    /// When it may be.
    pub refresh_allowed_at: Timestamp,
}

/// A request's place in the cache.
#[derive(Default)]
pub(super) struct Entry {
    state: Mutex<State>,
    /// Held while a request of this key is under way.
    pub(super) flight: tokio::sync::Mutex<()>,
}

#[derive(Default)]
pub(super) struct State {
    /// The moment from which this request's time is reckoned, on both clocks; moved by each new token.
    anchor: Option<Reading>,
    token: Option<Arc<VerifiedToken>>,
    /// When the token became known.
    since: Option<Timestamp>,
    verified_at: Option<Timestamp>,
    setback: Option<Setback>,
    /// Issued, not verified yet.
    candidate: Option<Token>,
    /// The last token that the tenant no longer accepted.
    rejected: Option<AccessToken>,
    /// Token requests begun so far.
    begun: u64,
    /// The one that the token came from; 0: it was found in a Secret.
    origin: u64,
    /// Refresh requests, with the number of token requests begun when each was seen first.
    refreshes: HashMap<String, u64>,
    last_forced: Option<Reading>,
}

impl Entry {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere ends the process; until then the state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// This request's time: the later of the wall clock and what the monotonic clock makes of it, so that a wall clock that
    /// is set back delays nothing.
    pub(super) fn now(&mut self, clock: &Clock) -> Timestamp {
        clock.now_since(*self.anchor.get_or_insert_with(|| clock.reading()))
    }

    pub(super) fn known(&mut self, refresh: Option<&str>, clock: &Clock) -> Known {
        let wanted_after = refresh.map(|value| {
            if self.refreshes.len() >= REFRESHES && !self.refreshes.contains_key(value) {
                self.refreshes.retain(|_, after| *after >= self.origin);
            }
            *self.refreshes.entry(value.to_owned()).or_insert(self.begun)
        });
        let now = self.now(clock);
        let pause = self.last_forced.map_or(Duration::ZERO, |last| FORCED_SPACING.saturating_sub(last.age()));
        Known {
            token: self.token.clone(),
            now,
            verified_at: self.verified_at,
            since: self.since,
            setback: self.setback.clone(),
            rejected: self.rejected.clone(),
            refresh_waits: wanted_after.is_some_and(|after| self.token.is_none() || self.origin <= after),
            refresh_allowed_at: after(now, pause),
        }
    }

    pub(super) fn remember(&mut self, token: &VerifiedToken, clock: &Clock) {
        let known = self.token.as_ref().is_some_and(|known| known.token.issued_at >= token.token.issued_at);
        if !known && self.rejected.as_ref() != Some(&token.token.access_token) {
            self.take(Arc::new(token.clone()), 0, clock);
            self.verified_at = None;
        }
    }

    pub(super) fn suggest(&mut self, token: &Token) {
        let known = self.token.is_some() || self.candidate.is_some();
        if !known && self.rejected.as_ref() != Some(&token.access_token) {
            self.candidate = Some(token.clone());
        }
    }

    /// A token request begins, or the verification of a candidate that makes one needless.
    pub(super) fn begin(&mut self, forced: bool, clock: &Clock) -> Option<Token> {
        if forced {
            self.last_forced = Some(clock.reading());
            self.candidate = None;
        }
        self.begun += 1;
        let now = self.now(clock);
        self.candidate.take().filter(|token| token.is_live(now))
    }

    pub(super) fn succeed(&mut self, token: VerifiedToken, clock: &Clock) -> Arc<VerifiedToken> {
        let token = Arc::new(token);
        self.take(token.clone(), self.begun, clock);
        self.verified_at = self.since;
        self.setback = None;
        token
    }

    pub(super) fn confirm(&mut self, token: &VerifiedToken, identity: Identity, clock: &Clock) -> Arc<VerifiedToken> {
        let token = Arc::new(VerifiedToken { token: token.token.clone(), identity: Arc::new(identity) });
        self.token = Some(token.clone());
        self.verified_at = Some(self.now(clock));
        self.setback = None;
        token
    }

    /// The tenant no longer accepts this token; a new one may be asked for at once.
    pub(super) fn reject(&mut self, token: &VerifiedToken) {
        self.rejected = Some(token.token.access_token.clone());
        self.token = None;
        self.candidate = None;
    }

    pub(super) fn fail(&mut self, mut failure: Failure, left: Option<Duration>, clock: &Clock, jitter: f64) -> Setback {
        let before = self.setback.take();
        let same = before.as_ref().filter(|before| before.failure.reason == failure.reason);
        if let Some(first) = same.and_then(|before| before.failure.trace_id.clone()) {
            failure.trace_id = Some(first);
        }
        let count = before.as_ref().map_or(1, |before| before.count.saturating_add(1));
        let wait = retry::delay(failure.reason.class(), count, failure.retry_after, left, jitter);
        let now = self.now(clock);
        // Times are whole seconds; one more keeps the wait a promise.
        let next = after(now, Duration::from_secs(wait.as_secs() + 1));
        let setback = Setback { failure, count, last: now, next };
        self.setback = Some(setback.clone());
        setback
    }

    fn take(&mut self, token: Arc<VerifiedToken>, origin: u64, clock: &Clock) {
        self.token = Some(token);
        self.origin = origin;
        // A new token has its times from the wall clock as it is now.
        self.anchor = Some(clock.reading());
        self.since = Some(clock.now());
    }

    pub(super) fn worth_keeping(&self, now: Timestamp) -> bool {
        self.token.as_ref().is_some_and(|token| token.token.is_live(now))
            || self.candidate.as_ref().is_some_and(|token| token.is_live(now))
            || self.setback.as_ref().is_some_and(|setback| now.duration_since(setback.next) < FORGOTTEN)
    }
}

fn after(now: Timestamp, wait: Duration) -> Timestamp {
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}
