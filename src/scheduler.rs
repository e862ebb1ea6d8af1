//! Decides when a context may send a request to its host, within the limits of the operator and of the host.
//!
//! A context calls the scheduler before it sends anything. It either gets a [`Permit`] at once, or it is parked: it keeps one
//! place in the queue, holds nothing, and is woken when its turn has come. The turn is then reserved for it for five seconds.
//! The budgets of each host and each key are kept. Half of a host's budget and a quarter of the slots are reserved for contexts
//! with a working token; namespaces share the rest evenly; equals are served in order of arrival. A host that requested a
//! pause, or that is down, gets no requests, and a ramp afterwards. No place is ever lost. Each operation takes logarithmic
//! time, and no timer fires while nothing can change.
//! The scheduler never sends anything, reads no address and no credential, and is independent of the kind of object.

mod budget;
mod circuit;
mod host;
mod lane;
mod pace;
mod ready;
mod slots;
mod state;
#[cfg(test)]
mod tests;
mod turns;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

pub use self::circuit::Health;
use self::state::{State, Ticket};
use crate::api::Kind;
use crate::oauth::request::RequestKey;

/// `--host-token-requests-per-minute`, `--host-api-requests-per-minute`, `--key-token-requests-per-minute`,
/// `--concurrency`. Zero requests per minute means no limit.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Limits {
    pub host_tokens_per_minute: u32,
    pub host_requests_per_minute: u32,
    pub key_tokens_per_minute: u32,
    pub concurrency: u16,
}

impl Default for Limits {
    /// Qlik's rate limit tiers allow this much (<https://qlik.dev/apis/rest/rate-limiting/>).
    fn default() -> Self {
        Self { host_tokens_per_minute: 100, host_requests_per_minute: 600, key_tokens_per_minute: 10, concurrency: 32 }
    }
}

/// How urgent a request is; the smallest value goes first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Urgency {
    /// A working token has to be renewed.
    Due {
        /// When the token expires.
        ends: Instant,
    },
    /// There is no working token.
    New,
    /// A working token is verified, or renewed before it is due.
    Routine,
    /// There is no working token, and the last attempt failed.
    Failed,
}

impl Urgency {
    fn is_due(self) -> bool {
        matches!(self, Self::Due { .. })
    }

    /// The key itself has a working token.
    fn holds_token(self) -> bool {
        matches!(self, Self::Due { .. } | Self::Routine)
    }
}

/// The request to send.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RequestKind {
    /// A token request, and the verification of the new token.
    Token,
    /// A verification.
    Check,
}

/// The reason why a context waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WaitReason {
    /// The same request is in flight for another context.
    Flight,
    /// A free slot.
    Slot,
    /// The operator's own limits.
    Budget,
    /// The tenant requested a pause, which is not over or is followed by a ramp.
    Pause,
    /// The host is down.
    Circuit,
}

/// A context has to wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wait {
    /// The reason.
    pub reason: WaitReason,
    /// An estimate of the time; the context may be woken earlier or later.
    pub expected: Duration,
}

/// A context, as its waker knows it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Caller {
    /// Only passed on to the waker.
    pub kind: Kind,
    /// Identifies the context: each has one place in the queue.
    pub uid: Arc<str>,
    /// Namespaces share a host evenly.
    pub namespace: Arc<str>,
    /// Only passed on to the waker.
    pub name: Arc<str>,
}

/// A context wants to send something.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The context.
    pub caller: &'a Caller,
    /// Host and port.
    pub host: &'a str,
    /// How urgent it is.
    pub urgency: Urgency,
    /// The context has a working token, perhaps one of another key.
    pub working: bool,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestEnd {
    /// What it shows about the host.
    pub health: Health,
    /// `Retry-After`.
    pub pause: Option<Duration>,
}

/// Receives what the metrics count. Runs under the scheduler's lock, and must not call the scheduler.
pub trait Observer: Send + Sync {
    /// A request has to wait for a budget.
    fn budget_wait(&self) {}
    /// The number of open circuits changed.
    fn circuits_open(&self, _open: usize) {}
}

/// Ignores everything.
impl Observer for () {}

/// Called outside of the lock when the turn of a context has come.
pub type Wake = Box<dyn Fn(&Caller) + Send + Sync>;

/// The scheduler; clones share one queue.
#[derive(Clone)]
pub struct Scheduler {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// The timer has to fire earlier than it is set to.
    earlier: Notify,
    wake: Wake,
    observer: Box<dyn Observer>,
}

/// A slot, and perhaps the turn at the host. Dropping it returns both.
#[must_use]
pub struct Permit {
    shared: Arc<Shared>,
    ticket: Ticket,
}

impl Scheduler {
    /// An empty queue.
    pub fn new(limits: Limits, wake: Wake, observer: Box<dyn Observer>) -> Self {
        let state = Mutex::new(State::new(limits, Instant::now()));
        Self { shared: Arc::new(Shared { state, earlier: Notify::new(), wake, observer }) }
    }

    /// Requests a slot, and with it the host's turn if it is known what will be sent.
    ///
    /// On `Err` the context is parked until it is woken, or until [`Self::leave`].
    pub fn enter(
        &self,
        request: &Request<'_>,
        wanted: Option<(RequestKey, RequestKind)>,
        now: Instant,
    ) -> Result<Permit, Wait> {
        let ticket = self.shared.change(now, |state, now| state.enter(request, wanted, now))?;
        Ok(Permit { shared: Arc::clone(&self.shared), ticket })
    }

    /// Lets a context that backs off because its host is down be woken, in turn, when the host recovers.
    ///
    /// If it enters before that, it no longer sleeps.
    pub fn sleep(&self, request: &Request<'_>, key: RequestKey, kind: RequestKind, now: Instant) {
        self.shared.change(now, |state, now| state.sleep(request, (key, kind), now));
    }

    /// The context is gone or suspended, or no longer wants its place.
    pub fn leave(&self, uid: &str, now: Instant) {
        self.shared.change(now, |state, now| state.leave(uid, now));
    }

    /// No context uses this key any more.
    pub fn forget(&self, host: &str, key: RequestKey, now: Instant) {
        self.shared.change(now, |state, now| state.forget(host, key, now));
    }

    /// For a sleeping context that was called: how long ago its host recovered.
    pub fn recovered(&self, uid: &str, now: Instant) -> Option<Duration> {
        self.shared.state.lock().recovered(uid, now)
    }

    /// A turn is reserved for this context.
    #[cfg(test)]
    fn is_called(&self, uid: &str) -> bool {
        self.shared.state.lock().is_called(uid)
    }

    /// What this context waits for; `None` if it has no place, sleeps, or its turn has come.
    pub fn waits(&self, uid: &str, now: Instant) -> Option<Wait> {
        self.shared.state.lock().waits(uid, now)
    }

    /// How long no request may be sent to this host. This also applies to runs with requests in flight.
    pub fn paused(&self, host: &str, now: Instant) -> Option<Duration> {
        self.shared.state.lock().paused(host, now)
    }

    /// How many contexts have a place.
    pub fn waiting(&self) -> usize {
        self.shared.state.lock().waiting()
    }

    /// How long the one that arrived first has had its place.
    pub fn oldest(&self, now: Instant) -> Option<Duration> {
        self.shared.state.lock().oldest(now)
    }

    /// The only timer. It sleeps until a host opens or a reserved turn lapses; without either, forever.
    pub async fn run(&self) {
        loop {
            let next = self.shared.change(Instant::now(), State::arm);
            let earlier = self.shared.earlier.notified();
            match next {
                Some(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = earlier => {}
                },
                None => earlier.await,
            }
        }
    }
}

impl Permit {
    /// Requests the host's turn, and takes its cost from the budgets.
    ///
    /// The reserved turn is used if it is of this kind. One permit may send several requests one after the other. On `Err`
    /// the context is parked again, and the permit has to be dropped.
    pub fn request(
        &self,
        key: RequestKey,
        kind: RequestKind,
        urgency: Urgency,
        working: bool,
        now: Instant,
    ) -> Result<(), Wait> {
        self.shared.change(now, |state, now| state.request(self.ticket, (key, kind), urgency, working, now))
    }

    /// A further request of the same run, which must not be interrupted: it is charged, and waits for no turn. If it exceeds the
    /// budget, the next contexts in the queue wait longer. `Err`: the host requested a pause, of which this much is left.
    pub fn follow(&self, key: RequestKey, kind: RequestKind, working: bool, now: Instant) -> Result<(), Duration> {
        self.shared.change(now, |state, now| state.follow(self.ticket, (key, kind), working, now))
    }

    /// The last request ended. A pause of a context without a working token applies to that context only and is ignored here.
    pub fn ended(&self, end: RequestEnd, now: Instant) {
        self.shared.change(now, |state, now| state.ended(self.ticket, end, now));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.change(Instant::now(), |state, now| state.give_back(self.ticket, now));
    }
}

impl Shared {
    /// Applies a change, serves every context whose turn has come, and wakes them outside of the lock.
    fn change<R>(&self, now: Instant, change: impl FnOnce(&mut State, Instant) -> R) -> R {
        let (result, called, earlier) = {
            let mut state = self.state.lock();
            let now = state.advance(now);
            let result = change(&mut state, now);
            state.serve(now);
            let effects = state.effects();
            (0..effects.budget_waits).for_each(|_| self.observer.budget_wait());
            if let Some(open) = effects.circuits_open {
                self.observer.circuits_open(open);
            }
            (result, effects.called, effects.earlier)
        };
        if earlier {
            self.earlier.notify_one();
        }
        called.iter().for_each(|caller| (self.wake)(caller));
        result
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler").finish_non_exhaustive()
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}
