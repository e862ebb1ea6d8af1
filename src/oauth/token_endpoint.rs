//! `POST /oauth/token` (<https://qlik.dev/apis/rest/oauth/>): sends a token request; returns a token, or why there is none.

use std::time::SystemTime;

use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::leak::Secrets;
use super::lifetime::{NoLifetime, lifetime};
use super::refusal::Refusal;
use super::request::{Credential, TOKEN_PATH, TokenRequest};
use super::token::{AccessToken, Token};
use super::transport::{Answer, Method, Request, Transport, TransportFailure};
use crate::clock::{SignedDuration, Timestamp};

const BODY_LIMIT: usize = 64 * 1024;
const SCOPES_LIMIT: usize = 64;
const SCOPE_LIMIT: usize = 128;

/// Why there is no token.
#[derive(Debug, Eq, PartialEq)]
pub enum TokenRequestError {
    /// The tenant answered with another status than success.
    Refused(Refusal),
    /// No response.
    Unreachable(TransportFailure),
    /// A successful response that does not follow the contract, and what is wrong with it.
    NotTheContract(&'static str),
    /// The token has no usable lifetime.
    Lifetime(NoLifetime),
    /// The private key did not sign, although it was accepted when it was read.
    NotSigned,
}

#[derive(Deserialize)]
struct Granted {
    access_token: Zeroizing<String>,
    token_type: Option<Value>,
    expires_in: Option<Value>,
    expires_at: Option<Value>,
    scope: Option<Value>,
}

/// The tenant's clock has to differ by more than this before an assertion is signed for it: a `Date` has whole seconds.
const SKEW: SignedDuration = SignedDuration::from_secs(2);
/// A `Date` that differs by more than this is ignored.
const LONGEST_SKEW: SignedDuration = SignedDuration::from_hours(24);

/// Requests a token. `now` is the time of the request, and becomes the token's `issued_at`. An API key is its own token.
/// `may_repeat`: whether a second request may be sent, if the first one has to be signed by the tenant's clock.
pub async fn request_token(
    transport: &dyn Transport,
    request: &TokenRequest,
    now: Timestamp,
    may_repeat: impl FnOnce() -> bool,
) -> Result<Token, TokenRequestError> {
    if let Credential::ApiKey(key) = &request.credential {
        return Ok(Token { access_token: key.clone(), issued_at: now, expires_at: None, scopes: None });
    }
    let (mut answer, mut secrets) = post(transport, request, now).await?;
    // A signature has a time: if a tenant with another clock refuses it, it is made once more, by that clock.
    if let Some(theirs) = skewed(request, &answer, now).filter(|_| may_repeat()) {
        (answer, secrets) = post(transport, request, theirs).await?;
    }
    if answer.status != 200 {
        return Err(TokenRequestError::Refused(Refusal::read(&answer, &secrets)));
    }
    let mut token = read(&answer, now)?;
    // The granted scopes are shown in the status, so they must not repeat a secret either.
    // All scopes are searched for the token at once, because it may be long: one by one would keep a thread busy.
    let of_token = Secrets::new().and(token.access_token.expose_secret());
    token.scopes = token.scopes.filter(|scopes| !of_token.leak_in(&scopes.join(" ")));
    token.scopes.iter_mut().for_each(|scopes| scopes.retain(|scope| !secrets.leak_in(scope)));
    Ok(token)
}

/// The response, and the secrets that it must not repeat.
async fn post(
    transport: &dyn Transport,
    request: &TokenRequest,
    signed_at: Timestamp,
) -> Result<(Answer, Secrets), TokenRequestError> {
    let body = request.body(signed_at).ok_or(TokenRequestError::NotSigned)?;
    let secrets = match &body.assertion {
        Some(assertion) => request.secrets().and(assertion.expose_secret()),
        None => request.secrets(),
    };
    let call = Request {
        tenant: request.tenant.clone(),
        method: Method::Post,
        path: TOKEN_PATH.into(),
        authorization: None,
        header: None,
        body: Some(body.json),
        limit: BODY_LIMIT,
        redirects: 0,
    };
    let answer = transport.send(call).await.map_err(TokenRequestError::Unreachable)?;
    Ok((answer, secrets))
}

/// The tenant's time, if it refused a signature and its clock differs from ours.
fn skewed(request: &TokenRequest, answer: &Answer, now: Timestamp) -> Option<Timestamp> {
    let signed = matches!(request.credential, Credential::PrivateKey { .. });
    let theirs = Timestamp::try_from(answer.date?).ok()?;
    let skew = theirs.duration_since(now).abs();
    (signed && matches!(answer.status, 400 | 401) && skew > SKEW && skew < LONGEST_SKEW).then_some(theirs)
}

fn read(answer: &Answer, now: Timestamp) -> Result<Token, TokenRequestError> {
    let unusable = TokenRequestError::NotTheContract;
    let granted: Granted =
        serde_json::from_slice(answer.object()).map_err(|_| unusable("the token endpoint did not return a token"))?;
    // RFC 6749, section 7.1: case-insensitive; Qlik's examples have both.
    let is_bearer = |kind: &str| kind.eq_ignore_ascii_case("bearer");
    if granted
        .token_type
        .as_ref()
        .is_some_and(|kinds| !texts(kinds).is_some_and(|kinds| kinds.into_iter().all(is_bearer)))
    {
        return Err(unusable("the token is not a bearer token"));
    }
    let access_token = AccessToken::parse(&granted.access_token)
        .ok_or_else(|| unusable("the token is empty, too long or holds what no header can carry"))?;
    let tenant_now = answer.date.unwrap_or_else(|| SystemTime::from(now));
    let life = lifetime(granted.expires_in.as_ref(), granted.expires_at.as_ref(), tenant_now)
        .map_err(TokenRequestError::Lifetime)?;
    let expires_at = now.checked_add(life).map_err(|_| unusable("the token's end is out of range"))?;
    Ok(Token {
        access_token,
        issued_at: now,
        expires_at: Some(expires_at),
        scopes: granted.scope.as_ref().and_then(texts).map(|texts| scopes(&texts)),
    })
}

/// A text, or a list of texts in its place, as some servers write what RFC 6749 wants as one text.
fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(texts) if !texts.is_empty() => texts.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// The granted scopes, bounded since they are shown in the status; texts that cannot be a scope are left out.
fn scopes(texts: &[&str]) -> Vec<String> {
    let fits = |scope: &&str| scope.len() <= SCOPE_LIMIT && scope.bytes().all(|byte| byte.is_ascii_graphic());
    let words = texts.iter().flat_map(|text| text.split(' '));
    let mut scopes: Vec<_> = words.filter(|scope| !scope.is_empty()).filter(fits).map(str::to_owned).collect();
    scopes.sort();
    scopes.dedup();
    scopes.truncate(SCOPES_LIMIT);
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use secrecy::SecretSlice;

    fn read_body(body: &str) -> Result<Token, TokenRequestError> {
        let body = SecretSlice::from(body.as_bytes().to_vec());
        read(
            &Answer { status: 200, date: None, retry_after: None, body },
            Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1000),
        )
    }

    #[test]
    fn a_token_is_read_from_each_documented_shape() {
        for body in [
            r#"{"access_token":"t","token_type":"bearer","expires_in":3600}"#,
            r#"{"access_token":"t","token_type":"Bearer","expires_at":"1970-01-01T01:16:40.000Z"}"#,
            r#"{"access_token":"t"}"#,
        ] {
            let token = read_body(body).unwrap();
            assert_eq!(token.expires_at.unwrap().as_second(), 4600, "{body}");
            assert_eq!(token.issued_at.as_second(), 1000);
        }
        let token = read_body(r#"{"access_token":"t","scope":"b a  a"}"#).unwrap();
        assert_eq!(token.scopes.unwrap(), ["a", "b"]);
    }

    #[test]
    fn what_is_used_is_read_in_each_form_that_servers_write_and_the_rest_is_passed_over() {
        for (fields, scopes) in [
            (r#""scope":["b","a"]"#, Some(vec!["a", "b"])),
            (r#""scope":["b a","a"]"#, Some(vec!["a", "b"])),
            (r#""scope":[]"#, None),
            (r#""scope":["a",7]"#, None),
            (r#""scope":null"#, None),
            (r#""scope":7"#, None),
            (r#""scope":{"a":true}"#, None),
            (r#""scope":"""#, Some(vec![])),
            (r#""scope":"a","token_type":["Bearer"]"#, Some(vec!["a"])),
            (r#""token_type":["bearer","Bearer"]"#, None),
            (r#""token_type":null,"refresh_token":7,"id_token":null,"extra":{"deep":[1e999]}"#, None),
        ] {
            let token = read_body(&format!(r#"{{"access_token":"t",{fields}}}"#));
            let token = token.unwrap_or_else(|error| panic!("{fields}: {error:?}"));
            let scopes = scopes.map(|all| all.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(token.scopes, scopes, "{fields}");
        }
        for kind in ["[]", "[\"mac\"]", "[\"bearer\",\"mac\"]", "[7]", "7", "{}", "\"\"", "[[\"bearer\"]]"] {
            let error = read_body(&format!(r#"{{"access_token":"t","token_type":{kind}}}"#)).err();
            assert_eq!(error, Some(TokenRequestError::NotTheContract("the token is not a bearer token")), "{kind}");
        }
    }

    #[test]
    fn a_byte_order_mark_before_the_answer_is_passed_over() {
        assert!(read_body("\u{feff}{\"access_token\":\"t\"}").is_ok());
        assert!(read_body("\u{feff} \n{\"access_token\":\"t\"}\n").is_ok());
        for body in ["\u{feff}", "\u{feff}\u{feff}{\"access_token\":\"t\"}", "{\u{feff}\"access_token\":\"t\"}"] {
            assert!(read_body(body).is_err(), "{body:?}");
        }
    }

    #[test]
    fn an_answer_without_a_usable_token_is_refused() {
        use TokenRequestError::{Lifetime, NotTheContract};
        let (no_token, no_header) = (
            NotTheContract("the token endpoint did not return a token"),
            NotTheContract("the token is empty, too long or holds what no header can carry"),
        );
        for (body, error) in [
            (r#"{"access_token":""}"#, &no_header),
            (r#"{"access_token":"a\nb"}"#, &no_header),
            (r#"{"access_token":"t","token_type":"mac"}"#, &NotTheContract("the token is not a bearer token")),
            (r#"{"access_token":7}"#, &no_token),
            (r#"{"access_token":"t","expires_in":5}"#, &Lifetime(NoLifetime::TooShort)),
            (r#"{"access_token":"t","expires_in":{}}"#, &Lifetime(NoLifetime::Unreadable)),
            ("<html>", &no_token),
            ("", &no_token),
        ] {
            assert_eq!(read_body(body).err().as_ref(), Some(error), "{body}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_tenant_says_of_times_a_token_lives_ten_seconds_to_thirty_days(
            now in 0i64..4_000_000_000,
            date in prop::option::of(0u64..253_402_300_800),
            end in prop::option::of(Timestamp::MIN.as_second()..Timestamp::MAX.as_second()),
            expires_in in prop::option::of(prop_oneof![
                any::<i64>().prop_map(|number| number.to_string()), any::<f64>().prop_map(|number| number.to_string())
            ])
        ) {
            let end = end.map(|end| format!(r#","expires_at":"{}""#, Timestamp::from_second(end).unwrap()));
            let expires_in = expires_in.map(|number| format!(r#","expires_in":{number}"#));
            let times = [end, expires_in].into_iter().flatten().collect::<String>();
            let body = format!(r#"{{"access_token":"t"{times}}}"#).into_bytes();
            let date = date.map(|date| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(date));
            let now = Timestamp::from_second(now).unwrap();
            let answer = Answer { status: 200, date, retry_after: None, body: SecretSlice::from(body) };
            if let Ok(token) = read(&answer, now) {
                let life = token.expires_at.unwrap().duration_since(now);
                prop_assert!(life >= SignedDuration::from_secs(10) && life <= SignedDuration::from_hours(720));
                prop_assert_eq!(token.issued_at, now);
            }
        }
    }
}
