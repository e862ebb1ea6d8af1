//! The public part of a key, as it is registered with an OAuth client (RFC 7517;
//! <https://qlik.dev/authenticate/oauth/oauth-private-key-jwt-reference/>).

use aws_lc_rs::digest;
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::{Algorithm, SigningKey};

/// A public JWK. Has only the members of public keys, so that no private member can leave this type.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct PublicJwk {
    /// The name by which an assertion identifies the key that signed it.
    #[serde(default)]
    pub kid: String,
    /// `RSA` or `EC`.
    pub kty: String,
    /// The signature algorithm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    /// `sig`.
    #[serde(default, rename = "use", skip_serializing_if = "Option::is_none")]
    pub key_use: Option<String>,
    /// EC: the curve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crv: Option<String>,
    /// EC: a coordinate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// EC: the other one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    /// RSA: the modulus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<String>,
    /// RSA: the exponent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e: Option<String>,
}

/// An uncompressed point of P-384 (SEC 1, section 2.3.3): a mark and two coordinates.
const POINT: usize = 1 + 2 * COORDINATE;
const COORDINATE: usize = 48;

impl PublicJwk {
    /// The public part of a key on P-384, named by its thumbprint, so that the name can be computed from the private key. `None`
    /// for RSA, since the operator makes no RSA keys.
    pub fn of(key: &SigningKey) -> Option<Self> {
        let SigningKey::P384(pair) = key else { return None };
        let point: &[u8; POINT] = pair.public_key().as_ref().try_into().ok()?;
        let (x, y) = point[1..].split_at(COORDINATE);
        let mut jwk = Self {
            kty: "EC".into(),
            alg: Some(Algorithm::ES384.to_string()),
            key_use: Some("sig".into()),
            crv: Some("P-384".into()),
            x: Some(URL_SAFE_NO_PAD.encode(x)),
            y: Some(URL_SAFE_NO_PAD.encode(y)),
            ..Self::default()
        };
        jwk.kid = jwk.thumbprint()?;
        Some(jwk)
    }

    /// True when both have the same numbers and the same name, whatever the other members.
    pub fn is_same_key(&self, other: &Self) -> bool {
        let key = |jwk: &Self| {
            let Self { kid, kty, crv, x, y, n, e, .. } = jwk.clone();
            (kid, kty, crv, x, y, n, e)
        };
        key(self) == key(other)
    }

    /// RFC 7638, section 3.1, of a key on an elliptic curve.
    fn thumbprint(&self) -> Option<String> {
        let (crv, x, y) = (self.crv.as_ref()?, self.x.as_ref()?, self.y.as_ref()?);
        let canonical = format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#);
        Some(URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes())))
    }
}
