//! The scheduler against a model that searches through lists, for random histories.
//!
//! The model shares the values with tests of their own (budget, circuit, pace, turns), and none of the structures that
//! keep places in order.

use proptest::prelude::*;

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

#[derive(Clone, Debug)]
enum Step {
    Enter(Want),
    /// The context that was called first comes, and sends its request.
    Redeem {
        sends: bool,
    },
    /// One of the permits sends a request, perhaps another one than it entered for.
    Request(usize, usize, bool),
    End(usize, Health, Option<u64>),
    Drop(usize),
    Leave(usize),
    Sleep(Want),
    Forget(usize, usize),
    Wait(u64),
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
        if place.want.host != want.host || place.want.working != want.working {
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

/// Both at once; every step has to have the same effect.
struct Both {
    world: World,
    model: Model,
    permits: Vec<(u64, usize, usize, Permit)>,
    /// The contexts that were woken and did not come yet.
    called: Vec<usize>,
    /// The contexts among them that were woken in this step.
    woken: Vec<usize>,
    wants: Vec<Option<Want>>,
}

impl Both {
    fn new(limits: Limits) -> Self {
        let world = World::new(limits);
        let model = Model::new(limits, world.begin);
        Self { world, model, permits: Vec::new(), called: Vec::new(), woken: Vec::new(), wants: vec![None; CONTEXTS] }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Enter(want) => self.enter(want),
            Step::Redeem { sends } => {
                if !self.called.is_empty() {
                    let n = self.called.remove(0);
                    let before = self.permits.len();
                    if let Some(want) = self.wants[n] {
                        self.enter(want);
                        if sends && self.permits.len() > before && want.wanted.is_some() {
                            self.request(before, want);
                        }
                    }
                }
            }
            Step::Request(at, other, check) if !self.permits.is_empty() => {
                let (_, n, host, _) = self.permits[at % self.permits.len()];
                let kind = if check { RequestKind::Check } else { RequestKind::Token };
                let entered = self.wants[n].filter(|want| want.wanted.is_some_and(|(_, of)| of == kind));
                let want = Want { n, host, wanted: Some((other, kind)), urgency: 2, working: other % 2 == 0 };
                self.request(at % self.permits.len(), entered.unwrap_or(want));
            }
            Step::End(at, health, pause) if !self.permits.is_empty() => {
                let (ticket, .., permit) = &self.permits[at % self.permits.len()];
                let end = RequestEnd { health, pause: pause.map(Duration::from_secs) };
                permit.ended(end, self.model.now);
                self.model.ended(*ticket, end);
            }
            Step::Drop(at) if !self.permits.is_empty() => self.give_back(at % self.permits.len()),
            Step::Leave(n) => {
                self.world.scheduler.leave(&n.to_string(), self.model.now);
                self.model.leave(n);
                self.model.serve();
                self.wants[n] = None;
            }
            Step::Sleep(want) => {
                let (key_, kind) = want.wanted.unwrap_or((want.n, RequestKind::Token));
                let want = Want { wanted: Some((key_, kind)), ..want };
                let caller = caller(want.n, NAMESPACES[want.n % NAMESPACES.len()]);
                let urgency = urgency(want.urgency, self.world.begin);
                let request = Request { caller: &caller, host: HOSTS[want.host], urgency, working: want.working };
                self.world.scheduler.sleep(&request, key(key_), kind, self.model.now);
                self.model.sleep(want);
                self.model.serve();
                self.wants[want.n] = Some(want);
            }
            Step::Forget(host, key_) => {
                self.world.scheduler.forget(HOSTS[host], key(key_), self.model.now);
                self.model.forget(host, key_);
                self.model.serve();
            }
            Step::Wait(millis) => self.wait(Duration::from_millis(millis)),
            Step::Request(..) | Step::End(..) | Step::Drop(_) => {}
        }
        self.compare();
    }

    /// Time passes as with the timer: from event to event.
    fn wait(&mut self, time: Duration) {
        let end = self.model.now + time;
        while self.model.now < end {
            let event = self.world.scheduler.shared.change(self.model.now, State::arm);
            self.model.now = event.map_or(end, |event| event.min(end)).max(self.model.now + Duration::from_millis(1));
            self.woken.extend(self.world.at(self.model.now));
            self.model.tidy();
            self.model.serve();
            self.compare();
        }
    }

    fn enter(&mut self, want: Want) {
        let caller = caller(want.n, NAMESPACES[want.n % NAMESPACES.len()]);
        let urgency = urgency(want.urgency, self.world.begin);
        let request = Request { caller: &caller, host: HOSTS[want.host], urgency, working: want.working };
        let wanted = want.wanted.map(|(key_, kind)| (key(key_), kind));
        let permit = self.world.scheduler.enter(&request, wanted, self.model.now);
        let ticket = self.model.enter(want);
        self.model.serve();
        assert_eq!(permit.is_ok(), ticket.is_some(), "{want:?} {permit:?}");
        self.wants[want.n] = Some(want);
        if let (Ok(permit), Some(ticket)) = (permit, ticket) {
            self.permits.push((ticket, want.n, want.host, permit));
        }
    }

    fn request(&mut self, at: usize, want: Want) {
        let (ticket, _, host, permit) = &self.permits[at];
        let (want, (key_, kind)) = (Want { host: *host, ..want }, want.wanted.unwrap());
        let urgency = urgency(want.urgency, self.world.begin);
        let sent = permit.request(key(key_), kind, urgency, want.working, self.model.now);
        assert_eq!(sent.is_ok(), self.model.request(*ticket, want), "{want:?} {sent:?}");
        self.wants[want.n] = Some(want);
        if sent.is_err() {
            self.give_back(at);
        }
    }

    fn give_back(&mut self, at: usize) {
        let (ticket, .., permit) = self.permits.remove(at);
        drop(permit);
        self.model.give_back(ticket);
        self.model.serve();
    }

    fn compare(&mut self) {
        self.woken.extend(self.world.woken());
        assert_eq!(self.woken, std::mem::take(&mut self.model.woken));
        self.called.append(&mut self.woken);
        assert_eq!(self.world.scheduler.waiting(), self.model.places.len());
        for place in &self.model.places {
            assert_eq!(self.world.scheduler.is_called(&place.want.n.to_string()), place.called.is_some(), "{place:?}");
        }
        let known = self.model.hosts.iter().filter(|host| host.is_some()).count();
        assert_eq!(self.world.scheduler.shared.state.lock().hosts(), known);
    }
}

fn kind() -> impl Strategy<Value = RequestKind> {
    prop_oneof![3 => Just(RequestKind::Token), 1 => Just(RequestKind::Check)]
}

fn want() -> impl Strategy<Value = Want> {
    let key = prop_oneof![3 => Just(None), 1 => (0..CONTEXTS * 2).prop_map(Some)];
    let wanted = prop_oneof![1 => Just(None), 4 => (key, kind()).prop_map(Some)];
    (0..CONTEXTS, wanted, 0u8..5, any::<bool>(), 0..20usize).prop_map(|(n, wanted, urgency, working, moved)| {
        // Now and then a context moves to another host.
        let host = if moved == 0 { (n + 1) % HOSTS.len() } else { n / 2 % HOSTS.len() };
        let wanted = wanted.map(|(key, kind)| (key.unwrap_or(n / 2), kind));
        Want { n, host, wanted, urgency, working: working || urgency < 2 }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let health = prop_oneof![4 => Just(Health::Up), 2 => Just(Health::Answers), 3 => Just(Health::Down)];
    let pause = prop_oneof![6 => Just(None), 1 => (1..30u64).prop_map(Some)];
    prop_oneof![
        8 => want().prop_map(Step::Enter),
        6 => prop::bool::weighted(0.8).prop_map(|sends| Step::Redeem { sends }),
        3 => (any::<usize>(), 0..CONTEXTS * 2, any::<bool>()).prop_map(|(at, key, check)| Step::Request(at, key, check)),
        5 => (any::<usize>(), health, pause).prop_map(|(at, health, pause)| Step::End(at, health, pause)),
        4 => any::<usize>().prop_map(Step::Drop),
        1 => (0..CONTEXTS).prop_map(Step::Leave),
        1 => want().prop_map(Step::Sleep),
        1 => (0..HOSTS.len(), 0..CONTEXTS).prop_map(|(host, key)| Step::Forget(host, key)),
        4 => prop_oneof![0..3_000u64, 0..90_000u64].prop_map(Step::Wait),
    ]
}

fn any_limits() -> impl Strategy<Value = Limits> {
    (0u32..8, 0u32..16, 0u32..4, 1u16..7).prop_map(|(tokens, requests, key, concurrency)| Limits {
        host_tokens_per_minute: tokens,
        host_requests_per_minute: requests,
        key_tokens_per_minute: key,
        concurrency,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_history_goes_as_in_the_model_and_ends_with_everyone_served(
        limits in any_limits(),
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut both = Both::new(limits);
        steps.iter().for_each(|step| both.step(step));
        // From now on every context comes, the hosts are up, and no new context enters.
        for _ in 0..2_000 {
            while !both.permits.is_empty() {
                both.step(&Step::End(0, Health::Up, None));
                both.step(&Step::Drop(0));
            }
            if both.called.is_empty() {
                if both.world.scheduler.waiting() == 0 {
                    break;
                }
                both.step(&Step::Wait(1_000));
            }
            both.step(&Step::Redeem { sends: true });
        }
        prop_assert_eq!(both.world.scheduler.waiting(), 0);
    }
}
