//! An OAuth client of a tenant.
//!
//! Fields and values are those of <https://qlik.dev/apis/rest/oauth-clients>. Several secrets can be
//! valid at once, because Qlik's rotation of secrets needs an overlap.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::oauth_clients::hint_of;

/// The grants that a client can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grant {
    /// Machine to machine: the client acts as its bot.
    #[serde(rename = "client_credentials")]
    ClientCredentials,
    /// Machine to machine impersonation: the client acts as a user.
    #[serde(rename = "urn:qlik:oauth:user-impersonation")]
    UserImpersonation,
}

/// How a client authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// A shared secret.
    ClientSecret,
    /// A signed assertion (RFC 7523).
    PrivateKeyJwt,
}

/// Whether the tenant trusts the client or requires the consent of each user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// The value for machine clients in Qlik's guides.
    Trusted,
    /// The default of a new client.
    Required,
}

/// The algorithms that Qlik accepts for a client assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSA PKCS#1 v1.5 with SHA-256.
    RS256,
    /// RSA PKCS#1 v1.5 with SHA-512.
    RS512,
    /// ECDSA on P-384 with SHA-384.
    ES384,
}

/// A registered public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublicKey {
    /// The key's id, for the `kid` of an assertion.
    pub kid: String,
    /// The only algorithm of this key.
    pub alg: Algorithm,
    /// `SubjectPublicKeyInfo` in PEM.
    pub pem: String,
}

impl PublicKey {
    /// A key from its PEM text.
    pub fn new(kid: &str, alg: Algorithm, pem: &str) -> Self {
        Self { kid: kid.to_owned(), alg, pem: pem.to_owned() }
    }
}

/// The expiry fields of a token response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiryFields {
    /// `expires_in` and `expires_at`.
    Both,
    /// Only `expires_in`.
    In,
    /// Only `expires_at`, as in the published schema.
    At,
    /// None: the caller has to assume a lifetime.
    Neither,
}

/// The shape of a token response. Qlik's examples differ from its schema and from each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AnswerShape {
    /// The expiry fields.
    pub expiry: ExpiryFields,
    /// `bearer` or `Bearer`.
    pub token_type: String,
    /// Whether the response has the granted scope.
    pub scope: bool,
}

impl Default for AnswerShape {
    fn default() -> Self {
        Self { expiry: ExpiryFields::Both, token_type: "bearer".to_owned(), scope: true }
    }
}

/// An OAuth client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Client {
    /// The client id.
    pub client_id: String,
    /// The name, which is also the name of its bot.
    pub name: String,
    /// The description, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The app type; `web` for machines.
    pub app_type: String,
    /// Every valid secret.
    pub secrets: Vec<String>,
    /// The allowed scopes, which it also gets if it requests none.
    pub allowed_scopes: Vec<String>,
    /// The allowed grants.
    pub allowed_grants: Vec<Grant>,
    /// The allowed authentication methods.
    pub auth_methods: Vec<AuthMethod>,
    /// The public keys that verify its assertions.
    pub public_keys: Vec<PublicKey>,
    /// Whether the tenant trusts it.
    pub consent: Consent,
    /// Whether it is disabled.
    pub disabled: bool,
    /// The lifetime of its tokens.
    pub lifetime_seconds: u64,
    /// The shape of its token responses.
    pub answer: AnswerShape,
    /// When the API created it.
    #[serde(skip)]
    pub(super) created: Option<SystemTime>,
    /// When the API created each secret.
    #[serde(skip)]
    pub(super) secrets_made: BTreeMap<String, SystemTime>,
    /// The time from which the token endpoint accepts a secret, or a key by its id. Others are accepted at once.
    #[serde(skip)]
    pub(super) good_from: BTreeMap<String, SystemTime>,
}

impl Default for Client {
    fn default() -> Self {
        Self::new("")
    }
}

impl Client {
    /// A machine client as in Qlik's guide: trusted, `user_default`, six hours, and no secret yet.
    pub fn new(client_id: &str) -> Self {
        Self {
            client_id: client_id.to_owned(),
            name: format!("client {client_id}"),
            description: None,
            app_type: "web".to_owned(),
            secrets: Vec::new(),
            allowed_scopes: vec!["user_default".to_owned()],
            allowed_grants: vec![Grant::ClientCredentials],
            auth_methods: vec![AuthMethod::ClientSecret],
            public_keys: Vec::new(),
            consent: Consent::Trusted,
            disabled: false,
            lifetime_seconds: 21_600,
            answer: AnswerShape::default(),
            created: None,
            secrets_made: BTreeMap::new(),
            good_from: BTreeMap::new(),
        }
    }

    /// The hints of the secrets.
    pub fn hints(&self) -> BTreeSet<String> {
        self.secrets.iter().map(|secret| hint_of(secret)).collect()
    }

    /// Whether the token endpoint already accepts this secret, or the key with this id.
    pub(super) fn is_known(&self, credential: &str, now: SystemTime) -> bool {
        self.good_from.get(credential).is_none_or(|from| *from <= now)
    }

    /// Adds a secret.
    #[must_use]
    pub fn secret(mut self, secret: &str) -> Self {
        self.secrets.push(secret.to_owned());
        self
    }

    /// Sets the scopes.
    #[must_use]
    pub fn scopes(mut self, scopes: &[&str]) -> Self {
        self.allowed_scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
        self
    }

    /// Adds a key and allows assertions.
    #[must_use]
    pub fn key(mut self, key: PublicKey) -> Self {
        self.public_keys.push(key);
        if !self.auth_methods.contains(&AuthMethod::PrivateKeyJwt) {
            self.auth_methods.push(AuthMethod::PrivateKeyJwt);
        }
        self
    }

    /// Also allows impersonation.
    #[must_use]
    pub fn impersonating(mut self) -> Self {
        self.allowed_grants.push(Grant::UserImpersonation);
        self
    }

    /// Sets the lifetime of tokens, in whole seconds.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime_seconds = lifetime.as_secs();
        self
    }

    /// The granted scopes for these requested ones; `None` if one of them is not allowed.
    ///
    /// An empty request is granted all scopes except `offline_access`, which is never granted implicitly. A parent
    /// scope includes its children.
    pub(super) fn grant(&self, asked: &[String]) -> Option<Vec<String>> {
        if asked.is_empty() {
            let implied = |scope: &&String| scope.as_str() != "offline_access";
            return Some(self.allowed_scopes.iter().filter(implied).cloned().collect());
        }
        let covered = |scope: &String| {
            self.allowed_scopes.iter().any(|allowed| {
                scope.strip_prefix(allowed.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
            })
        };
        asked.iter().all(covered).then(|| asked.to_vec())
    }
}
