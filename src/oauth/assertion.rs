//! Client assertions: a signed statement in place of a client secret (RFC 7523, section 3;
//! <https://qlik.dev/authenticate/oauth/oauth-private-key-jwt-reference/>).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde_json::json;

use super::key::SigningKey;
use crate::api::v1alpha1::Algorithm;
use crate::clock::Timestamp;

/// `client_assertion_type`, exactly.
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Qlik allows 300 s at most; an assertion is used within seconds.
const LIFE: i64 = 90;

/// A key with what goes into the header of each assertion.
pub struct Signer {
    /// The key.
    pub key: SigningKey,
    /// Goes with the key.
    pub algorithm: Algorithm,
    /// `kid`, as registered with the client. Qlik's reference requires it and its examples leave it out: always sent when
    /// known.
    pub key_id: Option<String>,
    /// SHA-256 of key, key id and algorithm: equal ones make equal requests.
    pub fingerprint: [u8; 32],
}

impl Signer {
    /// An assertion of this client for one token request; `audience` is the URL of the token endpoint.
    pub fn assert(&self, client_id: &str, audience: &str, now: Timestamp) -> Option<SecretString> {
        let mut header = json!({ "alg": self.algorithm.to_string(), "typ": "JWT" });
        if let Some(key_id) = &self.key_id {
            header["kid"] = key_id.as_str().into();
        }
        let issued_at = now.as_second();
        let claims = json!({
            "iss": client_id,
            "sub": client_id,
            "aud": audience,
            "jti": uuid::Uuid::new_v4().to_string(),
            "iat": issued_at,
            "exp": issued_at + LIFE,
        });
        let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.key.sign(self.algorithm, message.as_bytes())?;
        Some(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)).into())
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}
