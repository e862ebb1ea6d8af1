//! What one host is spared: its budgets, its circuit, its pauses, and the ramp after either.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::budget::Budget;
use super::circuit::{Circuit, Health, PROBE_EVERY};
use super::queue::Queue;
use super::{Bid, Cause, Errand, Limits};
use crate::oauth::request::RequestKey;

/// `users/me` leads to the user: a verification is two requests.
const VERIFICATION: u32 = 2;
/// The ramp: ten requests in its first step, twice as many in each one after, then the budgets alone.
const STEP: Duration = Duration::from_secs(10);
const FIRST_STEP: u32 = 10;
const STEPS: u32 = 4;
/// A namespace can pause a host that serves others once in this time.
const PAUSE_AGAIN: Duration = Duration::from_hours(1);
/// Who waits for a circuit looks again at least this often.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// A host.
#[derive(Debug)]
pub(super) struct Host {
    tokens: Budget,
    requests: Budget,
    for_tokens: Queue,
    for_requests: Queue,
    keys: HashMap<RequestKey, Budget>,
    circuit: Circuit,
    /// When it was, or will be, opened again, and how many requests went there since.
    reopening: Option<(Instant, u32)>,
    paused: Option<Paused>,
}

/// The last pause that was asked for.
#[derive(Debug)]
struct Paused {
    /// Of whom.
    namespace: String,
    at: Instant,
    /// Another namespace was served since.
    serves_others: bool,
}

impl Host {
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            tokens: Budget::per_minute(limits.host_tokens_per_minute),
            requests: Budget::per_minute(limits.host_requests_per_minute),
            for_tokens: Queue::default(),
            for_requests: Queue::default(),
            keys: HashMap::new(),
            circuit: Circuit::new(now),
            reopening: None,
            paused: None,
        }
    }

    /// When this request may go, and what it waits for until then.
    pub(super) fn opens_at(&mut self, bid: &Bid<'_>, limits: &Limits, now: Instant) -> (Instant, Cause) {
        let key = self.keys.entry(bid.key).or_insert_with(|| Budget::per_minute(limits.key_tokens_per_minute));
        if bid.errand == Errand::Token {
            let opens = key.opens_at(1, 0, false, now);
            if opens > now {
                // Others need not wait for one who could not go anyway.
                return (opens, Cause::Budget);
            }
        }
        let ahead = self.queue(bid).ahead(bid, now);
        let own = match bid.errand {
            Errand::Token => self.tokens.opens_at(1, ahead, !bid.urgency.holds_token(), now),
            Errand::Check => self.requests.opens_at(VERIFICATION, ahead.saturating_mul(VERIFICATION), true, now),
        };
        // Checks leave half to the verifications of new tokens, so these wait for nobody but each other.
        let follows = match bid.errand {
            Errand::Token => self.requests.opens_at(VERIFICATION, 0, false, now),
            Errand::Check => now,
        };
        // Where one goes after the other, checks go after every renewal that is due.
        let before = match bid.errand {
            Errand::Token => ahead,
            Errand::Check => ahead.saturating_add(self.for_tokens.due(now)),
        };
        let ramp = self.reopening.map_or(now, |(at, since)| at + after_reopening(since.saturating_add(before)));
        let probe = self.circuit.probe_at().map_or(now, |at| at + PROBE_EVERY.saturating_mul(before).min(LONGEST_WAIT));
        let paused = if self.paused_until(now).is_some() { Cause::Pause } else { Cause::Budget };
        let waits = [(own, Cause::Budget), (follows, Cause::Budget), (ramp, paused), (probe, Cause::Circuit)];
        let (at, cause) = waits.into_iter().max_by_key(|(at, _)| *at).unwrap_or((now, Cause::Budget));
        if at > now {
            self.queue(bid).wait(bid, at);
        }
        (at, cause)
    }

    fn queue(&mut self, bid: &Bid<'_>) -> &mut Queue {
        match bid.errand {
            Errand::Token => &mut self.for_tokens,
            Errand::Check => &mut self.for_requests,
        }
    }

    /// The request goes.
    pub(super) fn begin(&mut self, bid: &Bid<'_>, now: Instant) {
        self.requests.take(VERIFICATION, now);
        self.queue(bid).serve(bid);
        if bid.errand == Errand::Token {
            self.tokens.take(1, now);
            if let Some(key) = self.keys.get_mut(&bid.key) {
                key.take(1, now);
            }
        }
        self.circuit.begin(now);
        self.reopening = self.reopening.map(|(at, since)| (at, since.saturating_add(1)));
    }

    /// The request ended.
    pub(super) fn end(&mut self, key: RequestKey, namespace: &str, health: Health, now: Instant) {
        if let Some(paused) = self.paused.as_mut().filter(|paused| paused.namespace != namespace) {
            paused.serves_others |= health == Health::Up;
        }
        if self.circuit.end(key, health, self.keys.len(), now) {
            self.reopen(now);
        }
    }

    /// The tenant asked a key of this namespace for a pause: nothing goes there for so long.
    ///
    /// Not time and again where others are served in between: then it is the trouble of that namespace, whose keys wait each
    /// for itself.
    pub(super) fn pause(&mut self, namespace: &str, pause: Duration, now: Instant) {
        let own = |last: &Paused| last.serves_others && last.namespace == namespace && now - last.at < PAUSE_AGAIN;
        if !self.paused.as_ref().is_some_and(own) {
            self.paused = Some(Paused { namespace: namespace.to_owned(), at: now, serves_others: false });
            self.reopen(now + pause);
        }
    }

    /// The ramp begins then, unless a pause lasts longer.
    fn reopen(&mut self, at: Instant) {
        self.reopening = Some((self.reopening.map_or(at, |(before, _)| before.max(at)), 0));
    }

    /// Until when nothing goes there.
    pub(super) fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.reopening.map(|(at, _)| at).filter(|at| *at > now)
    }

    pub(super) fn is_open(&self) -> bool {
        self.circuit.is_open()
    }

    /// This context is gone.
    pub(super) fn leave(&mut self, uid: &str) {
        self.for_tokens.leave(uid);
        self.for_requests.leave(uid);
    }

    /// Keys that are no longer known to anybody are forgotten; false when nothing is left.
    pub(super) fn keep(&mut self, known: &impl Fn(&RequestKey) -> bool, now: Instant) -> bool {
        self.keys.retain(|key, _| known(key));
        let busy = !self.for_tokens.is_empty() || !self.for_requests.is_empty() || self.paused_until(now).is_some();
        busy || !self.keys.is_empty()
    }
}

/// How long after a reopening the request goes that so many went before.
fn after_reopening(mut before: u32) -> Duration {
    for step in 0..STEPS {
        let fits = FIRST_STEP << step;
        if before < fits {
            return STEP * step + STEP * before / fits;
        }
        before -= fits;
    }
    STEP * STEPS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::traffic::Urgency;
    use crate::oauth::traffic::tests::bid;

    fn limits(host_tokens_per_minute: u32) -> Limits {
        Limits { host_tokens_per_minute, ..Limits::default() }
    }

    #[test]
    fn after_a_reopening_comes_a_ramp() {
        let at = |n| after_reopening(n).as_millis();
        assert_eq!([at(0), at(1), at(9), at(10), at(20), at(29)], [0, 1_000, 9_000, 10_000, 15_000, 19_500]);
        assert_eq!([at(30), at(70), at(150), at(100_000)], [20_000, 30_000, 40_000, 40_000]);
    }

    #[test]
    fn a_pause_holds_everybody_and_ends_one_by_one() {
        let (now, limits) = (Instant::now(), limits(0));
        let mut host = Host::new(&limits, now);
        host.pause("a", Duration::from_secs(30), now);
        host.pause("a", Duration::from_secs(5), now);
        for n in 0..5u32 {
            let bid = bid(n as usize, "a", Urgency::New);
            let (at, cause) = host.opens_at(&bid, &limits, now);
            assert_eq!((at, cause), (now + Duration::from_secs(30 + u64::from(n)), Cause::Pause));
        }
    }

    #[test]
    fn a_namespace_pauses_a_host_that_serves_others_once_an_hour() {
        let begin = Instant::now();
        let mut host = Host::new(&limits(0), begin);
        let paused = |host: &mut Host, namespace: &str, minute| {
            let now = begin + Duration::from_mins(minute);
            host.pause(namespace, Duration::from_secs(30), now);
            host.paused_until(now).is_some()
        };
        let served =
            |host: &mut Host, namespace| host.end(bid(0, namespace, Urgency::New).key, namespace, Health::Up, begin);
        assert!(paused(&mut host, "a", 0));
        served(&mut host, "a");
        assert!(paused(&mut host, "a", 1), "nobody else was served");
        served(&mut host, "b");
        assert!(!paused(&mut host, "a", 2));
        assert!(paused(&mut host, "b", 3));
        assert!(paused(&mut host, "a", 4), "both were told, so it is the host");
        served(&mut host, "b");
        assert!(!paused(&mut host, "a", 63));
        assert!(paused(&mut host, "a", 64));
    }

    #[test]
    fn a_circuit_that_closes_ends_no_pause() {
        let begin = Instant::now();
        let mut host = Host::new(&limits(0), begin);
        let _ = host.opens_at(&bid(0, "a", Urgency::New), &limits(0), begin);
        let now = begin + Duration::from_mins(2);
        // All of them were under way at once.
        host.pause("a", Duration::from_secs(30), now);
        host.end(bid(0, "a", Urgency::New).key, "a", Health::Down, now);
        assert!(host.is_open());
        host.end(bid(1, "a", Urgency::New).key, "a", Health::Up, now);
        assert!(!host.is_open());
        assert_eq!(host.paused_until(now), Some(now + Duration::from_secs(30)));
    }

    #[test]
    fn of_those_who_wait_for_a_host_that_is_down_one_probes_after_the_other() {
        let (begin, limits) = (Instant::now(), limits(0));
        let mut host = Host::new(&limits, begin);
        let _ = host.opens_at(&bid(0, "a", Urgency::New), &limits, begin);
        let now = begin + Duration::from_mins(2);
        host.end(bid(0, "a", Urgency::New).key, "a", Health::Down, now);
        for n in 1..20 {
            let (at, cause) = host.opens_at(&bid(n, "a", Urgency::New), &limits, now);
            let wait = (PROBE_EVERY * u32::try_from(n).unwrap()).min(PROBE_EVERY + LONGEST_WAIT);
            assert_eq!((at, cause), (now + wait, Cause::Circuit));
        }
    }

    #[test]
    fn a_host_is_kept_while_it_has_a_key_or_somebody_waits_or_it_is_paused() {
        let (now, limits) = (Instant::now(), limits(1));
        let nobody = |_: &RequestKey| false;
        for errand in [Errand::Token, Errand::Check] {
            let limits = Limits { host_requests_per_minute: 1, ..limits };
            let mut host = Host::new(&limits, now);
            host.begin(&Bid { errand, ..bid(0, "a", Urgency::New) }, now);
            assert!(!host.keep(&nobody, now));
            assert!(host.opens_at(&Bid { errand, ..bid(1, "a", Urgency::New) }, &limits, now).0 > now);
            assert!(host.keep(&nobody, now), "somebody waits");
        }
        let mut host = Host::new(&limits, now);
        let _ = host.opens_at(&bid(0, "a", Urgency::New), &limits, now);
        assert!(host.keep(&|_| true, now));
        assert!(!host.keep(&nobody, now));
        host.pause("a", Duration::from_secs(30), now);
        assert!(host.keep(&nobody, now));
        assert!(!host.keep(&nobody, now + Duration::from_secs(30)));
    }

    #[test]
    fn after_a_pause_what_is_due_goes_before_any_check() {
        let (now, limits) = (Instant::now(), limits(0));
        let mut host = Host::new(&limits, now);
        host.pause("hostile", Duration::from_secs(30), now);
        let due = Urgency::Due { left: Duration::from_mins(1) };
        let due = Bid { working: true, ..bid(0, "good", due) };
        let check = Bid { working: true, errand: Errand::Check, ..bid(1, "hostile", Urgency::Routine) };
        assert_eq!(host.opens_at(&due, &limits, now).0, now + Duration::from_secs(30));
        assert_eq!(host.opens_at(&check, &limits, now).0, now + Duration::from_secs(31));
    }

    #[test]
    fn what_is_new_leaves_half_of_the_budget_to_working_tokens() {
        let (now, limits) = (Instant::now(), limits(100));
        let mut host = Host::new(&limits, now);
        let go = |host: &mut Host, bid: &Bid<'_>| {
            let goes = host.opens_at(bid, &limits, now).0 <= now;
            if goes {
                host.begin(bid, now);
            }
            goes
        };
        let new = (0..100).filter(|n| go(&mut host, &bid(*n, "hostile", Urgency::New))).count();
        assert_eq!(new, 50);
        let due = Urgency::Due { left: Duration::from_mins(10) };
        let due = (200..300).filter(|n| go(&mut host, &Bid { working: true, ..bid(*n, "good", due) })).count();
        assert_eq!(due, 50);
    }

    #[test]
    fn a_key_over_its_own_budget_holds_nobody_up() {
        let now = Instant::now();
        let limits = Limits { key_tokens_per_minute: 1, ..limits(100) };
        let mut host = Host::new(&limits, now);
        let greedy = bid(0, "a", Urgency::New);
        host.opens_at(&greedy, &limits, now);
        host.begin(&greedy, now);
        assert_eq!(host.opens_at(&greedy, &limits, now).0, now + Duration::from_mins(1));
        assert_eq!(host.opens_at(&bid(1, "a", Urgency::New), &limits, now).0, now);
    }
}
