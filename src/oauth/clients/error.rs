//! Why a call of the OAuth clients API did not do what it was for.

use std::time::Duration;

use crate::oauth::refusal::Refusal;
use crate::oauth::transport::TransportFailure;

/// Why a call failed.
#[derive(Debug, Eq, PartialEq)]
pub enum ClientsError {
    /// No answer came. What was asked for may have been done; see [`Self::may_have_been_done`].
    Unreachable(TransportFailure),
    /// 401: the token is not good, or no more.
    Unauthorized(Refusal),
    /// 403: the token is good, its owner may not do this.
    Forbidden(Refusal),
    /// 404: there is no such client or secret, or no such tenant.
    NotFound(Refusal),
    /// 409.
    Conflict(Conflict, Refusal),
    /// 429; `retry_after` says for how long.
    RateLimited(Refusal),
    /// 5xx.
    Unavailable(Refusal),
    /// Any other status that is no success: 400 above all.
    Rejected(Refusal),
    /// A success that is not the one of the contract, and what is wrong with it. A change was made all the same.
    NotTheContract(&'static str),
}

/// What a call met with a 409, by what was asked for: the words of the answer are nobody's promise.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Conflict {
    /// A secret more than the five that a client may have.
    Secrets,
    /// A client more than the tenant may have (200), or one that is there already.
    Clients,
    /// Another change at the same time.
    Change,
}

impl ClientsError {
    pub(super) fn of(refusal: Refusal, conflict: Conflict) -> Self {
        match refusal.status {
            401 => Self::Unauthorized(refusal),
            403 => Self::Forbidden(refusal),
            404 => Self::NotFound(refusal),
            409 => Self::Conflict(conflict, refusal),
            429 => Self::RateLimited(refusal),
            500..600 => Self::Unavailable(refusal),
            _ => Self::Rejected(refusal),
        }
    }

    /// What the tenant said.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Unreachable(_) | Self::NotTheContract(_) => None,
            Self::Unauthorized(refusal)
            | Self::Forbidden(refusal)
            | Self::NotFound(refusal)
            | Self::Conflict(_, refusal)
            | Self::RateLimited(refusal)
            | Self::Unavailable(refusal)
            | Self::Rejected(refusal) => Some(refusal),
        }
    }

    /// The tenant's wish for a pause.
    pub fn retry_after(&self) -> Option<Duration> {
        self.refusal()?.retry_after
    }

    /// True when the tenant may have done what it was asked for: nothing is known before it was looked at again.
    pub fn may_have_been_done(&self) -> bool {
        match self {
            Self::Unreachable(failure) => !is_before_the_request(*failure),
            Self::Unavailable(_) | Self::NotTheContract(_) => true,
            _ => false,
        }
    }
}

/// Failures in which no byte of a request left.
fn is_before_the_request(failure: TransportFailure) -> bool {
    use TransportFailure::*;
    match failure {
        AddressNotPublic | CertificateAuthority | CertificateExpired | CertificateName | Name | Proxy
        | ProxyCredentials | Resolver => true,
        AnswerTooLarge | Connection | NotHttp | Redirect | Timeout | Tls | TooManyRedirects => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_error_and_only_an_unclear_one_may_have_been_done() {
        type Is = fn(&ClientsError) -> bool;
        let of = |status| {
            let refusal = Refusal { status, retry_after: None, code: None, title: None, trace_id: None };
            ClientsError::of(refusal, Conflict::Secrets)
        };
        let rows: [(u16, Is, bool); 12] = [
            (400, |error| matches!(error, ClientsError::Rejected(_)), false),
            (401, |error| matches!(error, ClientsError::Unauthorized(_)), false),
            (403, |error| matches!(error, ClientsError::Forbidden(_)), false),
            (404, |error| matches!(error, ClientsError::NotFound(_)), false),
            (409, |error| matches!(error, ClientsError::Conflict(Conflict::Secrets, _)), false),
            (413, |error| matches!(error, ClientsError::Rejected(_)), false),
            (422, |error| matches!(error, ClientsError::Rejected(_)), false),
            (429, |error| matches!(error, ClientsError::RateLimited(_)), false),
            (500, |error| matches!(error, ClientsError::Unavailable(_)), true),
            (503, |error| matches!(error, ClientsError::Unavailable(_)), true),
            (599, |error| matches!(error, ClientsError::Unavailable(_)), true),
            (304, |error| matches!(error, ClientsError::Rejected(_)), false),
        ];
        for (status, is, done) in rows {
            let error = of(status);
            assert!(is(&error) && error.refusal().is_some(), "{status}: {error:?}");
            assert_eq!(error.may_have_been_done(), done, "{status}");
        }
        let unreachable = |failure| ClientsError::Unreachable(failure).may_have_been_done();
        assert!(unreachable(TransportFailure::Timeout) && unreachable(TransportFailure::Connection));
        assert!(!unreachable(TransportFailure::Name) && !unreachable(TransportFailure::AddressNotPublic));
    }
}
