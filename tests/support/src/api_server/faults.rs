//! Scripted misbehaviour: which request goes wrong, and how.
//!
//! Scripts stand in a queue. A request takes the first that fits it and no other, so three scripts of one time each play
//! one after the other, and a request after them is answered rightly again.

use std::time::Duration;

use super::call::{Call, Verb};
use super::kind::Kind;
use super::refusal::Refusal;

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// 403, as when RBAC has no rule for it.
    Forbidden,
    /// A `Status` with this code and reason in place of the right answer, which is not even worked out.
    Status {
        /// The HTTP code.
        code: u16,
        /// The machine-readable reason.
        reason: &'static str,
        /// The `Retry-After`.
        retry_after: Option<u32>,
    },
    /// The right answer, worked out so much later.
    Delay(Duration),
    /// Nothing is done, and no answer comes.
    Silence,
    /// Nothing is done, and the connection breaks.
    Broken,
    /// It is done, but no answer comes.
    DoneThenSilence,
    /// It is done, but the connection breaks before the answer.
    DoneThenBroken,
    /// 200, with a body that is no JSON.
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

    /// The refusal that stands in for the answer, if this fault is one.
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

/// A fault, and the requests it is for.
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

    /// Only for objects themselves, not for `/status`.
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

    /// Only for so many requests.
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

/// Takes the fault for this request off the queue.
pub(super) fn take(scripts: &mut Vec<Script>, call: &Call) -> Option<Fault> {
    let script = scripts.iter_mut().find(|script| script.times != Some(0) && script.fits(call))?;
    let fault = script.fault.clone();
    script.times = script.times.map(|times| times - 1);
    scripts.retain(|script| script.times != Some(0));
    Some(fault)
}
