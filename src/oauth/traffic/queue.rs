//! Who waits for a host, and in which order.
//!
//! Keys whose working token ends go first; then namespaces take turns, however many of their contexts wait (start-time
//! fair queueing); within a namespace the nearest expiry comes first, then what is new, then routine, then what failed.
//! Nobody waits here in the sense of holding anything: who waits is told when to come back, and loses the place by not
//! coming.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{Bid, Urgency};
use crate::oauth::request::RequestKey;

/// Who comes back this much too late has given up the place.
const GRACE: Duration = Duration::from_secs(5);

/// Those who wait for one budget of one host.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: HashMap<RequestKey, Waiting>,
    /// Turns that each namespace has had, on a clock that goes on with each turn.
    turns: HashMap<String, u64>,
    /// That clock: a namespace that was away begins here and saves nothing up.
    clock: u64,
    /// Counts arrivals.
    arrivals: u64,
}

#[derive(Debug)]
struct Waiting {
    /// The context that asked last.
    uid: String,
    namespace: String,
    urgency: Urgency,
    arrival: u64,
    /// When it was told to come back.
    back_at: Instant,
}

impl Queue {
    /// How many of those who wait come before this one.
    pub(super) fn ahead(&mut self, bid: &Bid<'_>, now: Instant) -> u32 {
        // A context whose request is another one now has left the place of the old one.
        self.waiting
            .retain(|key, waiting| waiting.back_at + GRACE >= now && (*key == bid.key || waiting.uid != bid.uid));
        let arrival = self.waiting.get(&bid.key).map_or(self.arrivals, |waiting| waiting.arrival);
        let others = || self.waiting.iter().filter(|(key, _)| **key != bid.key).map(|(_, waiting)| waiting);
        let due = others().filter(|waiting| waiting.urgency.is_due());
        let (hurried, peers): (usize, HashMap<&str, u64>) = if bid.urgency.is_due() {
            (0, count(due))
        } else {
            (due.count(), count(others().filter(|waiting| !waiting.urgency.is_due())))
        };
        let same_kind = |waiting: &&Waiting| waiting.urgency.is_due() == bid.urgency.is_due();
        let own = others()
            .filter(same_kind)
            .filter(|waiting| waiting.namespace == bid.namespace)
            .filter(|waiting| (waiting.urgency, waiting.arrival) < (bid.urgency, arrival))
            .count() as u64;
        let my_turn = self.turn(bid.namespace) + own;
        let strangers = peers.into_iter().filter(|(namespace, _)| *namespace != bid.namespace);
        let before = strangers.map(|(namespace, waiting)| {
            // Its first has this turn, its second the next: so many of them come up before mine does.
            let first = self.turn(namespace);
            let tie = u64::from(namespace.cmp(bid.namespace) == Ordering::Less);
            (my_turn + tie).saturating_sub(first).min(waiting)
        });
        u32::try_from(hurried as u64 + own + before.sum::<u64>()).unwrap_or(u32::MAX)
    }

    /// How many wait with a working token that ends.
    pub(super) fn due(&self, now: Instant) -> u32 {
        let due = self.waiting.values().filter(|waiting| waiting.urgency.is_due() && waiting.back_at + GRACE >= now);
        u32::try_from(due.count()).unwrap_or(u32::MAX)
    }

    /// It was told to come back then.
    pub(super) fn wait(&mut self, bid: &Bid<'_>, back_at: Instant) {
        let arrival = self.waiting.get(&bid.key).map_or(self.arrivals, |waiting| waiting.arrival);
        self.arrivals = self.arrivals.max(arrival + 1);
        let (uid, namespace) = (bid.uid.to_owned(), bid.namespace.to_owned());
        let waiting = Waiting { uid, namespace, urgency: bid.urgency, arrival, back_at };
        self.waiting.insert(bid.key, waiting);
    }

    /// It gets its turn.
    pub(super) fn serve(&mut self, bid: &Bid<'_>) {
        self.waiting.remove(&bid.key);
        let turn = self.turn(bid.namespace);
        self.clock = self.clock.max(turn);
        self.turns.retain(|_, next| *next > turn);
        self.turns.insert(bid.namespace.to_owned(), turn + 1);
    }

    /// This context is gone.
    pub(super) fn leave(&mut self, uid: &str) {
        self.waiting.retain(|_, waiting| waiting.uid != uid);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn turn(&self, namespace: &str) -> u64 {
        self.turns.get(namespace).copied().unwrap_or_default().max(self.clock)
    }
}

fn count<'w>(waiting: impl Iterator<Item = &'w Waiting>) -> HashMap<&'w str, u64> {
    waiting.fold(HashMap::new(), |mut counts, waiting| {
        *counts.entry(waiting.namespace.as_str()).or_default() += 1;
        counts
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::traffic::tests::bid;
    use proptest::prelude::*;

    /// Serves everybody, and says in which order.
    fn order(bids: &[Bid<'_>]) -> Vec<RequestKey> {
        let (now, mut queue) = (Instant::now(), Queue::default());
        for bid in bids {
            queue.wait(bid, now);
        }
        let mut left: Vec<_> = bids.to_vec();
        let mut served = Vec::new();
        while !left.is_empty() {
            let next = left.iter().position(|bid| queue.ahead(bid, now) == 0).unwrap();
            let bid = left.remove(next);
            queue.serve(&bid);
            served.push(bid.key);
        }
        served
    }

    #[test]
    fn the_nearest_expiry_comes_first_then_what_is_new_then_routine_then_what_failed() {
        let hour = Duration::from_hours(1);
        let bids = [
            bid(0, "a", Urgency::Failed),
            bid(1, "a", Urgency::Routine),
            bid(2, "a", Urgency::New),
            bid(3, "a", Urgency::Due { left: hour }),
            bid(4, "a", Urgency::Due { left: hour / 2 }),
            bid(5, "a", Urgency::New),
        ];
        assert_eq!(order(&bids), [4, 3, 2, 5, 1, 0].map(|n| bids[n].key));
    }

    #[test]
    fn namespaces_take_turns_however_many_wait() {
        let crowd = (0..50).map(|n| bid(n, "crowd", Urgency::New));
        let bids: Vec<_> = crowd.chain([bid(100, "one", Urgency::Routine), bid(101, "one", Urgency::New)]).collect();
        let order = order(&bids);
        let place = |n: usize| order.iter().position(|key| *key == bids[n].key).unwrap();
        assert!(place(51) <= 1 && place(50) <= 3, "{} {}", place(51), place(50));
    }

    #[test]
    fn a_working_token_that_ends_goes_before_what_is_new_of_any_namespace() {
        let crowd = (0..50).map(|n| bid(n, "crowd", Urgency::New));
        let due = bid(100, "busy", Urgency::Due { left: Duration::from_hours(2) });
        let bids: Vec<_> = crowd.chain([due]).collect();
        assert_eq!(order(&bids)[0], bids[50].key);
    }

    #[test]
    fn who_does_not_come_back_loses_the_place() {
        let (now, mut queue) = (Instant::now(), Queue::default());
        queue.wait(&bid(0, "a", Urgency::New), now);
        assert_eq!(queue.ahead(&bid(1, "a", Urgency::New), now), 1);
        assert_eq!(queue.ahead(&bid(1, "a", Urgency::New), now + GRACE + Duration::from_secs(1)), 0);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_context_has_one_place_and_leaves_it_when_it_goes() {
        let (now, mut queue) = (Instant::now(), Queue::default());
        let flip = |n| Bid { uid: "flips", ..bid(n, "a", Urgency::New) };
        for n in 0..10 {
            assert_eq!(queue.ahead(&flip(n), now), 0);
            queue.wait(&flip(n), now);
        }
        let other = bid(100, "a", Urgency::New);
        assert_eq!(queue.ahead(&other, now), 1);
        queue.leave("flips");
        assert_eq!(queue.ahead(&other, now), 0);
    }

    #[test]
    fn a_namespace_that_was_away_saves_nothing_up() {
        let (now, mut queue) = (Instant::now(), Queue::default());
        (0..100).for_each(|n| queue.serve(&bid(n, "busy", Urgency::New)));
        for n in 0..10 {
            queue.wait(&bid(n, "busy", Urgency::New), now);
            queue.wait(&bid(100 + n, "back", Urgency::New), now);
        }
        assert!(queue.ahead(&bid(0, "busy", Urgency::New), now) <= 2, "it takes its turn, not a hundred");
    }

    proptest! {
        #[test]
        fn there_is_always_exactly_one_who_is_first(waits in prop::collection::vec((0u8..4, 0usize..4), 1..40)) {
            let (now, mut queue) = (Instant::now(), Queue::default());
            let urgencies = [Urgency::Due { left: Duration::from_mins(1) }, Urgency::New, Urgency::Routine, Urgency::Failed];
            let namespaces = ["a", "b", "c", "d"];
            let mut left: Vec<_> = waits.iter().enumerate()
                .map(|(n, (namespace, urgency))| bid(n, namespaces[usize::from(*namespace)], urgencies[*urgency]))
                .collect();
            left.iter().for_each(|bid| queue.wait(bid, now));
            while !left.is_empty() {
                let mut places: Vec<_> = left.iter().map(|bid| queue.ahead(bid, now)).collect();
                let first = places.iter().position(|place| *place == 0).unwrap();
                places.sort_unstable();
                prop_assert!(places.iter().zip(0u32..).all(|(place, n)| *place == n), "{places:?}");
                let bid = left.remove(first);
                queue.serve(&bid);
            }
        }
    }
}
