use std::sync::Arc;

use super::*;
use crate::oauth::assertion::Signer;
use crate::oauth::leak::Secrets;
use crate::oauth::request::UserLookup;
use crate::oauth::transport::Answer;
use secrecy::SecretSlice;

/// From the answer, as it comes from the tenant, to the failure.
fn token_refused(request: &TokenRequest, answer: &Answer, secrets: &Secrets) -> Failure {
    of_token_request(request, TokenRequestError::Refused(Refusal::read(answer, secrets)))
}

fn verification_refused(request: Option<&TokenRequest>, answer: &Answer, secrets: &Secrets) -> Failure {
    let token_alone = "https://acme.eu.qlikcloud.com".parse().unwrap();
    let subject = request.map_or(Subject::Token(&token_alone), Subject::Request);
    of_verification(subject, VerificationError::Refused(Refusal::read(answer, secrets)))
}

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
        (400, r#"{"errors":[{"title":"Invalid client_id","code":"OAUTH-14","status":"400"}]}"#, Reason::InvalidClient),
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
    let body = r#"{"errors":[{"title":"Unauthorized","code":"OAUTH-5","detail":"never shown"}],"traceId":"e6f75ad8"}"#;
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
fn the_advice_is_for_the_credential_that_was_refused() {
    let refused = |request: &TokenRequest, status| token_refused(request, &answer(status, ""), &Secrets::new()).message;
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
fn a_rejected_token_is_distinguished_from_a_refused_client() {
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
    let signer = Signer { key, algorithm: crate::oauth::key::Algorithm::ES384, key_id: None, fingerprint: [0; 32] };
    let credential = Credential::PrivateKey { client_id: "id".into(), signer: Arc::new(signer) };
    let failure = token_refused(&TokenRequest { credential, ..request() }, &answer(401, ""), &Secrets::new());
    assert!(failure.message.contains("Register the Secret's key"), "{}", failure.message);
}

#[test]
fn failures_without_a_refusal_have_a_reason_too() {
    use TokenRequestError::{Lifetime, NotSigned, NotTheContract, Unreachable};
    use VerificationError::UserInactive;
    for (error, condition, reason, says) in [
        (NotSigned, ConditionType::CredentialsAvailable, Reason::PrivateKeyInvalid, "The private key cannot sign."),
        (NotTheContract("no token"), TokenIssued, Reason::UnexpectedResponse, "cannot be used: no token. Check"),
        (Lifetime(NoLifetime::TooShort), TokenIssued, Reason::LifetimeTooShort, "less than 10 s"),
        (Lifetime(NoLifetime::Unreadable), TokenIssued, Reason::UnexpectedResponse, "a lifetime that is no number."),
        (Unreachable(TransportFailure::Timeout), TokenIssued, Reason::TenantUnreachable, "no answer in time."),
    ] {
        let failure = of_token_request(&request(), error);
        assert_eq!((failure.condition, failure.reason), (condition, reason), "{}", failure.message);
        assert!(failure.message.contains(says), "{}", failure.message);
    }
    for (error, reason, says) in [
        (UserInactive(Some("disabled")), Reason::UserInactive, "user is disabled in the tenant"),
        (UserInactive(None), Reason::UserInactive, "user is not active in the tenant"),
        (VerificationError::NotTheContract("no user"), Reason::UnexpectedResponse, "cannot be used: no user. Check"),
        (VerificationError::Unreachable(TransportFailure::Name), Reason::TenantUnreachable, "does not resolve."),
    ] {
        let failure = of_verification(Subject::Request(&request()), error);
        assert_eq!((failure.condition, failure.reason), (Verified, reason), "{}", failure.message);
        assert!(failure.message.contains(says), "{}", failure.message);
    }
}
