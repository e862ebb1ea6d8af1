//! Leader election: a pure decision, then one optimistic write.
//!
//! A Lease is only ever written with the resourceVersion that was read, so of two candidates one gets 409. Ages are measured on
//! our own monotonic clock since we last saw the Lease change, never by comparing the wall clocks of two machines. A leader
//! that could not renew for 10 s stops writing, drops its work and is a candidate again; others wait for 15 s. Only a leader
//! that releases the Lease hands it over at once. A Lease that was deleted or edited by hand may still have a leader that has
//! not noticed yet, so candidates wait for 15 s as well.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::time::{Instant, sleep, timeout};

use crate::clock::{Clock, ClockSample};
use crate::error::{Error, describe};
use crate::health::{Health, Task};

/// How long a Lease is valid after its last renewal.
const DURATION: Duration = Duration::from_secs(15);
/// The leader of another version may use a longer duration; this bound keeps a typing error from blocking the Lease for a day.
const LONGEST: Duration = Duration::from_mins(1);
/// How often a leader renews and a candidate looks.
const PERIOD: Duration = Duration::from_secs(2);
/// A leader that did not renew for this long gives up, well before any candidate may take the Lease.
const GIVE_UP: Duration = Duration::from_secs(10);
/// Time limit of one attempt.
const ATTEMPT: Duration = Duration::from_secs(3);
/// How long to wait before a missing Lease is created: a working leader creates a deleted one again within this time.
const ABSENT: Duration = Duration::from_secs(3);
/// The duration of a released Lease, which no leader uses.
const RELEASED_SECONDS: i32 = 1;

/// Until when this process may write. Cheap to clone; checked before every write.
#[derive(Clone)]
pub struct Leadership(Option<Arc<Term>>);

/// The last renewal, while it is valid.
struct Term {
    renewed: RwLock<Option<ClockSample>>,
    clock: Clock,
}

impl Leadership {
    /// Without an election: always.
    pub fn undisputed() -> Self {
        Self(None)
    }

    fn contested(clock: Clock) -> Self {
        Self(Some(Arc::new(Term { renewed: RwLock::default(), clock })))
    }

    /// An error when no write may start now.
    pub fn check(&self) -> Result<(), Error> {
        let Some(term) = &self.0 else { return Ok(()) };
        let renewed = *term.renewed.read().unwrap_or_else(PoisonError::into_inner);
        // The monotonic clock stops while a machine sleeps; the wall clock does not.
        let within = |renewed: ClockSample| renewed.age() + term.clock.jumped_since(renewed) < GIVE_UP;
        if renewed.is_some_and(within) { Ok(()) } else { Err(Error::NotLeader) }
    }

    fn renewed(&self, at: Option<ClockSample>) {
        if let Some(term) = &self.0 {
            *term.renewed.write().unwrap_or_else(PoisonError::into_inner) = at;
        }
    }
}

/// The holder of a Lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Holder {
    /// Ours, as we wrote it.
    Us,
    /// Our name is in it, but another client wrote it.
    Named,
    Another,
    /// Its leader released it.
    Released,
    /// It was deleted, or its holder was removed by hand.
    Nobody,
}

/// The Lease as a candidate last saw it, and since when it has not changed.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    holder: Holder,
    resource_version: Option<String>,
    since: Instant,
    lasts: Duration,
}

#[derive(Debug, Eq, PartialEq)]
enum Move {
    Take,
    Wait,
}

/// What to do about a Lease; `leads`: our last renewal is still valid.
fn decide(seen: &Seen, leads: bool, now: Instant) -> Move {
    match seen.holder {
        Holder::Us | Holder::Released => Move::Take,
        Holder::Named | Holder::Nobody if leads => Move::Take,
        _ if !leads && now.duration_since(seen.since) >= seen.lasts => Move::Take,
        _ => Move::Wait,
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
    /// The last renewals that we tried to write: a response may have been lost.
    claims: VecDeque<MicroTime>,
    health: Arc<Health>,
}

impl Election {
    /// A candidate with this name for a Lease.
    pub fn new(leases: Api<Lease>, name: &str, identity: String, clock: Clock, health: Arc<Health>) -> Self {
        let leadership = Leadership::contested(clock.clone());
        Self { leases, name: name.into(), identity, clock, leadership, seen: None, claims: VecDeque::new(), health }
    }

    /// The handle that every writer checks.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Returns once this process leads; calls `standing_by` when another one does. A process that cannot read the Lease is not a
    /// standby.
    pub async fn acquire(&mut self, standing_by: impl Fn()) {
        let mut waits = false;
        while !self.attempt().await {
            if !waits && self.another_leads() {
                standing_by();
                tracing::info!(lease = self.name, identity = self.identity, "another instance leads; standing by");
                waits = true;
            }
            sleep(self.until_next_look()).await;
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
        self.seen.as_ref().is_some_and(|seen| seen.holder == Holder::Another)
    }

    /// A Lease that expires is read at just that time.
    fn until_next_look(&self) -> Duration {
        let end = self.seen.as_ref().map(|seen| seen.since + seen.lasts);
        let left = end.map(|end| end.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero());
        left.map_or(PERIOD, |left| left.min(PERIOD))
    }

    /// Releases the Lease, so that the next candidate can begin at once.
    pub async fn release(&mut self) {
        self.leadership.renewed(None);
        // Without a release the others take over when the Lease expires, so this does not wait for a dead connection.
        let _ = timeout(ATTEMPT, async {
            // A cancelled renewal may still arrive in between; then repeat the release once.
            if !self.write_released().await {
                self.write_released().await;
            }
        })
        .await;
    }

    /// False when another client wrote at the same moment.
    async fn write_released(&self) -> bool {
        let Ok(Some(mut lease)) = self.leases.get_opt(&self.name).await else { return true };
        if holder(&lease) != Some(&self.identity) {
            return true;
        }
        if let Some(spec) = lease.spec.as_mut() {
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(RELEASED_SECONDS);
        }
        let written = self.leases.replace(&self.name, &PostParams::default(), &lease).await;
        !matches!(written, Err(kube::Error::Api(status)) if status.is_conflict())
    }

    /// One read and at most one write; true when this process leads.
    async fn attempt(&mut self) -> bool {
        self.health.beat(Task::Lease);
        let begun = self.clock.sample();
        match timeout(ATTEMPT, self.try_once()).await {
            Ok(Ok(true)) => {
                self.leadership.renewed(Some(begun));
                true
            }
            Ok(Ok(false)) => {
                self.leadership.renewed(None);
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

    async fn try_once(&mut self) -> kube::Result<bool> {
        let lease = self.leases.get_opt(&self.name).await?;
        let leads = self.leadership.check().is_ok();
        let now = Instant::now();
        if decide(self.look(lease.as_ref(), now), leads, now) == Move::Wait {
            return Ok(false);
        }
        let claim = self.claim(lease.clone());
        self.claims.extend(claim.spec.as_ref().and_then(|spec| spec.renew_time.clone()));
        self.claims.drain(..self.claims.len().saturating_sub(2));
        let params = PostParams::default();
        match lease {
            Some(_) => self.leases.replace(&self.name, &params, &claim).await.map(|_| true),
            None => self.leases.create(&params, &claim).await.map(|_| true),
        }
    }

    fn look(&mut self, lease: Option<&Lease>, now: Instant) -> &Seen {
        let resource_version = lease.and_then(|lease| lease.metadata.resource_version.clone());
        let holder = self.classify(lease);
        let before = self.seen.take();
        let known = before.is_some();
        let unchanged = before.filter(|seen| seen.resource_version == resource_version && seen.holder == holder);
        self.seen.insert(unchanged.unwrap_or_else(|| {
            let asked = lease.and_then(|lease| lease.spec.as_ref()?.lease_duration_seconds);
            let asked = asked.and_then(|seconds| seconds.try_into().ok()).map(Duration::from_secs);
            let lasts = match lease {
                None if !known => ABSENT,
                _ => asked.unwrap_or(DURATION).clamp(DURATION, LONGEST),
            };
            Seen { holder, resource_version, since: now, lasts }
        }))
    }

    fn classify(&self, lease: Option<&Lease>) -> Holder {
        let spec = lease.and_then(|lease| lease.spec.as_ref());
        match spec.and_then(|spec| spec.holder_identity.as_deref()) {
            None | Some("") => {
                let released = spec.is_some_and(|spec| spec.lease_duration_seconds == Some(RELEASED_SECONDS));
                if released { Holder::Released } else { Holder::Nobody }
            }
            Some(holder) if holder == self.identity => {
                let renewed = spec.and_then(|spec| spec.renew_time.as_ref());
                let ours = renewed.is_some_and(|renewed| self.claims.contains(renewed));
                if ours { Holder::Us } else { Holder::Named }
            }
            Some(_) => Holder::Another,
        }
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
    use crate::clock::{SignedDuration, Timestamp};

    fn seen(holder: Holder, since: Instant) -> Seen {
        Seen { holder, resource_version: None, since, lasts: DURATION }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_taken_when_it_was_given_back_or_has_run_out_by_our_own_clock() {
        let begin = Instant::now();
        for (holder, leads, age, expected) in [
            (Holder::Released, false, 0, Move::Take),
            (Holder::Us, true, 2, Move::Take),
            (Holder::Us, false, 99, Move::Take),
            // Edited by hand: a leader keeps it, a candidate waits for a leader that may still write.
            (Holder::Named, true, 0, Move::Take),
            (Holder::Named, false, 14, Move::Wait),
            (Holder::Named, false, 15, Move::Take),
            (Holder::Nobody, true, 0, Move::Take),
            (Holder::Nobody, false, 14, Move::Wait),
            (Holder::Nobody, false, 15, Move::Take),
            (Holder::Another, false, 0, Move::Wait),
            (Holder::Another, false, 14, Move::Wait),
            (Holder::Another, false, 15, Move::Take),
            (Holder::Another, true, 15, Move::Wait),
        ] {
            let now = begin + Duration::from_secs(age);
            assert_eq!(decide(&seen(holder, begin), leads, now), expected, "{holder:?}, {leads}, after {age} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_write_starts_after_the_deadline() {
        let clock = Clock::starting_at(Timestamp::UNIX_EPOCH);
        let leadership = Leadership::contested(clock.clone());
        assert!(leadership.check().is_err());
        leadership.renewed(Some(clock.sample()));
        assert!(leadership.check().is_ok());
        tokio::time::advance(GIVE_UP).await;
        assert!(leadership.check().is_err());
        assert!(Leadership::undisputed().check().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn no_write_starts_after_the_machine_slept_and_a_clock_that_is_set_back_changes_nothing() {
        for (hours, allowed) in [(1, false), (-1, true)] {
            let wall = Arc::new(std::sync::Mutex::new(Timestamp::UNIX_EPOCH));
            let read = wall.clone();
            let clock = Clock::from_wall(move || *read.lock().unwrap());
            let leadership = Leadership::contested(clock.clone());
            leadership.renewed(Some(clock.sample()));
            *wall.lock().unwrap() += SignedDuration::from_hours(hours);
            assert_eq!(leadership.check().is_ok(), allowed, "{hours} h");
        }
    }
}
