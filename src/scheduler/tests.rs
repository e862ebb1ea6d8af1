//! The scheduler as its callers see it.

mod follow;
mod model;
mod timer;

use super::*;

pub(super) const HOST: &str = "acme.eu.qlikcloud.com";
const OTHER: &str = "other.eu.qlikcloud.com";
const SECOND: Duration = Duration::from_secs(1);

/// A scheduler, and the contexts that it has woken.
pub(super) struct World {
    pub(super) scheduler: Scheduler,
    woken: Arc<Mutex<Vec<usize>>>,
    pub(super) budget_waits: Arc<Mutex<usize>>,
    pub(super) circuits_open: Arc<Mutex<Vec<usize>>>,
    pub(super) begin: Instant,
}

struct Counts {
    budget_waits: Arc<Mutex<usize>>,
    circuits_open: Arc<Mutex<Vec<usize>>>,
}

impl Observer for Counts {
    fn budget_wait(&self) {
        *self.budget_waits.lock() += 1;
    }

    fn circuits_open(&self, open: usize) {
        self.circuits_open.lock().push(open);
    }
}

impl World {
    pub(super) fn new(limits: Limits) -> Self {
        let woken = Arc::new(Mutex::new(Vec::new()));
        let (budget_waits, circuits_open) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(Vec::new())));
        let list = Arc::clone(&woken);
        let wake = Box::new(move |caller: &Caller| list.lock().push(caller.uid.parse().unwrap()));
        let counts = Counts { budget_waits: Arc::clone(&budget_waits), circuits_open: Arc::clone(&circuits_open) };
        let scheduler = Scheduler::new(limits, wake, Box::new(counts));
        // Later than the clock, which a dropped permit reads, will be in a test.
        let begin = Instant::now() + Duration::from_hours(1);
        Self { scheduler, woken, budget_waits, circuits_open, begin }
    }

    pub(super) fn woken(&self) -> Vec<usize> {
        std::mem::take(&mut self.woken.lock())
    }

    /// What the timer does at this time.
    pub(super) fn at(&self, now: Instant) -> Vec<usize> {
        self.scheduler.shared.change(now, |_, _| ());
        self.woken()
    }

    fn next_event(&self) -> Option<Instant> {
        self.scheduler.shared.change(self.begin, State::arm)
    }

    fn ask(&self, ask: &Ask, now: Instant) -> Result<Permit, Wait> {
        self.scheduler.enter(&ask.request(), Some((key(ask.n), ask.kind)), now)
    }

    /// Enters and sends; the permit, once the request is sent.
    fn send(&self, ask: &Ask, now: Instant) -> Result<Permit, Wait> {
        let permit = self.ask(ask, now)?;
        permit.request(key(ask.n), ask.kind, ask.urgency, ask.working, now)?;
        Ok(permit)
    }
}

pub(super) fn key(n: usize) -> RequestKey {
    RequestKey::numbered(n)
}

pub(super) fn caller(n: usize, namespace: &str) -> Caller {
    Caller {
        kind: Kind::Context,
        uid: n.to_string().into(),
        namespace: namespace.into(),
        name: format!("context-{n}").into(),
    }
}

/// The request of a context with a key of its own.
#[derive(Clone, Debug)]
struct Ask {
    n: usize,
    caller: Caller,
    host: &'static str,
    kind: RequestKind,
    urgency: Urgency,
    working: bool,
}

impl Ask {
    fn request(&self) -> Request<'_> {
        Request { caller: &self.caller, host: self.host, urgency: self.urgency, working: self.working }
    }
}

fn ask(n: usize, namespace: &str, urgency: Urgency) -> Ask {
    let (kind, working) = (RequestKind::Token, urgency.holds_token());
    Ask { n, caller: caller(n, namespace), host: HOST, kind, urgency, working }
}

fn check(n: usize, namespace: &str) -> Ask {
    Ask { kind: RequestKind::Check, ..ask(n, namespace, Urgency::Routine) }
}

fn limits(host_tokens_per_minute: u32) -> Limits {
    Limits { host_tokens_per_minute, ..Limits::default() }
}

const UP: RequestEnd = RequestEnd { health: Health::Up, pause: None };
const DOWN: RequestEnd = RequestEnd { health: Health::Down, pause: None };

fn paused(seconds: u64) -> RequestEnd {
    RequestEnd { health: Health::Answers, pause: Some(Duration::from_secs(seconds)) }
}

/// Serves every waiting context, one after the other, and returns the order.
fn order(world: &World, asks: &[Ask], mut now: Instant) -> Vec<usize> {
    let mut order = Vec::new();
    for _ in 0..100_000 {
        let woken = world.at(now);
        if woken.is_empty() {
            match world.next_event() {
                Some(at) => now = now.max(at),
                None => break,
            }
        }
        for n in woken {
            let ask = asks.iter().find(|ask| ask.n == n).unwrap();
            drop(world.send(ask, now).unwrap());
            order.push(n);
        }
    }
    assert_eq!(world.scheduler.waiting(), 0);
    order
}

/// Every context waits for one slot, which is then returned.
fn order_for_a_slot(asks: &[Ask]) -> Vec<usize> {
    let world = World::new(Limits { concurrency: 1, host_requests_per_minute: 0, ..limits(0) });
    let first = world.ask(&ask(9999, "first", Urgency::New), world.begin).unwrap();
    for ask in asks {
        assert_eq!(world.ask(ask, world.begin).unwrap_err().reason, WaitReason::Slot);
    }
    drop(first);
    order(&world, asks, world.begin)
}

/// Every context waits for a pause to end.
fn order_after_a_pause(asks: &[Ask]) -> Vec<usize> {
    let world = World::new(Limits { host_requests_per_minute: 0, ..limits(0) });
    pause(&world, 30);
    for ask in asks {
        assert_eq!(world.ask(ask, world.begin).unwrap_err().reason, WaitReason::Pause);
    }
    order(&world, asks, world.begin)
}

fn pause(world: &World, seconds: u64) {
    let first = Ask { working: true, ..ask(9999, "first", Urgency::New) };
    world.send(&first, world.begin).unwrap().ended(paused(seconds), world.begin);
}

#[test]
fn the_nearest_expiry_comes_first_then_new_then_routine_then_failed_and_equals_by_arrival() {
    let ends = |minutes| Urgency::Due { ends: Instant::now() + Duration::from_mins(minutes) };
    let asks = [
        ask(0, "a", Urgency::Failed),
        ask(1, "a", Urgency::Routine),
        ask(2, "a", Urgency::New),
        ask(3, "a", ends(60)),
        ask(4, "a", ends(30)),
        ask(5, "a", Urgency::New),
        ask(6, "a", Urgency::Failed),
    ];
    assert_eq!(order_for_a_slot(&asks), [4, 3, 2, 5, 1, 0, 6]);
    assert_eq!(order_after_a_pause(&asks), [4, 3, 2, 5, 1, 0, 6]);
}

#[test]
fn namespaces_take_turns_however_many_wait() {
    let crowd = (0..50).map(|n| ask(n, "crowd", Urgency::New));
    let asks: Vec<_> = crowd.chain([ask(100, "one", Urgency::Routine), ask(101, "one", Urgency::New)]).collect();
    for order in [order_for_a_slot(&asks), order_after_a_pause(&asks)] {
        assert_eq!(order[..4], [0, 101, 1, 100], "{order:?}");
        assert!(order[4..].is_sorted());
    }
}

#[test]
fn a_token_that_expires_goes_before_what_is_new_of_any_namespace() {
    let due = Urgency::Due { ends: Instant::now() + Duration::from_hours(2) };
    let crowd = (0..50).map(|n| ask(n, "crowd", Urgency::New));
    let asks: Vec<_> = crowd.chain([ask(100, "busy", due)]).collect();
    assert_eq!(order_for_a_slot(&asks)[0], 100);
    assert_eq!(order_after_a_pause(&asks)[0], 100);
}

#[test]
fn with_one_slot_a_due_renewal_goes_before_any_routine_check() {
    let due = Urgency::Due { ends: Instant::now() + Duration::from_mins(1) };
    let urgent = Ask { urgency: Urgency::Due { ends: Instant::now() }, ..check(2, "hostile") };
    assert_eq!(order_after_a_pause(&[check(1, "hostile"), urgent, ask(0, "good", due)]), [0, 2, 1]);
}

#[test]
fn a_context_that_finds_a_free_turn_gets_it_at_once_and_is_not_woken() {
    let world = World::new(Limits::default());
    let permit = world.send(&ask(0, "a", Urgency::New), world.begin).unwrap();
    permit.ended(UP, world.begin);
    drop(permit);
    assert_eq!((world.woken(), world.scheduler.waiting()), (vec![], 0));
    assert_eq!(world.next_event(), None);
}

#[test]
fn a_turn_is_reserved_for_five_seconds_and_then_goes_to_the_next() {
    let world = World::new(Limits { concurrency: 1, ..Limits::default() });
    let asks = [0, 1].map(|n| ask(n, "a", Urgency::New));
    let first = world.ask(&ask(9, "a", Urgency::New), world.begin).unwrap();
    asks.iter().for_each(|ask| assert!(world.ask(ask, world.begin).is_err()));
    drop(first);
    assert_eq!(world.woken(), [0]);
    assert!(world.scheduler.is_called("0") && !world.scheduler.is_called("1"));
    assert_eq!(world.scheduler.waits("0", world.begin), None);
    assert_eq!(world.scheduler.waits("1", world.begin).unwrap().reason, WaitReason::Slot);
    let late = world.next_event().unwrap();
    assert!(late >= world.begin + 5 * SECOND);
    assert_eq!(world.at(late), [1], "the turn goes on");
    assert_eq!(world.ask(&asks[0], late).unwrap_err().reason, WaitReason::Slot, "too late, but it has a place");
    let next = world.ask(&asks[1], late).unwrap();
    assert_eq!(world.woken(), [0; 0]);
    drop(next);
    assert_eq!(world.woken(), [0], "the place was not lost");
}

#[test]
fn a_turn_that_was_not_used_costs_nothing() {
    let world = World::new(Limits { key_tokens_per_minute: 1, ..limits(1) });
    for _ in 0..3 {
        drop(world.ask(&ask(0, "a", Urgency::Routine), world.begin).unwrap());
    }
    drop(world.send(&ask(0, "a", Urgency::Routine), world.begin).unwrap());
    let wait = world.ask(&ask(0, "a", Urgency::Routine), world.begin).unwrap_err();
    assert_eq!(wait, Wait { reason: WaitReason::Budget, expected: 60 * SECOND });
    assert_eq!(*world.budget_waits.lock(), 1);
}

#[test]
fn reserved_turns_count_against_the_budget_until_they_lapse() {
    let world = World::new(limits(2));
    let asks = [0, 1, 2].map(|n| ask(n, "a", Urgency::Routine));
    let mut permits: Vec<_> = asks[..2].iter().map(|ask| world.ask(ask, world.begin).unwrap()).collect();
    assert_eq!(world.ask(&asks[2], world.begin).unwrap_err().reason, WaitReason::Budget);
    permits.pop();
    assert_eq!(world.woken(), [2]);
}

#[test]
fn a_slot_alone_needs_no_budget_and_its_permit_asks_for_the_turn_later() {
    let world = World::new(limits(1));
    let asks = [0, 1].map(|n| ask(n, "a", Urgency::Routine));
    let permits = asks.clone().map(|ask| world.scheduler.enter(&ask.request(), None, world.begin).unwrap());
    let request = |n: usize, now| permits[n].request(key(n), RequestKind::Token, Urgency::Routine, true, now);
    assert_eq!(request(0, world.begin), Ok(()));
    assert_eq!(request(1, world.begin).unwrap_err().reason, WaitReason::Budget);
    drop(permits);
    assert_eq!(world.scheduler.waiting(), 1);
    assert_eq!(world.at(world.begin + 59 * SECOND), [0; 0]);
    assert_eq!(world.at(world.begin + 61 * SECOND), [1]);
    drop(world.send(&asks[1], world.begin + 61 * SECOND).unwrap());
}

#[test]
fn one_permit_sends_a_check_and_then_asks_for_a_token() {
    let world = World::new(Limits::default());
    let permit = world.send(&check(0, "a"), world.begin).unwrap();
    permit.ended(RequestEnd { health: Health::Answers, pause: None }, world.begin);
    permit.request(key(0), RequestKind::Token, Urgency::New, true, world.begin).unwrap();
    permit.ended(UP, world.begin);
}

#[test]
fn a_context_whose_key_changed_keeps_its_turn_unless_the_new_key_is_over_its_budget() {
    for used in [false, true] {
        let world = World::new(Limits { concurrency: 1, key_tokens_per_minute: 1, ..Limits::default() });
        let other = Ask { n: 1, ..ask(0, "a", Urgency::New) };
        if used {
            drop(world.send(&ask(1, "b", Urgency::New), world.begin).unwrap());
        }
        let first = world.ask(&ask(9, "a", Urgency::New), world.begin).unwrap();
        assert!(world.ask(&ask(0, "a", Urgency::New), world.begin).is_err());
        drop(first);
        assert_eq!(world.woken(), [0]);
        let again = world.send(&other, world.begin);
        assert_eq!(again.err().map(|wait| wait.reason), used.then_some(WaitReason::Budget));
        assert_eq!(world.scheduler.waiting(), usize::from(used));
    }
}

#[test]
fn a_context_has_one_place_and_leaves_it_when_it_goes() {
    let world = World::new(Limits { concurrency: 1, ..Limits::default() });
    let first = world.ask(&ask(9, "a", Urgency::New), world.begin).unwrap();
    for n in 0..10 {
        let flips = Ask { n, ..ask(0, "a", Urgency::New) };
        assert!(world.ask(&flips, world.begin).is_err());
        assert_eq!(world.scheduler.waiting(), 1);
    }
    assert!(world.ask(&ask(1, "a", Urgency::New), world.begin).is_err());
    assert_eq!(world.scheduler.oldest(world.begin + SECOND), Some(SECOND));
    world.scheduler.leave("0", world.begin);
    drop(first);
    assert_eq!(world.woken(), [1]);
    world.scheduler.leave("1", world.begin);
    assert_eq!((world.scheduler.waiting(), world.scheduler.oldest(world.begin)), (0, None));
    drop(world.ask(&ask(2, "a", Urgency::New), world.begin).unwrap());
}

#[test]
fn a_key_over_its_own_budget_delays_no_other_and_is_woken_when_it_opens() {
    let world = World::new(Limits { key_tokens_per_minute: 1, ..Limits::default() });
    let greedy = ask(0, "a", Urgency::New);
    drop(world.send(&greedy, world.begin).unwrap());
    let wait = world.ask(&greedy, world.begin).unwrap_err();
    assert_eq!(wait, Wait { reason: WaitReason::Budget, expected: 60 * SECOND });
    drop(world.send(&ask(1, "a", Urgency::New), world.begin).unwrap());
    assert_eq!(world.next_event(), Some(world.begin + 60 * SECOND));
    assert_eq!(world.at(world.begin + 60 * SECOND), [0]);
}

#[test]
fn what_is_new_leaves_half_of_the_budget_to_working_tokens_and_checks_leave_half_of_theirs() {
    let world = World::new(Limits { host_requests_per_minute: 0, ..limits(100) });
    let sent = |asks: &mut dyn Iterator<Item = Ask>| asks.filter(|ask| world.send(ask, world.begin).is_ok()).count();
    assert_eq!(sent(&mut (0..100).map(|n| ask(n, "hostile", Urgency::New))), 50);
    let due = Urgency::Due { ends: world.begin + 600 * SECOND };
    assert_eq!(sent(&mut (200..300).map(|n| ask(n, "good", due))), 50);
    let world = World::new(Limits { host_requests_per_minute: 100, ..limits(0) });
    let sent = |asks: &mut dyn Iterator<Item = Ask>| asks.filter(|ask| world.send(ask, world.begin).is_ok()).count();
    assert_eq!(sent(&mut (0..100).map(|n| check(n, "a"))), 25, "two requests each");
    assert_eq!(sent(&mut (200..300).map(|n| ask(n, "b", Urgency::New))), 25);
}

#[test]
fn a_pause_of_a_working_context_holds_everyone_and_another_is_ignored() {
    for working in [true, false] {
        let world = World::new(Limits::default());
        let permit = world.send(&Ask { working, ..ask(0, "a", Urgency::New) }, world.begin).unwrap();
        permit.ended(paused(30), world.begin);
        assert_eq!(world.scheduler.paused(HOST, world.begin), working.then_some(30 * SECOND));
        let other = world.send(&ask(1, "b", Urgency::New), world.begin);
        let wait = Wait { reason: WaitReason::Pause, expected: 30 * SECOND };
        assert_eq!(other.err(), working.then_some(wait));
    }
}

#[test]
fn a_turn_that_was_reserved_before_a_pause_is_not_used_in_it() {
    let world = World::new(Limits::default());
    let permits = [0, 1].map(|n| world.ask(&ask(n, "a", Urgency::Routine), world.begin).unwrap());
    let request = |n: usize, now| permits[n].request(key(n), RequestKind::Token, Urgency::Routine, true, now);
    request(0, world.begin).unwrap();
    permits[0].ended(paused(30), world.begin);
    assert_eq!(request(1, world.begin).unwrap_err().reason, WaitReason::Pause);
    drop(permits);
    assert_eq!(world.at(world.begin + 30 * SECOND), [1]);
}

/// Three keys found the host down for a minute.
fn broken(limits: Limits) -> (World, Instant) {
    let world = World::new(limits);
    drop(world.send(&ask(1000, "a", Urgency::New), world.begin).unwrap());
    let now = world.begin + 120 * SECOND;
    for n in 1001..1004 {
        world.send(&ask(n, "a", Urgency::New), now).unwrap().ended(DOWN, now);
    }
    assert_eq!(*world.circuits_open.lock(), [1]);
    (world, now)
}

#[test]
fn an_open_circuit_lets_one_probe_through_every_ten_seconds_and_closes_with_an_answer() {
    let (world, now) = broken(Limits::default());
    let asks: Vec<_> = (0..20).map(|n| ask(n, "a", Urgency::New)).collect();
    for (ask, n) in asks.iter().zip(1..) {
        let wait = world.ask(ask, now).unwrap_err();
        assert_eq!(wait, Wait { reason: WaitReason::Circuit, expected: 10 * n * SECOND });
    }
    assert_eq!(world.at(now + 9 * SECOND), [0; 0]);
    assert_eq!(world.at(now + 10 * SECOND), [0]);
    let probe = world.send(&asks[0], now + 10 * SECOND).unwrap();
    assert_eq!(world.at(now + 19 * SECOND), [0; 0]);
    assert_eq!(world.at(now + 20 * SECOND), [1]);
    probe.ended(RequestEnd { health: Health::Answers, pause: None }, now + 20 * SECOND);
    assert_eq!(*world.circuits_open.lock(), [1, 0]);
    drop(world.send(&asks[1], now + 20 * SECOND).unwrap());
    for second in 21..30 {
        let woken = world.at(now + second * SECOND);
        assert_eq!(woken.len(), 1, "ten in the first ten seconds");
        drop(world.send(&asks[woken[0]], now + second * SECOND).unwrap());
    }
}

#[test]
fn parked_contexts_wake_gradually_when_the_host_is_up_again() {
    let (world, now) = broken(limits(0));
    let asks: Vec<_> = (0..100).map(|n| ask(n, "a", Urgency::Failed)).collect();
    for ask in &asks {
        world.scheduler.sleep(&ask.request(), key(ask.n), ask.kind, now);
        world.scheduler.sleep(&ask.request(), key(ask.n), ask.kind, now);
    }
    world.scheduler.leave("0", now);
    assert_eq!((world.scheduler.waiting(), world.scheduler.waits("1", now)), (0, None));
    assert_eq!(world.next_event(), None, "nothing happens for those who sleep");
    assert!(world.ask(&asks[1], now).is_err(), "it entered by itself, and waits");
    assert_eq!(world.at(now + 10 * SECOND), [1]);
    world.send(&asks[1], now + 10 * SECOND).unwrap().ended(UP, now + 10 * SECOND);
    assert_eq!(world.scheduler.waiting(), 98);
    let served = order(&world, &asks, now + 10 * SECOND);
    assert_eq!(served, (2..100).collect::<Vec<_>>());
}

#[test]
fn a_key_that_keeps_failing_is_not_woken_by_each_success_of_others() {
    let world = World::new(Limits { host_requests_per_minute: 0, ..limits(0) });
    let failing = ask(0, "a", Urgency::Failed);
    let mut tries = 0;
    for second in 0..600 {
        let now = world.begin + second * SECOND;
        world.send(&ask(1 + second as usize, "b", Urgency::New), now).unwrap().ended(UP, now);
        if second == 0 || world.woken() == [0] {
            tries += 1;
            world.send(&failing, now).unwrap().ended(DOWN, now);
            world.scheduler.sleep(&failing.request(), key(0), failing.kind, now);
        }
    }
    assert!((9..=11).contains(&tries), "{tries}");
}

#[test]
fn hosts_and_keys_that_nobody_uses_any_more_are_forgotten() {
    let world = World::new(limits(1));
    let hosts = || world.scheduler.shared.state.lock().hosts();
    let forget = |n| world.scheduler.forget(HOST, key(n), world.begin);
    drop(world.scheduler.enter(&ask(0, "a", Urgency::New).request(), None, world.begin).unwrap());
    assert_eq!(hosts(), 0, "no key is known of it");
    drop(world.send(&Ask { working: true, ..ask(0, "a", Urgency::Routine) }, world.begin).unwrap());
    assert!(world.ask(&ask(1, "a", Urgency::New), world.begin).is_err());
    (0..2).for_each(forget);
    assert_eq!(hosts(), 1, "a context waits");
    world.scheduler.leave("1", world.begin);
    assert_eq!(hosts(), 0);
    pause(&world, 30);
    forget(9999);
    assert_eq!(hosts(), 1, "it is paused");
    assert_eq!(world.next_event(), Some(world.begin + 30 * SECOND));
    world.at(world.begin + 30 * SECOND);
    assert_eq!(hosts(), 0);
}

#[test]
fn a_permit_that_is_dropped_without_an_end_gives_its_slot_back_once() {
    let world = World::new(Limits { concurrency: 1, ..Limits::default() });
    for n in 0..3 {
        drop(world.send(&ask(n, "a", Urgency::New), world.begin).unwrap());
    }
    let held = world.send(&ask(3, "a", Urgency::New), world.begin).unwrap();
    assert!(world.ask(&ask(4, "a", Urgency::New), world.begin).is_err());
    assert_eq!(world.woken(), [0; 0]);
    drop(held);
    assert_eq!(world.woken(), [4]);
}

#[test]
fn a_namespace_that_used_up_its_slots_blocks_no_other_at_any_host() {
    let world = World::new(Limits { concurrency: 4, ..Limits::default() });
    let hosts: [&'static str; 3] = [HOST, OTHER, "third.eu.qlikcloud.com"];
    let crowd: Vec<_> = (0..30).map(|n| Ask { host: hosts[n % 3], ..ask(n, "crowd", Urgency::Routine) }).collect();
    let permits: Vec<_> = crowd.iter().filter_map(|ask| world.ask(ask, world.begin).ok()).collect();
    assert_eq!(permits.len(), 3);
    let one = world.ask(&ask(100, "one", Urgency::Routine), world.begin).unwrap();
    assert!(world.ask(&ask(101, "one", Urgency::Failed), world.begin).is_err());
    drop(one);
    assert_eq!(world.woken(), [101]);
    drop(permits);
    assert_eq!(world.woken(), [3, 4, 5], "then the crowd again, in order of arrival");
}

#[test]
fn fifty_thousand_wait_and_are_served_one_by_one() {
    let world = World::new(Limits { key_tokens_per_minute: 1, ..limits(100) });
    let hosts: [&'static str; 2] = [HOST, OTHER];
    let namespaces: Vec<String> = (0..500).map(|n| format!("namespace-{n}")).collect();
    let asks: Vec<_> =
        (0..50_000).map(|n| Ask { host: hosts[n % 2], ..ask(n, &namespaces[n / 2 % 500], Urgency::New) }).collect();
    let mut permits: Vec<_> = asks.iter().filter_map(|ask| world.send(ask, world.begin).ok()).collect();
    assert_eq!(world.scheduler.waiting(), 50_000 - permits.len());
    permits.clear();
    let (mut now, mut served) = (world.begin, 0);
    while served < 5_000 {
        let woken = world.at(now);
        if woken.is_empty() {
            now = world.next_event().unwrap().max(now);
        }
        for n in woken {
            drop(world.send(&asks[n], now).unwrap());
            served += 1;
        }
    }
    (0..50_000).for_each(|n| world.scheduler.leave(&n.to_string(), now));
    assert_eq!((world.scheduler.waiting(), world.woken()), (0, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_called_context_that_first_has_to_read_keeps_its_turn() {
    let world = World::new(limits(1));
    let asks = [0, 1, 2].map(|n| ask(n, "a", Urgency::Due { ends: world.begin + SECOND * 600 }));
    drop(world.send(&asks[0], world.begin).unwrap());
    for ask in &asks[1..] {
        assert!(world.ask(ask, world.begin).is_err());
    }
    let now = world.begin + SECOND * 60;
    assert_eq!(world.at(now), [1]);
    // It has read nothing yet, so it knows neither its request nor its token.
    let reads = Ask { urgency: Urgency::New, working: false, ..asks[1].clone() };
    let permit = world.scheduler.enter(&reads.request(), None, now).unwrap();
    assert_eq!(world.woken(), [0; 0], "its turn goes to nobody else");
    assert_eq!(permit.request(key(1), RequestKind::Token, asks[1].urgency, true, now), Ok(()));
}
