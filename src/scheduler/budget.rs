//! How many requests per minute: GCRA, the generic cell rate algorithm (ITU-T I.371), as a value.
//!
//! The requests of one minute may be sent at once; after that they are spread evenly. Existing crates can neither
//! count requests that are reserved but not yet sent, nor leave a share to others.

use std::time::Duration;

use tokio::time::Instant;

/// Requests allowed per minute.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    /// Interval between two requests at an even pace; zero means no limit.
    interval: Duration,
    /// How many may be sent at once.
    burst: u32,
    /// When everything that was taken so far would have been taken at an even pace.
    taken_until: Option<Instant>,
    /// Set aside for turns that are reserved.
    reserved: u32,
}

impl Budget {
    /// A full budget; 0 means no limit.
    pub(super) fn per_minute(limit: u32) -> Self {
        let interval = Duration::from_mins(1).checked_div(limit).unwrap_or_default();
        Self { interval, burst: limit, taken_until: None, reserved: 0 }
    }

    /// When `cost` can be reserved, after `ahead` is taken by others. With `share_kept`, half of the burst has to remain.
    pub(super) fn opens_at(&self, cost: u32, ahead: u32, share_kept: bool, now: Instant) -> Instant {
        let kept = if share_kept { self.burst / 2 } else { 0 };
        // A cost above the whole budget is paid afterwards, or it could never be taken.
        let needed = cost.saturating_add(kept).min(self.burst).saturating_add(ahead).saturating_add(self.reserved);
        let begin = self.taken_until.map_or(now, |until| until.max(now));
        let full = begin + self.interval.saturating_mul(needed);
        full.checked_sub(self.interval.saturating_mul(self.burst)).map_or(now, |opens| opens.max(now))
    }

    /// Sets `cost` aside.
    pub(super) fn reserve(&mut self, cost: u32) {
        self.reserved = self.reserved.saturating_add(cost);
    }

    /// Returns what was set aside.
    pub(super) fn release(&mut self, cost: u32) {
        self.reserved = self.reserved.saturating_sub(cost);
    }

    /// Takes what was set aside.
    pub(super) fn take(&mut self, cost: u32, now: Instant) {
        self.release(cost);
        let begin = self.taken_until.map_or(now, |until| until.max(now));
        self.taken_until = Some(begin + self.interval.saturating_mul(cost));
    }

    pub(super) fn is_reserved(&self) -> bool {
        self.reserved > 0
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
    fn the_requests_of_a_minute_come_at_once_and_then_as_many_per_minute() {
        assert_eq!(grants(60, 1, false), 60);
        assert!((119..=120).contains(&grants(60, 60, false)), "{}", grants(60, 60, false));
        assert_eq!(grants(0, 1, false), 100_000, "no limit");
    }

    #[test]
    fn half_of_the_burst_is_reserved_for_those_with_a_working_token() {
        let (now, mut budget) = (Instant::now(), Budget::per_minute(60));
        budget.take(30, now);
        assert!(budget.opens_at(1, 0, true, now) > now);
        assert_eq!(budget.opens_at(1, 0, false, now), now);
        assert_eq!(grants(60, 1, true), 30);
    }

    #[test]
    fn the_time_of_a_turn_follows_from_the_number_of_those_ahead() {
        let (now, mut budget) = (Instant::now(), Budget::per_minute(60));
        budget.take(60, now);
        for ahead in 0..10 {
            assert_eq!(budget.opens_at(1, ahead, false, now), now + Duration::from_secs(u64::from(ahead) + 1));
        }
    }

    #[test]
    fn a_budget_smaller_than_one_cost_is_paid_afterwards() {
        let (now, mut budget) = (Instant::now(), Budget::per_minute(1));
        assert_eq!(budget.opens_at(2, 0, true, now), now);
        budget.take(2, now);
        assert_eq!(budget.opens_at(2, 0, true, now), now + Duration::from_mins(2));
    }

    #[test]
    fn what_is_reserved_is_not_given_to_others_and_can_be_returned() {
        let (now, mut budget) = (Instant::now(), Budget::per_minute(60));
        (0..60).for_each(|_| budget.reserve(1));
        assert!(budget.opens_at(1, 0, false, now) > now);
        budget.release(1);
        assert_eq!(budget.opens_at(1, 0, false, now), now);
        assert!(budget.is_reserved());
        (0..59).for_each(|_| budget.release(1));
        assert!(!budget.is_reserved());
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
