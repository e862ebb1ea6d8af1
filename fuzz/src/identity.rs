//! The answer of `users/me`: whose a token is, in texts that can be shown, or a reason that can.

use futures::FutureExt as _;
use qlik_context_operator::api::ConditionType;
use qlik_context_operator::oauth::identity::who_is;
use qlik_context_operator::oauth::token::AccessToken;

use super::answer::{CLIENT_SECRET, Tenant, is_fit_to_be_shown, repeats_nothing, request};

/// Asks a tenant that gives this answer, with the client's secret as the token: neither may come back.
pub fn holds(input: &[u8]) {
    let tenant = Tenant::read(input);
    let token = AccessToken::parse(CLIENT_SECRET).expect("a header carries it");
    let asked = who_is(&tenant, &request(), &token).now_or_never().expect("nothing waits");
    let identity = match asked {
        Ok(identity) => identity,
        Err(failure) => {
            assert_eq!(failure.condition, ConditionType::Verified);
            return is_fit_to_be_shown(&failure);
        }
    };
    assert_eq!(tenant.status, 200);
    assert!(!identity.user_id.is_empty() && !identity.tenant_id.is_empty());
    let texts = [identity.user_id, identity.name, identity.subject, identity.tenant_id];
    for text in texts.into_iter().chain(identity.client_id) {
        assert!(text.chars().count() <= 256 && !text.chars().any(char::is_control), "{text:?}");
        repeats_nothing(&text);
    }
}
