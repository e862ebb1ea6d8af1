//! One host: the contexts that wait for it, and when the next of them may send.
//!
//! It combines the budgets, the circuit and the pace of the host with the budget of each key. A key over its own budget
//! delays no other key.

mod keys;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::keys::Keys;
use super::budget::Budget;
use super::circuit::{Circuit, Health, PROBE_EVERY};
use super::lane::{Head, Lane, Rank};
use super::pace::{FIRST_STEP, Pace};
use super::turns::Turns;
use super::{Limits, RequestKey, RequestKind, Urgency, WaitReason};

/// `users/me` redirects to the user: a verification is two requests.
const VERIFICATION: u32 = 2;
/// The shortest time between two recoveries that wake sleeping contexts, so that a key that keeps failing is not woken by the
/// success of every other key.
const RECOVER_AGAIN: Duration = Duration::from_mins(1);

/// The contexts that wait for the same kind of request under the same limits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct LaneId {
    /// `None`: for a slot only.
    pub(super) kind: Option<RequestKind>,
    /// The key has a working token: for token requests, the whole budget may be used.
    pub(super) holds_token: bool,
    /// The context has a working token: the whole of the slots may be used.
    pub(super) working: bool,
}

impl LaneId {
    pub(super) fn of(kind: Option<RequestKind>, urgency: Urgency, working: bool) -> Self {
        // Other lanes do not distinguish this.
        Self { kind, holds_token: kind == Some(RequestKind::Token) && urgency.holds_token(), working }
    }

    fn index(self) -> usize {
        let kind = KINDS.iter().position(|kind| *kind == self.kind).unwrap_or_default();
        kind * 4 + usize::from(self.holds_token) * 2 + usize::from(self.working)
    }
}

const KINDS: [Option<RequestKind>; 3] = [Some(RequestKind::Token), Some(RequestKind::Check), None];

fn lanes_of(kind: Option<RequestKind>) -> impl Iterator<Item = LaneId> {
    let all = [(false, false), (false, true), (true, false), (true, true)];
    all.into_iter().map(move |(holds_token, working)| LaneId { kind, holds_token, working })
}

/// A place in a lane.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) rank: Rank,
    pub(super) namespace: Arc<str>,
    pub(super) lane: LaneId,
    pub(super) key: Option<RequestKey>,
}

/// The turn at a host: the cost of a request of this lane and key is reserved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) kind: RequestKind,
    pub(super) lane: LaneId,
    pub(super) key: RequestKey,
}

/// The first of a host by rank, and the first of another namespace.
pub(super) type Firsts = [Option<(Rank, Arc<str>)>; 2];

/// A host.
#[derive(Debug)]
pub(super) struct Host {
    tokens: Budget,
    requests: Budget,
    keys: Keys,
    lanes: [Lane; 12],
    turns: [Turns; 3],
    circuit: Circuit,
    pace: Pace,
    /// Turns that are reserved.
    reserved: u32,
    /// Slots that are taken for this host.
    pub(super) slots: usize,
    /// Contexts that sleep until it recovers.
    pub(super) sleepers: BTreeSet<Rank>,
    /// A request found it down since the sleeping contexts were woken last.
    was_down: bool,
    recovered_at: Option<Instant>,
}

impl Host {
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            tokens: Budget::per_minute(limits.host_tokens_per_minute),
            requests: Budget::per_minute(limits.host_requests_per_minute),
            keys: Keys::new(limits.key_tokens_per_minute),
            lanes: Default::default(),
            turns: Default::default(),
            circuit: Circuit::new(now),
            pace: Pace::default(),
            reserved: 0,
            slots: 0,
            sleepers: BTreeSet::new(),
            was_down: false,
            recovered_at: None,
        }
    }

    pub(super) fn insert(&mut self, waiter: Waiter, now: Instant) {
        match (waiter.lane.kind, waiter.key) {
            (Some(RequestKind::Token), Some(key)) => {
                self.keys.wait(key, waiter);
                self.list(key, now);
            }
            (_, key) => {
                key.iter().for_each(|key| self.keys.know(*key));
                self.join(&waiter);
            }
        }
    }

    pub(super) fn remove(&mut self, waiter: &Waiter, now: Instant) {
        match (waiter.lane.kind, waiter.key) {
            (Some(RequestKind::Token), Some(key)) => {
                if self.keys.leave(key, waiter.rank) {
                    self.part(waiter);
                }
                self.list(key, now);
            }
            _ => self.part(waiter),
        }
    }

    /// Only one place of each key is in a lane at a time, and only while the key's own budget allows it.
    fn list(&mut self, key: RequestKey, now: Instant) {
        let (before, after) = self.keys.list(key, now);
        before.iter().for_each(|waiter| self.part(waiter));
        after.iter().for_each(|waiter| self.join(waiter));
    }

    fn join(&mut self, waiter: &Waiter) {
        let turn = self.turns[waiter.lane.index() / 4].join(&waiter.namespace);
        self.lanes[waiter.lane.index()].insert(&waiter.namespace, waiter.rank, turn);
    }

    fn part(&mut self, waiter: &Waiter) {
        self.lanes[waiter.lane.index()].remove(&waiter.namespace, waiter.rank);
        self.turns[waiter.lane.index() / 4].leave(&waiter.namespace);
    }

    /// Adds the keys whose own budget now allows a request.
    pub(super) fn settle(&mut self, now: Instant) {
        while let Some(key) = self.keys.opened(now) {
            self.list(key, now);
        }
    }

    /// The next to be served in the open lanes, among the contexts that may use a slot.
    pub(super) fn first(
        &self,
        now: Instant,
        slot: impl Fn(bool) -> bool,
        namespace_may: impl Fn(bool, &str) -> bool,
    ) -> Option<Rank> {
        let of_kind = |kind: Option<RequestKind>| {
            let open = || lanes_of(kind).filter(|lane| slot(lane.working) && self.is_open(*lane, now));
            let best = open().filter_map(|id| {
                self.lanes[id.index()].first_by_rank(|namespace| namespace_may(id.working, namespace))
            });
            let best = best.map(|(rank, _)| rank).min()?;
            let first = open().filter_map(|id| {
                self.lanes[id.index()].first_to_serve(|namespace| namespace_may(id.working, namespace))
            });
            let first = first.min_by_key(|head| head.order())?;
            // In one order for both, a renewal that is due goes before every verification.
            let follows = !(kind == Some(RequestKind::Token) && best.urgency.is_due());
            Some(((follows, best), first))
        };
        let kinds = KINDS.into_iter().filter_map(of_kind);
        kinds.min_by_key(|(order, _)| *order).map(|(_, head): (_, &Head)| head.rank)
    }

    /// In the open lanes of contexts with, or without, a working token: the first by rank, and the first of another namespace.
    pub(super) fn firsts(&self, working: bool, now: Instant) -> Firsts {
        let first = |other_than: Option<&str>| {
            let lanes = KINDS.into_iter().flat_map(lanes_of);
            let open = lanes.filter(|lane| lane.working == working && self.is_open(*lane, now));
            let firsts = open.filter_map(|id| self.lanes[id.index()].first_by_rank(|name| Some(name) != other_than));
            firsts.min().map(|(rank, namespace)| (rank, Arc::clone(namespace)))
        };
        let best = first(None);
        let other = best.as_ref().and_then(|(_, namespace)| first(Some(namespace)));
        [best, other]
    }

    fn is_open(&self, id: LaneId, now: Instant) -> bool {
        !self.lanes[id.index()].is_empty() && self.opens_at(id, 0, now).0 <= now
    }

    /// When a context in this lane with so many others before it may send, and what it waits for until then.
    fn opens_at(&self, lane: LaneId, ahead: u32, now: Instant) -> (Instant, WaitReason) {
        let both = ahead.saturating_mul(VERIFICATION);
        let (own, follows) = match lane.kind {
            None => return (now, WaitReason::Slot),
            // Verifications leave half of the requests to new tokens.
            Some(RequestKind::Check) => (self.requests.opens_at(VERIFICATION, both, true, now), now),
            Some(RequestKind::Token) => (
                self.tokens.opens_at(1, ahead, !lane.holds_token, now),
                self.requests.opens_at(VERIFICATION, both, false, now),
            ),
        };
        let ramp = self.pace.opens_at(self.reserved.saturating_add(ahead), now);
        // A reserved probe is not sent yet; when it is sent or lapses, this is computed again.
        let probes = self.reserved.saturating_add(ahead);
        let probe = self.circuit.probe_at().map_or(now, |at| {
            let at = if self.reserved > 0 { at.max(now) } else { at };
            at + PROBE_EVERY.saturating_mul(probes)
        });
        let paused = if self.pace.paused_until(now).is_some() { WaitReason::Pause } else { WaitReason::Budget };
        let budget = (own.max(follows), WaitReason::Budget);
        let later = [budget, (ramp, paused), (probe, WaitReason::Circuit)].into_iter().max_by_key(|(at, _)| *at);
        later.filter(|(at, _)| *at > now).unwrap_or((now, WaitReason::Slot))
    }

    /// The turn at the host is free, and no context that goes first waits for it.
    pub(super) fn may_go(&self, turn: &Turn, now: Instant) -> bool {
        self.opens_at(turn.lane, 0, now).0 <= now && self.key_may_go(turn, now)
    }

    /// The key's own budget allows this turn.
    pub(super) fn key_may_go(&self, turn: &Turn, now: Instant) -> bool {
        turn.kind == RequestKind::Check || self.keys.opens_at(turn.key, now) <= now
    }

    /// A reserved turn may still be used: no pause was requested since, and the circuit did not open.
    pub(super) fn may_use(&self, now: Instant) -> bool {
        self.paused_until(now).is_none() && self.circuit.probe_at().is_none_or(|at| at <= now)
    }

    /// When this place is expected to have its turn, and what it waits for.
    pub(super) fn expected(&self, waiter: &Waiter, now: Instant) -> (Instant, WaitReason) {
        let key = waiter.key.filter(|_| waiter.lane.kind == Some(RequestKind::Token));
        let key_at = key.map_or(now, |key| self.keys.opens_at(key, now));
        if key_at <= now && self.opens_at(waiter.lane, 0, now).0 <= now {
            return (now, WaitReason::Slot);
        }
        let ahead = self.lanes[waiter.lane.index()].ahead(&waiter.namespace, waiter.rank.urgency);
        let (at, reason) = self.opens_at(waiter.lane, u32::try_from(ahead).unwrap_or(u32::MAX), now);
        if key_at > at { (key_at, WaitReason::Budget) } else { (at, reason) }
    }

    /// This namespace gets a turn for a context that waited in this lane.
    pub(super) fn count_turn(&mut self, waiter: &Waiter) {
        let kind = waiter.lane.index() / 4;
        let turn = self.turns[kind].serve(&waiter.namespace, !waiter.rank.urgency.is_due());
        lanes_of(waiter.lane.kind).for_each(|lane| self.lanes[lane.index()].set_turn(&waiter.namespace, turn));
    }

    /// Reserves the cost of a request.
    pub(super) fn reserve(&mut self, turn: &Turn, now: Instant) {
        self.reserved += 1;
        self.requests.reserve(VERIFICATION);
        if turn.kind == RequestKind::Token {
            self.tokens.reserve(1);
            self.keys.reserve(turn.key);
            self.list(turn.key, now);
        }
    }

    /// Returns a turn that was not used.
    pub(super) fn release(&mut self, turn: &Turn, now: Instant) {
        self.reserved = self.reserved.saturating_sub(1);
        self.requests.release(VERIFICATION);
        if turn.kind == RequestKind::Token {
            self.tokens.release(1);
            self.keys.release(turn.key);
            self.list(turn.key, now);
        }
    }

    /// The request is sent.
    pub(super) fn begin(&mut self, turn: &Turn, now: Instant) {
        self.reserved = self.reserved.saturating_sub(1);
        self.requests.take(VERIFICATION, now);
        if turn.kind == RequestKind::Token {
            self.tokens.take(1, now);
            self.keys.take(turn.key, now);
            self.list(turn.key, now);
        }
        self.circuit.begin(now);
        self.pace.begin();
    }

    /// The request ended. Returns the contexts that wake because the host recovered.
    pub(super) fn end(&mut self, key: RequestKey, namespace: &str, health: Health, now: Instant) -> BTreeSet<Rank> {
        self.was_down |= health == Health::Down;
        if health == Health::Up {
            self.pace.served(namespace);
        }
        let closed = self.circuit.end(key, health, self.keys.len(), now);
        if closed {
            self.pace.reopen(now);
        }
        let recently = self.recovered_at.is_some_and(|at| now - at < RECOVER_AGAIN);
        if !closed && (health != Health::Up || !self.was_down || recently) {
            return BTreeSet::new();
        }
        self.was_down = false;
        if !self.sleepers.is_empty() {
            self.recovered_at = Some(now);
            // A small number needs no ramp, which would delay contexts whose requests succeed.
            if self.sleepers.len() > FIRST_STEP as usize {
                self.pace.reopen(now);
            }
        }
        std::mem::take(&mut self.sleepers)
    }

    pub(super) fn pause(&mut self, namespace: &Arc<str>, pause: Duration, now: Instant) {
        self.pace.pause(namespace, pause, now);
    }

    pub(super) fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.pace.paused_until(now)
    }

    pub(super) fn circuit_is_open(&self) -> bool {
        self.circuit.is_open()
    }

    /// No context uses this key any more.
    pub(super) fn forget(&mut self, key: RequestKey) {
        self.keys.forget(key);
        self.circuit.forget(&key);
    }

    /// When to check again: a lane opens, a key opens, or the pause ends after which nothing is left.
    pub(super) fn alarm(&self, now: Instant) -> Option<Instant> {
        let waiting = KINDS.into_iter().flat_map(lanes_of).filter(|lane| !self.lanes[lane.index()].is_empty());
        let lanes = waiting.map(|lane| self.opens_at(lane, 0, now).0).filter(|at| *at > now).min();
        let pause = self.paused_until(now).filter(|_| self.is_unused());
        lanes.into_iter().chain(self.keys.alarm()).chain(pause).min()
    }

    /// Nothing is left to remember.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.is_unused() && self.paused_until(now).is_none()
    }

    fn is_unused(&self) -> bool {
        self.keys.len() == 0 && self.slots == 0 && self.sleepers.is_empty() && self.lanes.iter().all(Lane::is_empty)
    }
}
