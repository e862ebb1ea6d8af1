//! The places of contexts: taken, updated, used, given up.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Place, State, TURNOVER, Ticket};
use crate::scheduler::host::{LaneId, Turn};
use crate::scheduler::lane::Rank;
use crate::scheduler::{Request, RequestKey, RequestKind, Wait, WaitReason};

impl State {
    pub(super) fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(super) fn place(&self, uid: &str) -> Option<(u64, &Place)> {
        let arrival = *self.arrivals.get(uid)?;
        Some((arrival, self.places.get(&arrival)?))
    }

    /// The reserved slot, if this context was called and it is of use; with the turn at the host, if one is wanted.
    pub(super) fn redeem(
        &mut self,
        request: &Request<'_>,
        wanted: Option<(RequestKey, RequestKind)>,
        now: Instant,
    ) -> Option<Ticket> {
        let (arrival, place) = self.place(&request.caller.uid)?;
        let (ticket, until) = place.called?;
        // A context that does not yet know what it will send keeps its turn. Its class is compared when it sends.
        if *place.host != *request.host || wanted.is_some() && place.working != request.working {
            return None;
        }
        if let Some((key, kind)) = wanted {
            let lane = LaneId::of(Some(kind), request.urgency, request.working);
            if !self.has_turn(ticket, Turn { kind, lane, key }, now) {
                return None;
            }
        }
        self.lapses.remove(&(until, arrival));
        self.places.remove(&arrival);
        self.arrivals.remove(&*request.caller.uid);
        Some(ticket)
    }

    /// Takes or updates the place of a context. It keeps its arrival if it waits for the same kind of request.
    pub(super) fn park(
        &mut self,
        request: &Request<'_>,
        wanted: Option<(RequestKey, RequestKind)>,
        arrival: Option<u64>,
        now: Instant,
    ) {
        let kind = wanted.map(|(_, kind)| kind);
        let same = |place: &Place| *place.host == *request.host && place.wanted.map(|(_, kind)| kind) == kind;
        let before = self.place(&request.caller.uid).filter(|(_, place)| same(place));
        let (arrival, since) = match before {
            Some((arrival, place)) => (arrival, place.since),
            None => (arrival.unwrap_or_else(|| self.next()), now),
        };
        self.leave(&request.caller.uid, now);
        let host = self.host(request.host, now);
        let place = Place { since, ..Place::new(request, &host, wanted, now) };
        self.insert(arrival, place, now);
        self.refresh(&host, now);
    }

    pub(super) fn insert(&mut self, arrival: u64, place: Place, now: Instant) {
        let host = self.host(&place.host, now);
        if let Some(known) = self.hosts.get_mut(&host) {
            known.host.insert(place.waiter(arrival), now);
        }
        self.arrivals.insert(Arc::clone(&place.caller.uid), arrival);
        self.places.insert(arrival, place);
    }

    /// Removes the place of a context; returns what was reserved for it.
    pub(super) fn unpark(&mut self, uid: &str, now: Instant) -> Option<Ticket> {
        let arrival = self.arrivals.remove(uid)?;
        let asleep = self.sleepers.remove(&arrival);
        let place = self.places.remove(&arrival);
        let called = place.as_ref().and_then(|place| place.called);
        if let Some((_, until)) = called {
            self.lapses.remove(&(until, arrival));
        }
        if let Some(place) = asleep.as_ref().or(place.as_ref())
            && let Some(known) = self.hosts.get_mut(&place.host)
        {
            if asleep.is_some() {
                known.host.sleepers.remove(&Rank { urgency: place.urgency, arrival });
            } else if called.is_none() {
                known.host.remove(&place.waiter(arrival), now);
            }
            let host = Arc::clone(&place.host);
            self.refresh(&host, now);
        }
        called.map(|(ticket, _)| ticket)
    }

    pub(super) fn refuse(&mut self, uid: &str, now: Instant) -> Wait {
        let wait = self.waits(uid, now).unwrap_or(Wait { reason: WaitReason::Slot, expected: TURNOVER });
        self.effects.budget_waits += usize::from(wait.reason == WaitReason::Budget);
        wait
    }
}
