//! Brakes for repairs: what somebody else changes again and again is repaired less and less often.

use std::time::Duration;

use tokio::time::Instant;

/// The first repair comes at once; each one after it that is needed soon waits twice as long.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(5);
/// So many in a row are no accident.
pub const CONTESTED: u32 = 3;

/// The repairs of one thing.
#[derive(Clone, Copy, Debug)]
pub struct Repairs {
    count: u32,
    last: Option<Instant>,
    /// What nobody changed for so long is not fought over any more.
    forgotten: Duration,
}

impl Repairs {
    /// None yet.
    pub fn forgotten_after(forgotten: Duration) -> Self {
        Self { count: 0, last: None, forgotten }
    }

    /// How long the next one has to wait, if at all.
    pub fn wait(&self) -> Option<Duration> {
        let wait = self.count.checked_sub(1).map(|n| FIRST.saturating_mul(1 << n.min(16)).min(LONGEST))?;
        wait.checked_sub(self.last?.elapsed()).filter(|wait| !wait.is_zero())
    }

    /// One was made. True: somebody else keeps changing what is repaired.
    pub fn made(&mut self) -> bool {
        let quiet = self.last.is_some_and(|last| last.elapsed() > self.forgotten);
        self.count = if quiet { 1 } else { self.count.saturating_add(1) };
        self.last = Some(Instant::now());
        self.count >= CONTESTED
    }

    /// Begins anew.
    pub fn forget(&mut self) {
        *self = Self::forgotten_after(self.forgotten);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_repair_that_is_needed_soon_waits_twice_as_long_as_the_one_before() {
        let mut repairs = Repairs::forgotten_after(Duration::from_mins(10));
        assert_eq!(repairs.wait(), None, "the first comes at once");
        for (wait, contested) in [(1, false), (2, false), (4, true), (8, true), (16, true)] {
            assert_eq!(repairs.made(), contested);
            assert_eq!(repairs.wait(), Some(Duration::from_secs(wait)));
            tokio::time::advance(Duration::from_secs(wait)).await;
            assert_eq!(repairs.wait(), None);
        }
        assert!((0..20).all(|_| repairs.made()));
        assert_eq!(repairs.wait(), Some(LONGEST));
        tokio::time::advance(Duration::from_mins(11)).await;
        assert!(!repairs.made(), "a quiet time in between, and it begins anew");
        assert_eq!(repairs.wait(), Some(FIRST));
        repairs.forget();
        assert_eq!(repairs.wait(), None);
    }
}
