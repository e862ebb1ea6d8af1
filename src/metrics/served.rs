//! The time for which each context's Secret has held an expired token.

use std::collections::{BTreeSet, HashMap};

use super::labels::ContextLabels;
use crate::clock::Timestamp;

/// When each context's token expires, to count the seconds in which one was served after that.
///
/// Each token moves once from the valid to the expired ones, so no step is linear in the number of contexts.
#[derive(Default)]
pub(super) struct Served {
    settled: Option<Timestamp>,
    expiries: HashMap<ContextLabels, Timestamp>,
    working: BTreeSet<(Timestamp, ContextLabels)>,
    expired: u32,
}

impl Served {
    /// Seconds, summed over contexts, in which an expired token was served since the last call.
    pub(super) fn settle(&mut self, now: Timestamp) -> f64 {
        let since = self.settled.replace(now).unwrap_or(now);
        let elapsed = |from: Timestamp| now.duration_since(from).as_secs_f64().max(0.0);
        let mut seconds = f64::from(self.expired) * elapsed(since);
        while let Some((expiry, _)) = self.working.first().filter(|(expiry, _)| *expiry <= now) {
            seconds += elapsed((*expiry).max(since));
            self.working.pop_first();
            self.expired += 1;
        }
        seconds
    }

    pub(super) fn insert(&mut self, context: &ContextLabels, expiry: Timestamp) {
        self.remove(context);
        self.expiries.insert(context.clone(), expiry);
        self.working.insert((expiry, context.clone()));
    }

    pub(super) fn remove(&mut self, context: &ContextLabels) {
        if let Some(expiry) = self.expiries.remove(context)
            && !self.working.remove(&(expiry, context.clone()))
        {
            self.expired = self.expired.saturating_sub(1);
        }
    }
}
