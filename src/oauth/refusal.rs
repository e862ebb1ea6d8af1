//! What it means when a tenant does not answer with what was asked for: the one table from (status, code, body, transport
//! failure) to reason and message, for the token request and for the verification alike.
//!
//! What of an answer's own words is looked at stands in [`words`].

mod words;

use self::words::Refusal;
use super::leak::Secrets;
use super::lifetime::NoLifetime;
use super::request::{Credential, Grant, TokenRequest};
use super::transport::{Answer, TransportFailure};
use crate::api::ConditionType::{self, TokenIssued, Verified};
use crate::api::Reason;
use crate::error::Failure;

/// Why the token endpoint issued no token.
pub fn token_refused(request: &TokenRequest, answer: &Answer, secrets: &Secrets) -> Failure {
    let refusal = Refusal::read(answer.object(), secrets);
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
        401 => invalid_client(request, &said),
        400 if refusal.mentions("client") => invalid_client(request, &said),
        400 => (
            Reason::RequestRejected,
            format!(
                "The tenant rejected the token request ({said}). {}",
                request.credential.suspicion().as_deref().unwrap_or(
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
    finish(TokenIssued, reason, message, answer, refusal)
}

/// Why `users/me` did not say whose token it is.
pub fn verification_refused(request: Option<&TokenRequest>, answer: &Answer, secrets: &Secrets) -> Failure {
    let by_key = request.is_some_and(TokenRequest::is_api_key);
    let refusal = Refusal::read(answer.object(), secrets);
    let said = refusal.describe(answer.status);
    let (reason, message) = match answer.status {
        _ if refusal.code.as_deref() == Some("LOGIN-2") => tenant_not_found(&said),
        401 if by_key => (
            Reason::TokenRejected,
            format!(
                "The tenant does not accept the API key ({said}). {}",
                request.and_then(|request| request.credential.suspicion()).as_deref().unwrap_or(
                    "Check in the tenant that the key is neither expired nor revoked and that its user may use API keys, or \
                     put a new one into the Secret."
                )
            ),
        ),
        403 if by_key => (
            Reason::AccessDenied,
            format!(
                "The tenant does not let the API key ask whose it is ({said}). Check the rights of its user, and that an IP \
                 allow list has this cluster's addresses."
            ),
        ),
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
        Resolver => (
            Reason::TenantUnreachable,
            "The operator tries again; if this persists, check the cluster's DNS and that the operator may reach it (NetworkPolicy, port 53)",
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
    if let Some(suspicion) = request.credential.suspicion() {
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
    use std::sync::Arc;

    use super::*;
    use crate::oauth::assertion::Signer;
    use crate::oauth::request::UserLookup;
    use secrecy::SecretSlice;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, date: None, retry_after: None, body: SecretSlice::from(body.as_bytes().to_vec()) }
    }

    fn request() -> TokenRequest {
        TokenRequest {
            tenant: "https://acme.eu.qlikcloud.com".parse().unwrap(),
            grant: Grant::ClientCredentials,
            scopes: std::collections::BTreeSet::new(),
            credential: Credential::ClientSecret { client_id: "id".into(), client_secret: "s3cret".into() },
        }
    }

    fn api_key() -> Credential {
        Credential::ApiKey(crate::oauth::token::AccessToken::parse("key").unwrap())
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
            let failure = token_refused(&request(), &answer(status, body), &Secrets::new());
            assert_eq!(failure.reason, reason, "{status} {body}");
            assert_eq!(failure.condition, TokenIssued);
            assert!(failure.message.ends_with('.') && failure.message.len() < 512, "{}", failure.message);
        }
    }

    #[test]
    fn the_message_quotes_code_and_title_and_the_trace_id_stays_apart() {
        let body =
            r#"{"errors":[{"title":"Unauthorized","code":"OAUTH-5","detail":"never shown"}],"traceId":"e6f75ad8"}"#;
        let failure = token_refused(&request(), &answer(401, body), &Secrets::new());
        assert!(failure.message.contains(r#"(HTTP 401, OAUTH-5, "Unauthorized")"#), "{}", failure.message);
        assert_eq!(failure.trace_id.as_deref(), Some("e6f75ad8"));
        assert!(!failure.message.contains("e6f75ad8") && !failure.message.contains("never shown"));
    }

    #[test]
    fn the_longest_words_of_a_tenant_leave_room_for_the_cure() {
        let body = format!(r#"{{"errors":[{{"title":"{}","code":"{}"}}]}}"#, "t".repeat(128), "c".repeat(64));
        let key = crate::oauth::key::read(include_str!("../../tests/keys/rsa-pkcs8.pem")).unwrap().key;
        let algorithm = key.algorithm(None).unwrap();
        let signer = Signer { key, algorithm, key_id: None, fingerprint: [0; 32] };
        let by_signature = Credential::PrivateKey { client_id: "id".into(), signer: Arc::new(signer) };
        let impersonating = Grant::UserImpersonation(UserLookup::UserId("u".into()));
        let others = [
            TokenRequest { credential: by_signature.clone(), ..request() },
            TokenRequest { grant: impersonating.clone(), ..request() },
        ];
        let by_key = TokenRequest { credential: api_key(), ..request() };
        let both = TokenRequest { credential: by_signature, grant: impersonating, ..request() };
        for request in others.into_iter().chain([request(), both, by_key]) {
            for status in [400, 401, 403, 404, 429, 503] {
                for failure in [
                    token_refused(&request, &answer(status, &body), &Secrets::new()),
                    verification_refused(Some(&request), &answer(status, &body), &Secrets::new()),
                ] {
                    assert!(failure.message.ends_with('.') && failure.message.len() <= 512, "{}", failure.message);
                }
            }
        }
    }

    #[test]
    fn a_pause_counts_where_an_answer_may_ask_for_one() {
        let pause = Some(std::time::Duration::from_secs(7));
        for (status, counts) in [(429, true), (503, true), (500, false), (401, false), (403, false)] {
            let answer = Answer { retry_after: pause, ..answer(status, "") };
            assert_eq!(token_refused(&request(), &answer, &Secrets::new()).retry_after, pause.filter(|_| counts));
        }
    }

    #[test]
    fn the_cure_is_for_the_credential_that_was_refused() {
        let refused =
            |request: &TokenRequest, status| token_refused(request, &answer(status, ""), &Secrets::new()).message;
        assert!(refused(&request(), 401).contains("a current secret"));
        assert!(!refused(&request(), 401).contains("impersonation"));
        let user = Grant::UserImpersonation(UserLookup::UserId("u".into()));
        let impersonating = TokenRequest { grant: user, ..request() };
        assert!(refused(&impersonating, 401).contains("machine-to-machine and impersonation"));
        assert!(refused(&impersonating, 403).contains("the user of spec.impersonate exists"));
        let by_key = TokenRequest { credential: api_key(), ..request() };
        for status in [401, 403] {
            let refused = verification_refused(Some(&by_key), &answer(status, ""), &Secrets::new()).message;
            assert!(refused.contains("the API key") && !refused.contains("OAuth client"), "{refused}");
        }
    }

    #[test]
    fn a_rejected_token_is_told_from_a_refused_client() {
        assert_eq!(
            verification_refused(Some(&request()), &answer(401, "401 Authorization Required"), &Secrets::new()).reason,
            Reason::TokenRejected
        );
        assert_eq!(verification_refused(Some(&request()), &answer(503, ""), &Secrets::new()).condition, Verified);
    }

    #[test]
    fn the_verifications_refusals_have_their_reasons() {
        let by_key = TokenRequest { credential: api_key(), ..request() };
        for (status, body, reason) in [
            (401, "", Reason::TokenRejected),
            (403, "", Reason::AccessDenied),
            (404, "", Reason::UnexpectedResponse),
            (404, r#"{"errors":[{"code":"LOGIN-2"}]}"#, Reason::TenantNotFound),
            (404, r#"{"errors":[{"code":"LOGIN-3"}]}"#, Reason::UnexpectedResponse),
            (429, "", Reason::RateLimited),
            (500, "", Reason::TenantUnavailable),
        ] {
            for request in [request(), by_key.clone()] {
                let failure = verification_refused(Some(&request), &answer(status, body), &Secrets::new());
                assert_eq!((failure.condition, failure.reason), (Verified, reason), "{status} {body}");
            }
        }
        for (status, says) in [(401, "tokens of this OAuth client"), (403, "user_default")] {
            let message = verification_refused(Some(&request()), &answer(status, ""), &Secrets::new()).message;
            assert!(message.contains(says), "{message}");
        }
    }

    #[test]
    fn a_gateways_code_is_not_said_twice() {
        let body = r#"{"errors":[{"code":"HTTP-502","title":"Bad Gateway"}]}"#;
        let failure = token_refused(&request(), &answer(502, body), &Secrets::new());
        assert!(failure.message.contains(r#"(HTTP 502, "Bad Gateway")"#), "{}", failure.message);
    }

    #[test]
    fn a_signature_that_was_refused_is_cured_by_its_key() {
        let key = crate::oauth::key::read(include_str!("../../tests/keys/p384.jwk")).unwrap().key;
        let signer =
            Signer { key, algorithm: crate::oauth::key::Algorithm::ES384, key_id: None, fingerprint: [0; 32] };
        let credential = Credential::PrivateKey { client_id: "id".into(), signer: Arc::new(signer) };
        let failure = token_refused(&TokenRequest { credential, ..request() }, &answer(401, ""), &Secrets::new());
        assert!(failure.message.contains("Register the Secret's key"), "{}", failure.message);
    }
}
