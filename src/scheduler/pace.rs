//! Pauses that a tenant requests, and the ramp that follows a pause or an outage.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// The ramp: ten requests in its first step, twice as many in each further step, then only the budgets limit.
const STEP: Duration = Duration::from_secs(10);
/// Requests of the first step.
pub(super) const FIRST_STEP: u32 = 10;
const STEPS: u32 = 4;
/// A namespace can pause a host that serves others once in this time.
const PAUSE_AGAIN: Duration = Duration::from_hours(1);

/// The pace of one host.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the host was or will be opened again, and how many requests were sent since.
    reopening: Option<(Instant, u32)>,
    paused: Option<Paused>,
}

/// The last pause that was requested.
#[derive(Debug)]
struct Paused {
    /// The namespace that was asked to pause.
    namespace: Arc<str>,
    at: Instant,
    /// Another namespace was served since.
    serves_others: bool,
}

impl Pace {
    /// When a request can be sent that comes after `before` others.
    pub(super) fn opens_at(&self, before: u32, now: Instant) -> Instant {
        self.reopening.map_or(now, |(at, since)| (at + after_reopening(since.saturating_add(before))).max(now))
    }

    /// Until when nothing is sent.
    pub(super) fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.reopening.map(|(at, _)| at).filter(|at| *at > now)
    }

    /// A request is sent.
    pub(super) fn begin(&mut self) {
        self.reopening = self.reopening.map(|(at, since)| (at, since.saturating_add(1)));
    }

    /// A request of this namespace was successful.
    pub(super) fn served(&mut self, namespace: &str) {
        if let Some(paused) = self.paused.as_mut().filter(|paused| *paused.namespace != *namespace) {
            paused.serves_others = true;
        }
    }

    /// The tenant asked a key of this namespace for a pause: no request is sent to the host for that long.
    ///
    /// If it repeats while other namespaces are served in between, it does not pause the host: the cause is in that namespace,
    /// and each of its keys waits separately.
    pub(super) fn pause(&mut self, namespace: &Arc<str>, pause: Duration, now: Instant) {
        let own = |last: &Paused| last.serves_others && last.namespace == *namespace && now - last.at < PAUSE_AGAIN;
        if !self.paused.as_ref().is_some_and(own) {
            self.paused = Some(Paused { namespace: Arc::clone(namespace), at: now, serves_others: false });
            self.reopen(now + pause);
        }
    }

    /// The ramp begins then, unless a pause lasts longer.
    pub(super) fn reopen(&mut self, at: Instant) {
        self.reopening = Some((self.reopening.map_or(at, |(before, _)| before.max(at)), 0));
    }
}

/// How long after a reopening a request can be sent that comes after `before` others.
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

    #[test]
    fn after_a_reopening_comes_a_ramp() {
        let at = |n| after_reopening(n).as_millis();
        assert_eq!([at(0), at(1), at(9), at(10), at(20), at(29)], [0, 1_000, 9_000, 10_000, 15_000, 19_500]);
        assert_eq!([at(30), at(70), at(150), at(100_000)], [20_000, 30_000, 40_000, 40_000]);
    }

    #[test]
    fn the_longer_of_two_pauses_holds_and_ends_with_a_ramp() {
        let (now, mut pace) = (Instant::now(), Pace::default());
        let a = "a".into();
        pace.pause(&a, Duration::from_secs(30), now);
        pace.pause(&a, Duration::from_secs(5), now);
        assert_eq!(pace.paused_until(now), Some(now + Duration::from_secs(30)));
        for n in 0..5u32 {
            assert_eq!(pace.opens_at(n, now), now + Duration::from_secs(30 + u64::from(n)));
        }
    }

    #[test]
    fn a_reopening_ends_no_pause() {
        let (now, mut pace) = (Instant::now(), Pace::default());
        pace.pause(&"a".into(), Duration::from_secs(30), now);
        pace.reopen(now);
        assert_eq!(pace.paused_until(now), Some(now + Duration::from_secs(30)));
    }

    #[test]
    fn a_namespace_pauses_a_host_that_serves_others_once_an_hour() {
        let (begin, mut pace) = (Instant::now(), Pace::default());
        let paused = |pace: &mut Pace, namespace: &str, minute| {
            let now = begin + Duration::from_mins(minute);
            pace.pause(&namespace.into(), Duration::from_secs(30), now);
            pace.paused_until(now).is_some()
        };
        assert!(paused(&mut pace, "a", 0));
        pace.served("a");
        assert!(paused(&mut pace, "a", 1), "no other namespace was served");
        pace.served("b");
        assert!(!paused(&mut pace, "a", 2));
        assert!(paused(&mut pace, "b", 3));
        assert!(paused(&mut pace, "a", 4), "both were asked, so it is the host");
        pace.served("b");
        assert!(!paused(&mut pace, "a", 63));
        assert!(paused(&mut pace, "a", 64));
    }
}
