//! An OAuth client as a tenant keeps it.
//!
//! Fields and their words follow <https://qlik.dev/apis/rest/oauth-clients>; several secrets may be
//! valid at once, because overlap is how Qlik means secrets to be rotated.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::oauth_clients::hint_of;

/// What a client is allowed to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grant {
    /// Machine to machine: the client acts as its bot.
    #[serde(rename = "client_credentials")]
    ClientCredentials,
    /// Machine to machine impersonation: the client acts as a user.
    #[serde(rename = "urn:qlik:oauth:user-impersonation")]
    UserImpersonation,
}

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// A shared secret.
    ClientSecret,
    /// A signed assertion (RFC 7523).
    PrivateKeyJwt,
}

/// Whether the tenant trusts the client or wants each user's consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// What Qlik's guides set for machine clients.
    Trusted,
    /// What a new client has until somebody changes it.
    Required,
}

/// The algorithms Qlik accepts for a client assertion.
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
    /// The key's id, which an assertion may name.
    pub kid: String,
    /// The only algorithm this key is good for.
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

/// Which of the two expiry fields a token answer carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiryFields {
    /// `expires_in` and `expires_at`.
    Both,
    /// `expires_in` alone.
    In,
    /// `expires_at` alone, as in the published schema.
    At,
    /// None: the caller has to assume something.
    Neither,
}

/// The shape of a token answer; Qlik's own examples differ from its schema and from each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AnswerShape {
    /// Which expiry fields are there.
    pub expiry: ExpiryFields,
    /// `bearer` or `Bearer`.
    pub token_type: String,
    /// Whether the granted scope is told.
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
    /// Its id.
    pub client_id: String,
    /// Its name, which becomes the name of its bot.
    pub name: String,
    /// What is said of it, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `web` for machines.
    pub app_type: String,
    /// Every secret that is good now.
    pub secrets: Vec<String>,
    /// The scopes it may ask for, and gets when it asks for none.
    pub allowed_scopes: Vec<String>,
    /// The grants it may use.
    pub allowed_grants: Vec<Grant>,
    /// The ways it may prove who it is.
    pub auth_methods: Vec<AuthMethod>,
    /// The keys its assertions may be signed with.
    pub public_keys: Vec<PublicKey>,
    /// Whether the tenant trusts it.
    pub consent: Consent,
    /// Whether somebody turned it off.
    pub disabled: bool,
    /// For how long its tokens live.
    pub lifetime_seconds: u64,
    /// What its token answers look like.
    pub answer: AnswerShape,
    /// When it was made by the API.
    #[serde(skip)]
    pub(super) created: Option<SystemTime>,
    /// When the API made which secret.
    #[serde(skip)]
    pub(super) secrets_made: BTreeMap<String, SystemTime>,
    /// From when on the token endpoint knows a secret, or a key by its id; others it knows.
    #[serde(skip)]
    pub(super) good_from: BTreeMap<String, SystemTime>,
}

impl Default for Client {
    fn default() -> Self {
        Self::new("")
    }
}

impl Client {
    /// A machine client as Qlik's guide leaves it: trusted, `user_default`, six hours; no secret
    /// yet.
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

    /// The hints of its secrets.
    pub fn hints(&self) -> BTreeSet<String> {
        self.secrets.iter().map(|secret| hint_of(secret)).collect()
    }

    /// Whether the token endpoint knows this secret, or the key of this id, by now.
    pub(super) fn is_known(&self, credential: &str, now: SystemTime) -> bool {
        self.good_from.get(credential).is_none_or(|from| *from <= now)
    }

    /// With one more secret.
    #[must_use]
    pub fn secret(mut self, secret: &str) -> Self {
        self.secrets.push(secret.to_owned());
        self
    }

    /// With exactly these scopes.
    #[must_use]
    pub fn scopes(mut self, scopes: &[&str]) -> Self {
        self.allowed_scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
        self
    }

    /// With one more key, and assertions allowed.
    #[must_use]
    pub fn key(mut self, key: PublicKey) -> Self {
        self.public_keys.push(key);
        if !self.auth_methods.contains(&AuthMethod::PrivateKeyJwt) {
            self.auth_methods.push(AuthMethod::PrivateKeyJwt);
        }
        self
    }

    /// With impersonation allowed as well.
    #[must_use]
    pub fn impersonating(mut self) -> Self {
        self.allowed_grants.push(Grant::UserImpersonation);
        self
    }

    /// With tokens that live this long; parts of a second are dropped.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime_seconds = lifetime.as_secs();
        self
    }

    /// What is granted for these scopes, or nothing if one of them is outside the allow-list.
    ///
    /// Asking for none grants all but `offline_access`, which is never granted implicitly; a parent
    /// includes its children.
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
