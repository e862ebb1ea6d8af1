//! Behaviour that <https://qlik.dev/apis/rest/oauth-clients> does not specify, set by a test.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The effect of `connectionConfig` in the request for a new client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ConsentAtCreation {
    /// The client is trusted from the start.
    #[default]
    Taken,
    /// The request is rejected with 400.
    Refused,
    /// The client is created and not trusted.
    Ignored,
}

/// The secret of a new client with a key that requests no secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SecretBesideKey {
    /// No secret, and no field for one in the response.
    #[default]
    Absent,
    /// No secret, and an empty text in the response.
    Empty,
    /// A secret that cannot be used until the method is allowed.
    Made,
}

/// The format of public keys in `PATCH`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KeysTaken {
    /// Objects. A text is rejected with 400.
    #[default]
    AsObjects,
    /// Texts with the JSON of an object. An object is rejected with 400.
    AsTexts,
    /// Both.
    AsBoth,
}

/// The settings of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClientsApi {
    /// The effect of consent in the request for a new client.
    pub consent_at_creation: ConsentAtCreation,
    /// The secret of a new client that has only a key.
    pub secret_beside_key: SecretBesideKey,
    /// The format of public keys in `PATCH`.
    pub keys_taken: KeysTaken,
    /// Whether the response to the request for a new client has `clientSecretHint`, as in the tutorial.
    pub tells_hint_at_creation: bool,
    /// How long the token endpoint does not accept a new secret or key, by the tenants' clock.
    pub propagation: Duration,
    /// The limit of writes of one user in a minute (tier 2); absent means no limit.
    pub writes_per_minute: Option<u32>,
    /// The limit of reads of one user in a minute (tier 1); absent means no limit.
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
