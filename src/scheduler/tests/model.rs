//! A model of the scheduler that searches through lists.
//!
//! The model shares the values with tests of their own (budget, circuit, pace, turns), and none of the structures that
//! keep places in order.

mod histories;

use super::*;
use crate::scheduler::budget::Budget;
use crate::scheduler::circuit::Circuit;
use crate::scheduler::pace::Pace;
use crate::scheduler::turns::Turns;

const HOSTS: [&str; 3] = ["a.qlikcloud.com", "b.qlikcloud.com", "c.qlikcloud.com"];
const NAMESPACES: [&str; 4] = ["one", "two", "three", "four"];
const CONTEXTS: usize = 24;

/// The request of a context.
#[derive(Clone, Copy, Debug)]
struct Want {
    n: usize,
    host: usize,
    wanted: Option<(usize, RequestKind)>,
    urgency: u8,
    working: bool,
}

fn urgency(of: u8, begin: Instant) -> Urgency {
    match of {
        0 => Urgency::Due { ends: begin + Duration::from_mins(5) },
        1 => Urgency::Due { ends: begin + Duration::from_mins(9) },
        2 => Urgency::New,
        3 => Urgency::Routine,
        _ => Urgency::Failed,
    }
}

#[derive(Clone, Debug)]
struct Place {
    arrival: u64,
    want: Want,
    urgency: Urgency,
    /// In a lane, as the one of its key.
    listed: bool,
    called: Option<(u64, Instant)>,
}

impl Place {
    fn kind(&self) -> Option<RequestKind> {
        self.want.wanted.map(|(_, kind)| kind)
    }

    fn rank(&self) -> (Urgency, u64) {
        (self.urgency, self.arrival)
    }

    fn token_key(&self) -> Option<usize> {
        self.want.wanted.filter(|(_, kind)| *kind == RequestKind::Token).map(|(key, _)| key)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct ModelTurn {
    key: usize,
    kind: RequestKind,
    holds: bool,
    working: bool,
}

struct ModelPermit {
    ticket: u64,
    n: usize,
    host: usize,
    working: bool,
    turn: Option<ModelTurn>,
    sent: Option<(usize, bool)>,
    arrival: Option<(Option<RequestKind>, u64)>,
}

struct ModelHost {
    tokens: Budget,
    requests: Budget,
    keys: Vec<(usize, Budget, bool)>,
    turns: [Turns; 3],
    circuit: Circuit,
    pace: Pace,
    reserved: u32,
    down: bool,
    recovered: Option<Instant>,
}

struct Model {
    limits: Limits,
    begin: Instant,
    now: Instant,
    hosts: Vec<Option<ModelHost>>,
    places: Vec<Place>,
    sleepers: Vec<Place>,
    permits: Vec<ModelPermit>,
    last: u64,
    woken: Vec<usize>,
}

fn lane(kind: Option<RequestKind>) -> usize {
    match kind {
        Some(RequestKind::Token) => 0,
        Some(RequestKind::Check) => 1,
        None => 2,
    }
}

fn holds(kind: Option<RequestKind>, urgency: Urgency) -> bool {
    kind == Some(RequestKind::Token) && urgency.holds_token()
}

fn namespace(n: usize) -> Arc<str> {
    NAMESPACES[n % NAMESPACES.len()].into()
}

impl Model {
    fn new(limits: Limits, begin: Instant) -> Self {
        let hosts = HOSTS.iter().map(|_| None).collect();
        let (places, sleepers, permits) = (Vec::new(), Vec::new(), Vec::new());
        Self { limits, begin, now: begin, hosts, places, sleepers, permits, last: 0, woken: Vec::new() }
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn host(&mut self, host: usize) -> &mut ModelHost {
        let (limits, now) = (self.limits, self.now);
        self.hosts[host].get_or_insert_with(|| ModelHost {
            tokens: Budget::per_minute(limits.host_tokens_per_minute),
            requests: Budget::per_minute(limits.host_requests_per_minute),
            keys: Vec::new(),
            turns: Default::default(),
            circuit: Circuit::new(now),
            pace: Pace::default(),
            reserved: 0,
            down: false,
            recovered: None,
        })
    }

    fn key(&mut self, host: usize, key: usize) -> &mut Budget {
        let limit = self.limits.key_tokens_per_minute;
        let keys = &mut self.host(host).keys;
        let at = keys.iter().position(|(known, ..)| *known == key).unwrap_or_else(|| {
            keys.push((key, Budget::per_minute(limit), false));
            keys.len() - 1
        });
        &mut keys[at].1
    }

    fn know(&mut self, host: usize, key: usize) {
        self.key(host, key);
        self.host(host).keys.iter_mut().filter(|(known, ..)| *known == key).for_each(|key| key.2 = false);
    }

    fn key_open(&self, host: usize, key: usize) -> bool {
        let keys = self.hosts[host].iter().flat_map(|host| &host.keys);
        keys.filter(|(known, ..)| *known == key)
            .all(|(_, budget, _)| budget.opens_at(1, 0, false, self.now) <= self.now)
    }

    fn lane_open(&self, host: usize, kind: Option<RequestKind>, holds: bool) -> bool {
        let (now, Some(host)) = (self.now, &self.hosts[host]) else {
            return false;
        };
        let budget = match kind {
            None => return true,
            Some(RequestKind::Check) => host.requests.opens_at(2, 0, true, now) <= now,
            Some(RequestKind::Token) => {
                host.tokens.opens_at(1, 0, !holds, now) <= now && host.requests.opens_at(2, 0, false, now) <= now
            }
        };
        let probe = host.circuit.probe_at().is_none_or(|at| at <= now && host.reserved == 0);
        budget && host.pace.opens_at(host.reserved, now) <= now && probe
    }

    fn slot_free(&self, working: bool, host: usize, n: usize) -> bool {
        let most = |slots: usize| (slots * 3).div_ceil(4);
        let limit = usize::from(self.limits.concurrency);
        let usable = if working { limit } else { most(limit) };
        let same = || self.permits.iter().filter(|permit| working || !permit.working);
        self.permits.len() < limit
            && same().count() < usable
            && same().filter(|permit| permit.host == host).count() < most(usable)
            && same().filter(|permit| namespace(permit.n) == namespace(n)).count() < most(usable)
    }

    /// Of each key the first is in a lane, while the key's own budget allows it.
    fn list(&mut self, host: usize, key: usize) {
        let of_key =
            |place: &&Place| place.want.host == host && place.called.is_none() && place.token_key() == Some(key);
        let first = self.places.iter().filter(of_key).min_by_key(|place| place.rank()).map(|place| place.arrival);
        let first = first.filter(|_| self.key_open(host, key));
        let before = self.places.iter().filter(of_key).find(|place| place.listed).map(|place| place.arrival);
        if first != before {
            before.iter().for_each(|arrival| self.part(*arrival));
            first.iter().for_each(|arrival| self.join(*arrival));
        }
        let idle = !self.places.iter().any(|place| of_key(&place));
        self.host(host)
            .keys
            .retain(|(known, budget, forgotten)| *known != key || !*forgotten || !idle || budget.is_reserved());
    }

    fn join(&mut self, arrival: u64) {
        let place = self.places.iter_mut().find(|place| place.arrival == arrival).unwrap();
        place.listed = true;
        let (n, host, kind) = (place.want.n, place.want.host, place.kind());
        self.host(host).turns[lane(kind)].join(&namespace(n));
    }

    fn part(&mut self, arrival: u64) {
        let place = self.places.iter_mut().find(|place| place.arrival == arrival).unwrap();
        if std::mem::take(&mut place.listed) {
            let (n, host, kind) = (place.want.n, place.want.host, place.kind());
            self.host(host).turns[lane(kind)].leave(&namespace(n));
        }
    }

    fn insert(&mut self, mut place: Place) {
        let (arrival, host, wanted) = (place.arrival, place.want.host, place.want.wanted);
        (place.listed, place.called) = (false, None);
        self.places.push(place);
        wanted.iter().for_each(|(key, _)| self.know(host, *key));
        match wanted {
            Some((key, RequestKind::Token)) => self.list(host, key),
            _ => self.join(arrival),
        }
    }

    fn remove(&mut self, arrival: u64) -> Place {
        self.part(arrival);
        let at = self.places.iter().position(|place| place.arrival == arrival).unwrap();
        let place = self.places.remove(at);
        place.token_key().iter().for_each(|key| self.list(place.want.host, *key));
        place
    }

    fn reserve(&mut self, host: usize, turn: ModelTurn) {
        self.host(host).reserved += 1;
        self.host(host).requests.reserve(2);
        if turn.kind == RequestKind::Token {
            self.host(host).tokens.reserve(1);
            self.key(host, turn.key).reserve(1);
            self.list(host, turn.key);
        }
    }

    fn release(&mut self, host: usize, turn: ModelTurn) {
        self.host(host).reserved -= 1;
        self.host(host).requests.release(2);
        if turn.kind == RequestKind::Token {
            self.host(host).tokens.release(1);
            self.key(host, turn.key).release(1);
            self.list(host, turn.key);
        }
    }

    fn serve(&mut self) {
        let now = self.now;
        loop {
            let called = self.places.iter().filter_map(|place| Some((place.called?.1, place.arrival)));
            let Some((_, arrival)) = called.filter(|(until, _)| *until <= now).min() else {
                break;
            };
            self.give_back(self.places.iter().find(|place| place.arrival == arrival).unwrap().called.unwrap().0);
            let place = self.remove(arrival);
            let arrival = self.next();
            self.insert(Place { arrival, ..place });
        }
        for host in 0..HOSTS.len() {
            for key in 0..CONTEXTS * 2 {
                if self.hosts[host].is_some() {
                    self.list(host, key);
                }
            }
        }
        while let Some(arrival) = self.first() {
            self.call(arrival);
        }
    }

    fn first(&mut self) -> Option<u64> {
        let may_go = |place: &&Place| {
            let (kind, host) = (place.kind(), place.want.host);
            place.listed
                && place.called.is_none()
                && self.lane_open(host, kind, holds(kind, place.urgency))
                && self.slot_free(place.want.working, host, place.want.n)
        };
        let places: Vec<_> = self.places.iter().filter(may_go).cloned().collect();
        let host = places.iter().min_by_key(|place| place.rank())?.want.host;
        let here = || places.iter().filter(|place| place.want.host == host);
        let kind = here().min_by_key(|place| {
            let due_token = place.kind() == Some(RequestKind::Token) && place.urgency.is_due();
            (!due_token, place.rank())
        });
        let kind = kind?.kind();
        let turns = &self.hosts[host].as_ref()?.turns[lane(kind)];
        let order = |place: &&Place| {
            let turn = (!place.urgency.is_due()).then(|| turns.turn(&namespace(place.want.n)));
            (turn, place.rank())
        };
        here().filter(|place| place.kind() == kind).min_by_key(order).map(|place| place.arrival)
    }

    fn call(&mut self, arrival: u64) {
        let ticket = self.next();
        let place = self.places.iter().find(|place| place.arrival == arrival).unwrap().clone();
        let (Want { n, host, wanted, working, .. }, kind) = (place.want, place.kind());
        self.host(host).turns[lane(kind)].serve(&namespace(n), !place.urgency.is_due());
        self.part(arrival);
        let until = self.now + Duration::from_secs(5);
        self.places.iter_mut().find(|place| place.arrival == arrival).unwrap().called = Some((ticket, until));
        place.token_key().iter().for_each(|key| self.list(host, *key));
        let turn = wanted.map(|(key, kind)| ModelTurn { key, kind, holds: holds(Some(kind), place.urgency), working });
        turn.iter().for_each(|turn| self.reserve(host, *turn));
        let arrival = Some((kind, arrival));
        self.permits.push(ModelPermit { ticket, n, host, working, turn, sent: None, arrival });
        self.woken.push(n);
    }

    fn enter(&mut self, want: Want) -> Option<u64> {
        self.serve();
        let mut ticket = self.redeem(want);
        if ticket.is_none() {
            self.park(want, None);
            self.serve();
            ticket = self.redeem(want);
        }
        if ticket.is_some() {
            self.woken.retain(|n| *n != want.n);
        }
        ticket
    }

    fn redeem(&mut self, want: Want) -> Option<u64> {
        let place = self.places.iter().find(|place| place.want.n == want.n)?.clone();
        let (ticket, _) = place.called?;
        if place.want.host != want.host || want.wanted.is_some() && place.want.working != want.working {
            return None;
        }
        if let Some((key, kind)) = want.wanted {
            let holds = holds(Some(kind), urgency(want.urgency, self.begin));
            if !self.has_turn(ticket, ModelTurn { key, kind, holds, working: want.working }) {
                return None;
            }
        }
        self.places.retain(|place| place.want.n != want.n);
        Some(ticket)
    }

    fn has_turn(&mut self, ticket: u64, turn: ModelTurn) -> bool {
        let at = self.permits.iter().position(|permit| permit.ticket == ticket).unwrap();
        let (host, now) = (self.permits[at].host, self.now);
        let known = self.host(host);
        let usable = known.pace.paused_until(now).is_none() && known.circuit.probe_at().is_none_or(|at| at <= now);
        if let Some(had) = self.permits[at].turn.filter(|had| usable && ModelTurn { key: had.key, ..turn } == *had) {
            if had.key == turn.key {
                return true;
            }
            if turn.kind == RequestKind::Check || self.key_open(host, turn.key) {
                self.release(host, had);
                self.reserve(host, turn);
                self.permits[at].turn = Some(turn);
                return true;
            }
        }
        self.return_turn(ticket);
        self.serve();
        let free = self.lane_open(host, Some(turn.kind), turn.holds)
            && (turn.kind == RequestKind::Check || self.key_open(host, turn.key));
        if free {
            self.reserve(host, turn);
            self.permits[at].turn = Some(turn);
        }
        free
    }

    fn return_turn(&mut self, ticket: u64) {
        if let Some(permit) = self.permits.iter_mut().find(|permit| permit.ticket == ticket)
            && let Some(turn) = permit.turn.take()
        {
            let host = permit.host;
            self.release(host, turn);
        }
    }

    fn give_back(&mut self, ticket: u64) {
        self.return_turn(ticket);
        self.permits.retain(|permit| permit.ticket != ticket);
        self.tidy();
    }

    fn park(&mut self, want: Want, arrival: Option<u64>) {
        let kind = want.wanted.map(|(_, kind)| kind);
        let before = self.places.iter().find(|place| place.want.n == want.n);
        let before =
            before.filter(|place| place.want.host == want.host && place.kind() == kind).map(|place| place.arrival);
        let arrival = before.or(arrival).unwrap_or_else(|| self.next());
        self.leave(want.n);
        self.host(want.host);
        let urgency = urgency(want.urgency, self.begin);
        self.insert(Place { arrival, want, urgency, listed: false, called: None });
    }

    fn leave(&mut self, n: usize) {
        self.sleepers.retain(|place| place.want.n != n);
        if let Some(place) = self.places.iter().find(|place| place.want.n == n).cloned() {
            if let Some((ticket, _)) = place.called {
                self.places.retain(|place| place.want.n != n);
                self.give_back(ticket);
            } else {
                self.remove(place.arrival);
            }
        }
        self.tidy();
    }

    fn sleep(&mut self, want: Want) {
        let asleep = self.sleepers.iter().find(|place| place.want.n == want.n).map(|place| place.arrival);
        self.leave(want.n);
        let arrival = asleep.unwrap_or_else(|| self.next());
        self.host(want.host);
        let urgency = urgency(want.urgency, self.begin);
        self.sleepers.push(Place { arrival, want, urgency, listed: false, called: None });
    }

    fn request(&mut self, ticket: u64, want: Want) -> bool {
        self.serve();
        let (key, kind) = want.wanted.unwrap();
        let holds = holds(Some(kind), urgency(want.urgency, self.begin));
        let turn = ModelTurn { key, kind, holds, working: want.working };
        let mut goes = self.has_turn(ticket, turn);
        let at = self.permits.iter().position(|permit| permit.ticket == ticket).unwrap();
        if goes && self.permits[at].working != want.working {
            let permit = self.permits.remove(at);
            goes = self.slot_free(want.working, permit.host, permit.n);
            let working = if goes { want.working } else { permit.working };
            self.permits.insert(at, ModelPermit { working, ..permit });
        }
        if goes {
            let permit = &mut self.permits[at];
            (permit.turn, permit.sent, permit.arrival) = (None, Some((key, want.working)), None);
            let (host, now) = (permit.host, self.now);
            let known = self.host(host);
            known.reserved -= 1;
            known.requests.take(2, now);
            if kind == RequestKind::Token {
                known.tokens.take(1, now);
                self.key(host, key).take(1, now);
                self.list(host, key);
            }
            self.host(host).circuit.begin(now);
            self.host(host).pace.begin();
        } else {
            let arrival = self.permits[at].arrival.take().filter(|(of, _)| *of == Some(kind));
            self.park(want, arrival.map(|(_, arrival)| arrival));
        }
        self.serve();
        goes
    }

    fn ended(&mut self, ticket: u64, end: RequestEnd) {
        let permit = self.permits.iter_mut().find(|permit| permit.ticket == ticket).unwrap();
        let (host, n, now) = (permit.host, permit.n, self.now);
        let Some((sent, working)) = permit.sent.take() else {
            return self.serve();
        };
        let known = self.host(host);
        known.down |= end.health == Health::Down;
        if end.health == Health::Up {
            known.pace.served(&namespace(n));
        }
        let keys = known.keys.len();
        let closed = known.circuit.end(key(sent), end.health, keys, now);
        let recently = known.recovered.is_some_and(|at| now - at < Duration::from_mins(1));
        let wakes = closed || end.health == Health::Up && known.down && !recently;
        let asleep = self.sleepers.iter().filter(|place| place.want.host == host).count();
        let known = self.host(host);
        if closed || wakes && asleep > 10 {
            known.pace.reopen(now);
        }
        if wakes {
            known.down = false;
            known.recovered = if asleep > 0 { Some(now) } else { known.recovered };
        }
        if let Some(pause) = end.pause.filter(|_| working) {
            known.pace.pause(&namespace(n), pause, now);
        }
        if wakes {
            let (mut up, rest) =
                std::mem::take(&mut self.sleepers).into_iter().partition(|place| place.want.host == host);
            self.sleepers = rest;
            up = {
                let mut up: Vec<Place> = up;
                up.sort_by_key(Place::rank);
                up
            };
            for place in up {
                let arrival = self.next();
                self.insert(Place { arrival, ..place });
            }
        }
        self.serve();
    }

    fn forget(&mut self, host: usize, key_: usize) {
        if let Some(known) = &mut self.hosts[host] {
            known.circuit.forget(&key(key_));
            known.keys.iter_mut().filter(|(known, ..)| *known == key_).for_each(|key| key.2 = true);
            self.list(host, key_);
        }
        self.tidy();
    }

    /// Hosts without remaining state are forgotten.
    fn tidy(&mut self) {
        for host in 0..HOSTS.len() {
            let here = |place: &Place| place.want.host == host;
            let used = self.places.iter().filter(|place| place.called.is_none()).any(here)
                || self.sleepers.iter().any(here)
                || self.permits.iter().any(|permit| permit.host == host);
            let now = self.now;
            self.hosts[host].take_if(|known| !used && known.keys.is_empty() && known.pace.paused_until(now).is_none());
        }
    }
}
