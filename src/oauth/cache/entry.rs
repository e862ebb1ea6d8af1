//! What is remembered of one request, and how each outcome changes it. No waiting, no asking.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Asker, Caller, Wake};
use crate::clock::{Clock, Reading, SignedDuration, Timestamp};
use crate::error::Failure;
use crate::oauth::identity::Identity;
use crate::oauth::token::{AccessToken, Token, VerifiedToken};
use crate::retry;

/// Refresh requests lead to at most one token request in this time.
const FORCED_SPACING: Duration = Duration::from_mins(1);
/// A failure that nobody came back to for so long is forgotten.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(1);

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
    /// The newest token of which the tenant has said whose it is, and that is the asker's to use.
    pub token: Option<Arc<VerifiedToken>>,
    /// The token in the asker's Secret, when nobody has said yet whose it is.
    pub unverified: Option<Token>,
    /// This request's time, by which everything here is to be judged.
    pub now: Timestamp,
    /// When the token was last verified by this process.
    pub verified_at: Option<Timestamp>,
    /// Since when this process knows the token.
    pub since: Option<Timestamp>,
    /// Failures since.
    pub setback: Option<Setback>,
    /// The asker's refresh request is not answered by this token.
    pub refresh_waits: bool,
    /// The token requests that were begun before that request was seen.
    pub refresh_after: Option<u64>,
    /// Nothing was tried since that request was seen.
    pub refresh_untried: bool,
    /// When it may be served.
    pub refresh_allowed_at: Timestamp,
}

/// A request's place in the cache.
#[derive(Default)]
pub(super) struct Entry {
    state: Mutex<State>,
}

/// A request of this key is under way; when it ends, those who came meanwhile are woken.
pub(super) struct Flight<'e> {
    entry: &'e Entry,
    wake: &'e Wake,
}

/// A token, and what this process knows of it.
struct Entered {
    token: Token,
    identity: Option<Arc<Identity>>,
    since: Timestamp,
    verified_at: Option<Timestamp>,
    /// The number of the token request that it came from; 0: it was found in a Secret.
    origin: u64,
}

#[derive(Default)]
pub(super) struct State {
    /// The moment from which this request's time is reckoned, on both clocks; moved by each new token.
    anchor: Option<Reading>,
    /// The newest token that this process asked for.
    minted: Option<Entered>,
    /// The tokens that were found in Secrets, by the uid of their context; each serves that Secret alone.
    found: HashMap<String, Entered>,
    setback: Option<Setback>,
    /// Issued, not verified yet; with the number of its request.
    candidate: Option<(Token, u64)>,
    /// Token requests begun so far.
    begun: u64,
    /// The one that failed last.
    failed: u64,
    /// The refresh request of each context, with the number of token requests begun when it was seen first.
    refreshes: HashMap<String, (String, u64)>,
    last_forced: Option<Reading>,
    /// Who waits for the request that is under way; `None` while there is none.
    joined: Option<HashSet<Caller>>,
}

impl Entered {
    fn verified(&self) -> Option<Arc<VerifiedToken>> {
        let identity = self.identity.clone()?;
        Some(Arc::new(VerifiedToken { token: self.token.clone(), identity }))
    }
}

impl Entry {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere ends the process; until then the state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a request, unless one is under way; then the caller is woken when that ends.
    pub(super) fn begin<'e>(&'e self, caller: &Caller, wake: &'e Wake) -> Option<Flight<'e>> {
        let mut state = self.state();
        if let Some(joined) = &mut state.joined {
            joined.insert(caller.clone());
            return None;
        }
        state.joined = Some(HashSet::new());
        Some(Flight { entry: self, wake })
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let joined = self.entry.state().joined.take();
        joined.into_iter().flatten().for_each(|caller| (self.wake)(caller));
    }
}

impl State {
    /// This request's time: the later of the wall clock and what the monotonic clock makes of it, so that a wall clock that
    /// is set back delays nothing.
    pub(super) fn now(&mut self, clock: &Clock) -> Timestamp {
        clock.now_since(*self.anchor.get_or_insert_with(|| clock.reading()))
    }

    pub(super) fn known(&mut self, asker: Asker<'_>, clock: &Clock) -> Known {
        let refresh_after = asker.refresh.map(|value| {
            let seen = self.refreshes.entry(asker.uid.to_owned()).or_default();
            if seen.0 != value {
                *seen = (value.to_owned(), self.begun);
            }
            seen.1
        });
        let now = self.now(clock);
        let pause = self.last_forced.map_or(Duration::ZERO, |last| FORCED_SPACING.saturating_sub(last.age()));
        let held = self.found.get(asker.uid).filter(|found| asker.held == Some(&found.token.access_token));
        let verified = held.filter(|held| held.identity.is_some());
        // Of equals the last is taken: of its own tokens the process knows more.
        let both = [verified, self.minted.as_ref()].into_iter().flatten();
        let newest = both.max_by_key(|entered| entered.token.issued_at);
        let origin = newest.map(|newest| newest.origin);
        Known {
            token: newest.and_then(Entered::verified),
            unverified: held.filter(|held| held.identity.is_none()).map(|held| held.token.clone()),
            now,
            verified_at: newest.and_then(|newest| newest.verified_at),
            since: newest.map(|newest| newest.since),
            setback: self.setback.clone(),
            refresh_waits: refresh_after.is_some_and(|after| origin.is_none_or(|origin| origin <= after)),
            refresh_after,
            refresh_untried: refresh_after.is_some_and(|after| after >= self.failed),
            refresh_allowed_at: after(now, pause),
        }
    }

    pub(super) fn find(&mut self, uid: &str, token: &Token, identity: Option<Identity>, clock: &Clock) {
        let now = self.now(clock);
        // What has ended needs no proof any more, and of its own tokens the process knows more already.
        let own = self.minted.as_ref().is_some_and(|minted| minted.token.access_token == token.access_token);
        if own || !token.is_live(now) {
            self.found.remove(uid);
            return;
        }
        let known = self.found.get_mut(uid).filter(|found| found.token.access_token == token.access_token);
        let identity = identity.map(Arc::new);
        match known {
            Some(found) if found.identity.is_some() => {}
            Some(found) => found.identity = identity,
            None => {
                let found = Entered { token: token.clone(), identity, since: now, verified_at: None, origin: 0 };
                self.found.insert(uid.to_owned(), found);
            }
        }
    }

    pub(super) fn forget(&mut self, uid: &str) {
        self.found.remove(uid);
        self.refreshes.remove(uid);
    }

    /// The token that was issued and only has to be verified, if it still is what is wanted.
    pub(super) fn candidate(&mut self, refresh_after: Option<u64>, clock: &Clock) -> Option<Token> {
        let now = self.now(clock);
        let answers = |origin: u64| refresh_after.is_none_or(|after| origin > after);
        self.candidate = self.candidate.take().filter(|(token, origin)| token.is_live(now) && answers(*origin));
        self.candidate.as_ref().map(|(token, _)| token.clone())
    }

    /// A token request begins.
    pub(super) fn asks(&mut self, forced: bool, clock: &Clock) {
        self.begun += 1;
        if forced {
            self.last_forced = Some(clock.reading());
        }
    }

    /// The token request that was begun last led to this token.
    pub(super) fn issued(&mut self, token: &Token) {
        self.candidate = Some((token.clone(), self.begun));
    }

    pub(super) fn succeed(&mut self, token: VerifiedToken, clock: &Clock) -> Arc<VerifiedToken> {
        let origin = self.candidate.take().map_or(self.begun, |(_, origin)| origin);
        // A new token has its times from the wall clock as it is now.
        self.anchor = Some(clock.reading());
        let (now, VerifiedToken { token, identity }) = (clock.now(), token);
        self.minted = Some(Entered {
            token: token.clone(),
            identity: Some(identity.clone()),
            since: now,
            verified_at: Some(now),
            origin,
        });
        self.setback = None;
        Arc::new(VerifiedToken { token, identity })
    }

    pub(super) fn confirm(&mut self, token: &Token, identity: Identity, clock: &Clock) -> Arc<VerifiedToken> {
        let (now, identity) = (self.now(clock), Arc::new(identity));
        let same = |entered: &&mut Entered| entered.token.access_token == token.access_token;
        for entered in self.minted.iter_mut().chain(self.found.values_mut()).filter(same) {
            entered.identity = Some(identity.clone());
            entered.verified_at = Some(now);
        }
        self.setback = None;
        Arc::new(VerifiedToken { token: token.clone(), identity })
    }

    /// The tenant no longer accepts this token; a new one may be asked for at once.
    pub(super) fn reject(&mut self, token: &AccessToken) {
        self.found.retain(|_, found| found.token.access_token != *token);
        self.minted = self.minted.take().filter(|minted| minted.token.access_token != *token);
        self.candidate = self.candidate.take().filter(|(candidate, _)| candidate.access_token != *token);
    }

    pub(super) fn fail(
        &mut self,
        mut failure: Failure,
        left: Option<Duration>,
        not_before: Option<Timestamp>,
        clock: &Clock,
        jitter: f64,
    ) -> Setback {
        let before = self.setback.take();
        self.failed = self.begun;
        let same = before.as_ref().filter(|before| before.failure.reason == failure.reason);
        if let Some(first) = same.and_then(|before| before.failure.trace_id.clone()) {
            failure.trace_id = Some(first);
        }
        let count = before.as_ref().map_or(1, |before| before.count.saturating_add(1));
        let wait = retry::delay(failure.reason.class(), count, failure.retry_after, left, jitter);
        let now = self.now(clock);
        // Times are whole seconds; one more keeps the wait a promise.
        let next = after(now, Duration::from_secs(wait.as_secs() + 1));
        let next = not_before.map_or(next, |not_before| next.max(not_before));
        let setback = Setback { failure, count, last: now, next };
        self.setback = Some(setback.clone());
        setback
    }

    pub(super) fn worth_keeping(&self, now: Timestamp) -> bool {
        let candidate = self.candidate.iter().map(|(token, _)| token);
        let entered = self.minted.iter().chain(self.found.values()).map(|entered| &entered.token);
        entered.chain(candidate).any(|token| token.is_live(now))
            || self.setback.as_ref().is_some_and(|setback| now.duration_since(setback.next) < FORGOTTEN)
    }
}

fn after(now: Timestamp, wait: Duration) -> Timestamp {
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}
