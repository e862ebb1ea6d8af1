//! Reasons for which the tenant rejects a request.
//!
//! The statuses have the meanings documented at <https://qlik.dev/apis/rest/oauth>. The codes
//! `OAUTH-9xx` and all titles except that of `LOGIN-2` are **invented by this fake**. Qlik publishes
//! no list, and no code should depend on them.

use http::StatusCode;
use serde::Serialize;

/// A kind of rejection, as counted in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Refusal {
    /// The request is malformed.
    Malformed,
    /// The endpoint does not support this grant for machine clients.
    UnsupportedGrant,
    /// No such client.
    UnknownClient,
    /// The client exists, and the secret is wrong.
    WrongSecret,
    /// The client is not allowed to use this authentication method.
    MethodNotAllowed,
    /// The assertion is invalid.
    InvalidAssertion,
    /// The client is disabled.
    ClientDisabled,
    /// The client is not allowed to use this grant.
    GrantNotAllowed,
    /// The consent method is not trusted.
    NotTrusted,
    /// A scope is not in the client's allow-list.
    ScopeNotAllowed,
    /// The user to impersonate does not exist.
    UnknownUser,
    /// The user or bot is disabled.
    UserDisabled,
    /// The bearer token is missing, unknown, expired or revoked.
    InvalidToken,
    /// The token is valid, and its user lacks the permission.
    Forbidden,
    /// The resource does not exist.
    NotFound,
    /// The body is too large.
    TooLarge,
    /// No tenant has this host name.
    UnknownHost,
    /// The client has the maximum number of secrets.
    TooManySecrets,
    /// The tenant has the maximum number of clients.
    TooManyClients,
    /// The user sent too many requests.
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
            // One code for both, because a real server does not reveal which ids exist.
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

    /// The rejection with a sentence for debugging.
    pub(super) fn because(self, detail: &'static str) -> Refused {
        Refused { refusal: self, detail: Some(detail), wait: None }
    }
}

/// A rejection with its detail.
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
