//! Time and randomness, as values that are passed in.
//!
//! Nothing else in the program reads a clock or draws a random number for a decision, so that tests can set both.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
pub use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// The wall clock in whole seconds, as Kubernetes writes them, and a monotonic one beside it.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

/// One moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct ClockSample {
    /// The wall clock.
    pub wall: Timestamp,
    monotonic: Instant,
}

impl ClockSample {
    /// How long ago that was, by the monotonic clock.
    pub fn age(self) -> Duration {
        self.monotonic.elapsed()
    }
}

impl Clock {
    /// The system's clock.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// A clock that starts at `start` and advances with tokio's, which tests can pause.
    pub fn starting_at(start: Timestamp) -> Self {
        let begun = Instant::now();
        Self(Arc::new(move || start.saturating_add(begun.elapsed()).unwrap_or(Timestamp::MAX)))
    }

    /// Any wall clock; the monotonic one is tokio's.
    pub fn from_wall(wall: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(wall))
    }

    /// Now, rounded down to the second.
    pub fn now(&self) -> Timestamp {
        let now = (self.0)();
        Timestamp::from_second(now.as_second()).unwrap_or(now)
    }

    /// This moment on both clocks.
    pub fn sample(&self) -> ClockSample {
        ClockSample { wall: self.now(), monotonic: Instant::now() }
    }

    /// The later of the two clocks' times, for something that began at `since`: a wall clock that was set back delays nothing.
    pub fn now_since(&self, since: ClockSample) -> Timestamp {
        let age = Duration::from_secs(since.age().as_secs());
        self.now().max(since.wall.saturating_add(age).unwrap_or(Timestamp::MAX))
    }

    /// How far the wall clock has advanced beyond the monotonic one since then: the machine slept, or its clock was set.
    pub fn jumped_since(&self, since: ClockSample) -> Duration {
        let wall: Duration = self.now().duration_since(since.wall).try_into().unwrap_or_default();
        wall.saturating_sub(since.age())
    }
}

/// Draws numbers from 0 up to 1, to spread what would otherwise happen at once.
#[derive(Clone)]
pub struct Jitter(Arc<dyn Fn() -> f64 + Send + Sync>);

impl Jitter {
    /// From the system's generator.
    pub fn random() -> Self {
        Self(Arc::new(|| {
            let mut bytes = [0; 4];
            // Without randomness everything happens at once, which is correct but less even.
            let _ = SystemRandom::new().fill(&mut bytes);
            fraction(bytes)
        }))
    }

    /// Always the same number.
    pub fn fixed(value: f64) -> Self {
        Self(Arc::new(move || value))
    }

    /// The next number.
    pub fn draw(&self) -> f64 {
        (self.0)()
    }
}

/// Four bytes as a number from 0 up to 1.
pub fn fraction(bytes: [u8; 4]) -> f64 {
    f64::from(u32::from_be_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}
