//! The writes of processes, and the Lease that permits them.

use std::time::Duration;

use serde_json::Value;
use support::api_server::Committed;
use tokio::time::Instant;

use super::{Checker, Invariant, text};

/// A leader that could not renew the Lease for ten seconds may not write any more. Others may take it five seconds later.
const LEASE_LASTS: Duration = Duration::from_secs(11);

impl Checker {
    /// A process sends a write to the API server, or a request that changes an OAuth client.
    pub fn writes(&self, process: &str, what: &str) {
        let state = self.lock();
        let other = state.leader.as_ref().filter(|leader| *leader != process).cloned();
        let renewed = state.renewed.get(process).map(Instant::elapsed);
        drop(state);
        let why = match (other, renewed) {
            (Some(leader), _) => format!("while {leader} holds the Lease"),
            (None, None) => "without the Lease".to_owned(),
            (None, Some(age)) if age > LEASE_LASTS => format!("{} s after it renewed the Lease", age.as_secs()),
            (None, Some(_)) => return,
        };
        self.violated(Invariant::OnlyTheLeaderWrites, format!("{process} sends {what} {why}"));
    }

    pub(super) fn on_lease(&self, change: &Committed<'_>) {
        let holder =
            |lease: Option<&Value>| lease.map(|lease| text(lease, &["spec", "holderIdentity"])).unwrap_or_default();
        let (before, after) = (holder(change.before), holder(change.after));
        let mut state = self.lock();
        // Only a leader removes its name; a user deletes the Lease.
        if change.after.is_some() && after.is_empty() {
            state.renewed.remove(&before);
        }
        state.leader = Some(after).filter(|leader| !leader.is_empty());
        if let Some(leader) = state.leader.clone() {
            state.renewed.insert(leader, Instant::now());
        }
    }
}
