//! The tenant's clock: wall time that follows tokio's clock, so that it also works with paused time.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Wall time that starts at a given time and follows tokio's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    wall: SystemTime,
}

impl Clock {
    /// A clock that reads `wall` now.
    pub fn starting_at(wall: SystemTime) -> Self {
        Self { origin: Instant::now(), wall }
    }

    /// The wall time.
    pub fn now(&self) -> SystemTime {
        self.wall + self.origin.elapsed()
    }

    /// Whole seconds since 1970.
    pub fn unix(&self) -> u64 {
        self.now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    /// The time this many seconds from now as an HTTP date, limited to its range.
    pub(super) fn http_date(&self, from_now: i64) -> String {
        let at = self.unix().saturating_add_signed(from_now).min(END_OF_HTTP_DATES);
        httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(at))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::starting_at(SystemTime::now())
    }
}

/// The last second of the year 9999.
const END_OF_HTTP_DATES: u64 = 253_402_300_799;
