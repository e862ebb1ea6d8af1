//! Public keys as JWK, for the API, and as `SubjectPublicKeyInfo`, for the verification of assertions.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use crate::tenant::client::{Algorithm, PublicKey};

/// The DER prefix of a P-384 key (RFC 5480).
const P384: [u8; 23] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
    0x22, 0x03, 0x62, 0x00,
];
/// The algorithm identifier of an RSA key (RFC 8017).
const RSA: [u8; 15] = [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
const COORDINATE: usize = 48;

/// The allowed members of a JWK. Private members are rejected like any others.
const MEMBERS: [&str; 10] = ["kid", "kty", "alg", "use", "crv", "x", "y", "n", "e", "key_ops"];

/// Parses a JWK as in <https://qlik.dev/authenticate/oauth/oauth-private-key-jwt-reference/>, or returns the error.
pub(super) fn read(value: &Value) -> Result<PublicKey, &'static str> {
    let jwk = value.as_object().ok_or("a public key is not an object")?;
    if jwk.keys().any(|name| !MEMBERS.contains(&name.as_str())) {
        return Err("a public key has a member that no public key has");
    }
    let kid = text(jwk, "kid")?;
    let alg: Algorithm =
        serde_json::from_value(json!(text(jwk, "alg")?)).map_err(|_| "alg is not one that is taken")?;
    if text(jwk, "use")? != "sig" {
        return Err("use is not sig");
    }
    let der = match (text(jwk, "kty")?, alg) {
        ("EC", Algorithm::ES384) => {
            if text(jwk, "crv")? != "P-384" {
                return Err("crv is not P-384");
            }
            let (x, y) = (number(jwk, "x")?, number(jwk, "y")?);
            if x.len() != COORDINATE || y.len() != COORDINATE {
                return Err("a coordinate is not of 48 bytes");
            }
            [&P384[..], &[4], &x, &y].concat()
        }
        ("RSA", Algorithm::RS256 | Algorithm::RS512) => {
            let (n, e) = (number(jwk, "n")?, number(jwk, "e")?);
            if n.len() < 256 {
                return Err("the modulus is under 2048 bits");
            }
            let key = der(0x30, &[integer(&n), integer(&e)].concat());
            der(0x30, &[RSA.to_vec(), der(0x03, &[&[0], &key[..]].concat())].concat())
        }
        _ => return Err("kty and alg do not go together"),
    };
    let body = STANDARD.encode(der);
    Ok(PublicKey::new(kid, alg, &format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")))
}

/// A key as a JWK.
pub(super) fn write(key: &PublicKey) -> Value {
    let mut jwk = json!({"kid": key.kid, "alg": key.alg, "use": "sig"});
    let armoured: String = key.pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(armoured.trim()).unwrap_or_default();
    let encoded = |bytes: &[u8]| json!(URL_SAFE_NO_PAD.encode(bytes));
    if let Some([4, point @ ..]) = der.strip_prefix(&P384[..]) {
        let (x, y) = point.split_at(COORDINATE.min(point.len()));
        jwk["kty"] = json!("EC");
        jwk["crv"] = json!("P-384");
        (jwk["x"], jwk["y"]) = (encoded(x), encoded(y));
    } else if let Some((n, e)) = rsa_numbers(&der) {
        jwk["kty"] = json!("RSA");
        (jwk["n"], jwk["e"]) = (encoded(n), encoded(e));
    }
    jwk
}

fn text<'j>(jwk: &'j Map<String, Value>, name: &str) -> Result<&'j str, &'static str> {
    let text = jwk.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    text.ok_or("a member of a public key is missing or no text")
}

fn number(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, &'static str> {
    URL_SAFE_NO_PAD.decode(text(jwk, name)?).map_err(|_| "a number of a public key is not base64url")
}

/// One value of DER.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count();
    let mut value = vec![tag];
    match (content.len(), u8::try_from(length.len() - zeros)) {
        (short @ 0..128, _) => value.extend(u8::try_from(short)),
        (_, bytes) => {
            value.extend(bytes.map(|bytes| 0x80 | bytes));
            value.extend_from_slice(&length[zeros..]);
        }
    }
    value.extend_from_slice(content);
    value
}

fn integer(bytes: &[u8]) -> Vec<u8> {
    // A leading one bit would be a sign.
    let sign: &[u8] = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { &[0] } else { &[] };
    der(0x02, &[sign, bytes].concat())
}

/// The content of the first value, and the remaining bytes.
fn content(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    if first != tag {
        return None;
    }
    let bytes = usize::from(length & 0x7f);
    let (length, rest) = match length {
        0..128 => (bytes, rest),
        _ => {
            let (length, rest) = rest.split_at_checked(bytes)?;
            (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
    };
    rest.split_at_checked(length)
}

fn rsa_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (whole, _) = content(der, 0x30)?;
    let (bits, _) = content(whole.strip_prefix(&RSA[..])?, 0x03)?;
    let (key, _) = content(bits.get(1..)?, 0x30)?;
    let (n, rest) = content(key, 0x02)?;
    let (e, _) = content(rest, 0x02)?;
    Some((n.strip_prefix(&[0]).unwrap_or(n), e))
}
