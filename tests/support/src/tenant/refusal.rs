//! Why the tenant says no.
//!
//! Statuses follow the meanings documented at <https://qlik.dev/apis/rest/oauth>. The codes
//! `OAUTH-9xx` and all titles but those of `LOGIN-2` are **this fake's invention**: Qlik publishes
//! no list, and nothing may depend on them.

use http::StatusCode;
use serde::Serialize;

/// A kind of refusal, as the ledger counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Refusal {
    /// The request is not what the endpoint takes.
    Malformed,
    /// The grant is one that this endpoint does not offer to machines.
    UnsupportedGrant,
    /// No such client.
    UnknownClient,
    /// The client exists, the secret is not one of its own.
    WrongSecret,
    /// The client may not prove itself in this way.
    MethodNotAllowed,
    /// The assertion does not hold.
    InvalidAssertion,
    /// Somebody turned the client off.
    ClientDisabled,
    /// The client may not use this grant.
    GrantNotAllowed,
    /// Consent was not set to trusted.
    NotTrusted,
    /// A scope is outside the client's allow-list.
    ScopeNotAllowed,
    /// The user to impersonate does not exist.
    UnknownUser,
    /// The user or bot is disabled.
    UserDisabled,
    /// The bearer token is absent, unknown, expired or revoked.
    InvalidToken,
    /// The token is good, the thing is not for its owner.
    Forbidden,
    /// There is nothing here.
    NotFound,
    /// The body is longer than any request needs.
    TooLarge,
    /// No tenant has this host name.
    UnknownHost,
    /// The client has as many secrets as it may have.
    TooManySecrets,
    /// The tenant has as many clients as it may have.
    TooManyClients,
    /// The user called too often.
    RateLimited,
}

impl Refusal {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Malformed | Self::UnsupportedGrant | Self::ScopeNotAllowed => StatusCode::BAD_REQUEST,
            Self::UnknownClient
            | Self::WrongSecret
            | Self::MethodNotAllowed
            | Self::InvalidAssertion
            | Self::ClientDisabled
            | Self::GrantNotAllowed
            | Self::InvalidToken
            | Self::UnknownHost => StatusCode::UNAUTHORIZED,
            Self::NotTrusted | Self::UnknownUser | Self::UserDisabled | Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooManySecrets | Self::TooManyClients => StatusCode::CONFLICT,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Malformed => "OAUTH-901",
            Self::UnsupportedGrant => "OAUTH-902",
            // One code for both: a real server does not tell strangers which ids exist.
            Self::UnknownClient | Self::WrongSecret => "OAUTH-903",
            Self::MethodNotAllowed => "OAUTH-904",
            Self::InvalidAssertion => "OAUTH-905",
            Self::ClientDisabled => "OAUTH-906",
            Self::GrantNotAllowed => "OAUTH-907",
            Self::NotTrusted => "OAUTH-908",
            Self::ScopeNotAllowed => "OAUTH-909",
            Self::UnknownUser => "OAUTH-910",
            Self::UserDisabled => "OAUTH-911",
            Self::InvalidToken => "HTTP-401",
            Self::Forbidden => "HTTP-403",
            Self::NotFound => "HTTP-404",
            Self::TooLarge => "HTTP-413",
            Self::UnknownHost => "LOGIN-2",
            Self::TooManySecrets => "OAUTH-920",
            Self::TooManyClients => "OAUTH-921",
            Self::RateLimited => "HTTP-429",
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Malformed => "Invalid request parameters",
            Self::UnsupportedGrant => "Unsupported grant type",
            Self::UnknownClient | Self::WrongSecret => "Invalid client credentials",
            Self::MethodNotAllowed => "Authentication method not allowed",
            Self::InvalidAssertion => "Invalid client assertion",
            Self::ClientDisabled => "Client is disabled",
            Self::GrantNotAllowed => "Grant type not allowed",
            Self::NotTrusted => "OAuth client is not trusted",
            Self::ScopeNotAllowed => "Invalid scope",
            Self::UnknownUser => "User not found",
            Self::UserDisabled => "User is disabled",
            Self::InvalidToken => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not found",
            Self::TooLarge => "Payload too large",
            Self::UnknownHost => "No authentication configured for this hostname",
            Self::TooManySecrets => "max number of client secrets is 5",
            Self::TooManyClients => "max number of clients is 200",
            Self::RateLimited => "API rate limit reached.",
        }
    }

    /// The refusal with a sentence for whoever debugs it.
    pub(super) fn because(self, detail: &'static str) -> Refused {
        Refused { refusal: self, detail: Some(detail), wait: None }
    }
}

/// A refusal, and in what it consists.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) detail: Option<&'static str>,
    /// `retry-after`, in seconds.
    pub(super) wait: Option<u64>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, detail: None, wait: None }
    }
}
