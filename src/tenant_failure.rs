//! Maps the failure of a tenant (status, code, body, transport failure) to a reason and a message, for the token request and for
//! the verification. This is the only such table.
//!
//! Pure. [`crate::oauth::refusal`], which reads the response, decides which parts of its text may be shown.

mod suspicion;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use self::suspicion::suspicion;
use crate::api::ConditionType::{self, TokenIssued, Verified};
use crate::api::Reason;
use crate::error::Failure;
use crate::oauth::identity::{Subject, VerificationError};
use crate::oauth::lifetime::NoLifetime;
use crate::oauth::refusal::Refusal;
use crate::oauth::request::{Credential, Grant, TokenRequest};
use crate::oauth::token_endpoint::TokenRequestError;
use crate::oauth::transport::TransportFailure;

/// The failure of a token request.
pub fn of_token_request(request: &TokenRequest, error: TokenRequestError) -> Failure {
    match error {
        TokenRequestError::Refused(refusal) => token_refused(request, refusal),
        TokenRequestError::Unreachable(failure) => unreachable(TokenIssued, failure),
        TokenRequestError::NotTheContract(what) => not_the_contract(TokenIssued, what),
        TokenRequestError::Lifetime(problem) => no_lifetime(problem),
        TokenRequestError::NotSigned => not_signed(),
    }
}

/// The failure of a verification.
pub fn of_verification(subject: Subject<'_>, error: VerificationError) -> Failure {
    match error {
        VerificationError::Refused(refusal) => verification_refused(subject, refusal),
        VerificationError::Unreachable(failure) => unreachable(Verified, failure),
        VerificationError::NotTheContract(what) => not_the_contract(Verified, what),
        VerificationError::UserInactive(status) => user_inactive(status),
    }
}

/// A response of the token endpoint without a token.
fn token_refused(request: &TokenRequest, refusal: Refusal) -> Failure {
    let code = refusal.code.as_deref().unwrap_or_default();
    let said = describe(&refusal);
    let (reason, message) = match refusal.status {
        _ if code == "LOGIN-2" => tenant_not_found(&said),
        400 | 401 if mentions(&refusal, "scope") => (
            Reason::InvalidScope,
            format!(
                "The tenant refused the scopes ({said}). Ask in spec.scopes only for scopes that the OAuth client has, or \
                 add them to the client in the tenant's administration."
            ),
        ),
        401 => invalid_client(request, &said),
        400 if mentions(&refusal, "client") => invalid_client(request, &said),
        400 => (
            Reason::RequestRejected,
            format!(
                "The tenant rejected the token request ({said}). {}",
                suspicion(&request.credential).as_deref().unwrap_or(
                    "Check that the OAuth client is a web client with machine-to-machine enabled and that its consent method \
                     is Trusted."
                )
            ),
        ),
        403 => (
            Reason::AccessDenied,
            format!(
                "The tenant denied the token ({said}). Check in the tenant that {} is not disabled and has not reached the \
                 maximum number of tokens, that the consent method is Trusted, and that an IP allow list has this cluster's \
                 addresses.",
                match request.grant {
                    Grant::ClientCredentials => "the client's user",
                    Grant::UserImpersonation(_) => "the user of spec.impersonate exists,",
                }
            ),
        ),
        status => other(status, &said),
    };
    finish(TokenIssued, reason, message, refusal)
}

/// A response of `users/me` without an identity.
fn verification_refused(subject: Subject<'_>, refusal: Refusal) -> Failure {
    let request = match subject {
        Subject::Request(request) => Some(request),
        Subject::Token(_) => None,
    };
    let by_key = request.is_some_and(TokenRequest::is_api_key);
    let said = describe(&refusal);
    let (reason, message) = match refusal.status {
        _ if refusal.code.as_deref() == Some("LOGIN-2") => tenant_not_found(&said),
        401 if by_key => (
            Reason::TokenRejected,
            format!(
                "The tenant does not accept the API key ({said}). {}",
                request.and_then(|request| suspicion(&request.credential)).as_deref().unwrap_or(
                    "Check in the tenant that the key is neither expired nor revoked and that its user may use API keys, or \
                     put a new one into the Secret."
                )
            ),
        ),
        403 if by_key => (
            Reason::AccessDenied,
            format!(
                "The tenant does not allow the API key to call GET /api/v1/users/me ({said}). Check the permissions of its user, and that an IP \
                 allow list has this cluster's addresses."
            ),
        ),
        401 => (
            Reason::TokenRejected,
            format!(
                "The tenant issued a token but rejected it on GET /api/v1/users/me ({said}). The operator retries; \
                 if this persists, check in the tenant whether tokens of this OAuth client are revoked."
            ),
        ),
        403 => (
            Reason::AccessDenied,
            format!(
                "The tenant does not allow the token to call GET /api/v1/users/me ({said}). Give the OAuth client the scope user_default, \
                 and check that an IP allow list has this cluster's addresses."
            ),
        ),
        status => other(status, &said),
    };
    finish(Verified, reason, message, refusal)
}

/// No response.
pub fn unreachable(condition: ConditionType, failure: TransportFailure) -> Failure {
    use TransportFailure::*;
    let (reason, cure) = match failure {
        AddressNotPublic => (
            Reason::AddressNotPublic,
            "Check spec.tenantUrl; a tenant on a private network needs the operator's flag --allow-private-addresses",
        ),
        AnswerTooLarge | NotHttp => (Reason::UnexpectedResponse, "Check that spec.tenantUrl is a Qlik Cloud tenant"),
        CertificateAuthority => (
            Reason::TenantUnreachable,
            "If a proxy or a private CA signs the certificate, give the CA certificate to the operator with --tenant-ca-file",
        ),
        CertificateExpired | CertificateName | Tls => (
            Reason::TenantUnreachable,
            "Check spec.tenantUrl, and proxies and gateways between the cluster and the tenant",
        ),
        Connection | Timeout => (
            Reason::TenantUnreachable,
            "The operator retries; if this persists, check egress (NetworkPolicy, firewall, proxy)",
        ),
        Name => (Reason::TenantUnreachable, "Check the spelling of spec.tenantUrl; a renamed alias no longer resolves"),
        Resolver => (
            Reason::TenantUnreachable,
            "The operator retries; if this persists, check the cluster's DNS and that the operator may reach it (NetworkPolicy, port 53)",
        ),
        Proxy => (
            Reason::TenantUnreachable,
            "Check the spelling of spec.tenantUrl, the operator's HTTPS_PROXY and what that proxy allows",
        ),
        ProxyCredentials => (Reason::TenantUnreachable, "Set valid proxy credentials in the operator's HTTPS_PROXY"),
        Redirect | TooManyRedirects => (
            Reason::UnexpectedResponse,
            "Use the tenant's original host name in spec.tenantUrl, not an alias or a portal",
        ),
    };
    Failure::new(condition, reason, format!("The tenant gave no usable answer: {failure}. {cure}."))
}

/// A successful response that does not follow the contract.
fn not_the_contract(condition: ConditionType, what: &str) -> Failure {
    Failure::new(
        condition,
        Reason::UnexpectedResponse,
        format!(
            "The tenant's answer cannot be used: {what}. Check that spec.tenantUrl is a Qlik Cloud tenant and that no proxy answers in its place."
        ),
    )
}

/// The private key did not sign, although it was accepted when it was read.
fn not_signed() -> Failure {
    Failure::new(
        ConditionType::CredentialsAvailable,
        Reason::PrivateKeyInvalid,
        "The private key cannot sign. Write the key into the Secret again.",
    )
}

/// A token whose lifetime is too short.
fn no_lifetime(problem: NoLifetime) -> Failure {
    match problem {
        NoLifetime::Unreadable => not_the_contract(TokenIssued, &problem.to_string()),
        NoLifetime::TooShort => Failure::new(
            TokenIssued,
            Reason::LifetimeTooShort,
            "The tenant issued a token that would live less than 10 s, so it is not published. The operator retries; \
             if this persists, check the clocks of the tenant and of this cluster.",
        ),
    }
}

/// A user that is not active.
fn user_inactive(status: Option<&str>) -> Failure {
    Failure::new(
        Verified,
        Reason::UserInactive,
        format!(
            "The token's user is {} in the tenant, so the token is not published. Activate the user, or use another OAuth client.",
            status.unwrap_or("not active")
        ),
    )
}

fn invalid_client(request: &TokenRequest, said: &str) -> (Reason, String) {
    let (refused, cure) = match request.credential {
        Credential::PrivateKey { .. } => (
            "client id or the signature",
            "Register the Secret's key with the OAuth client of this tenant, under the same key id and algorithm",
        ),
        _ => {
            ("client id or secret", "Put the id and a current secret of an OAuth client of this tenant into the Secret")
        }
    };
    if let Some(suspicion) = suspicion(&request.credential) {
        return (Reason::InvalidClient, format!("The tenant refused the {refused} ({said}). {suspicion}"));
    }
    let grant = match request.grant {
        Grant::ClientCredentials => "",
        Grant::UserImpersonation(_) => " and impersonation",
    };
    (
        Reason::InvalidClient,
        format!(
            "The tenant refused the {refused} ({said}). {cure}; the client needs machine-to-machine{grant}, the consent \
             method Trusted, and this cluster in any IP allow list."
        ),
    )
}

fn tenant_not_found(said: &str) -> (Reason, String) {
    (
        Reason::TenantNotFound,
        format!(
            "No tenant has this host name ({said}). Correct spec.tenantUrl; prefer the tenant's original host name to an alias."
        ),
    )
}

fn other(status: u16, said: &str) -> (Reason, String) {
    match status {
        429 => (
            Reason::RateLimited,
            format!(
                "The tenant limits the rate of requests ({said}). The operator waits before it asks again, as long as the tenant says."
            ),
        ),
        408 | 500..=599 => {
            (Reason::TenantUnavailable, format!("The tenant cannot answer now ({said}). The operator retries."))
        }
        _ => (
            Reason::UnexpectedResponse,
            format!(
                "The tenant answered in an unexpected way ({said}). Check that spec.tenantUrl is a Qlik Cloud tenant and that no proxy answers in its place."
            ),
        ),
    }
}

fn finish(condition: ConditionType, reason: Reason, message: String, refusal: Refusal) -> Failure {
    Failure {
        // Qlik's own samples wait a second when a 429 names no time.
        retry_after: refusal.retry_after.filter(|_| matches!(refusal.status, 429 | 503)),
        trace_id: refusal.trace_id,
        ..Failure::new(condition, reason, message)
    }
}

/// True when code or title contains this word.
fn mentions(refusal: &Refusal, word: &str) -> bool {
    [&refusal.code, &refusal.title].into_iter().flatten().any(|text| text.to_ascii_lowercase().contains(word))
}

/// `HTTP 401, OAUTH-5 "Unauthorized"`.
pub fn describe(refusal: &Refusal) -> String {
    let status = refusal.status;
    let mut text = format!("HTTP {status}");
    // A gateway's code may only repeat the status.
    if let Some(code) = refusal.code.as_ref().filter(|code| **code != format!("HTTP-{status}")) {
        let _ = write!(text, ", {code}");
    }
    if let Some(title) = &refusal.title {
        let _ = write!(text, ", \"{title}\"");
    }
    text
}
