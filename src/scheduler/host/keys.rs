//! The keys of one host: the budget of each for token requests, and the contexts that wait for it.

use std::collections::{BTreeMap, HashMap};

use tokio::time::Instant;

use super::Waiter;
use crate::oauth::request::RequestKey;
use crate::scheduler::budget::Budget;
use crate::scheduler::lane::Rank;

/// The keys that are in use.
#[derive(Debug)]
pub(super) struct Keys {
    tokens_per_minute: u32,
    known: HashMap<RequestKey, Key>,
    /// When the keys open for which a context waits; the rank distinguishes keys.
    alarms: BTreeMap<(Instant, Rank), RequestKey>,
}

#[derive(Debug)]
struct Key {
    budget: Budget,
    waiting: BTreeMap<Rank, Waiter>,
    /// Which of them is in a lane.
    listed: Option<Rank>,
    alarm: Option<(Instant, Rank)>,
    /// No context uses it any more; it is removed with the last waiting context.
    forgotten: bool,
}

impl Keys {
    pub(super) fn new(tokens_per_minute: u32) -> Self {
        Self { tokens_per_minute, known: HashMap::new(), alarms: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// This key is in use.
    pub(super) fn know(&mut self, key: RequestKey) {
        self.key(key).forgotten = false;
    }

    /// When this key may request a token.
    pub(super) fn opens_at(&self, key: RequestKey, now: Instant) -> Instant {
        self.known.get(&key).map_or(now, |key| key.budget.opens_at(1, 0, false, now))
    }

    pub(super) fn wait(&mut self, key: RequestKey, waiter: Waiter) {
        let key = self.key(key);
        key.forgotten = false;
        key.waiting.insert(waiter.rank, waiter);
    }

    /// Returns whether it was in a lane.
    pub(super) fn leave(&mut self, key: RequestKey, rank: Rank) -> bool {
        let Some(key) = self.known.get_mut(&key) else {
            return false;
        };
        key.waiting.remove(&rank);
        key.listed.take_if(|listed| *listed == rank).is_some()
    }

    /// Decides which place of a key is in a lane. Returns the one that no longer is, and the one that now is.
    pub(super) fn list(&mut self, key: RequestKey, now: Instant) -> (Option<Waiter>, Option<Waiter>) {
        let Some(state) = self.known.get_mut(&key) else {
            return (None, None);
        };
        if let Some(alarm) = state.alarm.take() {
            self.alarms.remove(&alarm);
        }
        let opens = state.budget.opens_at(1, 0, false, now);
        let first = state.waiting.first_key_value().map(|(rank, _)| *rank);
        let listed = first.filter(|_| opens <= now);
        if let Some(rank) = first.filter(|_| opens > now) {
            state.alarm = Some((opens, rank));
            self.alarms.insert((opens, rank), key);
        }
        let before = std::mem::replace(&mut state.listed, listed);
        let changed = before != listed;
        let waiter = |rank: Option<Rank>| rank.filter(|_| changed).and_then(|rank| state.waiting.get(&rank).cloned());
        let moved = (waiter(before), waiter(listed));
        if state.forgotten && state.waiting.is_empty() && !state.budget.is_reserved() {
            self.known.remove(&key);
        }
        moved
    }

    /// A key that opened by now; each is returned once.
    pub(super) fn opened(&mut self, now: Instant) -> Option<RequestKey> {
        let first = self.alarms.first_entry().filter(|first| first.key().0 <= now)?;
        Some(first.remove())
    }

    /// When the next key opens.
    pub(super) fn alarm(&self) -> Option<Instant> {
        self.alarms.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn reserve(&mut self, key: RequestKey) {
        self.key(key).budget.reserve(1);
    }

    pub(super) fn release(&mut self, key: RequestKey) {
        if let Some(key) = self.known.get_mut(&key) {
            key.budget.release(1);
        }
    }

    pub(super) fn take(&mut self, key: RequestKey, now: Instant) {
        self.key(key).budget.take(1, now);
    }

    pub(super) fn forget(&mut self, key: RequestKey) {
        if let Some(state) = self.known.get_mut(&key) {
            state.forgotten = true;
            if state.waiting.is_empty() && !state.budget.is_reserved() {
                self.known.remove(&key);
            }
        }
    }

    fn key(&mut self, key: RequestKey) -> &mut Key {
        self.known.entry(key).or_insert_with(|| Key {
            budget: Budget::per_minute(self.tokens_per_minute),
            waiting: BTreeMap::new(),
            listed: None,
            alarm: None,
            forgotten: false,
        })
    }
}
