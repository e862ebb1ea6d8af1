//! What it means when a tenant does not answer with what was asked for: the one table from (status, code, body, transport
//! failure) to reason and message, for the token request and for the verification alike.
//!
//! Of an answer only the status, the first error's `code` and `title` and the `traceId` are looked at, cut, and dropped
//! whole when they repeat a secret. `detail`, `error_description` and the body itself go nowhere
//! (<https://qlik.dev/apis/rest/oauth/>, RFC 6749 section 5.2).

use std::fmt::Write as _;

use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::Value;

use super::leak::Secrets;
use super::lifetime::NoLifetime;
use super::transport::{Answer, TransportFailure};
use crate::api::ConditionType::{self, TokenIssued, Verified};
use crate::api::Reason;
use crate::error::Failure;

const CODE_LIMIT: usize = 64;
const TITLE_LIMIT: usize = 128;
const TRACE_LIMIT: usize = 64;

/// A tenant's answer that is not the one asked for, reduced to what a user may see.
#[derive(Debug, Default, Eq, PartialEq)]
struct Refusal {
    code: Option<String>,
    title: Option<String>,
    trace_id: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Body {
    errors: Vec<QlikError>,
    error: Value,
    #[serde(rename = "traceId")]
    trace_id: Value,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct QlikError {
    code: Value,
    title: Value,
}

impl Refusal {
    fn read(body: &[u8], secrets: &Secrets) -> Self {
        let body: Body = serde_json::from_slice(body).unwrap_or_default();
        let first = body.errors.into_iter().next().unwrap_or_default();
        let word = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let printable = |c: char| (' '..='~').contains(&c);
        let clean = |value: &Value, limit: usize, allowed: &dyn Fn(char) -> bool| {
            let fits = |text: &&str| !text.is_empty() && text.len() <= limit && text.chars().all(allowed);
            value.as_str().filter(fits).filter(|text| !secrets.leak_in(text)).map(str::to_owned)
        };
        let code = if first.code.is_null() { &body.error } else { &first.code };
        Self {
            code: clean(code, CODE_LIMIT, &word),
            title: clean(&first.title, TITLE_LIMIT, &printable),
            trace_id: clean(&body.trace_id, TRACE_LIMIT, &word),
        }
    }

    fn mentions(&self, word: &str) -> bool {
        [&self.code, &self.title].into_iter().flatten().any(|text| text.to_ascii_lowercase().contains(word))
    }

    /// `HTTP 401, OAUTH-5 "Unauthorized"`.
    fn describe(&self, status: u16) -> String {
        let mut text = format!("HTTP {status}");
        // A gateway's code may say no more than the status.
        if let Some(code) = self.code.as_ref().filter(|code| **code != format!("HTTP-{status}")) {
            let _ = write!(text, ", {code}");
        }
        if let Some(title) = &self.title {
            let _ = write!(text, ", \"{title}\"");
        }
        text
    }
}

/// Why the token endpoint issued no token.
pub fn token_refused(answer: &Answer, secrets: &Secrets) -> Failure {
    let refusal = Refusal::read(answer.body.expose_secret(), secrets);
    let code = refusal.code.as_deref().unwrap_or_default();
    let said = refusal.describe(answer.status);
    let (reason, message) = match answer.status {
        _ if code == "LOGIN-2" => tenant_not_found(&said),
        400 | 401 if refusal.mentions("scope") => (
            Reason::InvalidScope,
            format!(
                "The tenant refused the scopes ({said}). Ask in spec.scopes only for scopes that the OAuth client has, or \
                 add them to the client in the tenant's administration."
            ),
        ),
        401 => invalid_client(&said),
        400 if refusal.mentions("client") => invalid_client(&said),
        400 => (
            Reason::RequestRejected,
            format!(
                "The tenant rejected the token request ({said}). Check that the OAuth client is a web client with \
                 machine-to-machine enabled and that its consent method is Trusted."
            ),
        ),
        403 => (
            Reason::AccessDenied,
            format!(
                "The tenant denied the token ({said}). Check in the tenant that the client's user is not disabled and has \
                 not reached the maximum number of tokens, that the consent method is Trusted, and that an IP allow list \
                 has this cluster's addresses."
            ),
        ),
        status => other(status, &said),
    };
    finish(TokenIssued, reason, message, answer, refusal)
}

/// Why `users/me` did not say whose token it is.
pub fn verification_refused(answer: &Answer, secrets: &Secrets) -> Failure {
    let refusal = Refusal::read(answer.body.expose_secret(), secrets);
    let said = refusal.describe(answer.status);
    let (reason, message) = match answer.status {
        _ if refusal.code.as_deref() == Some("LOGIN-2") => tenant_not_found(&said),
        401 => (
            Reason::TokenRejected,
            format!(
                "The tenant issued a token and does not accept it when asked whose it is ({said}). The operator tries again; \
                 if it stays, check in the tenant whether tokens of this OAuth client are revoked."
            ),
        ),
        403 => (
            Reason::AccessDenied,
            format!(
                "The tenant does not let the token ask who it is ({said}). Give the OAuth client the scope user_default, \
                 and check that an IP allow list has this cluster's addresses."
            ),
        ),
        status => other(status, &said),
    };
    finish(Verified, reason, message, answer, refusal)
}

/// Why no answer came.
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
            "If a proxy or a private authority signs for the tenant, give its certificate to the operator with --tenant-ca-file",
        ),
        CertificateExpired | CertificateName | Tls => {
            (Reason::TenantUnreachable, "Check spec.tenantUrl and what stands between the cluster and the tenant")
        }
        Connection | Timeout => (
            Reason::TenantUnreachable,
            "The operator tries again; check the cluster's way out (network policy, firewall, proxy) if it stays",
        ),
        Name => (
            Reason::TenantUnreachable,
            "Check the spelling of spec.tenantUrl; an alias that was renamed in the tenant resolves no more",
        ),
        Proxy => (
            Reason::TenantUnreachable,
            "Check the spelling of spec.tenantUrl, the operator's HTTPS_PROXY and what that proxy allows",
        ),
        ProxyCredentials => (
            Reason::TenantUnreachable,
            "Put the user and password that the proxy knows into the operator's HTTPS_PROXY",
        ),
        Redirect | TooManyRedirects => (
            Reason::UnexpectedResponse,
            "Use the tenant's original host name in spec.tenantUrl, not an alias or a portal",
        ),
    };
    Failure::new(condition, reason, format!("The tenant gave no usable answer: {failure}. {cure}."))
}

/// An answer of success that is not the one of the contract.
pub fn not_the_contract(condition: ConditionType, what: &str) -> Failure {
    Failure::new(
        condition,
        Reason::UnexpectedResponse,
        format!(
            "The tenant's answer cannot be used: {what}. Check that spec.tenantUrl is a Qlik Cloud tenant and that no proxy answers in its place."
        ),
    )
}

/// The private key did not sign, though it was accepted when it was read.
pub fn not_signed() -> Failure {
    Failure::new(
        ConditionType::CredentialsAvailable,
        Reason::PrivateKeyInvalid,
        "The private key cannot sign. Write the key into the Secret again.",
    )
}

/// A token whose life is of no use.
pub fn no_lifetime(problem: NoLifetime) -> Failure {
    match problem {
        NoLifetime::Unreadable => not_the_contract(TokenIssued, &problem.to_string()),
        NoLifetime::TooShort => Failure::new(
            TokenIssued,
            Reason::LifetimeTooShort,
            "The tenant issued a token that would live less than 10 s, so it is not published. The operator tries again; \
             check the clocks of the tenant and of this cluster if it stays.",
        ),
    }
}

fn invalid_client(said: &str) -> (Reason, String) {
    (
        Reason::InvalidClient,
        format!(
            "The tenant refused the client id or secret ({said}). Put the id and a current secret of an OAuth client of \
             this tenant into the Secret; the client needs machine-to-machine enabled (for spec.impersonate: impersonation, \
             too) and the consent method Trusted."
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
            (Reason::TenantUnavailable, format!("The tenant cannot answer now ({said}). The operator tries again."))
        }
        _ => (
            Reason::UnexpectedResponse,
            format!(
                "The tenant answered in an unexpected way ({said}). Check that spec.tenantUrl is a Qlik Cloud tenant and that no proxy answers in its place."
            ),
        ),
    }
}

fn finish(condition: ConditionType, reason: Reason, message: String, answer: &Answer, refusal: Refusal) -> Failure {
    Failure {
        // Qlik's own samples wait a second when a 429 names no time.
        retry_after: answer.retry_after.filter(|_| matches!(answer.status, 429 | 503)),
        trace_id: refusal.trace_id,
        ..Failure::new(condition, reason, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretSlice;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, date: None, retry_after: None, body: SecretSlice::from(body.as_bytes().to_vec()) }
    }

    #[test]
    fn the_token_endpoints_refusals_have_their_reasons() {
        for (status, body, reason) in [
            (
                401,
                r#"{"errors":[{"title":"Unauthorized","code":"OAUTH-5","status":"401"}],"traceId":"e6f75ad8"}"#,
                Reason::InvalidClient,
            ),
            (
                401,
                r#"{"errors":[{"title":"No authentication configured for this hostname","code":"LOGIN-2","status":401}]}"#,
                Reason::TenantNotFound,
            ),
            (401, r#"{"error":"invalid_client","error_description":"…"}"#, Reason::InvalidClient),
            (400, r#"{"error":"invalid_scope"}"#, Reason::InvalidScope),
            (400, r#"{"errors":[{"title":"Invalid scope","code":"X","status":"400"}]}"#, Reason::InvalidScope),
            (
                400,
                r#"{"errors":[{"title":"Invalid client_id","code":"OAUTH-14","status":"400"}]}"#,
                Reason::InvalidClient,
            ),
            (400, r#"{"error":"unauthorized_client"}"#, Reason::InvalidClient),
            (400, r#"{"error":"invalid_request"}"#, Reason::RequestRejected),
            (400, r#"{"errors":[{"title":"Invalid scope","code":7}],"traceId":null}"#, Reason::InvalidScope),
            (400, "<html>", Reason::RequestRejected),
            (401, "", Reason::InvalidClient),
            (403, r#"{"errors":[{"title":"Forbidden","code":"AUTH-5"}]}"#, Reason::AccessDenied),
            (404, "", Reason::UnexpectedResponse),
            (429, "", Reason::RateLimited),
            (408, "", Reason::TenantUnavailable),
            (500, "\u{0}", Reason::TenantUnavailable),
            (503, "<html>", Reason::TenantUnavailable),
            (302, "", Reason::UnexpectedResponse),
        ] {
            let failure = token_refused(&answer(status, body), &Secrets::new());
            assert_eq!(failure.reason, reason, "{status} {body}");
            assert_eq!(failure.condition, TokenIssued);
            assert!(failure.message.ends_with('.') && failure.message.len() < 512, "{}", failure.message);
        }
    }

    #[test]
    fn the_message_quotes_code_and_title_and_the_trace_id_stays_apart() {
        let body =
            r#"{"errors":[{"title":"Unauthorized","code":"OAUTH-5","detail":"never shown"}],"traceId":"e6f75ad8"}"#;
        let failure = token_refused(&answer(401, body), &Secrets::new());
        assert!(failure.message.contains(r#"(HTTP 401, OAUTH-5, "Unauthorized")"#), "{}", failure.message);
        assert_eq!(failure.trace_id.as_deref(), Some("e6f75ad8"));
        assert!(!failure.message.contains("e6f75ad8") && !failure.message.contains("never shown"));
    }

    #[test]
    fn what_repeats_a_secret_or_is_not_plain_text_is_dropped_whole() {
        let secrets = Secrets::new().and("planted-secret-value");
        for body in [
            r#"{"errors":[{"title":"bad secret planted-secret-value","code":"planted-secret"}],"traceId":"ted-secret-val"}"#,
            "{\"errors\":[{\"title\":\"line\\nbreak\",\"code\":\"a b\"}],\"traceId\":\"<script>\"}",
        ] {
            assert_eq!(Refusal::read(body.as_bytes(), &secrets), Refusal::default(), "{body}");
        }
        let long = format!(r#"{{"errors":[{{"title":"{}","code":"{}"}}]}}"#, "t".repeat(129), "c".repeat(65));
        assert_eq!(Refusal::read(long.as_bytes(), &secrets), Refusal::default());
    }

    #[test]
    fn a_rejected_token_is_told_from_a_refused_client() {
        assert_eq!(
            verification_refused(&answer(401, "401 Authorization Required"), &Secrets::new()).reason,
            Reason::TokenRejected
        );
        assert_eq!(verification_refused(&answer(503, ""), &Secrets::new()).condition, Verified);
    }
}
