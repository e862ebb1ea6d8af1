//! Private keys for client assertions: PEM (PKCS#8, PKCS#1, SEC1) or a private JWK, as people hold them.
//!
//! Every text that is not a usable key is refused with a sentence of its own that says what to do; none repeats any of it.
//! Qlik Cloud takes RSA of 2048 bits or more and EC on P-384
//! (<https://qlik.dev/authenticate/oauth/oauth-private-key-jwt-reference/>).

use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaEncoding, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::api::v1alpha1::Algorithm;

/// A key that can sign.
pub enum SigningKey {
    /// RSA, 2048 bits or more.
    Rsa(RsaKeyPair),
    /// EC on P-384.
    P384(EcdsaKeyPair),
}

/// A key as it was found.
pub struct FoundKey {
    /// The key.
    pub key: SigningKey,
    /// The JWK's own `kid`.
    pub key_id: Option<String>,
}

/// Why a text is not a usable private key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadKey {
    /// `ENCRYPTED PRIVATE KEY`, or a `Proc-Type: 4,ENCRYPTED` header.
    #[error(
        "the private key is encrypted with a passphrase; store it decrypted, for example with: openssl pkcs8 -in key.pem -nocrypt -topk8 after decrypting it"
    )]
    Encrypted,
    /// A public key, or a JWK without `d`.
    #[error("it is a public key; the Secret needs the private one that belongs to it")]
    Public,
    /// A certificate.
    #[error("it is a certificate; the Secret needs the private key that belongs to it")]
    Certificate,
    /// RSA under 2048 bits.
    #[error("the RSA key is too small; Qlik Cloud needs at least 2048 bits")]
    TooSmall,
    /// EC on another curve, or Ed25519 and its like.
    #[error(
        "the key is not on the curve P-384, the only one that Qlik Cloud takes; make one with: openssl ecparam -genkey -name secp384r1 -noout"
    )]
    WrongCurve,
    /// A JWK of another kind.
    #[error("the JWK is neither RSA nor EC; Qlik Cloud takes RSA, or EC on P-384")]
    KeyType,
    /// Neither PEM nor JWK.
    #[error(
        "it is neither a PEM private key (BEGIN PRIVATE KEY) nor a private JWK; copy the whole key, with its first and last line"
    )]
    NotAKey,
    /// The right form, but the numbers do not make a key.
    #[error("the private key is damaged; copy it again")]
    Damaged,
}

/// Reads a private key.
pub fn read(text: &str) -> Result<FoundKey, BadKey> {
    if text.trim_start().starts_with('{') { read_jwk(text) } else { read_pem(text) }
}

impl SigningKey {
    /// The algorithm that goes with the key, unless another was asked for that does, too.
    pub fn algorithm(&self, wanted: Option<Algorithm>) -> Option<Algorithm> {
        match (self, wanted) {
            (Self::Rsa(_), None | Some(Algorithm::RS256)) => Some(Algorithm::RS256),
            (Self::Rsa(_), Some(Algorithm::RS512)) => Some(Algorithm::RS512),
            (Self::P384(_), None | Some(Algorithm::ES384)) => Some(Algorithm::ES384),
            _ => None,
        }
    }

    /// Signs; `None` when the algorithm does not go with the key or the library fails.
    pub fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match (self, algorithm) {
            (Self::Rsa(key), Algorithm::RS256 | Algorithm::RS512) => {
                let encoding: &'static dyn RsaEncoding =
                    if algorithm == Algorithm::RS256 { &RSA_PKCS1_SHA256 } else { &RSA_PKCS1_SHA512 };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(encoding, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            (Self::P384(key), Algorithm::ES384) => Some(key.sign(&random, message).ok()?.as_ref().to_vec()),
            _ => None,
        }
    }
}

fn read_pem(text: &str) -> Result<FoundKey, BadKey> {
    let has = |label: &str| text.contains(&format!("-----BEGIN {label}-----"));
    if has("ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(BadKey::Encrypted);
    }
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| {
        if has("PUBLIC KEY") || has("RSA PUBLIC KEY") {
            BadKey::Public
        } else if has("CERTIFICATE") {
            BadKey::Certificate
        } else {
            BadKey::NotAKey
        }
    })?;
    let key = match &key {
        PrivateKeyDer::Pkcs1(der) => rsa(RsaKeyPair::from_der(der.secret_pkcs1_der())),
        PrivateKeyDer::Sec1(der) => {
            let der = der.secret_sec1_der();
            ec(EcdsaKeyPair::from_private_key_der(&ECDSA_P384_SHA384_FIXED_SIGNING, der), der)
        }
        PrivateKeyDer::Pkcs8(der) => {
            let der = der.secret_pkcs8_der();
            if contains(der, RSA_ENCRYPTION) {
                rsa(RsaKeyPair::from_pkcs8(der))
            } else {
                ec(EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der), der)
            }
        }
        _ => Err(BadKey::NotAKey),
    };
    Ok(FoundKey { key: key?, key_id: None })
}

/// The object identifiers by which a key says what it is (RFC 8017, RFC 5480), DER-encoded.
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const SECP384R1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];

fn rsa(key: Result<RsaKeyPair, KeyRejected>) -> Result<SigningKey, BadKey> {
    match key {
        Ok(key) if key.public_modulus_len() < 256 => Err(BadKey::TooSmall),
        Ok(key) => Ok(SigningKey::Rsa(key)),
        Err(rejected) if rejected.description_() == "TooSmall" => Err(BadKey::TooSmall),
        Err(_) => Err(BadKey::Damaged),
    }
}

fn ec(key: Result<EcdsaKeyPair, KeyRejected>, der: &[u8]) -> Result<SigningKey, BadKey> {
    key.map(SigningKey::P384).map_err(|_| if contains(der, SECP384R1) { BadKey::Damaged } else { BadKey::WrongCurve })
}

fn contains(der: &[u8], oid: &[u8]) -> bool {
    der.windows(oid.len()).any(|window| window == oid)
}

/// A private JWK (RFC 7518, section 6). Everything is text here; what it must hold depends on `kty`.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    crv: Option<String>,
    d: Option<Zeroizing<String>>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    p: Option<Zeroizing<String>>,
    q: Option<Zeroizing<String>>,
    dp: Option<Zeroizing<String>>,
    dq: Option<Zeroizing<String>>,
    qi: Option<Zeroizing<String>>,
}

fn read_jwk(text: &str) -> Result<FoundKey, BadKey> {
    let jwk: Jwk = serde_json::from_str(text).map_err(|_| BadKey::NotAKey)?;
    let private = |text: &Option<Zeroizing<String>>| number(text.as_ref().map(|text| text.as_str()));
    let key = match (jwk.kty.as_str(), &jwk.d) {
        ("RSA" | "EC", None) => Err(BadKey::Public),
        ("RSA", Some(_)) => {
            let public_key = PublicKeyComponents { n: number(jwk.n.as_deref())?, e: number(jwk.e.as_deref())? };
            rsa(RsaKeyPair::from_components(&KeyPairComponents {
                public_key,
                d: private(&jwk.d)?,
                p: private(&jwk.p)?,
                q: private(&jwk.q)?,
                dP: private(&jwk.dp)?,
                dQ: private(&jwk.dq)?,
                qInv: private(&jwk.qi)?,
            }))
        }
        ("EC", Some(_)) if jwk.crv.as_deref() != Some("P-384") => Err(BadKey::WrongCurve),
        ("EC", Some(_)) => {
            let (x, y) = (number(jwk.x.as_deref())?, number(jwk.y.as_deref())?);
            // An uncompressed point (SEC 1, section 2.3.3).
            let point = [&[4], &x[..], &y[..]].concat();
            let scheme = &ECDSA_P384_SHA384_FIXED_SIGNING;
            EcdsaKeyPair::from_private_key_and_public_key(scheme, &private(&jwk.d)?, &point)
                .map(SigningKey::P384)
                .map_err(|_| BadKey::Damaged)
        }
        ("OKP", _) => Err(BadKey::WrongCurve),
        _ => Err(BadKey::KeyType),
    };
    Ok(FoundKey { key: key?, key_id: jwk.kid })
}

fn number(text: Option<&str>) -> Result<Zeroizing<Vec<u8>>, BadKey> {
    URL_SAFE_NO_PAD.decode(text.ok_or(BadKey::Damaged)?).map(Zeroizing::new).map_err(|_| BadKey::Damaged)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{
        ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey,
        VerificationAlgorithm,
    };
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;
    use rustls::pki_types::SubjectPublicKeyInfoDer;

    use super::*;

    fn text(name: &str) -> String {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(name);
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn every_form_of_a_key_signs_what_its_public_key_verifies() {
        let rsa: [(Algorithm, &dyn VerificationAlgorithm); 2] =
            [(Algorithm::RS256, &RSA_PKCS1_2048_8192_SHA256), (Algorithm::RS512, &RSA_PKCS1_2048_8192_SHA512)];
        let p384: [(Algorithm, &dyn VerificationAlgorithm); 1] = [(Algorithm::ES384, &ECDSA_P384_SHA384_FIXED)];
        for (name, public, algorithms) in [
            ("rsa-pkcs8.pem", "rsa-public.pem", &rsa[..]),
            ("rsa-pkcs1.pem", "rsa-public.pem", &rsa),
            ("rsa.jwk", "rsa-public.pem", &rsa),
            ("p384-pkcs8.pem", "p384-public.pem", &p384),
            ("p384-sec1.pem", "p384-public.pem", &p384),
            ("p384.jwk", "p384-public.pem", &p384),
        ] {
            let found = read(&text(name)).unwrap_or_else(|problem| panic!("{name}: {problem}"));
            let public = SubjectPublicKeyInfoDer::from_pem_slice(text(public).as_bytes()).unwrap();
            for (algorithm, verification) in algorithms {
                let signature = found.key.sign(*algorithm, b"message").unwrap();
                let key = UnparsedPublicKey::new(*verification, &public);
                key.verify(b"message", &signature).unwrap_or_else(|_| panic!("{name} {algorithm}"));
            }
            assert_eq!(found.key.algorithm(None), Some(algorithms[0].0));
        }
    }

    #[test]
    fn what_is_no_usable_key_has_a_sentence_of_its_own() {
        for (name, problem) in [
            ("rsa-encrypted.pem", BadKey::Encrypted),
            ("rsa-encrypted-pkcs1.pem", BadKey::Encrypted),
            ("rsa-public.pem", BadKey::Public),
            ("p384-public.jwk", BadKey::Public),
            ("certificate.pem", BadKey::Certificate),
            ("rsa-1024.pem", BadKey::TooSmall),
            ("p256-sec1.pem", BadKey::WrongCurve),
            ("p256-pkcs8.pem", BadKey::WrongCurve),
            ("ed25519.pem", BadKey::WrongCurve),
            ("README.md", BadKey::NotAKey),
        ] {
            assert_eq!(read(&text(name)).err(), Some(problem), "{name}");
        }
        let cut = text("rsa-pkcs8.pem").lines().take(5).collect::<Vec<_>>().join("\n");
        for (text, problem) in [
            (r#"{"kty":"oct","k":"AAAA","d":"AAAA"}"#.to_owned(), BadKey::KeyType),
            (r#"{"kty":"OKP","crv":"Ed25519","d":"AAAA"}"#.to_owned(), BadKey::WrongCurve),
            (r#"{"kty":"EC","crv":"P-256","d":"AAAA"}"#.to_owned(), BadKey::WrongCurve),
            (r#"{"kty":"EC","crv":"P-384","d":"AAAA","x":"AAAA","y":"AAAA"}"#.to_owned(), BadKey::Damaged),
            (text("rsa.jwk").replace("\"qi\"", "\"gone\""), BadKey::Damaged),
            ("{".to_owned(), BadKey::NotAKey),
            (cut, BadKey::NotAKey),
            (String::new(), BadKey::NotAKey),
        ] {
            assert_eq!(read(&text).err(), Some(problem), "{text}");
        }
    }

    #[test]
    fn an_algorithm_goes_with_its_kind_of_key_alone() {
        let (rsa, ec) = (read(&text("rsa-pkcs8.pem")).unwrap(), read(&text("p384.jwk")).unwrap());
        assert_eq!(rsa.key.algorithm(Some(Algorithm::ES384)), None);
        assert_eq!(ec.key.algorithm(Some(Algorithm::RS256)), None);
        assert_eq!(rsa.key.algorithm(Some(Algorithm::RS512)), Some(Algorithm::RS512));
        assert_eq!(ec.key_id.as_deref(), Some("jwk-ec"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
            let _ = read(&text);
        }

        #[test]
        fn no_change_of_a_key_makes_it_panic(at in 0usize..1600, byte in 0u8..128) {
            let mut bytes = text("rsa-pkcs8.pem").into_bytes();
            let at = at.min(bytes.len() - 1);
            bytes[at] = byte;
            let _ = read(&String::from_utf8_lossy(&bytes));
        }
    }

    /// The label and the bytes of a PEM file.
    fn pem(text: &str) -> (String, Vec<u8>) {
        let label = text.lines().next().unwrap().trim_start_matches("-----BEGIN ").trim_end_matches("-----");
        let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
        (label.to_owned(), STANDARD.decode(body).unwrap())
    }

    fn as_pem(label: &str, bytes: &[u8]) -> String {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(bytes))
    }

    proptest! {
        #[test]
        fn no_bytes_in_place_of_a_key_panic(
            label in "(EC |RSA )?PRIVATE KEY", bytes in prop::collection::vec(any::<u8>(), 0..200)
        ) {
            prop_assert!(read(&as_pem(&label, &bytes)).is_err());
        }

        #[test]
        fn what_is_still_accepted_with_another_byte_inside_still_signs(
            name in prop::sample::select(vec!["rsa-pkcs8.pem", "rsa-pkcs1.pem", "p384-pkcs8.pem", "p384-sec1.pem"]),
            at in any::<prop::sample::Index>(), byte in any::<u8>()
        ) {
            let (label, mut der) = pem(&text(name));
            let at = at.index(der.len());
            der[at] = byte;
            if let Ok(found) = read(&as_pem(&label, &der)) {
                let algorithm = found.key.algorithm(None).unwrap();
                prop_assert!(found.key.sign(algorithm, b"message").is_some());
            }
        }

        #[test]
        fn a_jwk_with_any_of_its_texts_changed_signs_or_is_refused(
            name in prop::sample::select(vec!["rsa.jwk", "p384.jwk"]),
            field in any::<prop::sample::Index>(),
            other in "[A-Za-z0-9_-]{0,12}"
        ) {
            let mut jwk: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text(name)).unwrap();
            let field = jwk.keys().nth(field.index(jwk.len())).unwrap().clone();
            jwk.insert(field, other.into());
            if let Ok(found) = read(&serde_json::to_string(&jwk).unwrap()) {
                let algorithm = found.key.algorithm(None).unwrap();
                prop_assert!(found.key.sign(algorithm, b"message").is_some());
            }
        }
    }
}
