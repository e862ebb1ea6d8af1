//! The scheduler and its model go through random histories, and every step has the same effect on both.

use proptest::prelude::*;

use super::*;

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

/// The scheduler and the model.
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
