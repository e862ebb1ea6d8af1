//! Rate limits of one user on one tenant (<https://qlik.dev/apis/rest/rate-limiting/>), over a window of one minute.
//! Qlik's window is longer and so allows larger bursts.

use std::collections::{HashMap, VecDeque};

/// Seconds.
const WINDOW: u64 = 60;

/// The two tiers of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::tenant) enum Tier {
    Reads,
    Writes,
}

/// The times of each user's requests, by tier.
#[derive(Debug, Default)]
pub(in crate::tenant) struct Calls(HashMap<(String, Tier), VecDeque<u64>>);

impl Calls {
    /// Counts a request, or returns for how many seconds the tier is closed.
    pub(in crate::tenant) fn admit(&mut self, user: &str, tier: Tier, limit: Option<u32>, now: u64) -> Result<(), u64> {
        let Some(limit) = limit else { return Ok(()) };
        let calls = self.0.entry((user.to_owned(), tier)).or_default();
        while calls.front().is_some_and(|at| at + WINDOW <= now) {
            calls.pop_front();
        }
        match calls.front() {
            Some(oldest) if calls.len() as u64 >= u64::from(limit) => Err((oldest + WINDOW - now).max(1)),
            None if limit == 0 => Err(WINDOW),
            _ => {
                calls.push_back(now);
                Ok(())
            }
        }
    }
}
