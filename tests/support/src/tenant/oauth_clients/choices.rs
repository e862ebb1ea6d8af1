//! What a tenant does where <https://qlik.dev/apis/rest/oauth-clients> leaves it open, to be chosen by a test.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What becomes of `connectionConfig` in the request for a new client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ConsentAtCreation {
    /// The client is trusted from the beginning.
    #[default]
    Taken,
    /// The request is refused with 400.
    Refused,
    /// The client is made, and not trusted.
    Ignored,
}

/// What a new client gets that has a key and asks for no secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SecretBesideKey {
    /// No secret, and no field for one in the answer.
    #[default]
    Absent,
    /// No secret, and an empty text in the answer.
    Empty,
    /// A secret that is good for nothing until the method is allowed.
    Made,
}

/// How `PATCH` takes public keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KeysTaken {
    /// As objects; a text is refused with 400.
    #[default]
    AsObjects,
    /// As texts that hold the JSON of an object; an object is refused with 400.
    AsTexts,
    /// As either.
    AsBoth,
}

/// The choices for one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClientsApi {
    /// What becomes of consent in the request for a new client.
    pub consent_at_creation: ConsentAtCreation,
    /// What a new client gets that has a key alone.
    pub secret_beside_key: SecretBesideKey,
    /// How `PATCH` takes public keys.
    pub keys_taken: KeysTaken,
    /// Whether the answer to the request for a new client has `clientSecretHint`, as the tutorial shows it.
    pub tells_hint_at_creation: bool,
    /// For how long the token endpoint does not know a new secret or key, by the tenants' clock.
    pub propagation: Duration,
    /// Writes that one user may make in a minute (tier 2); absent means no limit.
    pub writes_per_minute: Option<u32>,
    /// Reads that one user may make in a minute (tier 1); absent means no limit.
    pub reads_per_minute: Option<u32>,
}

impl Default for ClientsApi {
    fn default() -> Self {
        Self {
            consent_at_creation: ConsentAtCreation::default(),
            secret_beside_key: SecretBesideKey::default(),
            keys_taken: KeysTaken::default(),
            tells_hint_at_creation: true,
            propagation: Duration::ZERO,
            writes_per_minute: Some(100),
            reads_per_minute: Some(1000),
        }
    }
}
