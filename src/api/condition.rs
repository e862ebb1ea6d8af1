//! Condition types and reasons: the only file that defines them.
//!
//! Besides its name, a reason has a class ([`Class`]), and is stalled or not ([`Reason::stalled`]).
//! Every reason is in docs/reference.md with its meaning and what to do; a test compares both.

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
    WorkloadsSynced,
    Ready,
    Reconciling,
    Stalled,
}

/// The party that can fix a failure. It decides when the operator retries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// The user: retried rarely, and at once when spec or Secret change.
    User,
    /// The tenant: exponential back-off.
    Tenant,
    /// The Kubernetes API: the client's own back-off, then soon.
    Cluster,
}

/// Reasons of conditions, CamelCase as the API conventions require.
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
    // the token Secret
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
    // the workloads that read the token; no part of `Ready`
    WorkloadsFresh,
    WorkloadsStale,
    RolloutFailing,
    NotPermitted,
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
    ClientContested,
    ClientRepaired,
    ClientDeleted,
    ClientNotDeleted,
    CredentialIssued,
    CredentialRemoved,
    CredentialTrimmed,
    RefreshRequestIgnored,
    RotateRequestIgnored,
    RolloutFailing,
    ScopesNotGranted,
    SecretContested,
    TokenNotRefreshed,
    WorkloadRestarted,
}

impl Reason {
    /// A retry does not help: a person has to correct something (`Stalled=True`).
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

    /// The class of this reason.
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
