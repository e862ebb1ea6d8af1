//! The response of `users/me`: gives an identity with printable texts, or a printable reason.

use futures::FutureExt as _;
use qlik_context_operator::api::ConditionType;
use qlik_context_operator::oauth::identity::{Field, Subject, who_is};
use qlik_context_operator::oauth::token::AccessToken;
use qlik_context_operator::tenant_failure;

use super::answer::{CLIENT_SECRET, Tenant, is_fit_to_be_shown, repeats_nothing, request};

/// Verifies a token with a tenant that gives this response. The token is the client secret, and no result may contain
/// it.
pub fn holds(input: &[u8]) {
    let tenant = Tenant::read(input);
    let token = AccessToken::parse(CLIENT_SECRET).expect("a header carries it");
    let request = request();
    let subject = Subject::Request(&request);
    let asked = who_is(&tenant, subject, &token).now_or_never().expect("nothing waits");
    let identity = match asked {
        Ok(identity) => identity,
        Err(error) => {
            let failure = tenant_failure::of_verification(subject, error);
            assert_eq!(failure.condition, ConditionType::Verified);
            return is_fit_to_be_shown(&failure);
        }
    };
    assert_eq!(tenant.status, 200);
    assert!(!identity.user_id.is_empty() && !identity.tenant_id.is_empty());
    for field in [Field::UserId, Field::Name, Field::Subject, Field::ClientId, Field::TenantId] {
        let (text, shown) = (identity.field(field), identity.shown(field));
        assert!(text.chars().count() <= 256 && !text.chars().any(char::is_control), "{text:?}");
        assert!(
            shown == text || shown.is_empty() && identity.withheld.contains(&field),
            "{text:?} is shown as {shown:?}"
        );
        repeats_nothing(shown);
    }
    repeats_nothing(&identity.in_words().unwrap_or_default());
    repeats_nothing(&format!("{identity:?}"));
}
