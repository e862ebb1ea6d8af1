//! Why a call of the OAuth clients API failed.

use std::time::Duration;

use crate::oauth::refusal::Refusal;
use crate::oauth::transport::TransportFailure;

/// Why a call failed.
#[derive(Debug, Eq, PartialEq)]
pub enum ClientsError {
    /// No response. The request may have been executed; see [`Self::may_have_been_done`].
    Unreachable(TransportFailure),
    /// 401: the token is not valid, or no longer.
    Unauthorized(Refusal),
    /// 403: the token is valid, but its owner may not do this.
    Forbidden(Refusal),
    /// 404: there is no such client or secret, or no such tenant.
    NotFound(Refusal),
    /// 409.
    Conflict(Conflict, Refusal),
    /// 429; `retry_after` says for how long.
    RateLimited(Refusal),
    /// 5xx.
    Unavailable(Refusal),
    /// Any other failure, mostly 400.
    Rejected(Refusal),
    /// A success that does not follow the contract, and what is wrong with it. A change was made nevertheless.
    NotTheContract(&'static str),
}

/// The meaning of a 409, by the kind of request, since the text of the response is not documented.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Conflict {
    /// More than the five secrets that a client may have.
    Secrets,
    /// More clients than the tenant may have (200), or one that already exists.
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

    /// The tenant's response.
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

    /// The pause that the tenant requested.
    pub fn retry_after(&self) -> Option<Duration> {
        self.refusal()?.retry_after
    }

    /// True when the tenant may have executed the request: the state has to be read again.
    pub fn may_have_been_done(&self) -> bool {
        match self {
            Self::Unreachable(failure) => !is_before_the_request(*failure),
            Self::Unavailable(_) | Self::NotTheContract(_) => true,
            _ => false,
        }
    }
}

/// Failures in which no byte of a request was sent.
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
