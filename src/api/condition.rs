//! Condition types and reasons: the only file in which either is spelled.
//!
//! A reason says, besides its name, whose fault it is ([`Class`]) and whether waiting can help ([`Reason::stalled`]).
//! Every reason is in docs/reference.md with its meaning and what to do; a test compares.

use prometheus_client::encoding::EncodeLabelValue;
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// Types of `status.conditions`: of a QlikContext, then of a QlikOAuthClient, then of both. `True` is good for all but the last
/// two, which are kstatus's and absent when healthy.
#[derive(Clone, Copy, Debug, Display, EnumIter, EnumString, Eq, Hash, IntoStaticStr, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs)]
pub enum ConditionType {
    CredentialsAvailable,
    TokenIssued,
    Verified,
    ClientSynced,
    CredentialVerified,
    SecretSynced,
    Ready,
    Reconciling,
    Stalled,
}

/// Whose turn it is to act, which decides when the operator retries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// The user's: slow re-check, at once when spec or Secret change.
    User,
    /// The tenant's: exponential back-off.
    Tenant,
    /// The Kubernetes API's: the client's own back-off, then soon.
    Cluster,
}

/// Reasons of conditions, CamelCase as the API conventions ask.
#[derive(Clone, Copy, Debug, Display, EncodeLabelValue, EnumIter, EnumString, Eq, Hash, IntoStaticStr, PartialEq)]
#[allow(missing_docs)]
pub enum Reason {
    // good
    CredentialsFound,
    TokenIssued,
    ApiKeyProvided,
    IdentityConfirmed,
    SecretPublished,
    TokenValid,
    ClientInSync,
    CredentialConfirmed,
    ClientReady,
    // the credential Secret
    SecretNotFound,
    KeyNotFound,
    CredentialMalformed,
    PrivateKeyInvalid,
    HostNotAllowedBySecret,
    // the token request
    InvalidClient,
    InvalidScope,
    RequestRejected,
    AccessDenied,
    TenantNotFound,
    HostNotAllowedByOperator,
    AddressNotPublic,
    RateLimited,
    TenantUnavailable,
    TenantUnreachable,
    UnexpectedResponse,
    LifetimeTooShort,
    // the verification
    TokenRejected,
    UserInactive,
    IdentityMismatch,
    // the derived Secret
    SecretNotOwned,
    TemplateInvalid,
    WriteRejected,
    SecretContested,
    // the Kubernetes API
    SecretNotReadable,
    // the OAuth client of a QlikOAuthClient
    AdminContextNotFound,
    AdminContextNotReady,
    AdminTokenRejected,
    AdminNotPermitted,
    ClientCreating,
    ClientGone,
    ClientNotOwned,
    ClientNotSuitable,
    ClientRejected,
    ClientLimitReached,
    ClientConflict,
    SecretLimitReached,
    CredentialNotAccepted,
    SyncFailing,
    // overall
    RenewalFailing,
    TokenExpired,
    Suspended,
    SpecInvalid,
}

/// Reasons of events that are not reasons of a condition.
#[derive(Clone, Copy, Debug, Display, EnumIter, Eq, PartialEq)]
#[allow(missing_docs)]
pub enum Notice {
    ClientCreated,
    ClientAdopted,
    ClientRepaired,
    ClientDeleted,
    ClientNotDeleted,
    CredentialIssued,
    CredentialRemoved,
    CredentialTrimmed,
    RefreshRequestIgnored,
    RotateRequestIgnored,
    ScopesNotGranted,
    SecretContested,
}

impl Reason {
    /// Waiting does not help: somebody has to change something (`Stalled=True`).
    pub fn stalled(self) -> bool {
        use Reason::*;
        matches!(
            self,
            CredentialMalformed
                | PrivateKeyInvalid
                | HostNotAllowedBySecret
                | InvalidClient
                | InvalidScope
                | RequestRejected
                | AccessDenied
                | TenantNotFound
                | HostNotAllowedByOperator
                | AddressNotPublic
                | UserInactive
                | IdentityMismatch
                | SecretNotOwned
                | TemplateInvalid
                | AdminNotPermitted
                | ClientGone
                | ClientNotOwned
                | ClientNotSuitable
                | ClientRejected
                | ClientLimitReached
                | SecretLimitReached
                | SpecInvalid
        )
    }

    /// Whose turn it is when this is why a context is not ready.
    pub fn class(self) -> Class {
        use Reason::*;
        match self {
            RateLimited
            | TenantUnavailable
            | TenantUnreachable
            | UnexpectedResponse
            | LifetimeTooShort
            | TokenRejected
            | TokenExpired
            | RenewalFailing
            | AdminContextNotReady
            | AdminTokenRejected
            | ClientCreating
            | ClientConflict
            | CredentialNotAccepted
            | SyncFailing => Class::Tenant,
            WriteRejected | SecretContested | SecretNotReadable => Class::Cluster,
            _ => Class::User,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strum::IntoEnumIterator;

    #[test]
    fn what_waits_for_a_person_is_the_users_class() {
        for reason in Reason::iter().filter(|reason| reason.stalled()) {
            assert_eq!(reason.class(), Class::User, "{reason}");
        }
    }

    #[test]
    fn reasons_are_camel_case_and_fit_the_api_convention() {
        for reason in Reason::iter() {
            let text = reason.to_string();
            assert!(text.starts_with(|c: char| c.is_ascii_uppercase()), "{text}");
            assert!(text.chars().all(|c| c.is_ascii_alphanumeric()), "{text}");
        }
    }
}
