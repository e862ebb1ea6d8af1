//! A key pair that the operator makes: EC on P-384, which Qlik Cloud accepts, and which is fast to make and small.

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{PublicJwk, SigningKey};

/// A new key pair.
pub struct GeneratedKey {
    /// PKCS#8 in PEM, as [`super::read`] takes it.
    pub private_key: SecretString,
    /// The public key to register with the client; its `kid` is in the assertions.
    pub public_key: PublicJwk,
}

/// The library made no key: it lacks randomness.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no key pair could be made")]
pub struct NotGenerated;

/// Makes a key pair.
pub fn generate() -> Result<GeneratedKey, NotGenerated> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).map_err(|_| NotGenerated)?;
    let document = pair.to_pkcs8v1().map_err(|_| NotGenerated)?;
    let public_key = PublicJwk::of(&SigningKey::P384(pair)).ok_or(NotGenerated)?;
    Ok(GeneratedKey { private_key: pem(document.as_ref()).as_str().into(), public_key })
}

const FIRST_LINE: &str = "-----BEGIN PRIVATE KEY-----\n";
const LAST_LINE: &str = "-----END PRIVATE KEY-----\n";
/// Bytes that make a line of 64 characters (RFC 7468, section 2).
const LINE: usize = 48;

fn pem(der: &[u8]) -> Zeroizing<String> {
    // With capacity for everything, so that the buffer never grows and leaves a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(room(der.len())));
    text.push_str(FIRST_LINE);
    for line in der.chunks(LINE) {
        STANDARD.encode_string(line, &mut text);
        text.push('\n');
    }
    text.push_str(LAST_LINE);
    text
}

/// The maximum length of the PEM of so many bytes.
fn room(bytes: usize) -> usize {
    FIRST_LINE.len() + bytes.div_ceil(LINE) * (LINE / 3 * 4 + 1) + LAST_LINE.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::key::{Algorithm, read};
    use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use secrecy::ExposeSecret;

    #[test]
    fn what_a_generated_key_signs_its_registered_key_verifies() {
        for _ in 0..20 {
            let made = generate().unwrap();
            let found = read(made.private_key.expose_secret()).unwrap();
            assert!(!found.repaired, "as it is written by others");
            assert_eq!(PublicJwk::of(&found.key).as_ref(), Some(&made.public_key), "the private key tells all of it");
            let signature = found.key.sign(Algorithm::ES384, b"signed").unwrap();
            let number = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_ref().unwrap()).unwrap();
            let point = [&[4][..], &number(&made.public_key.x), &number(&made.public_key.y)].concat();
            UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(b"signed", &signature).unwrap();
        }
    }

    #[test]
    fn no_two_keys_are_the_same_and_no_line_is_too_long() {
        let (one, other) = (generate().unwrap(), generate().unwrap());
        assert_ne!(one.public_key.kid, other.public_key.kid);
        assert!(!one.public_key.is_same_key(&other.public_key));
        let text = one.private_key.expose_secret();
        assert!(text.lines().all(|line| line.len() <= 64) && text.ends_with(LAST_LINE), "RFC 7468");
        for length in 0..200 {
            let text = pem(&vec![7; length]);
            assert_eq!(text.capacity(), room(length), "{length}: it did not grow");
        }
    }

    #[test]
    fn a_registered_key_is_written_as_qlik_documents_it() {
        let jwk = serde_json::to_value(generate().unwrap().public_key).unwrap();
        let names: Vec<_> = jwk.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
        assert_eq!(
            (&jwk["alg"], &jwk["crv"], &jwk["kty"], &jwk["use"]),
            (&"ES384".into(), &"P-384".into(), &"EC".into(), &"sig".into())
        );
        assert_eq!(jwk["kid"].as_str().map(str::len), Some(43), "SHA-256 in base64url");
    }
}
