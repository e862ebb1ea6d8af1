//! When a request may go to its host: the good neighbour's part.
//!
//! Whoever is about to send something asks here first, and either goes at once or is told when to come back; nobody waits
//! inside. Promises: budgets for each host and key are kept; half of what a host gets is kept for keys that hold a working
//! token; namespaces share the rest evenly; a host that asked for a pause, or is down, is left alone; after that comes a
//! ramp. It decides from values and the time it is handed, and never reads an address, a credential or a clock.

mod budget;
mod circuit;
mod host;
mod queue;
mod slots;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use self::circuit::Health;
use self::host::Host;
use self::slots::Slots;
use super::request::RequestKey;
use crate::api::{ConditionType, Reason};
use crate::error::Failure;
use crate::metrics::Metrics;

/// A wait for the operator's own limits is worth telling when it is longer than this.
const TOLD_AFTER: Duration = Duration::from_mins(1);

/// `--host-token-requests-per-minute`, `--host-api-requests-per-minute`, `--key-token-requests-per-minute`,
/// `--concurrency`; 0 in a minute is no limit.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Limits {
    pub host_tokens_per_minute: u32,
    pub host_requests_per_minute: u32,
    pub key_tokens_per_minute: u32,
    pub concurrency: u16,
}

impl Default for Limits {
    /// Qlik's tiers leave this much room (<https://qlik.dev/apis/rest/rate-limiting/>).
    fn default() -> Self {
        Self { host_tokens_per_minute: 100, host_requests_per_minute: 600, key_tokens_per_minute: 10, concurrency: 32 }
    }
}

/// How urgent a request is; what comes first goes first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Urgency {
    /// A working token is to be renewed.
    Due {
        /// What is left of its life.
        left: Duration,
    },
    /// There is no working token.
    New,
    /// A working token is checked, or renewed before its time.
    Routine,
    /// There is no working token, and the last attempt failed.
    Failed,
}

impl Urgency {
    fn is_due(self) -> bool {
        matches!(self, Self::Due { .. })
    }

    /// The key itself holds a working token.
    fn holds_token(self) -> bool {
        matches!(self, Self::Due { .. } | Self::Routine)
    }
}

/// What is going to be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Errand {
    /// A token request, and the verification of what it leads to.
    Token,
    /// A verification.
    Check,
}

/// Somebody wants to send something.
#[derive(Clone, Copy, Debug)]
pub struct Bid<'a> {
    /// Host and port.
    pub host: &'a str,
    /// On whose account.
    pub key: RequestKey,
    /// The context that asks, by its uid.
    pub uid: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// What for.
    pub errand: Errand,
    /// How urgent it is.
    pub urgency: Urgency,
    /// The context holds a token that works, though perhaps of another key.
    pub working: bool,
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// The same request of somebody else is under way.
    Flight,
    /// A free slot.
    Slot,
    /// The operator's own limits.
    Budget,
    /// The tenant asked for a pause.
    Pause,
    /// The host is down.
    Circuit,
}

/// Come back later.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wait {
    /// In how long.
    pub again: Duration,
    /// What for.
    pub cause: Cause,
}

impl Wait {
    /// What is to be told of it; a short wait of the operator's own making is nobody's concern.
    pub fn failure(self, condition: ConditionType) -> Option<Failure> {
        let (reason, message) = match self.cause {
            Cause::Flight | Cause::Slot => return None,
            Cause::Budget if self.again <= TOLD_AFTER => return None,
            Cause::Budget => (
                Reason::RateLimited,
                "The operator keeps to its own limit of requests to this tenant, and others come first. It goes on by \
                 itself; --host-token-requests-per-minute and its like set the limits.",
            ),
            Cause::Pause => (
                Reason::RateLimited,
                "The tenant asked this operator for a pause. It goes on by itself when the pause is over.",
            ),
            Cause::Circuit => (
                Reason::TenantUnavailable,
                "Several requests in a row found this tenant down, so it is only tried now and then. The operator goes on \
                 by itself when it answers.",
            ),
        };
        Some(Failure::new(condition, reason, message))
    }
}

/// Who may send what, and when.
pub struct Traffic {
    limits: Limits,
    state: Mutex<State>,
    metrics: Arc<Metrics>,
}

struct State {
    hosts: HashMap<String, Host>,
    slots: Slots,
}

/// Leave to send one thing; the slot is free again when it is dropped.
#[must_use]
pub struct Permit<'t> {
    traffic: &'t Traffic,
    host: String,
    namespace: String,
    key: RequestKey,
    working: bool,
}

impl Traffic {
    /// With nobody under way.
    pub fn new(limits: Limits, metrics: Arc<Metrics>) -> Self {
        let state = State { hosts: HashMap::new(), slots: Slots::new(limits.concurrency) };
        Self { limits, state: Mutex::new(state), metrics }
    }

    /// Asks to send something now.
    pub fn enter(&self, bid: &Bid<'_>, now: Instant) -> Result<Permit<'_>, Wait> {
        let mut state = self.state();
        let State { hosts, slots } = &mut *state;
        let host = hosts.entry(bid.host.to_owned()).or_insert_with(|| Host::new(&self.limits, now));
        let (opens, cause) = host.opens_at(bid, &self.limits, now);
        if opens > now {
            if cause == Cause::Budget {
                self.metrics.host_budget_wait();
            }
            return Err(Wait { again: opens - now, cause });
        }
        let opens = slots.opens_at(bid, now);
        if opens > now {
            return Err(Wait { again: opens - now, cause: Cause::Slot });
        }
        host.begin(bid, now);
        slots.take(bid);
        let (host, namespace) = (bid.host.to_owned(), bid.namespace.to_owned());
        Ok(Permit { traffic: self, host, namespace, key: bid.key, working: bid.working })
    }

    /// A host that asked for a pause is left alone by what is under way, too.
    pub fn paused(&self, host: &str, now: Instant) -> Option<Wait> {
        let until = self.state().hosts.get(host).and_then(|host| host.paused_until(now))?;
        Some(Wait { again: until - now, cause: Cause::Pause })
    }

    /// A context is gone: nobody waits behind it any more.
    pub fn leave(&self, uid: &str) {
        self.state().hosts.values_mut().for_each(|host| host.leave(uid));
    }

    /// Only these keys are still of interest.
    pub fn keep(&self, known: impl Fn(&RequestKey) -> bool, now: Instant) {
        self.state().hosts.retain(|_, host| host.keep(&known, now));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// What came of it.
    pub fn ended(self, failure: Option<&Failure>, now: Instant) {
        let health = match failure.map(|failure| failure.reason) {
            None => Health::Up,
            Some(Reason::TenantUnavailable | Reason::TenantUnreachable) => Health::Down,
            Some(_) => Health::Answers,
        };
        // The pause that a key without a working token is given is that key's own.
        let pause = failure.and_then(|failure| failure.retry_after).filter(|_| self.working);
        let mut state = self.traffic.state();
        if let Some(host) = state.hosts.get_mut(&self.host) {
            host.end(self.key, &self.namespace, health, now);
            if let Some(pause) = pause {
                host.pause(&self.namespace, pause, now);
            }
        }
        let open = state.hosts.values().filter(|host| host.is_open()).count();
        self.traffic.metrics.circuits_open(open);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.traffic.state().slots.give_back(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::LazyLock;

    pub(super) fn key(n: usize) -> RequestKey {
        RequestKey::numbered(n)
    }

    static UIDS: LazyLock<Vec<String>> = LazyLock::new(|| (0..1000).map(|n| n.to_string()).collect());

    /// Of a context of its own.
    pub(super) fn bid(n: usize, namespace: &str, urgency: Urgency) -> Bid<'_> {
        Bid {
            host: "acme.eu.qlikcloud.com",
            key: key(n),
            uid: &UIDS[n],
            namespace,
            errand: Errand::Token,
            urgency,
            working: false,
        }
    }

    fn traffic() -> Traffic {
        Traffic::new(Limits::default(), Arc::new(Metrics::new()))
    }

    fn rate_limited(seconds: u64) -> Failure {
        let failure = Failure::new(ConditionType::TokenIssued, Reason::RateLimited, "…");
        Failure { retry_after: Some(Duration::from_secs(seconds)), ..failure }
    }

    #[test]
    fn a_pause_asked_of_a_working_key_is_everybodys_and_that_of_another_its_own() {
        for working in [true, false] {
            let (now, traffic) = (Instant::now(), traffic());
            let permit = traffic.enter(&Bid { working, ..bid(0, "a", Urgency::New) }, now).ok().unwrap();
            permit.ended(Some(&rate_limited(30)), now);
            let other = traffic.enter(&bid(1, "b", Urgency::New), now);
            assert_eq!(other.err(), working.then(|| Wait { again: Duration::from_secs(30), cause: Cause::Pause }));
        }
    }

    #[test]
    fn an_open_circuit_lets_one_through_now_and_then_and_closes_with_an_answer() {
        let (begin, traffic) = (Instant::now(), traffic());
        let down = Failure::new(ConditionType::TokenIssued, Reason::TenantUnreachable, "…");
        let later = begin + Duration::from_mins(2);
        // The first makes the host known; its last good moment is then.
        drop(traffic.enter(&bid(9, "a", Urgency::New), begin));
        for n in 0..3 {
            traffic.enter(&bid(n, "a", Urgency::New), later).ok().unwrap().ended(Some(&down), later);
        }
        let wait = traffic.enter(&bid(3, "a", Urgency::New), later).err().unwrap();
        assert_eq!((wait.again, wait.cause), (Duration::from_secs(10), Cause::Circuit));
        let probe = later + wait.again;
        let permit = traffic.enter(&bid(3, "a", Urgency::New), probe).ok().unwrap();
        assert_eq!(traffic.enter(&bid(4, "a", Urgency::New), probe).err().unwrap().cause, Cause::Circuit);
        permit.ended(None, probe);
        let wait = traffic.enter(&bid(4, "a", Urgency::New), probe).err();
        assert!(wait.is_none_or(|wait| wait.cause == Cause::Pause), "the ramp");
    }

    #[test]
    fn hosts_and_keys_that_nobody_knows_any_more_are_forgotten() {
        let (now, traffic) = (Instant::now(), traffic());
        drop(traffic.enter(&bid(0, "a", Urgency::New), now));
        traffic.keep(|known| *known == key(0), now);
        assert_eq!(traffic.state().hosts.len(), 1);
        traffic.keep(|_| false, now);
        assert_eq!(traffic.state().hosts.len(), 0);
    }

    #[test]
    fn a_short_wait_of_our_own_is_not_told_and_the_tenants_always_is() {
        let told = |seconds, cause| {
            let wait = Wait { again: Duration::from_secs(seconds), cause };
            wait.failure(ConditionType::TokenIssued).map(|failure| failure.reason)
        };
        assert_eq!(told(60, Cause::Budget), None);
        assert_eq!(told(61, Cause::Budget), Some(Reason::RateLimited));
        assert_eq!(told(1, Cause::Pause), Some(Reason::RateLimited));
        assert_eq!(told(1, Cause::Circuit), Some(Reason::TenantUnavailable));
        assert_eq!((told(999, Cause::Flight), told(999, Cause::Slot)), (None, None));
    }
}
