//! The state of one token request, and how each outcome changes it. Does not wait and sends no requests.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::{Requester, TokenDigest, Wake};
use crate::api::Reason;
use crate::clock::{Clock, ClockSample, Timestamp};
use crate::error::Failure;
use crate::oauth::identity::Identity;
use crate::oauth::token::{AccessToken, Token, VerifiedToken};
use crate::retry;
use crate::scheduler::Caller;
use crate::values::{Backoff, RefreshState, Serving, TokenSnapshot};

/// Refresh requests lead to at most one token request in this time.
const FORCED_SPACING: Duration = Duration::from_mins(1);
/// The waits after the first refusals of a client that never worked, since it may have been created a moment ago.
const MAY_BE_NEW: [Duration; 3] = [Duration::from_secs(10), Duration::from_secs(20), Duration::from_mins(1)];

/// A request's place in the cache.
pub(super) struct Entry {
    /// The host and port of its tenant.
    pub(super) host: String,
    /// Its client, or its API key.
    pub(super) client: super::ClientKey,
    state: Mutex<State>,
}

/// A request of this key is in flight; when it ends, the contexts that joined meanwhile are woken.
pub struct Flight {
    pub(super) entry: Arc<Entry>,
    /// The context that sends it.
    pub(super) by: Caller,
    wake: Wake,
}

/// A token, and what this process knows of it.
struct CachedToken {
    value: Value,
    since: Timestamp,
    confirmed_at: Option<Timestamp>,
    /// The number of the token request that it came from; 0: it was found in a Secret.
    origin: u64,
}

enum Value {
    Verified(Arc<VerifiedToken>),
    /// It has to be verified before it is used.
    Unverified(Token),
}

/// A token that was issued, and is not verified yet.
struct Candidate {
    token: Token,
    /// The number of its request.
    origin: u64,
    /// When it was issued: its times are from the wall clock of that moment.
    issued_at: ClockSample,
}

#[derive(Default)]
pub(super) struct State {
    /// The moment from which this request's time is measured, on both clocks; each new token moves it.
    anchor: Option<ClockSample>,
    /// The contexts that use this request, by uid; with the number of token requests begun before they did.
    users: HashMap<Arc<str>, (Caller, u64)>,
    /// The newest token that this process requested.
    issued: Option<CachedToken>,
    /// The tokens that were found in Secrets, by the uid of their context; each is used for that Secret only.
    found: HashMap<Arc<str>, CachedToken>,
    backoff: Option<Backoff>,
    /// The pause that the tenant requested with the last failure, and when.
    pause: Option<(ClockSample, Duration)>,
    candidate: Option<Candidate>,
    /// Token requests begun so far.
    begun: u64,
    /// When the last of them began.
    begun_at: Option<ClockSample>,
    /// The one that failed last.
    failed: u64,
    /// A token was issued for it, or found.
    worked: bool,
    /// Another process failed with it before.
    failed_before: bool,
    /// The refresh request of each context, with the number of token requests begun before it was seen.
    refreshes: HashMap<Arc<str>, (String, u64)>,
    last_forced: Option<ClockSample>,
    /// Tokens that stay in use while their renewal fails, and when each was last verified.
    rechecked: HashMap<TokenDigest, Timestamp>,
    /// The contexts that wait for the request in flight; `None` while there is none.
    joined: Option<HashSet<Caller>>,
}

impl CachedToken {
    fn token(&self) -> &Token {
        match &self.value {
            Value::Verified(verified) => &verified.token,
            Value::Unverified(token) => token,
        }
    }

    fn verified(&self) -> Option<&Arc<VerifiedToken>> {
        match &self.value {
            Value::Verified(verified) => Some(verified),
            Value::Unverified(_) => None,
        }
    }
}

impl Entry {
    pub(super) fn new(host: String, client: super::ClientKey) -> Self {
        Self { host, client, state: Mutex::default() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Flight {
    /// Begins a request; the state's lock is held, so that the decision still holds.
    pub(super) fn begin(entry: &Arc<Entry>, state: &mut State, caller: &Caller, wake: &Wake) -> Option<Self> {
        if let Some(joined) = &mut state.joined {
            joined.insert(caller.clone());
            return None;
        }
        state.joined = Some(HashSet::new());
        Some(Self { entry: entry.clone(), by: caller.clone(), wake: wake.clone() })
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let joined = self.entry.state().joined.take();
        joined.into_iter().flatten().for_each(|caller| (self.wake)(&caller));
    }
}

impl State {
    /// This request's time: the later of the wall clock and the time computed from the monotonic clock, so that a wall clock that
    /// is set back delays nothing.
    pub(super) fn now(&mut self, clock: &Clock) -> Timestamp {
        clock.now_since(*self.anchor.get_or_insert_with(|| clock.sample()))
    }

    /// A context uses this request.
    pub(super) fn join(&mut self, caller: &Caller) {
        if !self.users.contains_key(&caller.uid) {
            self.users.insert(caller.uid.clone(), (caller.clone(), self.begun));
        }
    }

    /// A context no longer uses it; true when none does.
    pub(super) fn leave(&mut self, uid: &str) -> bool {
        self.users.remove(uid);
        self.found.remove(uid);
        self.refreshes.remove(uid);
        self.users.is_empty() && self.joined.is_none()
    }

    pub(super) fn users(&self) -> Vec<Caller> {
        self.users.values().map(|(caller, _)| caller.clone()).collect()
    }

    pub(super) fn is_unused(&self) -> bool {
        self.users.is_empty()
    }

    /// The state as this context may use it.
    pub(super) fn snapshot(
        &mut self,
        requester: &Requester<'_>,
        held_token: Option<TokenDigest>,
        held_last: &dyn Fn(&Token) -> bool,
        clock: &Clock,
    ) -> TokenSnapshot {
        let now = self.now(clock);
        let uid = &requester.caller.uid;
        let seen_at = requester.refresh.map(|(value, ago)| {
            let seen = self.refreshes.entry(uid.clone()).or_default();
            if seen.0 != value {
                // A context that joins a request may have seen it before that request began.
                let begun_since = self.begun_at.is_some_and(|begun_at| begun_at.age() <= ago);
                *seen = (value.to_owned(), self.begun.saturating_sub(u64::from(begun_since)));
            }
            seen.1
        });
        let held = self.found.get(uid).filter(|found| requester.holds(found.token()));
        // A token in a Secret was issued before the newest one of this process, whatever their times of issue: the wall clock may have
        // been set back between the two. Only a context that joined later may bring a newer one, from another shard.
        let joined = self.users.get(uid).map_or(0, |(_, begun)| *begun);
        let is_older = |issued: &CachedToken| {
            issued.origin <= joined && held.is_some_and(|held| issued.token().issued_at < held.token().issued_at)
        };
        let own = self.issued.as_ref().filter(|issued| !is_older(issued));
        let newest_first = || own.into_iter().chain(held);
        let newest = newest_first().find(|token| token.verified().is_some());
        let unverified = newest_first().find(|token| token.verified().is_none());
        let pause = self.last_forced.map_or(Duration::ZERO, |last| FORCED_SPACING.saturating_sub(last.age()));
        let is_held = |token: &&CachedToken| {
            requester.held.is_some_and(|held| held.token.access_token == token.token().access_token)
        };
        let held_identity =
            newest_first().filter(is_held).find_map(CachedToken::verified).map(|known| known.identity.clone());
        let origin = newest.map(|newest| newest.origin);
        let refresh = seen_at.map(|seen_at| RefreshState {
            waits: origin.is_none_or(|origin| origin <= seen_at),
            allowed_at: after(now, pause),
            untried: seen_at >= self.failed,
        });
        let answers = |origin: u64| seen_at.is_none_or(|seen_at| origin > seen_at);
        let is_live = |candidate: &Candidate| candidate.token.is_live(clock.now_since(candidate.issued_at));
        let candidate = self.candidate.as_ref().filter(|candidate| is_live(candidate) && answers(candidate.origin));
        let serves_on = held_token.filter(|_| self.backoff.is_some());
        let rechecked_at = serves_on.map(|token| *self.rechecked.entry(token).or_insert(now));
        TokenSnapshot {
            token: newest.and_then(CachedToken::verified).cloned(),
            unverified: unverified.map(|token| token.token().clone()),
            candidate: candidate.map(|candidate| candidate.token.clone()),
            now,
            confirmed_at: newest.and_then(|newest| newest.confirmed_at),
            since: newest.map(|newest| newest.since),
            held_last: newest.is_some_and(|newest| held_last(newest.token())),
            backoff: self.backoff_at(now),
            refresh,
            held_rejected: false,
            held_identity,
            rechecked_at,
        }
    }

    /// The back-off at this time. A wall clock that is set ahead ends no pause that the tenant requested.
    fn backoff_at(&self, now: Timestamp) -> Option<Backoff> {
        let mut backoff = self.backoff.clone()?;
        let left = self.pause.map_or(Duration::ZERO, |(since, pause)| pause.saturating_sub(since.age()));
        if !left.is_zero() {
            backoff.next = backoff.next.max(after(now, left));
        }
        Some(backoff)
    }

    /// Records the token in the Secret of a context. With an identity it can be used for that Secret; without one it has to be
    /// verified first.
    pub(super) fn adopt(&mut self, uid: &Arc<str>, token: &Token, identity: Option<&Identity>, clock: &Clock) {
        let now = self.now(clock);
        // An expired token needs no verification, and the process knows more about its own tokens already.
        let own = self.issued.as_ref().is_some_and(|issued| issued.token().access_token == token.access_token);
        if own || !token.is_live(now) {
            self.found.remove(uid);
            return;
        }
        self.worked = true;
        let value = |identity: &Identity| {
            Value::Verified(Arc::new(VerifiedToken { token: token.clone(), identity: Arc::new(identity.clone()) }))
        };
        match self.found.get_mut(uid).filter(|found| found.token().access_token == token.access_token) {
            Some(_) => {}
            None => {
                let value = identity.map_or_else(|| Value::Unverified(token.clone()), value);
                let found = CachedToken { value, since: now, confirmed_at: None, origin: 0 };
                self.found.insert(uid.clone(), found);
            }
        }
    }

    /// Another token of the client was rejected: these are verified before they are used again. True when there are any.
    pub(super) fn doubt(&mut self) -> bool {
        let mut any = false;
        for cached in self.issued.iter_mut().chain(self.found.values_mut()) {
            if let Value::Verified(verified) = &cached.value {
                cached.value = Value::Unverified(verified.token.clone());
                any = true;
            }
        }
        any
    }

    /// A token request begins.
    pub(super) fn begins(&mut self, forced: bool, clock: &Clock) {
        self.begun += 1;
        self.begun_at = Some(clock.sample());
        if forced {
            self.last_forced = Some(clock.sample());
        }
    }

    /// The token request that was begun last led to this token.
    pub(super) fn issued(&mut self, token: &Token, clock: &Clock) {
        self.worked = true;
        let mut token = token.clone();
        let mut known = self.issued.iter().chain(self.found.values()).map(CachedToken::token);
        // An API key that is requested again is the same token: nobody has to read it again.
        if let Some(known) = known.find(|known| token.expires_at.is_none() && known.access_token == token.access_token)
        {
            token.issued_at = known.issued_at;
        }
        self.candidate = Some(Candidate { token, origin: self.begun, issued_at: clock.sample() });
    }

    /// The tenant confirmed a token again, in a verification without its credential. If the identity differs from the one before,
    /// the token has to be verified with the credential, before any part of that identity is shown.
    pub(super) fn confirm_same(&mut self, token: &Token, identity: &Identity, clock: &Clock) {
        let same = |cached: &&CachedToken| cached.token().access_token == token.access_token;
        let known = self.issued.iter().chain(self.found.values()).find(same).and_then(CachedToken::verified);
        if let Some(known) = known.filter(|known| known.identity.says_as(identity)) {
            // Including the withheld fields.
            let identity = (*known.identity).clone();
            self.confirm(token, identity, clock);
        } else {
            self.doubt();
        }
    }

    /// The tenant confirmed a token.
    pub(super) fn confirm(&mut self, token: &Token, identity: Identity, clock: &Clock) {
        self.backoff = None;
        self.failed_before = false;
        self.rechecked.clear();
        let identity = Arc::new(identity);
        let verified = |token: &Token| {
            Value::Verified(Arc::new(VerifiedToken { token: token.clone(), identity: identity.clone() }))
        };
        let candidate = self.candidate.take_if(|candidate| candidate.token.access_token == token.access_token);
        if let Some(Candidate { token: candidate, origin, issued_at }) = candidate {
            // The times of the token are from the wall clock of the moment when it was issued.
            self.anchor = Some(issued_at);
            let now = self.now(clock);
            let value = verified(&candidate);
            self.issued = Some(CachedToken { value, since: now, confirmed_at: Some(now), origin });
            return;
        }
        let now = self.now(clock);
        let same = |cached: &&mut CachedToken| cached.token().access_token == token.access_token;
        for cached in self.issued.iter_mut().chain(self.found.values_mut()).filter(same) {
            // Each keeps its times: a token that the tenant issued twice has other times in another Secret.
            cached.value = verified(cached.token());
            cached.confirmed_at = Some(now);
        }
    }

    /// It was issued, and no context uses it yet.
    pub(super) fn is_candidate(&self, token: &Token) -> bool {
        self.candidate.as_ref().is_some_and(|candidate| candidate.token.access_token == token.access_token)
    }

    /// The tenant no longer accepts this token; a new one may be requested at once.
    pub(super) fn reject(&mut self, token: &AccessToken) {
        self.found.retain(|_, found| found.token().access_token != *token);
        self.issued.take_if(|issued| issued.token().access_token == *token);
        self.candidate.take_if(|candidate| candidate.token.access_token == *token);
    }

    /// A token that stays in use was verified.
    pub(super) fn rechecked(&mut self, token: TokenDigest, clock: &Clock) {
        let now = self.now(clock);
        self.rechecked.insert(token, now);
    }

    /// An attempt failed. `failed_before`: the status reports that another process failed with this request.
    pub(super) fn fail(
        &mut self,
        mut failure: Failure,
        serving: Serving,
        not_before: bool,
        failed_before: bool,
        clock: &Clock,
        jitter: f64,
    ) {
        let before = self.backoff.take();
        self.failed = self.begun;
        let same = before.as_ref().filter(|before| before.failure.reason == failure.reason);
        if let Some(first) = same.and_then(|before| before.failure.trace_id.clone()) {
            failure.trace_id = Some(first);
        }
        self.failed_before |= failed_before && before.is_none();
        let count = before.as_ref().map_or(1, |before| before.count.saturating_add(1));
        let early = (count as usize).checked_sub(1).and_then(|n| MAY_BE_NEW.get(n)).copied();
        let wait =
            match early.filter(|_| failure.reason == Reason::InvalidClient && !self.worked && !self.failed_before) {
                Some(wait) => {
                    failure.stalled = false;
                    wait.max(failure.retry_after.unwrap_or_default())
                }
                None => retry::delay(failure.reason.class(), count, failure.retry_after, serving, jitter),
            };
        let now = self.now(clock);
        // Times are whole seconds; one more second keeps the wait from being too short.
        let mut next = after(now, Duration::from_secs(wait.as_secs() + 1));
        if not_before {
            // A refresh of a working token may be retried only when the next one is allowed.
            let pause = self.last_forced.map_or(Duration::ZERO, |last| FORCED_SPACING.saturating_sub(last.age()));
            next = next.max(after(now, pause));
        }
        self.pause = failure.retry_after.map(|pause| (clock.sample(), pause));
        self.backoff = Some(Backoff { failure, count, last: now, next });
    }
}

fn after(now: Timestamp, wait: Duration) -> Timestamp {
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}
