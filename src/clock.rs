//! Time and chance, as values that are handed in.
//!
//! Nothing else in the program reads a clock or draws a random number for a decision, so that tests can say what both are.

use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
pub use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// The wall clock, in whole seconds as Kubernetes writes them.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The system's clock.
    #[allow(clippy::disallowed_methods, reason = "the one place that may")]
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// A clock that starts at `start` and goes with tokio's, which tests can pause.
    pub fn starting_at(start: Timestamp) -> Self {
        let begun = Instant::now();
        Self(Arc::new(move || {
            start
                .saturating_add(begun.elapsed())
                .unwrap_or(Timestamp::MAX)
        }))
    }

    /// Now, rounded down to the second.
    pub fn now(&self) -> Timestamp {
        let now = (self.0)();
        Timestamp::from_second(now.as_second()).unwrap_or(now)
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
            // Without randomness everything happens at once; that is worse than even, but right.
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
