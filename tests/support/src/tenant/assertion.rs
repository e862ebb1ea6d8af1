//! Client assertions: RFC 7523 within the limits of
//! <https://qlik.dev/authenticate/oauth/oauth-private-key-jwt-reference/>.
//!
//! Where the reference does not specify it, this fake is strict: an assertion is valid only once,
//! and not before its `iat`.

use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::client::{Algorithm, Client, PublicKey};
use super::refusal::{Refusal, Refused};

/// The only `client_assertion_type`.
pub(super) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The documented limit between `iat` and `exp`.
const LONGEST_LIFE: u64 = 300;

/// How far the caller's clock can be ahead. The real tolerance is not documented.
const CLOCK_SKEW: u64 = 5;

/// Identifies an assertion, so that it is accepted only once.
#[derive(Debug)]
pub(super) struct OneUse {
    pub(super) jti: String,
    /// After this time (Unix seconds) it is rejected as expired.
    pub(super) until: u64,
}

#[derive(Deserialize)]
struct Header {
    alg: Algorithm,
    kid: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    jti: String,
    iat: u64,
    exp: u64,
}

/// Checks everything except whether it was used before. The caller checks that.
pub(super) fn check(assertion: &str, client: &Client, audience: &str, now: u64) -> Result<OneUse, Refused> {
    let wrong = |detail| Err(Refusal::InvalidAssertion.because(detail));
    let parts: Vec<&str> = assertion.split('.').collect();
    let [header, claims, signature] = parts[..] else {
        return wrong("the assertion is no JWT");
    };
    let signed = &assertion[..header.len() + 1 + claims.len()];
    let Some(header) = decode::<Header>(header) else {
        return wrong("the header is not JSON with a known alg");
    };
    let Some(claims) = decode::<Claims>(claims) else {
        return wrong("a claim is missing or of the wrong type");
    };
    let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else {
        return wrong("the signature is not base64url");
    };
    let verifies = |key: &PublicKey| {
        key.alg == header.alg
            && header.kid.as_ref().is_none_or(|kid| *kid == key.kid)
            && verify(key, signed.as_bytes(), &signature)
    };
    if !client.public_keys.iter().any(verifies) {
        return wrong("Signature validation failed");
    }
    if claims.iss != client.client_id || claims.sub != client.client_id {
        return wrong("iss and sub must be the client id");
    }
    if claims.aud != audience {
        return wrong("Invalid audience");
    }
    if claims.jti.is_empty() {
        return wrong("jti is empty");
    }
    if claims.exp <= claims.iat || claims.exp - claims.iat > LONGEST_LIFE {
        return wrong("exp must be at most 300 seconds after iat");
    }
    if claims.exp <= now || claims.iat > now + CLOCK_SKEW {
        return wrong("the assertion is not valid now");
    }
    Ok(OneUse { jti: claims.jti, until: claims.exp })
}

fn decode<T: DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

fn verify(key: &PublicKey, signed: &[u8], signature: &[u8]) -> bool {
    let algorithm: &'static dyn VerificationAlgorithm = match key.alg {
        Algorithm::RS256 => &RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS512 => &RSA_PKCS1_2048_8192_SHA512,
        Algorithm::ES384 => &ECDSA_P384_SHA384_FIXED,
    };
    let armoured: String = key.pem.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD
        .decode(armoured.trim())
        .is_ok_and(|der| UnparsedPublicKey::new(algorithm, der).verify(signed, signature).is_ok())
}
