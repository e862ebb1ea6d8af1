//! A run's place at its tenant: it waits for one turn, and every request is charged to the host's budgets.
//!
//! The turn is one for a change if the run is expected to change something, else one to read. Further requests of the same run
//! do not wait, since the next run would have to read everything again; the budgets delay later runs instead.
//!
//! The budgets follow Qlik's tiers: a request that changes something is charged like a token request, one that reads like a
//! verification (<https://qlik.dev/apis/rest/rate-limiting/>).

use std::time::Duration;

use tokio::time::Instant;

use super::Context;
use crate::oauth::clients::ClientsError;
use crate::oauth::request::RequestKey;
use crate::scheduler::{Caller, Health, Permit, Request, RequestEnd, RequestKind, Urgency, Wait};

/// See the module.
pub struct Turn {
    caller: Caller,
    key: RequestKey,
    urgency: Urgency,
    /// The Secret holds a credential.
    working: bool,
    /// The request for which the run is expected to wait.
    expected: RequestKind,
    permit: Option<Permit>,
    /// The turn is not used yet.
    reserved: bool,
}

/// Why nothing was sent.
pub enum NoTurn {
    /// The object is parked, and called later.
    Parked(Wait),
    /// The host requested a pause, of which this much is left.
    Paused(Duration),
}

impl Turn {
    /// The turn of a run that has sent no request.
    pub fn new(caller: &Caller, working: bool, failed: bool, changes: bool) -> Self {
        let urgency = match (working, failed) {
            (true, _) => Urgency::Routine,
            (false, false) => Urgency::New,
            (false, true) => Urgency::Failed,
        };
        let expected = if changes { RequestKind::Token } else { RequestKind::Check };
        let (caller, key) = (caller.clone(), RequestKey::of_object(&caller.uid));
        Self { caller, key, urgency, working, expected, permit: None, reserved: true }
    }

    /// Never blocks: it is this object's turn, or the object is parked and called later.
    pub fn take(&mut self, cx: &Context, host: &str, kind: RequestKind) -> Result<(), NoTurn> {
        let now = Instant::now();
        let permit = match self.permit.take() {
            Some(permit) => permit,
            None => {
                let (caller, urgency, working) = (&self.caller, self.urgency, self.working);
                let request = Request { caller, host, urgency, working };
                let wanted = Some((self.key, self.expected));
                cx.base.tokens.scheduler.enter(&request, wanted, now).map_err(NoTurn::Parked)?
            }
        };
        cx.memories.with(&self.caller.uid, |memory| memory.host = Some(host.to_owned()));
        if self.reserved && kind == self.expected {
            permit.request(self.key, kind, self.urgency, self.working, now).map_err(NoTurn::Parked)?;
            self.reserved = false;
        } else {
            permit.follow(self.key, kind, self.working, now).map_err(NoTurn::Paused)?;
        }
        self.permit = Some(permit);
        Ok(())
    }

    /// Charges a second request that has to follow the first one at once.
    pub fn repeat(&self, kind: RequestKind) -> Result<(), Duration> {
        let repeat = |permit: &Permit| permit.follow(self.key, kind, self.working, Instant::now());
        self.permit.as_ref().map_or(Ok(()), repeat)
    }

    /// The request ended.
    pub fn ended(&self, health: Health, pause: Option<Duration>) {
        if let Some(permit) = &self.permit {
            permit.ended(RequestEnd { health, pause }, Instant::now());
        }
    }
}

/// What a call showed about its host.
pub fn health<T>(answer: &Result<T, ClientsError>) -> Health {
    match answer {
        Ok(_) => Health::Up,
        Err(ClientsError::Unreachable(_) | ClientsError::Unavailable(_)) => Health::Down,
        Err(_) => Health::Answers,
    }
}
