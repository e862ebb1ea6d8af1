//! OAuth clients as the operator declares them, and as a tenant returns them.

use std::collections::BTreeSet;
use std::fmt;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::id::{ClientId, Hint};
use crate::clock::Timestamp;
use crate::oauth::key::PublicJwk;

/// Grants of machine-to-machine clients (<https://qlik.dev/apis/rest/oauth-clients/>).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum GrantType {
    /// RFC 6749, section 4.4.
    #[serde(rename = "client_credentials")]
    ClientCredentials,
    /// Acting as a user.
    #[serde(rename = "urn:qlik:oauth:user-impersonation")]
    UserImpersonation,
}

impl GrantType {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::UserImpersonation => "urn:qlik:oauth:user-impersonation",
        }
    }
}

/// How a new client will authenticate.
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientAuth {
    /// By a secret that the tenant makes.
    ClientSecret,
    /// By assertions signed with the private key of this public key.
    PrivateKeyJwt(PublicJwk),
}

/// A client to be created; `appType` is `web`, the only one for machines.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewClient {
    /// `clientName`.
    pub name: String,
    /// `description`.
    pub description: String,
    /// `allowedScopes`.
    pub scopes: BTreeSet<String>,
    /// `allowedGrantTypes`.
    pub grants: BTreeSet<GrantType>,
    /// `allowedAuthMethods`, with `publicKeys`.
    pub auth: ClientAuth,
    /// Requests the consent method Trusted at creation (`connectionConfig`). Whether tenants accept that is not documented: one
    /// that refuses it answers 400, one that ignores it leaves the consent method as it is.
    pub trusted: bool,
}

/// Whether the tenant trusts a client, or requires each user's consent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Consent {
    /// The method that machine-to-machine clients need.
    Trusted,
    /// The method of a new client.
    Required,
}

/// A difference to be repaired; each is one operation of a JSON Patch (RFC 6902).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// `/clientName`
    Name(String),
    /// `/description`
    Description(String),
    /// `/allowedScopes`
    Scopes(BTreeSet<String>),
    /// `/allowedGrantTypes`
    Grants(BTreeSet<GrantType>),
    /// `/publicKeys`: all that are valid from then on.
    PublicKeys(Vec<PublicJwk>),
}

/// The form of a public key in a PATCH. The schema requires texts, a key is an object, and no example shows one: a caller whose
/// first form was answered with [`super::ClientsError::Rejected`] tries the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyEncoding {
    /// As an object of JSON.
    Object,
    /// As a text that holds that JSON.
    Text,
}

/// A client as the tenant returns it. Its texts are untrusted, for comparison and not for display: only its id and the hints of
/// its secrets may be shown.
#[derive(Clone, Eq, PartialEq)]
pub struct OAuthClient {
    /// `clientId`.
    pub id: ClientId,
    /// `clientName`.
    pub name: String,
    /// `description`, where there is one.
    pub description: Option<String>,
    /// `appType`.
    pub app_type: String,
    /// `allowedScopes`.
    pub scopes: BTreeSet<String>,
    /// `allowedGrantTypes`, known ones and others.
    pub grants: BTreeSet<String>,
    /// `allowedAuthMethods`.
    pub auth_methods: BTreeSet<String>,
    /// `publicKeys`, in their order.
    pub public_keys: Vec<PublicJwk>,
    /// `clientSecrets`, in their order. Not every response has them: only that to a `GET` of this client counts.
    pub secrets: Vec<SecretEntry>,
    /// `createdAt`.
    pub created_at: Option<Timestamp>,
    /// `disableTag` is present: the client was disabled.
    pub disabled: bool,
}

impl OAuthClient {
    /// True when it has exactly these grants.
    pub fn has_grants(&self, grants: &BTreeSet<GrantType>) -> bool {
        self.grants.len() == grants.len() && grants.iter().all(|grant| self.grants.contains(grant.as_str()))
    }

    /// True when exactly these keys are registered, in any order.
    pub fn has_keys(&self, keys: &[PublicJwk]) -> bool {
        let registered = |key: &PublicJwk| self.public_keys.iter().any(|other| other.is_same_key(key));
        self.public_keys.len() == keys.len() && keys.iter().all(registered)
    }
}

/// Prints its id only: the rest is text of the tenant.
impl fmt::Debug for OAuthClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthClient").field("id", &self.id.as_str()).finish_non_exhaustive()
    }
}

/// A secret of a client; its value is only returned once, when it is made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SecretEntry {
    /// `hint`.
    pub hint: Hint,
    /// `createdAt`.
    pub created_at: Option<Timestamp>,
}

/// A secret that was just made.
#[derive(Clone)]
pub struct NewSecret {
    /// `clientSecret`.
    pub value: SecretString,
    /// `hint`, or `clientSecretHint` of a new client. Dropped when it repeats a part of the secret.
    pub hint: Option<Hint>,
    /// `createdAt`.
    pub created_at: Option<Timestamp>,
}

/// Prints only that there is one.
impl fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewSecret")
    }
}

/// A client that was just made.
#[derive(Debug)]
pub struct Created {
    /// The client as created.
    pub client: OAuthClient,
    /// The secret, if the tenant made one: presumably not for a client that has a key.
    pub secret: Option<NewSecret>,
}

/// Which clients are listed. The caller has to check the list, since a tenant may not filter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Filter<'f> {
    /// All.
    All,
    /// Those of this name.
    Name(&'f str),
    /// The one of this id.
    Id(&'f ClientId),
}

impl Filter<'_> {
    /// RFC 7644, section 3.4.2.2; its texts are those of JSON.
    pub(super) fn expression(self) -> Option<String> {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        match self {
            Self::All => None,
            Self::Name(name) => Some(format!("clientName eq {}", quoted(name))),
            Self::Id(id) => Some(format!("clientId eq {}", quoted(id.as_str()))),
        }
    }
}

/// `consentMethod` of `connection-configs/me`; an unknown one counts as not trusted.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConnectionConfig {
    pub(super) consent_method: String,
}
