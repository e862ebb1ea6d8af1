//! Client assertions: a signed statement in place of a client secret (RFC 7523, section 3;
//! <https://qlik.dev/authenticate/oauth/oauth-private-key-jwt-reference/>).

use secrecy::SecretString;
use serde::Serialize;
use zeroize::Zeroizing;

use super::key::{Algorithm, SigningKey};
use super::sealed::{base64_length, json, push_base64};
use crate::clock::Timestamp;

/// `client_assertion_type`, exactly.
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Qlik allows 300 s at most; an assertion is used within seconds.
const LIFE: i64 = 90;
/// Of a key of 16384 bits, in bytes.
const LONGEST_SIGNATURE: usize = 2048;

/// A key, and the values for the header of each assertion.
pub struct Signer {
    /// The key.
    pub key: SigningKey,
    /// The algorithm, which matches the key.
    pub algorithm: Algorithm,
    /// `kid`, as registered with the client. Qlik's reference requires it, its examples leave it out: it is sent when known.
    pub key_id: Option<String>,
    /// SHA-256 of key, key id and algorithm: equal ones make equal requests.
    pub fingerprint: [u8; 32],
}

/// RFC 7515, section 4.1.
#[derive(Serialize)]
struct Header<'s> {
    alg: &'s str,
    typ: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'s str>,
}

/// RFC 7523, section 3.
#[derive(Serialize)]
struct Claims<'s> {
    iss: &'s str,
    sub: &'s str,
    aud: &'s str,
    jti: &'s str,
    iat: i64,
    exp: i64,
}

impl Signer {
    /// An assertion of this client for one token request; `audience` is the URL of the token endpoint.
    pub fn assert(&self, client_id: &str, audience: &str, now: Timestamp) -> Option<SecretString> {
        let header = Header { alg: &self.algorithm.to_string(), typ: "JWT", kid: self.key_id.as_deref() };
        let (iat, jti) = (now.as_second(), uuid::Uuid::new_v4().to_string());
        let claims = Claims { iss: client_id, sub: client_id, aud: audience, jti: &jti, iat, exp: iat + LIFE };
        let (header, claims) = (json(&header)?, json(&claims)?);
        // With room for the dots and the longest signature.
        let room = base64_length(header.len()) + base64_length(claims.len()) + base64_length(LONGEST_SIGNATURE) + 2;
        let mut assertion = Zeroizing::new(String::with_capacity(room));
        push_base64(&mut assertion, &header);
        assertion.push('.');
        push_base64(&mut assertion, &claims);
        let signature = self.key.sign(self.algorithm, assertion.as_bytes())?;
        assertion.push('.');
        push_base64(&mut assertion, &signature);
        Some(assertion.as_str().into())
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}
