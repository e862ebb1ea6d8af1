//! A token request as a value: tenant, grant, scopes and credential; and the key under which equal requests share one token.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::{digest, hmac};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::assertion::{ASSERTION_TYPE, Signer};
use super::leak::Secrets;
use super::sealed;
use super::tenant::TenantUrl;
use super::token::AccessToken;
use crate::clock::{Timestamp, fraction};

/// Path of the token endpoint (<https://qlik.dev/apis/rest/oauth/>).
pub(super) const TOKEN_PATH: &str = "/oauth/token";

/// Grants that Qlik Cloud offers to machine-to-machine clients (<https://qlik.dev/apis/rest/oauth/>).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Grant {
    /// RFC 6749, section 4.4.
    ClientCredentials,
    /// `urn:qlik:oauth:user-impersonation`.
    UserImpersonation(UserLookup),
}

/// The user that a token acts as.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum UserLookup {
    /// By id in the tenant.
    UserId(String),
    /// By the identity provider's name.
    Subject(String),
}

impl Grant {
    /// The value of `grant_type`.
    pub fn grant_type(&self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::UserImpersonation(_) => "urn:qlik:oauth:user-impersonation",
        }
    }

    /// The requested user, as `(field, value)` of `user_lookup`.
    pub fn user_lookup(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::ClientCredentials => None,
            Self::UserImpersonation(UserLookup::UserId(id)) => Some(("userId", id)),
            Self::UserImpersonation(UserLookup::Subject(subject)) => Some(("subject", subject)),
        }
    }
}

/// The credential. Every part may come from a Secret, so every part is sealed.
#[derive(Clone)]
pub enum Credential {
    /// RFC 6749, section 2.3.1.
    ClientSecret {
        /// `client_id`.
        client_id: SecretString,
        /// `client_secret`.
        client_secret: SecretString,
    },
    /// RFC 7523.
    PrivateKey {
        /// `client_id`.
        client_id: SecretString,
        /// Signs an assertion for each request.
        signer: Arc<Signer>,
    },
    /// No request is sent: the key is the token.
    ApiKey(AccessToken),
}

impl Credential {
    /// `client_id`; an API key has none.
    pub fn client_id(&self) -> &str {
        match self {
            Self::ClientSecret { client_id, .. } | Self::PrivateKey { client_id, .. } => client_id.expose_secret(),
            Self::ApiKey(_) => "",
        }
    }

    /// The secrets that must never be repeated, besides the client id.
    fn proof(&self) -> &str {
        match self {
            Self::ClientSecret { client_secret, .. } => client_secret.expose_secret(),
            // The key is never sent; the request adds the assertion that is sent.
            Self::PrivateKey { .. } => "",
            Self::ApiKey(key) => key.expose_secret(),
        }
    }

    fn is_api_key(&self) -> bool {
        matches!(self, Self::ApiKey(_))
    }

    /// Distinguishes credentials with the same client id.
    fn fingerprint(&self) -> (&'static [u8], &[u8]) {
        match self {
            Self::PrivateKey { signer, .. } => (b"private_key_jwt", &signer.fingerprint),
            Self::ClientSecret { .. } => (b"client_secret", self.proof().as_bytes()),
            Self::ApiKey(_) => (b"api_key", self.proof().as_bytes()),
        }
    }
}

/// One request to a tenant's token endpoint.
#[derive(Clone)]
pub struct TokenRequest {
    /// The tenant.
    pub tenant: TenantUrl,
    /// The grant.
    pub grant: Grant,
    /// Requested scopes; an empty list requests all that the client allows.
    pub scopes: BTreeSet<String>,
    /// The credential.
    pub credential: Credential,
}

impl TokenRequest {
    /// True when no request is needed: the credential is the token.
    pub fn is_api_key(&self) -> bool {
        self.credential.is_api_key()
    }

    /// The JSON to post, signed for `now` if it is signed. It is the best documented of the formats that Qlik accepts, and the
    /// only safe one for `user_lookup`. `None` when there is nothing to post, or the key cannot sign.
    pub(super) fn body(&self, now: Timestamp) -> Option<Body> {
        let (client_secret, assertion) = match &self.credential {
            Credential::ClientSecret { client_secret, .. } => (Some(client_secret.expose_secret()), None),
            Credential::PrivateKey { client_id, signer } => {
                let audience = self.tenant.join(TOKEN_PATH);
                (None, Some(signer.assert(client_id.expose_secret(), &audience, now)?))
            }
            Credential::ApiKey(_) => return None,
        };
        let scope = self.scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        let posted = Posted {
            grant_type: self.grant.grant_type(),
            client_id: self.credential.client_id(),
            client_secret,
            client_assertion_type: assertion.is_some().then_some(ASSERTION_TYPE),
            client_assertion: assertion.as_ref().map(ExposeSecret::expose_secret),
            scope: Some(scope.as_str()).filter(|scope| !scope.is_empty()),
            user_lookup: self.grant.user_lookup().map(|(field, value)| Lookup { field, value }),
        };
        let json = sealed::json_text(&posted)?;
        Some(Body { json, assertion })
    }

    /// The secrets that an identity must not repeat; it may contain the client id, as that of a client's own user does.
    pub(super) fn client_secrets(&self) -> Secrets {
        Secrets::new().and(self.credential.proof())
    }

    /// The secrets that any other text of a response must not repeat.
    pub(super) fn secrets(&self) -> Secrets {
        let key_id = match &self.credential {
            Credential::PrivateKey { signer, .. } => signer.key_id.as_deref(),
            _ => None,
        };
        self.client_secrets().and(self.credential.client_id()).and(key_id.unwrap_or_default())
    }

    /// From 0 up to 1, the same for equal requests, independent of the credential: spreads the renewals of different requests.
    pub fn spread(&self) -> f64 {
        let mut context = digest::Context::new(&digest::SHA256);
        self.public_fields(&mut |bytes| context.update(bytes));
        let digest = context.finish();
        fraction(digest.as_ref().first_chunk().copied().unwrap_or_default())
    }

    fn public_fields(&self, write: &mut impl FnMut(&[u8])) {
        let (field, value) = self.grant.user_lookup().unwrap_or_default();
        let fixed = [&self.tenant.authority(), self.grant.grant_type(), self.credential.client_id(), field, value];
        for text in fixed.into_iter().chain(self.scopes.iter().map(String::as_str)) {
            write(&(text.len() as u64).to_be_bytes());
            write(text.as_bytes());
        }
    }
}

/// The fields of a token request (<https://qlik.dev/apis/rest/oauth/>). Borrowed, so that no secret is copied before it is in
/// the buffer that is sent.
#[derive(Serialize)]
struct Posted<'r> {
    grant_type: &'static str,
    client_id: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_assertion_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_assertion: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_lookup: Option<Lookup<'r>>,
}

#[derive(Serialize)]
struct Lookup<'r> {
    field: &'static str,
    value: &'r str,
}

/// The body of the request.
pub(super) struct Body {
    /// JSON.
    pub(super) json: SecretString,
    /// The assertion in it, which is a secret while it is valid.
    pub(super) assertion: Option<SecretString>,
}

/// Equal requests have equal keys. A key reveals nothing, and has no meaning outside of this process.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct RequestKey([u8; 32]);

impl RequestKey {
    /// The key of the requests of one object, which it shares with no other.
    pub fn of_object(uid: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, uid.as_bytes());
        Self(digest.as_ref().first_chunk().copied().unwrap_or_default())
    }
}

/// Makes keys, with a random secret of this process.
pub struct RequestKeys(hmac::Key);

impl RequestKeys {
    /// With a new secret.
    pub fn new() -> Self {
        let mut secret = [0; 32];
        // With an empty secret the digests could be compared between processes, but nothing prints them.
        let _ = SystemRandom::new().fill(&mut secret);
        Self(hmac::Key::new(hmac::HMAC_SHA256, &secret))
    }

    /// The key of a request.
    pub fn of(&self, request: &TokenRequest) -> RequestKey {
        let mut context = hmac::Context::with_key(&self.0);
        request.public_fields(&mut |bytes| context.update(bytes));
        let (method, proof) = request.credential.fingerprint();
        context.update(method);
        context.update(proof);
        RequestKey(context.sign().as_ref().first_chunk().copied().unwrap_or_default())
    }
}

#[cfg(test)]
impl RequestKey {
    /// One of many, for tests that need no request.
    pub(crate) fn numbered(n: usize) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        Self(bytes)
    }
}

impl Default for RequestKeys {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with_secret(client_id: &str, client_secret: &str) -> Credential {
        Credential::ClientSecret { client_id: client_id.into(), client_secret: client_secret.into() }
    }

    fn body(request: &TokenRequest) -> serde_json::Value {
        serde_json::from_str(request.body(Timestamp::UNIX_EPOCH).unwrap().json.expose_secret()).unwrap()
    }

    fn request() -> TokenRequest {
        TokenRequest {
            tenant: "https://acme.eu.qlikcloud.com".parse().unwrap(),
            grant: Grant::ClientCredentials,
            scopes: ["b".to_owned(), "a".to_owned()].into(),
            credential: with_secret("id", "s3cret"),
        }
    }

    #[test]
    fn the_body_is_what_qlik_documents() {
        let mut asked = request();
        let body = super::tests::body(&asked);
        assert_eq!(
            body,
            json!({"grant_type": "client_credentials", "client_id": "id", "client_secret": "s3cret", "scope": "a b"})
        );
        asked.scopes.clear();
        asked.grant = Grant::UserImpersonation(UserLookup::Subject("x|1".into()));
        let body = super::tests::body(&asked);
        assert_eq!(body["user_lookup"], json!({"field": "subject", "value": "x|1"}));
        assert_eq!(body["grant_type"], "urn:qlik:oauth:user-impersonation");
        assert!(body.get("scope").is_none());
    }

    #[test]
    fn equal_requests_share_a_key_and_any_difference_makes_another() {
        let keys = RequestKeys::new();
        let key = keys.of(&request());
        assert_eq!(key, keys.of(&request()));
        let different: [fn(&mut TokenRequest); 5] = [
            |r| r.tenant = "https://other.eu.qlikcloud.com".parse().unwrap(),
            |r| r.grant = Grant::UserImpersonation(UserLookup::UserId("u".into())),
            |r| drop(r.scopes.pop_last()),
            |r| r.credential = with_secret("other", "s3cret"),
            |r| r.credential = with_secret("id", "other"),
        ];
        for change in different {
            let mut other = request();
            change(&mut other);
            assert_ne!(key, keys.of(&other));
        }
        assert_ne!(key, RequestKeys::new().of(&request()), "a key means nothing in another process");
    }

    #[test]
    fn the_spread_does_not_depend_on_the_secret() {
        let mut other = request();
        other.credential = with_secret("id", "other");
        assert!((request().spread() - other.spread()).abs() < f64::EPSILON);
    }
}
