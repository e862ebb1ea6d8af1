//! Leader election: a pure decision, then one optimistic write.
//!
//! Promises: a Lease is only ever written with the resourceVersion that was judged, so of two candidates one gets 409. Ages
//! are measured on our own monotonic clock since we last saw the Lease change, never by comparing wall clocks. A leader
//! that could not renew for 10 s stops writing, drops its work and is a candidate again; others wait for 15 s.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::time::{Instant, sleep, timeout};

use crate::clock::Clock;
use crate::error::{Error, describe};

/// How long a Lease is valid after its last renewal.
const DURATION: Duration = Duration::from_secs(15);
/// How often a leader renews and a candidate looks.
const PERIOD: Duration = Duration::from_secs(2);
/// A leader that did not renew for this long gives up, well before anybody else begins.
const GIVE_UP: Duration = Duration::from_secs(10);
/// One attempt ends within this.
const ATTEMPT: Duration = Duration::from_secs(3);

/// Until when this process may write. Cheap to copy; asked before every write.
#[derive(Clone, Debug)]
pub struct Leadership(Option<Arc<Mutex<Option<Instant>>>>);

impl Leadership {
    /// Without an election: always.
    pub fn undisputed() -> Self {
        Self(None)
    }

    fn contested() -> Self {
        Self(Some(Arc::default()))
    }

    /// An error when no write may start now.
    pub fn check(&self) -> Result<(), Error> {
        let Some(until) = &self.0 else { return Ok(()) };
        let until = *until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.is_some_and(|until| Instant::now() < until) { Ok(()) } else { Err(Error::NotLeader) }
    }

    fn extend(&self, until: Option<Instant>) {
        if let Some(own) = &self.0 {
            *own.lock().unwrap_or_else(PoisonError::into_inner) = until;
        }
    }
}

/// What a candidate last saw of the Lease, and since when it has not changed.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    holder: Option<String>,
    resource_version: Option<String>,
    since: Instant,
    duration: Duration,
}

#[derive(Debug, Eq, PartialEq)]
enum Move {
    Acquire,
    Renew,
    Wait,
}

/// What to do about a Lease, seen by `me` at `now`.
fn decide(seen: &Seen, me: &str, now: Instant) -> Move {
    match seen.holder.as_deref() {
        Some(holder) if holder == me => Move::Renew,
        None | Some("") => Move::Acquire,
        Some(_) if now.duration_since(seen.since) >= seen.duration => Move::Acquire,
        Some(_) => Move::Wait,
    }
}

/// One candidate.
pub struct Election {
    leases: Api<Lease>,
    name: String,
    identity: String,
    clock: Clock,
    leadership: Leadership,
    seen: Option<Seen>,
}

impl Election {
    /// A candidate of this name for a Lease.
    pub fn new(leases: Api<Lease>, name: &str, identity: String, clock: Clock) -> Self {
        Self { leases, name: name.into(), identity, clock, leadership: Leadership::contested(), seen: None }
    }

    /// What every writer asks.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Returns once this process leads; calls `standing_by` when another one does. Who cannot even look is no standby.
    pub async fn acquire(&mut self, standing_by: impl Fn()) {
        let mut waits = false;
        while !self.attempt().await {
            if !waits && self.another_leads() {
                standing_by();
                tracing::info!(lease = self.name, identity = self.identity, "another instance leads; standing by");
                waits = true;
            }
            sleep(PERIOD).await;
        }
        tracing::info!(lease = self.name, identity = self.identity, "leading");
    }

    /// Renews until that fails for too long; then nothing may be written any more.
    pub async fn keep(&mut self) {
        while self.leadership.check().is_ok() {
            sleep(PERIOD).await;
            self.attempt().await;
        }
        tracing::error!(lease = self.name, "lost the lease");
    }

    fn another_leads(&self) -> bool {
        let holder = self.seen.as_ref().and_then(|seen| seen.holder.as_deref());
        holder.is_some_and(|holder| !holder.is_empty() && holder != self.identity)
    }

    /// Lets the next candidate begin at once.
    pub async fn release(&mut self) {
        self.leadership.extend(None);
        // Without it the others wait for the Lease to run out: no reason to wait for a dead connection.
        let _ = timeout(ATTEMPT, async {
            // A renewal that was cut off may still arrive in between: then once more.
            if !self.let_go().await {
                self.let_go().await;
            }
        })
        .await;
    }

    /// False when somebody wrote at the same moment.
    async fn let_go(&self) -> bool {
        let Ok(Some(mut lease)) = self.leases.get_opt(&self.name).await else { return true };
        if holder(&lease) != Some(&self.identity) {
            return true;
        }
        if let Some(spec) = lease.spec.as_mut() {
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
        }
        let written = self.leases.replace(&self.name, &PostParams::default(), &lease).await;
        !matches!(written, Err(kube::Error::Api(status)) if status.is_conflict())
    }

    /// One look and at most one write; true when this process leads.
    async fn attempt(&mut self) -> bool {
        let begun = Instant::now();
        match timeout(ATTEMPT, self.try_once(begun)).await {
            Ok(Ok(true)) => {
                self.leadership.extend(Some(begun + GIVE_UP));
                true
            }
            Ok(Ok(false)) => {
                self.leadership.extend(None);
                false
            }
            Ok(Err(kube::Error::Api(status))) if status.is_conflict() => false,
            Ok(Err(error)) => {
                tracing::warn!(lease = self.name, error = describe(&error), "cannot get the lease");
                false
            }
            Err(_) => {
                tracing::warn!(lease = self.name, "the lease was not renewed in time");
                false
            }
        }
    }

    async fn try_once(&mut self, now: Instant) -> kube::Result<bool> {
        let Some(lease) = self.leases.get_opt(&self.name).await? else {
            let lease = self.claim(None);
            return self.leases.create(&PostParams::default(), &lease).await.map(|_| true);
        };
        let me = self.identity.clone();
        match decide(self.look(&lease, now), &me, now) {
            Move::Wait => Ok(false),
            Move::Acquire | Move::Renew => {
                let lease = self.claim(Some(lease));
                self.leases.replace(&self.name, &PostParams::default(), &lease).await.map(|_| true)
            }
        }
    }

    fn look(&mut self, lease: &Lease, now: Instant) -> &Seen {
        let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).and_then(|n| n.try_into().ok());
        let resource_version = lease.metadata.resource_version.clone();
        let unchanged = self.seen.take().filter(|seen| seen.resource_version == resource_version);
        self.seen.insert(unchanged.unwrap_or_else(|| Seen {
            holder: holder(lease).cloned(),
            resource_version,
            since: now,
            duration: seconds.map_or(DURATION, Duration::from_secs),
        }))
    }

    /// The Lease with us as its holder.
    fn claim(&self, lease: Option<Lease>) -> Lease {
        let before = lease.as_ref().and_then(|lease| lease.spec.clone());
        let ours = before.as_ref().is_some_and(|spec| spec.holder_identity.as_ref() == Some(&self.identity));
        let now = MicroTime(self.clock.now());
        let transitions = before.as_ref().and_then(|spec| spec.lease_transitions);
        let spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(DURATION.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: before
                .as_ref()
                .filter(|_| ours)
                .and_then(|spec| spec.acquire_time.clone())
                .or(Some(now.clone())),
            lease_transitions: Some(transitions.map_or(0, |count| count + i32::from(!ours))),
            renew_time: Some(now),
            ..before.unwrap_or_default()
        };
        let metadata = lease.map_or_else(
            || ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            |lease| lease.metadata,
        );
        Lease { metadata, spec: Some(spec) }
    }
}

fn holder(lease: &Lease) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(holder: Option<&str>, since: Instant) -> Seen {
        Seen { holder: holder.map(Into::into), resource_version: None, since, duration: DURATION }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_taken_when_it_is_free_or_has_run_out_by_our_own_clock() {
        let begin = Instant::now();
        for (holder, age, expected) in [
            (None, 0, Move::Acquire),
            (Some(""), 0, Move::Acquire),
            (Some("me"), 99, Move::Renew),
            (Some("other"), 0, Move::Wait),
            (Some("other"), 14, Move::Wait),
            (Some("other"), 15, Move::Acquire),
        ] {
            let now = begin + Duration::from_secs(age);
            assert_eq!(decide(&seen(holder, begin), "me", now), expected, "{holder:?} after {age} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_write_starts_after_the_deadline() {
        let leadership = Leadership::contested();
        assert!(leadership.check().is_err());
        leadership.extend(Some(Instant::now() + GIVE_UP));
        assert!(leadership.check().is_ok());
        tokio::time::advance(GIVE_UP).await;
        assert!(leadership.check().is_err());
        assert!(Leadership::undisputed().check().is_ok());
    }
}
