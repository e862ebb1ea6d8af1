//! The places of all contexts, and the loop that serves them.
//!
//! Every change ends in [`State::serve`], which hands out turns until no context may go. A place is in a lane of its host, or it
//! has been called, or it sleeps; in each case its arrival, which is unique, identifies it.

mod hosts;
mod places;
mod turn;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::host::{Firsts, Host, LaneId, Turn, Waiter};
use super::lane::Rank;
use super::ready::Ready;
use super::slots::{Slots, User};
use super::{Caller, Limits, Request, RequestEnd, RequestKey, RequestKind, Urgency, Wait, WaitReason};

/// How long a turn is reserved for a context that was woken.
pub(super) const RESERVED: Duration = Duration::from_secs(5);
/// About the duration of a request, to estimate when a slot is free.
const TURNOVER: Duration = Duration::from_millis(500);

/// Identifies a slot that is taken.
pub(super) type Ticket = u64;

/// The scheduler's state.
pub(super) struct State {
    limits: Limits,
    /// The latest time seen; time does not go back.
    now: Instant,
    hosts: HashMap<Arc<str>, Known>,
    /// By arrival.
    places: BTreeMap<u64, Place>,
    sleepers: BTreeMap<u64, Place>,
    arrivals: HashMap<Arc<str>, u64>,
    /// Numbers arrivals and tickets.
    last: u64,
    slots: Slots,
    permits: HashMap<Ticket, Held>,
    /// Hosts that could serve contexts without, and with a working token.
    ready: [Ready; 2],
    /// Hosts to check again later.
    alarms: BTreeSet<(Instant, Arc<str>)>,
    /// Places whose reserved turn lapses.
    lapses: BTreeSet<(Instant, u64)>,
    open_circuits: usize,
    /// When the timer is set to fire.
    armed: Option<Instant>,
    effects: Effects,
}

/// A host, and where it is listed.
struct Known {
    host: Host,
    ready: [Firsts; 2],
    alarm: Option<Instant>,
    circuit_is_open: bool,
}

/// The place of a context.
struct Place {
    caller: Caller,
    host: Arc<str>,
    wanted: Option<(RequestKey, RequestKind)>,
    urgency: Urgency,
    working: bool,
    since: Instant,
    /// It slept until its host recovered, at this moment.
    recovered: Option<Instant>,
    /// Its turn has come: the ticket, and when it lapses.
    called: Option<(Ticket, Instant)>,
}

/// A slot that is taken, by a permit or for a context that was called.
struct Held {
    caller: Caller,
    host: Arc<str>,
    turn: Option<Turn>,
    /// The request that was sent last: its key, and whether the context had a working token.
    sent: Option<(RequestKey, bool)>,
    /// The arrival to return to if the turn is not needed.
    arrival: Option<(Option<RequestKind>, u64)>,
}

/// The actions to take outside of the lock.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) called: Vec<Caller>,
    pub(super) budget_waits: usize,
    pub(super) circuits_open: Option<usize>,
    /// The timer has to fire earlier.
    pub(super) earlier: bool,
}

impl Place {
    fn waiter(&self, arrival: u64) -> Waiter {
        let lane = LaneId::of(self.wanted.map(|(_, kind)| kind), self.urgency, self.working);
        let rank = Rank { urgency: self.urgency, arrival };
        let namespace = Arc::clone(&self.caller.namespace);
        Waiter { rank, namespace, lane, key: self.wanted.map(|(key, _)| key) }
    }
}

impl State {
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            now,
            hosts: HashMap::new(),
            places: BTreeMap::new(),
            sleepers: BTreeMap::new(),
            arrivals: HashMap::new(),
            last: 0,
            slots: Slots::new(limits.concurrency),
            permits: HashMap::new(),
            ready: Default::default(),
            alarms: BTreeSet::new(),
            lapses: BTreeSet::new(),
            open_circuits: 0,
            armed: None,
            effects: Effects::default(),
        }
    }

    pub(super) fn advance(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    // Calls by contexts.

    pub(super) fn enter(
        &mut self,
        request: &Request<'_>,
        wanted: Option<(RequestKey, RequestKind)>,
        now: Instant,
    ) -> Result<Ticket, Wait> {
        self.serve(now);
        let mut ticket = self.redeem(request, wanted, now);
        if ticket.is_none() {
            self.park(request, wanted, None, now);
            self.serve(now);
            ticket = self.redeem(request, wanted, now);
        }
        // The calling context need not be woken.
        self.effects.called.retain(|caller| ticket.is_none() || caller.uid != request.caller.uid);
        ticket.ok_or_else(|| self.refuse(&request.caller.uid, now))
    }

    pub(super) fn sleep(&mut self, request: &Request<'_>, wanted: (RequestKey, RequestKind), now: Instant) {
        let asleep =
            self.arrivals.get(&*request.caller.uid).copied().filter(|arrival| self.sleepers.contains_key(arrival));
        self.leave(&request.caller.uid, now);
        let arrival = asleep.unwrap_or_else(|| self.next());
        let host = self.host(request.host, now);
        let place = Place::new(request, &host, Some(wanted), now);
        if let Some(known) = self.hosts.get_mut(&host) {
            known.host.sleepers.insert(Rank { urgency: place.urgency, arrival });
        }
        self.arrivals.insert(Arc::clone(&place.caller.uid), arrival);
        self.sleepers.insert(arrival, place);
        self.refresh(&host, now);
    }

    pub(super) fn leave(&mut self, uid: &str, now: Instant) {
        if let Some(ticket) = self.unpark(uid, now) {
            self.give_back(ticket, now);
        }
    }

    pub(super) fn forget(&mut self, host: &str, key: RequestKey, now: Instant) {
        if let Some(name) = self.hosts.get_key_value(host).map(|(name, _)| Arc::clone(name)) {
            self.change(&name, now, |host| host.forget(key));
        }
    }

    pub(super) fn request(
        &mut self,
        ticket: Ticket,
        (key, kind): (RequestKey, RequestKind),
        urgency: Urgency,
        working: bool,
        now: Instant,
    ) -> Result<(), Wait> {
        self.serve(now);
        let turn = Turn { kind, lane: LaneId::of(Some(kind), urgency, working), key };
        if self.has_turn(ticket, turn, now) && self.reclass(ticket, working) {
            self.begin(ticket, working, now);
            return Ok(());
        }
        let Some(held) = self.permits.get_mut(&ticket) else {
            return Err(Wait { reason: WaitReason::Slot, expected: TURNOVER });
        };
        let arrival = held.arrival.take().filter(|(of, _)| *of == Some(kind)).map(|(_, arrival)| arrival);
        let (caller, host) = (held.caller.clone(), Arc::clone(&held.host));
        let request = Request { caller: &caller, host: &host, urgency, working };
        self.park(&request, Some((key, kind)), arrival, now);
        Err(self.refuse(&caller.uid, now))
    }

    pub(super) fn follow(
        &mut self,
        ticket: Ticket,
        (key, kind): (RequestKey, RequestKind),
        working: bool,
        now: Instant,
    ) -> Result<(), Duration> {
        let Some(held) = self.permits.get_mut(&ticket) else { return Ok(()) };
        let host = Arc::clone(&held.host);
        held.sent = Some((key, working));
        if let Some(pause) = self.paused(&host, now) {
            return Err(pause);
        }
        let turn = Turn { kind, lane: LaneId::of(Some(kind), Urgency::Routine, working), key };
        self.change(&host, now, |host| {
            host.reserve(&turn, now);
            host.begin(&turn, now);
        });
        Ok(())
    }

    pub(super) fn ended(&mut self, ticket: Ticket, end: RequestEnd, now: Instant) {
        let Some(held) = self.permits.get_mut(&ticket) else {
            return;
        };
        let Some((key, working)) = held.sent.take() else {
            return;
        };
        let (host, namespace) = (Arc::clone(&held.host), Arc::clone(&held.caller.namespace));
        let Some(known) = self.hosts.get_mut(&host) else {
            return;
        };
        let woken = known.host.end(key, &namespace, end.health, now);
        if let Some(pause) = end.pause.filter(|_| working) {
            known.host.pause(&namespace, pause, now);
        }
        for rank in woken {
            if let Some(place) = self.sleepers.remove(&rank.arrival) {
                let arrival = self.next();
                self.insert(arrival, Place { since: now, recovered: Some(now), ..place }, now);
            }
        }
        self.refresh(&host, now);
    }

    pub(super) fn give_back(&mut self, ticket: Ticket, now: Instant) {
        self.return_turn(ticket, now);
        if let Some(held) = self.permits.remove(&ticket) {
            self.slots.give_back(ticket);
            if let Some(known) = self.hosts.get_mut(&held.host) {
                known.host.slots = known.host.slots.saturating_sub(1);
            }
            self.refresh(&held.host, now);
        }
    }

    pub(super) fn recovered(&self, uid: &str, now: Instant) -> Option<Duration> {
        let (_, place) = self.place(uid).filter(|(_, place)| place.called.is_some())?;
        place.recovered.map(|at| now.saturating_duration_since(at))
    }

    #[cfg(test)]
    pub(super) fn is_called(&self, uid: &str) -> bool {
        self.place(uid).is_some_and(|(_, place)| place.called.is_some())
    }

    pub(super) fn waits(&self, uid: &str, now: Instant) -> Option<Wait> {
        let now = now.max(self.now);
        let (arrival, place) = self.place(uid).filter(|(_, place)| place.called.is_none())?;
        let (at, reason) = self.hosts.get(&place.host)?.host.expected(&place.waiter(arrival), now);
        let expected = match reason {
            WaitReason::Slot => {
                let rounds = 1 + self.places.len() / self.slots.limit();
                TURNOVER.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX))
            }
            _ => at.saturating_duration_since(now),
        };
        Some(Wait { reason, expected })
    }

    pub(super) fn paused(&self, host: &str, now: Instant) -> Option<Duration> {
        let until = self.hosts.get(host)?.host.paused_until(now.max(self.now))?;
        Some(until.saturating_duration_since(now))
    }

    pub(super) fn waiting(&self) -> usize {
        self.places.len()
    }

    pub(super) fn oldest(&self, now: Instant) -> Option<Duration> {
        self.places.first_key_value().map(|(_, place)| now.saturating_duration_since(place.since))
    }

    #[cfg(test)]
    pub(super) fn hosts(&self) -> usize {
        self.hosts.len()
    }

    // Time.

    /// Sets the timer.
    pub(super) fn arm(&mut self, now: Instant) -> Option<Instant> {
        self.serve(now);
        self.armed = self.next_event();
        self.armed
    }

    fn next_event(&self) -> Option<Instant> {
        let alarm = self.alarms.first().map(|(at, _)| *at);
        let lapse = self.lapses.first().map(|(at, _)| *at);
        alarm.into_iter().chain(lapse).min()
    }

    pub(super) fn effects(&mut self) -> Effects {
        let next = self.next_event();
        if next.is_some_and(|next| self.armed.is_none_or(|armed| next < armed)) {
            self.armed = next;
            self.effects.earlier = true;
        }
        std::mem::take(&mut self.effects)
    }

    /// Hands out turns until no context may go.
    pub(super) fn serve(&mut self, now: Instant) {
        while let Some((_, arrival)) = pop_until(&mut self.lapses, now) {
            self.lapse(arrival, now);
        }
        while let Some((_, host)) = pop_until(&mut self.alarms, now) {
            if let Some(known) = self.hosts.get_mut(&host) {
                known.alarm = None;
            }
            self.refresh(&host, now);
        }
        while let Some(arrival) = self.first(now) {
            self.call(arrival, now);
        }
    }

    /// The place that may go next.
    fn first(&self, now: Instant) -> Option<u64> {
        let slots = &self.slots;
        let of_class = |working: bool| {
            let ready = &self.ready[usize::from(working)];
            let namespaces = |name: &str| slots.namespace_is_free(working, name);
            ready.first(namespaces, |host| slots.host_is_free(working, host))
        };
        let classes = [false, true].into_iter().filter(|working| slots.is_free(*working));
        let (_, name) = classes.filter_map(of_class).min_by_key(|(rank, _)| *rank)?;
        let slot = |working| slots.is_free(working) && slots.host_is_free(working, name);
        let host = &self.hosts.get(name)?.host;
        host.first(now, slot, |working, name| slots.namespace_is_free(working, name)).map(|rank| rank.arrival)
    }

    /// Reserves a slot, and the turn at the host if one is wanted, and wakes the context.
    fn call(&mut self, arrival: u64, now: Instant) {
        let ticket = self.next();
        let Some(place) = self.places.get_mut(&arrival) else {
            return;
        };
        let (waiter, name) = (place.waiter(arrival), Arc::clone(&place.host));
        let until = now + RESERVED;
        place.called = Some((ticket, until));
        let caller = place.caller.clone();
        let turn = place.wanted.map(|(key, kind)| Turn { kind, lane: waiter.lane, key });
        self.lapses.insert((until, arrival));
        self.effects.called.push(caller.clone());
        let namespace = Arc::clone(&caller.namespace);
        self.slots.take(ticket, User { host: Arc::clone(&name), namespace, working: waiter.lane.working });
        if let Some(known) = self.hosts.get_mut(&name) {
            known.host.slots += 1;
            known.host.count_turn(&waiter);
            known.host.remove(&waiter, now);
            turn.iter().for_each(|turn| known.host.reserve(turn, now));
        }
        let kind = waiter.lane.kind;
        self.permits
            .insert(ticket, Held { caller, host: Arc::clone(&name), turn, sent: None, arrival: Some((kind, arrival)) });
        self.refresh(&name, now);
    }

    /// A context that was called did not come: its turn goes to the next, and its place to the end.
    fn lapse(&mut self, arrival: u64, now: Instant) {
        let Some(mut place) = self.places.remove(&arrival) else {
            return;
        };
        if let Some((ticket, _)) = place.called.take() {
            self.give_back(ticket, now);
        }
        let (arrival, host) = (self.next(), Arc::clone(&place.host));
        self.insert(arrival, place, now);
        self.refresh(&host, now);
    }
}

fn pop_until<T: Ord>(events: &mut BTreeSet<(Instant, T)>, now: Instant) -> Option<(Instant, T)> {
    if events.first()?.0 <= now { events.pop_first() } else { None }
}

impl Place {
    fn new(request: &Request<'_>, host: &Arc<str>, wanted: Option<(RequestKey, RequestKind)>, now: Instant) -> Self {
        Self {
            caller: request.caller.clone(),
            host: Arc::clone(host),
            wanted,
            urgency: request.urgency,
            working: request.working,
            since: now,
            recovered: None,
            called: None,
        }
    }
}
