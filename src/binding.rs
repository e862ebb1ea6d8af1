//! The token binding: which spec and which credential the token in a Secret belongs to.
//!
//! `v1.<a>.<b>`, both HMAC-SHA-256 keyed by the token, base64url without padding. `a` covers the spec and the times of the
//! token, `b` covers `a` and every value read from the credential Secret, as sent. So after a restart the Secret alone shows
//! whether its token matches the spec (`a`) and came from the present credential (`b`). Without the token, neither reveals
//! anything. The format is pinned by a test vector: a change of it is a new version beside this one, never in place of it, or
//! an upgrade would request every token again.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};

use crate::clock::{SignedDuration, Timestamp};
use crate::oauth::token::{AccessToken, Token};

const VERSION: &str = "v1";
/// A token that was issued further in the future than this comes from a clock that cannot be compared with ours.
const FUTURE: SignedDuration = SignedDuration::from_mins(5);
/// No token lives longer.
const OLDEST: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What the spec says of the token request, in the order of the format. Absent and empty differ.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SpecInputs {
    /// `host` or `host:port`.
    pub authority: String,
    /// `client_secret`, `private_key_jwt` or `api_key`.
    pub method: &'static str,
    /// `grant_type`.
    pub grant_type: &'static str,
    /// The client id, when it is in the spec.
    pub client_id: Option<String>,
    /// The key id, when it is in the spec.
    pub key_id: Option<String>,
    /// The algorithm, when it is in the spec.
    pub algorithm: Option<String>,
    /// Sorted.
    pub scopes: Vec<String>,
    /// `user_lookup`: field and value.
    pub impersonate: Option<(&'static str, String)>,
}

/// What a binding says about a token.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Fit {
    /// The token was issued for this spec.
    pub spec: bool,
    /// And with this credential.
    pub credential: bool,
}

/// The binding of a token.
pub fn bind(token: &Token, spec: &SpecInputs, credential: &[SecretString]) -> String {
    let key = key(&token.access_token);
    let a = spec_part(&key, spec, token.issued_at, token.expires_at);
    let b = credential_part(&key, &a, credential);
    format!("{VERSION}.{}.{}", URL_SAFE_NO_PAD.encode(a), URL_SAFE_NO_PAD.encode(b))
}

/// Compares a binding found beside a token. `credential` is `None` while the credential Secret cannot be read.
pub fn check(
    binding: &str,
    token: &Token,
    spec: &SpecInputs,
    credential: Option<&[SecretString]>,
    now: Timestamp,
) -> Fit {
    let age = now.duration_since(token.issued_at);
    let parts: Vec<_> = binding.split('.').collect();
    let [VERSION, a, b] = parts[..] else {
        return Fit::default();
    };
    let (Ok(a), Ok(b)) = (URL_SAFE_NO_PAD.decode(a), URL_SAFE_NO_PAD.decode(b)) else {
        return Fit::default();
    };
    // An API key has no known expiry, and its age is irrelevant.
    let too_old = token.expires_at.is_some() && age > OLDEST;
    if age < -FUTURE || too_old {
        return Fit::default();
    }
    let key = key(&token.access_token);
    let spec = hmac::verify(&key, &spec_fields(spec, token.issued_at, token.expires_at), &a).is_ok();
    let credential = credential.is_some_and(|values| hmac::verify(&key, &credential_fields(&a, values), &b).is_ok());
    Fit { spec, credential: spec && credential }
}

/// True when the text has the form of a binding, whatever its content.
pub fn is_well_formed(binding: &str) -> bool {
    let parts: Vec<_> = binding.split('.').collect();
    let is_mac = |part: &str| URL_SAFE_NO_PAD.decode(part).is_ok_and(|mac| mac.len() == 32);
    matches!(parts[..], [VERSION, a, b] if is_mac(a) && is_mac(b))
}

fn key(token: &AccessToken) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, token.expose_secret().as_bytes())
}

fn spec_part(key: &hmac::Key, spec: &SpecInputs, issued_at: Timestamp, expires_at: Option<Timestamp>) -> hmac::Tag {
    hmac::sign(key, &spec_fields(spec, issued_at, expires_at))
}

fn credential_part(key: &hmac::Key, a: &hmac::Tag, values: &[SecretString]) -> hmac::Tag {
    hmac::sign(key, &credential_fields(a.as_ref(), values))
}

fn spec_fields(spec: &SpecInputs, issued_at: Timestamp, expires_at: Option<Timestamp>) -> Vec<u8> {
    let mut fields = Fields::default();
    fields.some(spec.authority.as_bytes());
    fields.some(spec.method.as_bytes());
    fields.some(spec.grant_type.as_bytes());
    fields.maybe(spec.client_id.as_deref());
    fields.maybe(spec.key_id.as_deref());
    fields.maybe(spec.algorithm.as_deref());
    fields.count(spec.scopes.len());
    spec.scopes.iter().for_each(|scope| fields.some(scope.as_bytes()));
    fields.maybe(spec.impersonate.as_ref().map(|(field, _)| *field));
    fields.maybe(spec.impersonate.as_ref().map(|(_, value)| value.as_str()));
    fields.some(issued_at.as_second().to_string().as_bytes());
    fields.maybe(expires_at.map(|end| end.as_second().to_string()).as_deref());
    fields.0
}

fn credential_fields(a: &[u8], values: &[SecretString]) -> zeroize::Zeroizing<Vec<u8>> {
    let mut fields = Fields::default();
    fields.some(a);
    fields.count(values.len());
    values.iter().for_each(|value| fields.some(value.expose_secret().as_bytes()));
    fields.0.into()
}

/// Fields prefixed with their length, so that no two lists of fields give the same bytes.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn count(&mut self, count: usize) {
        self.0.extend_from_slice(&(count as u64).to_be_bytes());
    }

    fn some(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// Absent: encoded as a length that no field can have.
    fn maybe(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.some(text.as_bytes()),
            None => self.0.extend_from_slice(&u64::MAX.to_be_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token() -> Token {
        Token {
            access_token: AccessToken::parse("the-token").unwrap(),
            issued_at: Timestamp::from_second(1_800_000_000).unwrap(),
            expires_at: Some(Timestamp::from_second(1_800_021_600).unwrap()),
            scopes: None,
        }
    }

    fn spec() -> SpecInputs {
        SpecInputs {
            authority: "acme.eu.qlikcloud.com".into(),
            method: "client_secret",
            grant_type: "client_credentials",
            scopes: vec!["admin.apps".into(), "user_default".into()],
            ..SpecInputs::default()
        }
    }

    fn credential() -> Vec<SecretString> {
        vec!["client-id".into(), "client-secret".into()]
    }

    fn check_now(binding: &str, token: &Token, spec: &SpecInputs, credential: &[SecretString]) -> Fit {
        check(binding, token, spec, Some(credential), token.issued_at)
    }

    /// Computed independently of this code, from the description of the format alone.
    /// Changing this vector means that an upgrade requests every token again: add a version instead.
    #[test]
    fn the_format_is_pinned_by_a_vector() {
        assert_eq!(
            bind(&token(), &spec(), &credential()),
            "v1.SbDeh1gyxF49qdEftAhrkLXiokov9u6i3bnReBfUQL4.mjE-jMRtiX_Htle2PAORwIGNie0qOmSTEKgZJo1q4AI"
        );
    }

    #[test]
    fn a_binding_tells_spec_and_credential_apart() {
        let binding = bind(&token(), &spec(), &credential());
        assert_eq!(check_now(&binding, &token(), &spec(), &credential()), Fit { spec: true, credential: true });
        assert_eq!(
            check_now(&binding, &token(), &spec(), &["client-id".into(), "rotated".into()]),
            Fit { spec: true, credential: false }
        );
        assert_eq!(check(&binding, &token(), &spec(), None, token().issued_at), Fit { spec: true, credential: false });
        let changes: [fn(&mut SpecInputs); 7] = [
            |s| s.authority.push('x'),
            |s| s.grant_type = "urn:qlik:oauth:user-impersonation",
            |s| s.client_id = Some(String::new()),
            |s| s.key_id = Some(String::new()),
            |s| s.algorithm = Some("RS256".into()),
            |s| drop(s.scopes.pop()),
            |s| s.impersonate = Some(("userId", "u".into())),
        ];
        for change in changes {
            let mut other = spec();
            change(&mut other);
            assert_eq!(check_now(&binding, &token(), &other, &credential()), Fit::default());
        }
    }

    #[test]
    fn a_token_without_an_end_is_bound_to_having_none() {
        let mut endless = token();
        endless.expires_at = None;
        let binding = bind(&endless, &spec(), &credential());
        assert_eq!(check_now(&binding, &endless, &spec(), &credential()), Fit { spec: true, credential: true });
        assert_eq!(check_now(&binding, &token(), &spec(), &credential()), Fit::default());
    }

    #[test]
    fn another_token_other_times_or_a_broken_text_fit_nothing() {
        let binding = bind(&token(), &spec(), &credential());
        let mut other = token();
        other.access_token = AccessToken::parse("another").unwrap();
        assert_eq!(check_now(&binding, &other, &spec(), &credential()), Fit::default());
        let mut longer = token();
        longer.expires_at = longer.expires_at.map(|end| end + SignedDuration::from_secs(1));
        assert_eq!(check_now(&binding, &longer, &spec(), &credential()), Fit::default());
        for text in ["", "v1", "v1..", "v2.a.b", &binding[1..], &format!("{binding}.x")] {
            assert_eq!(check_now(text, &token(), &spec(), &credential()), Fit::default(), "{text}");
        }
    }

    #[test]
    fn a_token_from_the_future_or_older_than_any_life_is_not_bound() {
        let binding = bind(&token(), &spec(), &credential());
        for (age, bound) in
            [(-299, true), (-300, true), (-301, false), (30 * 24 * 3600, true), (30 * 24 * 3600 + 1, false)]
        {
            let now = token().issued_at + SignedDuration::from_secs(age);
            assert_eq!(check(&binding, &token(), &spec(), None, now).spec, bound, "{age}");
        }
    }

    /// All that a binding covers, from so few letters that different fields often give the same text when they are
    /// concatenated.
    fn inputs() -> impl Strategy<Value = (String, i64, Option<i64>, SpecInputs, Vec<String>)> {
        let maybe = || prop::option::of("[ab]{0,2}");
        let token = ("[ab]{1,2}", 0i64..2, prop::option::of(0i64..2));
        let method = prop::sample::select(vec!["a", "ab"]);
        let lookup = prop::option::of((prop::sample::select(vec!["a", "ab"]), "[ab]{0,2}"));
        let spec = (
            "[ab]{0,2}",
            method.clone(),
            method,
            maybe(),
            maybe(),
            maybe(),
            prop::collection::vec("[ab]{0,2}", 0..3),
            lookup,
        );
        let spec =
            spec.prop_map(|(authority, method, grant_type, client_id, key_id, algorithm, scopes, impersonate)| {
                SpecInputs { authority, method, grant_type, client_id, key_id, algorithm, scopes, impersonate }
            });
        let credential = prop::collection::vec("[ab]{0,2}", 0..3);
        (token, spec, credential)
            .prop_map(|((token, issued, end), spec, credential)| (token, issued, end, spec, credential))
    }

    fn made(token: &str, issued: i64, end: Option<i64>) -> Token {
        let at = |second| Timestamp::from_second(second).unwrap();
        Token {
            access_token: AccessToken::parse(token).unwrap(),
            issued_at: at(issued),
            expires_at: end.map(at),
            scopes: None,
        }
    }

    proptest! {
        #[test]
        fn only_the_same_inputs_fit(bound in inputs(), (change, at_hand) in (0usize..6, inputs())) {
            // One part differs, or none does.
            let mut other = bound.clone();
            match change {
                0 => other.0 = at_hand.0,
                1 => other.1 = at_hand.1,
                2 => other.2 = at_hand.2,
                3 => other.3 = at_hand.3,
                4 => other.4 = at_hand.4,
                _ => {}
            }
            let sealed = |values: &[String]| -> Vec<SecretString> {
                values.iter().map(|value| value.as_str().into()).collect()
            };
            let binding = bind(&made(&bound.0, bound.1, bound.2), &bound.3, &sealed(&bound.4));
            let fit = check_now(&binding, &made(&other.0, other.1, other.2), &other.3, &sealed(&other.4));
            let spec = (&bound.0, bound.1, bound.2, &bound.3) == (&other.0, other.1, other.2, &other.3);
            prop_assert_eq!(fit, Fit { spec, credential: bound == other });
        }

        #[test]
        fn no_text_in_place_of_a_binding_panics_or_fits(
            text in "(v1)?[.]?[A-Za-z0-9_-]{0,50}[.]?[A-Za-z0-9_-]{0,50}", age in any::<i32>()
        ) {
            let now = token().issued_at + SignedDuration::from_secs(age.into());
            prop_assert_eq!(check(&text, &token(), &spec(), Some(&credential()), now), Fit::default());
        }
    }
}
