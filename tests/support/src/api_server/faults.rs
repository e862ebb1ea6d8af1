//! Scripted faults: which request fails, and how.
//!
//! Scripts are in a queue. A request takes the first one that matches and no other, so three scripts for one request
//! each run one after the other, and a later request gets the normal response again.

use std::time::Duration;

use super::call::{Call, Verb};
use super::kind::Kind;
use super::refusal::Refusal;

/// A fault.
#[derive(Clone, Debug)]
pub enum Fault {
    /// 403, as if RBAC had no rule for the request.
    Forbidden,
    /// A `Status` with this code and reason. The request is not processed.
    Status {
        /// The HTTP code.
        code: u16,
        /// The machine-readable reason.
        reason: &'static str,
        /// The `Retry-After`.
        retry_after: Option<u32>,
    },
    /// The request is processed after this delay.
    Delay(Duration),
    /// The request is not processed, and no response arrives.
    Silence,
    /// The request is not processed, and the connection breaks.
    Broken,
    /// The request is processed, and no response arrives.
    DoneThenSilence,
    /// The request is processed, and the connection breaks before the response.
    DoneThenBroken,
    /// 200, with a body that is not JSON.
    Malformed,
}

impl Fault {
    /// 429, with a time to wait.
    pub fn too_many_requests(retry_after: u32) -> Self {
        Self::Status { code: 429, reason: "TooManyRequests", retry_after: Some(retry_after) }
    }

    /// 500.
    pub fn internal_error() -> Self {
        Self::Status { code: 500, reason: "InternalError", retry_after: None }
    }

    /// 503.
    pub fn unavailable() -> Self {
        Self::Status { code: 503, reason: "ServiceUnavailable", retry_after: None }
    }

    /// The error response of this fault, if it has one.
    pub(super) fn refusal(&self, call: &Call) -> Option<Refusal> {
        match self {
            Self::Forbidden => {
                let (name, what) = (call.name.as_deref().unwrap_or_default(), call.kind.resource());
                let message = format!("{what} \"{name}\" is forbidden: User \"test\" cannot {} resource", call.verb);
                Some(Refusal::new(403, "Forbidden", message))
            }
            Self::Status { code, reason, retry_after } => {
                Some(Refusal::new(*code, reason, format!("scripted: {reason}")).retry_after(*retry_after))
            }
            _ => None,
        }
    }
}

/// A fault, and the requests that it applies to.
#[derive(Clone, Debug)]
pub struct Script {
    fault: Fault,
    verb: Option<Verb>,
    kind: Option<Kind>,
    status: Option<bool>,
    namespace: Option<String>,
    name: Option<String>,
    times: Option<u32>,
}

impl Script {
    /// The fault for every request, until cleared.
    pub fn new(fault: Fault) -> Self {
        Self { fault, verb: None, kind: None, status: None, namespace: None, name: None, times: None }
    }

    /// The fault for this verb on this kind, subresources included, until cleared.
    pub fn on(verb: Verb, kind: Kind, fault: Fault) -> Self {
        Self { verb: Some(verb), kind: Some(kind), ..Self::new(fault) }
    }

    /// Only for this verb.
    #[must_use]
    pub fn verb(self, verb: Verb) -> Self {
        Self { verb: Some(verb), ..self }
    }

    /// Only for this kind.
    #[must_use]
    pub fn kind(self, kind: Kind) -> Self {
        Self { kind: Some(kind), ..self }
    }

    /// Only for `/status`.
    #[must_use]
    pub fn status(self) -> Self {
        Self { status: Some(true), ..self }
    }

    /// Only for the main resource, not for `/status`.
    #[must_use]
    pub fn object(self) -> Self {
        Self { status: Some(false), ..self }
    }

    /// Only in this namespace.
    #[must_use]
    pub fn namespace(self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self }
    }

    /// Only for the object of this name.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self }
    }

    /// Only for this number of requests.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }

    /// Only for the next request.
    #[must_use]
    pub fn once(self) -> Self {
        self.times(1)
    }

    fn fits(&self, call: &Call) -> bool {
        fn is<T: PartialEq>(wanted: Option<&T>, given: Option<&T>) -> bool {
            wanted.is_none() || wanted == given
        }
        is(self.verb.as_ref(), Some(&call.verb))
            && is(self.kind.as_ref(), Some(&call.kind))
            && is(self.namespace.as_ref(), call.namespace.as_ref())
            && is(self.name.as_ref(), call.name.as_ref())
            && self.status.is_none_or(|wanted| wanted == call.subresource.is_some())
    }
}

/// Removes the fault for this request from the queue and returns it.
pub(super) fn take(scripts: &mut Vec<Script>, call: &Call) -> Option<Fault> {
    let script = scripts.iter_mut().find(|script| script.times != Some(0) && script.fits(call))?;
    let fault = script.fault.clone();
    script.times = script.times.map(|times| times - 1);
    scripts.retain(|script| script.times != Some(0));
    Some(fault)
}
