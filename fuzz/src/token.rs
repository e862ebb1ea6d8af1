//! The response to a token request: gives a usable token or a printable reason.

use futures::FutureExt as _;
use qlik_context_operator::api::{ConditionType, Reason};
use qlik_context_operator::clock::{SignedDuration, Timestamp};
use qlik_context_operator::oauth::token_endpoint::request_token;
use qlik_context_operator::tenant_failure;
use secrecy::ExposeSecret as _;

use super::answer::{Tenant, is_fit_to_be_shown, repeats_no_part, repeats_nothing, request};

/// 2026-11-22T00:00:00Z.
const NOW: i64 = 1_795_305_600;

/// Requests a token from a tenant that gives this response.
pub fn holds(input: &[u8]) {
    let tenant = Tenant::read(input);
    let now = Timestamp::from_second(NOW).expect("it is a time");
    let asked = request_token(&tenant, &request(), now, || true).now_or_never().expect("nothing waits");
    let token = match asked {
        Ok(token) => token,
        Err(error) => {
            let failure = tenant_failure::of_token_request(&request(), error);
            assert_eq!(failure.condition, ConditionType::TokenIssued);
            assert!(
                tenant.status != 200 || matches!(failure.reason, Reason::UnexpectedResponse | Reason::LifetimeTooShort)
            );
            return is_fit_to_be_shown(&failure);
        }
    };
    assert_eq!(tenant.status, 200);
    assert_eq!(token.issued_at, now);
    let text = token.access_token.expose_secret();
    assert!((1..=8192).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
    let life = token.expires_at.expect("an issued token has an end").duration_since(now);
    assert!(life >= SignedDuration::from_secs(10) && life <= SignedDuration::from_hours(30 * 24), "{life:?}");
    let scopes = token.scopes.unwrap_or_default();
    assert!(scopes.len() <= 64 && scopes.is_sorted_by(|one, next| one < next), "{scopes:?}");
    for scope in scopes {
        assert!((1..=128).contains(&scope.len()) && scope.bytes().all(|byte| byte.is_ascii_graphic()), "{scope:?}");
        repeats_nothing(&scope);
        repeats_no_part(&scope, text);
    }
}
