//! What can go wrong, in two kinds that are reported in different ways.
//!
//! A [`Failure`] is a finding about one context: it becomes a condition, and has its reason, its message for the user and
//! whether a retry can help. An [`Error`] is a failure of the Kubernetes API: it is logged and retried. When it repeats, it is
//! reported in the status, if that can be written. Neither ever holds a credential, a token or the body of a response.

use std::time::Duration;

use crate::api::{ConditionType, Reason};

/// Longest message in a condition, in characters (the design's bound, far below the API server's 32768).
const MESSAGE_LIMIT: usize = 512;

/// Why a context is not as it should be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// The condition that is `False`.
    pub condition: ConditionType,
    /// Its reason.
    pub reason: Reason,
    /// One sentence that says what happened, one that says what to do.
    pub message: String,
    /// True when a retry does not help.
    pub stalled: bool,
    /// The pause that the tenant requested.
    pub retry_after: Option<Duration>,
    /// The tenant's trace id; goes to `status.failure`, never into a message.
    pub trace_id: Option<String>,
}

impl Failure {
    /// A failure that is stalled or not, as is usual for its reason.
    pub fn new(condition: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            condition,
            reason,
            message: bounded(message.into()),
            stalled: reason.stalled(),
            retry_after: None,
            trace_id: None,
        }
    }

    /// The same failure, but not stalled: something else is about to fix it.
    #[must_use]
    pub fn waiting(self) -> Self {
        Self { stalled: false, ..self }
    }
}

/// Trouble with the Kubernetes API, or a run that took too long.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call failed and the next run repeats it.
    #[error("{doing}: {}", describe(source))]
    Kubernetes {
        /// The operation, for the log.
        doing: &'static str,
        /// The client's error. kube's errors hold the API server's message, never the body of a request.
        source: Box<kube::Error>,
    },
    /// A call got no response in time; whether it was done is not known.
    #[error("{doing}: no response within {} s", .limit.as_secs())]
    Unanswered {
        /// The operation.
        doing: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
    /// Another instance leads, or may soon.
    #[error("this instance does not lead")]
    NotLeader,
    /// A run did not end in time.
    #[error("the reconciliation took longer than {} s", .0.as_secs())]
    Deadline(Duration),
}

impl Error {
    /// For `map_err`: names the operation.
    pub fn kubernetes(doing: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Kubernetes { doing, source: Box::new(source) }
    }
}

/// The operation of writing a status. Its failure cannot be reported in a status.
pub const WRITING_STATUS: &str = "writing the status";
/// The operation of writing a token Secret.
pub const WRITING_SECRET: &str = "writing the token Secret";
/// What is being done when the Secret of an OAuth client is written.
pub const WRITING_CREDENTIAL: &str = "writing the Secret of the OAuth client";
/// What is being done when the finalizer of a QlikOAuthClient is set or removed.
pub const WRITING_FINALIZER: &str = "writing the finalizer";

impl Error {
    /// The failure that the status of an object reports when this error lasts. `reads`: the condition for which it is read.
    pub fn finding(&self, reads: ConditionType) -> Option<Failure> {
        let (doing, answer) = match self {
            Self::NotLeader => return None,
            Self::Kubernetes { doing, source } => match &**source {
                kube::Error::Api(status) => (*doing, format!("HTTP {}", status.code)),
                _ => (*doing, "no answer".to_owned()),
            },
            Self::Unanswered { doing, limit } => (*doing, format!("no response within {} s", limit.as_secs())),
            Self::Deadline(limit) => ("reconciling", format!("no end within {} s", limit.as_secs())),
        };
        let (condition, reason) = match doing {
            WRITING_STATUS => return None,
            WRITING_SECRET | WRITING_CREDENTIAL => (ConditionType::SecretSynced, Reason::WriteRejected),
            WRITING_FINALIZER => (reads, Reason::WriteRejected),
            _ => (reads, Reason::SecretNotReadable),
        };
        let message = format!(
            "The Kubernetes API failed while {doing} ({answer}). The operator retries. Check the API server, and that the \
             operator may read and write Secrets in this namespace."
        );
        Some(Failure::new(condition, reason, message))
    }
}

/// Why a call of the Kubernetes API failed, as one sentence. (kube's own text has the whole response in debug format.)
pub fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} (HTTP {})", status.message, status.code),
        other => other.to_string(),
    }
}

/// Cuts a message at the limit, on a character's boundary.
pub fn bounded(mut message: String) -> String {
    if let Some((end, _)) = message.char_indices().nth(MESSAGE_LIMIT) {
        message.truncate(end);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_kubernetes_api_keeps_its_message() {
        let status = kube::core::Status::failure("leases is forbidden", "Forbidden").with_code(403);
        let error = Error::kubernetes("renewing")(kube::Error::Api(status.boxed()));
        assert_eq!(error.to_string(), "renewing: leases is forbidden (HTTP 403)");
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        let failure = Failure::new(ConditionType::Ready, Reason::SpecInvalid, "ü".repeat(600));
        assert_eq!(failure.message.chars().count(), MESSAGE_LIMIT);
    }
}
