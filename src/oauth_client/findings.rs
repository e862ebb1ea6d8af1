//! The messages for failures of an OAuth client: one sentence that says what happened, one that says what to do. Pure.

use crate::api::ConditionType::{self, ClientSynced, CredentialVerified, SecretSynced};
use crate::api::Reason;
use crate::error::Failure;
use crate::oauth::clients::{ClientId, ClientsError, Conflict};
use crate::oauth::refusal::Refusal;
use crate::oauth::tenant::{AllowedHosts, TenantUrl};
use crate::oauth_client::desired::Desired;
use crate::tenant_failure::{describe, unreachable};

fn finding(reason: Reason, message: impl Into<String>) -> Failure {
    Failure::new(ClientSynced, reason, message)
}

pub(super) fn context_not_found(name: &str) -> Failure {
    finding(
        Reason::AdminContextNotFound,
        format!(
            "QlikContext {name} does not exist in this namespace. Create it, with a credential that may manage OAuth clients."
        ),
    )
}

pub(super) fn context_not_ready(name: &str, why: &str) -> Failure {
    finding(
        Reason::AdminContextNotReady,
        format!(
            "QlikContext {name} has no token to manage OAuth clients with: {why}. See kubectl describe qctx {name}."
        ),
    )
}

pub(super) fn host_not_allowed(tenant: &TenantUrl, allowed: &AllowedHosts) -> Failure {
    finding(
        Reason::HostNotAllowedByOperator,
        format!(
            "The operator sends credentials only to {allowed}, and {} is not among them. Use another QlikContext, or have the \
             host added to the operator's flag --allowed-tenant-hosts.",
            tenant.authority()
        ),
    )
}

pub(super) fn client_gone(desired: &Desired) -> Failure {
    let message = match &desired.adopt {
        Some(id) => format!(
            "The tenant has no OAuth client {id}, which is to be taken over. Create another QlikOAuthClient with the id of one \
             that exists."
        ),
        None => "The OAuth client was deleted in the tenant. To have it created again, set the annotation \
                 qlikcontext.dev/rotate-requested-at; else delete this QlikOAuthClient."
            .into(),
    };
    finding(Reason::ClientGone, message)
}

pub(super) fn creating() -> Failure {
    finding(
        Reason::ClientCreating,
        "The tenant was asked to create the OAuth client, and whether it did is not known yet. The operator looks again within \
         a minute.",
    )
}

pub(super) fn not_owned(id: &ClientId) -> Failure {
    finding(
        Reason::ClientNotOwned,
        format!(
            "OAuth client {id} carries the mark of another QlikOAuthClient, so it is not touched. If that object no longer \
             exists, remove the text in brackets that begins with qlikcontext.dev from the client's description in the tenant."
        ),
    )
}

/// The Secret names a client that is not this object's.
pub(super) fn not_marked(id: &ClientId, secret: &str) -> Failure {
    finding(
        Reason::ClientNotOwned,
        format!(
            "Secret {secret} names OAuth client {id}, which does not carry the mark of this QlikOAuthClient, so it is not \
             touched. Delete that Secret if nobody needs it, and the operator writes it again."
        ),
    )
}

pub(super) fn unsuitable(why: &str) -> Failure {
    finding(
        Reason::ClientNotSuitable,
        format!(
            "The OAuth client cannot be used: {why}. Correct that in the tenant, or create another QlikOAuthClient."
        ),
    )
}

pub(super) fn not_repaired() -> Failure {
    finding(
        Reason::ClientConflict,
        "The tenant did not keep a change to the OAuth client, or another program changes it. The operator retries; check in \
         the tenant whether another program manages this OAuth client.",
    )
}

/// Somebody else changes the client each time after it was repaired.
pub(super) fn client_contested() -> Failure {
    finding(
        Reason::ClientConflict,
        "Another program keeps changing the OAuth client in the tenant, so the operator repairs it less and less often. Find out in \
         the tenant what else manages this OAuth client, and let one of them manage it.",
    )
}

/// Somebody else changes the Secret each time after it was written.
pub(super) fn secret_contested(name: &str) -> Failure {
    Failure::new(
        SecretSynced,
        Reason::SecretContested,
        format!(
            "Another program keeps changing or deleting Secret {name}, so the operator writes a new credential less and less often. \
             See this QlikOAuthClient's events for the field manager, and stop it from writing to this Secret."
        ),
    )
}

pub(super) fn not_trusted() -> Failure {
    finding(
        Reason::ClientConflict,
        "The tenant did not set the consent method of the OAuth client to Trusted. The operator retries; set it in the \
         tenant if that does not help.",
    )
}

pub(super) fn secret_limit() -> Failure {
    finding(
        Reason::SecretLimitReached,
        "The OAuth client has four or more credentials, and Qlik allows five secrets. Delete those that nobody uses in the \
         tenant.",
    )
}

pub(super) fn immutable(name: &str) -> Failure {
    Failure::new(
        SecretSynced,
        Reason::WriteRejected,
        format!("Secret {name} is immutable, so it cannot be written. Delete it, and the operator creates it again."),
    )
}

/// The tenant does not accept a new credential.
pub(super) fn not_accepted(refusal: &Refusal) -> Failure {
    let failure = Failure::new(
        CredentialVerified,
        Reason::CredentialNotAccepted,
        format!(
            "The tenant does not accept the new credential yet ({}). The operator retries and keeps what is in the Secret; \
             if this persists, check in the tenant that the OAuth client is enabled and that an IP allow list has this cluster's \
             addresses.",
            describe(refusal)
        ),
    );
    Failure { trace_id: refusal.trace_id.clone(), retry_after: pause(refusal), ..failure }
}

/// A token of the new credential has another identity than its client's.
pub(super) fn other_identity() -> Failure {
    Failure::new(
        CredentialVerified,
        Reason::UnexpectedResponse,
        "The tenant confirmed another tenant's identity for the new credential, so it is not used. Check that the tenantUrl of \
         the QlikContext is a Qlik Cloud tenant and that no proxy answers in its place.",
    )
}

/// No key could be made.
pub(super) fn no_key() -> Failure {
    Failure::new(
        CredentialVerified,
        Reason::CredentialNotAccepted,
        "No key pair could be made. The operator retries; check that the node has a source of randomness.",
    )
}

pub(super) fn not_the_contract(condition: ConditionType, what: &str) -> Failure {
    Failure::new(
        condition,
        Reason::UnexpectedResponse,
        format!(
            "The tenant's answer cannot be used: {what}. Check that the tenantUrl of the QlikContext is a Qlik Cloud tenant and \
             that no proxy answers in its place."
        ),
    )
}

/// The tenant has requested a pause, from this or another object.
pub(super) fn paused(pause: std::time::Duration) -> Failure {
    let failure = finding(
        Reason::RateLimited,
        "The tenant asked for a pause. The operator waits before it asks again, as long as the tenant says.",
    );
    Failure { retry_after: Some(pause), ..failure }
}

/// Why a call of the OAuth clients API failed; `context`: the QlikContext whose token was sent.
pub fn of_call(context: &str, error: &ClientsError) -> Failure {
    let (reason, message) = match error {
        ClientsError::Unreachable(failure) => return unreachable(ClientSynced, *failure),
        ClientsError::NotTheContract(what) => return not_the_contract(ClientSynced, what),
        ClientsError::Unauthorized(refusal) => (
            Reason::AdminTokenRejected,
            format!(
                "The tenant does not accept the token of QlikContext {context} ({}). The operator retries; QlikContext \
                 {context} says more when it is next verified.",
                describe(refusal)
            ),
        ),
        ClientsError::Forbidden(refusal) => (
            Reason::AdminNotPermitted,
            format!(
                "The token of QlikContext {context} may not manage OAuth clients ({}). Give its OAuth client the scope \
                 admin_classic, or its user the role TenantAdmin.",
                describe(refusal)
            ),
        ),
        ClientsError::NotFound(refusal) => (
            Reason::TenantNotFound,
            format!(
                "There is no tenant, or no list of OAuth clients, at this address ({}). Correct spec.tenantUrl of QlikContext \
                 {context}.",
                describe(refusal)
            ),
        ),
        ClientsError::Conflict(Conflict::Secrets, _) => return secret_limit(),
        ClientsError::Conflict(Conflict::Clients, refusal) => (
            Reason::ClientLimitReached,
            format!(
                "The tenant takes no more OAuth clients ({}). Delete clients that nobody uses; Qlik allows 200 in a tenant.",
                describe(refusal)
            ),
        ),
        ClientsError::Conflict(Conflict::Change, refusal) => (
            Reason::ClientConflict,
            format!(
                "Another program changes the OAuth client at the same time ({}). The operator retries; check in the tenant \
                 whether another program manages this OAuth client.",
                describe(refusal)
            ),
        ),
        ClientsError::RateLimited(refusal) => (
            Reason::RateLimited,
            format!(
                "The tenant limits the rate of requests ({}). The operator waits before it asks again, as long as the tenant \
                 says.",
                describe(refusal)
            ),
        ),
        ClientsError::Unavailable(refusal) => (
            Reason::TenantUnavailable,
            format!("The tenant cannot answer now ({}). The operator retries.", describe(refusal)),
        ),
        ClientsError::Rejected(refusal) => (
            Reason::ClientRejected,
            format!(
                "The tenant does not take the OAuth client as it is declared ({}). Check spec.scopes, spec.clientName and \
                 spec.description.",
                describe(refusal)
            ),
        ),
    };
    let refusal = error.refusal();
    Failure {
        retry_after: refusal.and_then(pause),
        trace_id: refusal.and_then(|refusal| refusal.trace_id.clone()),
        ..finding(reason, message)
    }
}

fn pause(refusal: &Refusal) -> Option<std::time::Duration> {
    refusal.retry_after.filter(|_| matches!(refusal.status, 429 | 503))
}
