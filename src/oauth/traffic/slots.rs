//! How many requests are under way at once, over all hosts (`--concurrency`).
//!
//! A quarter of the slots is kept for keys that hold a working token; of what a key may use, a quarter is kept from any
//! one host and any one namespace. So neither tenants that hang nor what never worked keeps others from being served.

use std::time::Duration;

use tokio::time::Instant;

use super::{Bid, Urgency};
use crate::oauth::request::RequestKey;

/// About what a request takes; who finds no slot comes back after that.
const TURNOVER: Duration = Duration::from_millis(500);

/// The slots.
#[derive(Debug)]
pub(super) struct Slots {
    limit: usize,
    taken: Vec<Taken>,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Taken {
    key: RequestKey,
    user: User,
}

#[derive(Debug)]
struct Waiting {
    key: RequestKey,
    user: User,
    urgency: Urgency,
    back_at: Instant,
}

#[derive(Debug)]
struct User {
    host: String,
    namespace: String,
    working: bool,
}

impl User {
    fn of(bid: &Bid<'_>) -> Self {
        Self { host: bid.host.to_owned(), namespace: bid.namespace.to_owned(), working: bid.working }
    }
}

impl Slots {
    pub(super) fn new(limit: u16) -> Self {
        Self { limit: limit.into(), taken: Vec::new(), waiting: Vec::new() }
    }

    /// When there is one: now, or when to come back.
    pub(super) fn opens_at(&mut self, bid: &Bid<'_>, now: Instant) -> Instant {
        self.waiting.retain(|waiting| waiting.key != bid.key && waiting.back_at + TURNOVER >= now);
        let user = User::of(bid);
        // Those who would have to wait anyway take no place from anyone.
        let ahead = self.waiting.iter().filter(|waiting| waiting.urgency < bid.urgency && self.free(&waiting.user) > 0);
        let ahead = ahead.count();
        if self.free(&user) > ahead {
            return now;
        }
        let rounds = u32::try_from(1 + ahead / self.limit).unwrap_or(u32::MAX);
        let back_at = now + TURNOVER.saturating_mul(rounds);
        self.waiting.push(Waiting { key: bid.key, user, urgency: bid.urgency, back_at });
        back_at
    }

    pub(super) fn take(&mut self, bid: &Bid<'_>) {
        self.waiting.retain(|waiting| waiting.key != bid.key);
        self.taken.push(Taken { key: bid.key, user: User::of(bid) });
    }

    pub(super) fn give_back(&mut self, key: RequestKey) {
        if let Some(place) = self.taken.iter().position(|taken| taken.key == key) {
            self.taken.swap_remove(place);
        }
    }

    fn free(&self, user: &User) -> usize {
        let limit = if user.working { self.limit } else { most_of(self.limit) };
        let taken = |counts: &dyn Fn(&User) -> bool| {
            let same = self.taken.iter().map(|taken| &taken.user).filter(|taken| user.working || !taken.working);
            same.filter(|taken| counts(taken)).count()
        };
        let all = self.limit.saturating_sub(self.taken.len());
        let kind = limit.saturating_sub(taken(&|_| true));
        let host = most_of(limit).saturating_sub(taken(&|taken| taken.host == user.host));
        let namespace = most_of(limit).saturating_sub(taken(&|taken| taken.namespace == user.namespace));
        all.min(kind).min(host).min(namespace)
    }
}

/// Three quarters, and never nothing.
fn most_of(slots: usize) -> usize {
    (slots * 3).div_ceil(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::traffic::tests::bid;

    fn fill(slots: &mut Slots, bids: impl IntoIterator<Item = Bid<'static>>) -> usize {
        let now = Instant::now();
        let mut taken = 0;
        for bid in bids {
            if slots.opens_at(&bid, now) <= now {
                slots.take(&bid);
                taken += 1;
            }
        }
        taken
    }

    #[test]
    fn a_quarter_is_kept_for_what_works_and_a_quarter_from_any_one_host_or_namespace() {
        let mut slots = Slots::new(32);
        let names = ["a", "b", "c", "d"];
        let crowd =
            |namespace: &'static str, from: usize| (from..from + 50).map(move |n| bid(n, namespace, Urgency::New));
        assert_eq!(fill(&mut slots, crowd("a", 0)), 18);
        assert_eq!(fill(&mut slots, crowd("b", 100)), 0, "the same host");
        let elsewhere = |from| crowd("c", from).map(|bid| Bid { host: "other.eu.qlikcloud.com", ..bid });
        assert_eq!(fill(&mut slots, elsewhere(200)), 6);
        let third = (300..350).map(|n| Bid { host: "third.eu.qlikcloud.com", ..bid(n, names[n % 4], Urgency::New) });
        assert_eq!(fill(&mut slots, third), 0, "the last quarter is kept");
        let due = Urgency::Due { left: Duration::from_mins(1) };
        let working = (400..450).map(|n| Bid { working: true, ..bid(n, "d", due) });
        assert_eq!(fill(&mut slots, working), 6, "of this host, beside the eighteen");
        let working = (500..550).map(|n| Bid { working: true, host: "fourth.eu.qlikcloud.com", ..bid(n, "e", due) });
        assert_eq!(fill(&mut slots, working), 2, "then all are taken");
    }

    #[test]
    fn a_slot_that_is_given_back_goes_to_the_most_urgent() {
        let (now, mut slots) = (Instant::now(), Slots::new(1));
        let first = bid(0, "a", Urgency::New);
        assert_eq!(slots.opens_at(&first, now), now);
        slots.take(&first);
        let routine = bid(1, "a", Urgency::Routine);
        let new = bid(2, "a", Urgency::New);
        assert_eq!(slots.opens_at(&routine, now), now + TURNOVER);
        assert_eq!(slots.opens_at(&new, now), now + TURNOVER);
        slots.give_back(first.key);
        assert!(slots.opens_at(&routine, now) > now);
        assert_eq!(slots.opens_at(&new, now), now);
    }

    #[test]
    fn a_single_slot_is_enough_for_anybody() {
        for working in [true, false] {
            let (now, mut slots) = (Instant::now(), Slots::new(1));
            assert_eq!(slots.opens_at(&Bid { working, ..bid(0, "a", Urgency::New) }, now), now);
        }
    }
}
