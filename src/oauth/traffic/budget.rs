//! How many requests in a minute: GCRA, the generic cell rate algorithm (ITU-T I.371), as a value.
//!
//! A minute's worth may be used at once; after that requests come at an even pace. The kept crates for this read a clock
//! of their own, and can be asked neither when a place in a queue comes up nor to leave a share to others, which is all
//! that this is for.

use std::time::Duration;

use tokio::time::Instant;

/// Requests allowed in a minute.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    /// Between two requests at an even pace; zero: no limit.
    interval: Duration,
    /// How many may come at once.
    burst: u32,
    /// When everything that was taken so far would have been taken at an even pace.
    taken_until: Option<Instant>,
}

impl Budget {
    /// A full budget; 0 is no limit.
    pub(super) fn per_minute(limit: u32) -> Self {
        let interval = Duration::from_mins(1).checked_div(limit).unwrap_or_default();
        Self { interval, burst: limit, taken_until: None }
    }

    /// When `cost` can be taken, after `ahead` was taken by others, so that a share of the burst stays.
    pub(super) fn opens_at(&self, cost: u32, ahead: u32, share_kept: bool, now: Instant) -> Instant {
        let kept = if share_kept { self.burst / 2 } else { 0 };
        // What is more than the whole budget is paid for afterwards, or it would never be had.
        let needed = cost.saturating_add(kept).min(self.burst).saturating_add(ahead);
        let begin = self.taken_until.map_or(now, |until| until.max(now));
        let full = begin + self.interval.saturating_mul(needed);
        full.checked_sub(self.interval.saturating_mul(self.burst)).map_or(now, |opens| opens.max(now))
    }

    /// Takes it, whether or not it was there.
    pub(super) fn take(&mut self, cost: u32, now: Instant) {
        let begin = self.taken_until.map_or(now, |until| until.max(now));
        self.taken_until = Some(begin + self.interval.saturating_mul(cost));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn grants(limit: u32, seconds: u64, share_kept: bool) -> u32 {
        let (begin, mut budget, mut granted) = (Instant::now(), Budget::per_minute(limit), 0);
        for tick in 0..seconds * 20 {
            let now = begin + Duration::from_millis(tick * 50);
            while granted < 100_000 && budget.opens_at(1, 0, share_kept, now) <= now {
                budget.take(1, now);
                granted += 1;
            }
        }
        granted
    }

    #[test]
    fn a_minutes_worth_comes_at_once_and_then_as_many_a_minute() {
        assert_eq!(grants(60, 1, false), 60);
        assert!((119..=120).contains(&grants(60, 60, false)), "{}", grants(60, 60, false));
        assert_eq!(grants(0, 1, false), 100_000, "no limit");
    }

    #[test]
    fn half_of_the_burst_is_kept_for_those_it_is_kept_for() {
        let (now, mut budget) = (Instant::now(), Budget::per_minute(60));
        budget.take(30, now);
        assert!(budget.opens_at(1, 0, true, now) > now);
        assert_eq!(budget.opens_at(1, 0, false, now), now);
        assert_eq!(grants(60, 1, true), 30);
    }

    #[test]
    fn who_waits_knows_when_the_turn_comes() {
        let (now, mut budget) = (Instant::now(), Budget::per_minute(60));
        budget.take(60, now);
        for ahead in 0..10 {
            assert_eq!(budget.opens_at(1, ahead, false, now), now + Duration::from_secs(u64::from(ahead) + 1));
        }
    }

    #[test]
    fn a_budget_smaller_than_one_cost_is_paid_for_afterwards() {
        let (now, mut budget) = (Instant::now(), Budget::per_minute(1));
        assert_eq!(budget.opens_at(2, 0, true, now), now);
        budget.take(2, now);
        assert_eq!(budget.opens_at(2, 0, true, now), now + Duration::from_mins(2));
    }

    proptest! {
        #[test]
        fn no_span_of_time_sees_more_than_the_burst_and_the_pace(limit in 1u32..500, gaps in prop::collection::vec(0u64..3000, 1..200)) {
            let (begin, mut budget, mut at) = (Instant::now(), Budget::per_minute(limit), Duration::ZERO);
            let mut granted = 0u32;
            for gap in gaps {
                at += Duration::from_millis(gap);
                if budget.opens_at(1, 0, false, begin + at) <= begin + at {
                    budget.take(1, begin + at);
                    granted += 1;
                }
                let most = f64::from(limit) * (1.0 + at.as_secs_f64() / 60.0) + 1.0;
                prop_assert!(f64::from(granted) <= most);
            }
        }
    }
}
