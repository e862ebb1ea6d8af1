//! Everyone's place, and the loop that serves them.
//!
//! Every change ends in [`State::serve`], which hands out turns until no one may go. A place is in a lane of its host, or it
//! has been called, or it sleeps; in each case it is known by its arrival, which is unique.

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
/// About what a request takes, to estimate when a slot is free.
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
    /// Hosts to look at again later.
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
    /// The arrival to return to if the turn turns out not to be of use.
    arrival: Option<(Option<RequestKind>, u64)>,
}

/// What is to be done outside of the state.
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

    // What contexts ask for.

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
        // A context that is here need not be woken.
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
                self.insert(arrival, Place { since: now, ..place }, now);
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

    /// Hands out turns until no one may go.
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

    // Places.

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn place(&self, uid: &str) -> Option<(u64, &Place)> {
        let arrival = *self.arrivals.get(uid)?;
        Some((arrival, self.places.get(&arrival)?))
    }

    /// The reserved slot, if this context was called and it is of use; with the turn at the host, if one is wanted.
    fn redeem(
        &mut self,
        request: &Request<'_>,
        wanted: Option<(RequestKey, RequestKind)>,
        now: Instant,
    ) -> Option<Ticket> {
        let (arrival, place) = self.place(&request.caller.uid)?;
        let (ticket, until) = place.called?;
        if *place.host != *request.host || place.working != request.working {
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
    fn park(
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

    fn insert(&mut self, arrival: u64, place: Place, now: Instant) {
        let host = self.host(&place.host, now);
        if let Some(known) = self.hosts.get_mut(&host) {
            known.host.insert(place.waiter(arrival), now);
        }
        self.arrivals.insert(Arc::clone(&place.caller.uid), arrival);
        self.places.insert(arrival, place);
    }

    /// Removes the place of a context; returns what was reserved for it.
    fn unpark(&mut self, uid: &str, now: Instant) -> Option<Ticket> {
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

    fn refuse(&mut self, uid: &str, now: Instant) -> Wait {
        let wait = self.waits(uid, now).unwrap_or(Wait { reason: WaitReason::Slot, expected: TURNOVER });
        self.effects.budget_waits += usize::from(wait.reason == WaitReason::Budget);
        wait
    }

    // The turn of a permit.

    /// The permit has this turn at the host, or gets it: it is free, and nobody who comes first waits for it.
    fn has_turn(&mut self, ticket: Ticket, turn: Turn, now: Instant) -> bool {
        let Some(held) = self.permits.get(&ticket) else {
            return false;
        };
        let host = Arc::clone(&held.host);
        let Some(known) = self.hosts.get(&host) else {
            return false;
        };
        let reserved = held.turn.filter(|had| had.lane == turn.lane);
        match reserved {
            Some(had) if had.key == turn.key && known.host.may_use(now) => return true,
            // Its key changed while it waited: the turn at the host is still its own.
            Some(had) if known.host.may_use(now) && known.host.key_may_go(&turn, now) => {
                self.change(&host, now, |host| {
                    host.release(&had, now);
                    host.reserve(&turn, now);
                });
                self.set_turn(ticket, Some(turn));
                return true;
            }
            _ => {}
        }
        self.return_turn(ticket, now);
        self.serve(now);
        let may_go = self.hosts.get(&host).is_some_and(|known| known.host.may_go(&turn, now));
        if may_go {
            self.change(&host, now, |host| host.reserve(&turn, now));
            self.set_turn(ticket, Some(turn));
        }
        may_go
    }

    fn set_turn(&mut self, ticket: Ticket, turn: Option<Turn>) {
        if let Some(held) = self.permits.get_mut(&ticket) {
            held.turn = turn;
        }
    }

    fn return_turn(&mut self, ticket: Ticket, now: Instant) {
        if let Some(held) = self.permits.get_mut(&ticket)
            && let Some(turn) = held.turn.take()
        {
            let host = Arc::clone(&held.host);
            self.change(&host, now, |host| host.release(&turn, now));
        }
    }

    /// The slot counts as one with or without a working token from now on; false if there is none of that kind.
    fn reclass(&mut self, ticket: Ticket, working: bool) -> bool {
        let Some(user) = self.slots.give_back(ticket) else {
            return false;
        };
        let fits = user.working == working
            || (self.slots.is_free(working)
                && self.slots.host_is_free(working, &user.host)
                && self.slots.namespace_is_free(working, &user.namespace));
        let working = if fits { working } else { user.working };
        self.slots.take(ticket, User { working, ..user });
        fits
    }

    fn begin(&mut self, ticket: Ticket, working: bool, now: Instant) {
        if let Some(held) = self.permits.get_mut(&ticket)
            && let Some(turn) = held.turn.take()
        {
            held.sent = Some((turn.key, working));
            held.arrival = None;
            let host = Arc::clone(&held.host);
            self.change(&host, now, |host| host.begin(&turn, now));
        }
    }

    // Hosts.

    /// The name of a host that is known from now on.
    fn host(&mut self, name: &str, now: Instant) -> Arc<str> {
        if let Some((name, _)) = self.hosts.get_key_value(name) {
            return Arc::clone(name);
        }
        let name: Arc<str> = name.into();
        let host = Host::new(&self.limits, now);
        let known = Known { host, ready: Default::default(), alarm: None, circuit_is_open: false };
        self.hosts.insert(Arc::clone(&name), known);
        name
    }

    fn change(&mut self, name: &Arc<str>, now: Instant, change: impl FnOnce(&mut Host)) {
        if let Some(known) = self.hosts.get_mut(name) {
            change(&mut known.host);
            self.refresh(name, now);
        }
    }

    /// Lists a host that changed where it belongs now, or forgets it.
    fn refresh(&mut self, name: &Arc<str>, now: Instant) {
        let Some(known) = self.hosts.get_mut(name) else {
            return;
        };
        known.host.settle(now);
        for working in [false, true] {
            let (ready, listed) = (&mut self.ready[usize::from(working)], &mut known.ready[usize::from(working)]);
            let firsts = known.host.firsts(working, now);
            if *listed != firsts {
                listed.iter().flatten().for_each(|(rank, namespace)| ready.remove(*rank, namespace));
                firsts.iter().flatten().for_each(|(rank, namespace)| ready.insert(*rank, namespace, name));
                *listed = firsts;
            }
        }
        let alarm = known.host.alarm(now);
        if known.alarm != alarm {
            known.alarm.iter().for_each(|at| {
                self.alarms.remove(&(*at, Arc::clone(name)));
            });
            alarm.iter().for_each(|at| {
                self.alarms.insert((*at, Arc::clone(name)));
            });
            known.alarm = alarm;
        }
        let over = known.host.is_over(now);
        let open = known.host.circuit_is_open() && !over;
        if known.circuit_is_open != open {
            known.circuit_is_open = open;
            self.open_circuits = if open { self.open_circuits + 1 } else { self.open_circuits.saturating_sub(1) };
            self.effects.circuits_open = Some(self.open_circuits);
        }
        if over {
            self.hosts.remove(name);
        }
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
            called: None,
        }
    }
}
