//! Findings that the decision itself makes, without a response of the tenant.

use std::time::Duration;

use crate::api::ConditionType::{self, SecretSynced, TokenIssued};
use crate::api::Reason;
use crate::desired::Desired;
use crate::error::Failure;
use crate::oauth::tenant::AllowedHosts;
use crate::scheduler::{Wait, WaitReason};

/// A wait for the operator's own limits is reported in the status when it is longer than this.
pub(super) const REPORTED_AFTER: Duration = Duration::from_mins(1);

/// Whether a wait can last: it is not only for requests that are in flight.
pub(super) fn is_long(wait: Wait) -> bool {
    !matches!(wait.reason, WaitReason::Flight | WaitReason::Slot)
}

/// Whether a wait is reported in the status.
pub(super) fn is_reported(wait: Wait) -> bool {
    match wait.reason {
        WaitReason::Flight | WaitReason::Slot => false,
        WaitReason::Budget => wait.expected > REPORTED_AFTER,
        WaitReason::Pause | WaitReason::Circuit => true,
    }
}

/// The finding for a wait; a short wait for the operator's own limits is not reported.
pub(super) fn waiting_failure(wait: Wait, condition: ConditionType) -> Option<Failure> {
    if !is_reported(wait) {
        return None;
    }
    let (reason, message) = match wait.reason {
        WaitReason::Budget | WaitReason::Flight | WaitReason::Slot => (
            Reason::RateLimited,
            "Queued: the operator's own request budget for this tenant is used up. It continues automatically. Limits: \
             --host-token-requests-per-minute, --host-api-requests-per-minute, --key-token-requests-per-minute.",
        ),
        WaitReason::Pause => (
            Reason::RateLimited,
            "The tenant asked this operator to pause (Retry-After). It continues automatically when the pause is over.",
        ),
        WaitReason::Circuit => (
            Reason::TenantUnavailable,
            "The circuit breaker for this tenant is open after repeated failures; the tenant is probed every 10 s. The \
             operator continues automatically when the tenant answers.",
        ),
    };
    Some(Failure::new(condition, reason, message))
}

/// An immutable Secret cannot be written.
pub(super) fn immutable(desired: &Desired) -> Failure {
    Failure::new(
        SecretSynced,
        Reason::WriteRejected,
        format!(
            "Secret {} is immutable, so no token can be written. Delete it, and the operator creates it again.",
            desired.target_name
        ),
    )
}

/// Another client keeps changing the token in the token Secret.
pub(super) fn contested(desired: &Desired) -> Failure {
    Failure::new(
        SecretSynced,
        Reason::SecretContested,
        format!(
            "Another program keeps changing the token in Secret {}; the operator repairs it less and less often. See this \
             context's events for the field manager, and stop it from writing to this Secret.",
            desired.target_name
        ),
    )
}

/// `--allowed-tenant-hosts` does not have the tenant.
pub(super) fn host_not_allowed(desired: &Desired, allowed: &AllowedHosts) -> Failure {
    Failure::new(
        TokenIssued,
        Reason::HostNotAllowedByOperator,
        format!(
            "The operator sends credentials only to {allowed}, and {} is not among them. Correct spec.tenantUrl, or have \
             the host added to the operator's flag --allowed-tenant-hosts.",
            desired.tenant.authority()
        ),
    )
}
