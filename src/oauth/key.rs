//! Private keys for client assertions: PEM (PKCS#8, PKCS#1, SEC1) or a private JWK.
//!
//! [`document`] finds the key in the text. A text that is not a usable key is refused with a specific message that says what to
//! do and repeats no part of the text. Qlik Cloud accepts RSA of 2048 bits or more and EC on P-384
//! (<https://qlik.dev/authenticate/oauth/oauth-private-key-jwt-reference/>).

mod document;
mod generated;
mod public;

use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaEncoding, RsaKeyPair,
};
use base64::alphabet;
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use sec1::der::{Decode, ErrorKind, Tag};
use sec1::{EcParameters, EcPrivateKey};
use serde::Deserialize;
use zeroize::Zeroizing;

use self::document::Content;
pub(crate) use self::document::is_der;
pub use self::generated::{GeneratedKey, NotGenerated, generate};
pub use self::public::PublicJwk;

/// Signature algorithms that Qlik Cloud accepts; each displays as `alg` names it (RFC 7518, section 3.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::Display)]
#[allow(missing_docs)]
pub enum Algorithm {
    RS256,
    RS512,
    ES384,
}

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
    /// The text was not in a standard form: escapes, whitespace, quotation marks or base64 around the key were removed.
    pub repaired: bool,
}

/// Why a text is not a usable private key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadKey {
    /// `ENCRYPTED PRIVATE KEY`, or a `Proc-Type: 4,ENCRYPTED` header.
    #[error(
        "it is encrypted with a passphrase; decrypt it first: openssl pkcs8 -topk8 -nocrypt -in old.pem -out private-key.pem"
    )]
    Encrypted,
    /// `OPENSSH PRIVATE KEY`.
    #[error("it is in OpenSSH's own format; convert a copy of the file to PEM: ssh-keygen -p -N '' -m PKCS8 -f COPY")]
    OpenSsh,
    /// PuTTY's format.
    #[error("it is in PuTTY's own format; convert it to PEM: puttygen key.ppk -O private-openssh -o private-key.pem")]
    Putty,
    /// .NET's format.
    #[error("it is in the XML format of .NET; export it as PEM, for example with RSA.ExportPkcs8PrivateKeyPem()")]
    Xml,
    /// A public key, or a JWK without `d`.
    #[error("it is a public key; the Secret needs the private one that belongs to it")]
    Public,
    /// A certificate, a request for one, or a bundle of them.
    #[error("it is a certificate; the Secret needs the private key that belongs to it")]
    Certificate,
    /// Only `EC PARAMETERS`.
    #[error("it holds the parameters of a key and not the key; copy the block BEGIN EC PRIVATE KEY as well")]
    Parameters,
    /// Keys of PGP and age.
    #[error("it is a key or message of PGP or age, which cannot sign for an OAuth client; make one with openssl")]
    NotForSigning,
    /// Two different private keys.
    #[error("it holds more than one private key; keep the one that is registered with the OAuth client")]
    Several,
    /// RSA under 2048 bits.
    #[error("the RSA key is too small; Qlik Cloud needs at least 2048 bits")]
    TooSmall,
    /// EC on another curve, or Ed25519 and similar.
    #[error(
        "the key is not on the curve P-384, the only one that Qlik Cloud takes; make one with: openssl ecparam -genkey -name secp384r1 -noout"
    )]
    WrongCurve,
    /// Another kind of key.
    #[error("the key is neither RSA nor EC; Qlik Cloud takes RSA, or EC on P-384")]
    KeyType,
    /// An RSA JWK without its primes, which RFC 7518 allows.
    #[error("the JWK lacks one of p, q, dp, dq and qi; export it with all of them, or as PEM")]
    NoPrimes,
    /// Neither PEM nor JWK.
    #[error(
        "it is neither a PEM private key (BEGIN PRIVATE KEY) nor a private JWK; copy the whole key, with its first and last line"
    )]
    NotAKey,
    /// Base64 of a key, without its first and last line.
    #[error("its first and last line are missing (BEGIN and END PRIVATE KEY); copy the whole key")]
    NoFirstLine,
    /// A first line without the last one that belongs to it.
    #[error("its last line (END PRIVATE KEY) is missing or does not fit the first; copy the whole key")]
    CutShort,
    /// Other dashes than five hyphens.
    #[error("the dashes of its first line were changed or lost, as word processors do; copy the key from its file")]
    Dashes,
    /// `...` where the key should be.
    #[error("there is nothing between its first and last line but a placeholder; copy the whole key")]
    Abridged,
    /// The form is right, but the numbers are not a valid key.
    #[error("the private key is damaged; copy it again")]
    Damaged,
}

/// Reads a private key.
pub fn read(text: &str) -> Result<FoundKey, BadKey> {
    let found = document::find(text)?;
    let repaired = found.repaired;
    let key = match &found.content {
        Content::Json(text) => return read_json(text, repaired),
        Content::Pkcs1(der) => rsa(RsaKeyPair::from_der(der)),
        Content::Sec1(der) => read_sec1(der),
        Content::Pkcs8(der) => read_pkcs8(der),
    };
    Ok(FoundKey { key: key?, key_id: None, repaired })
}

impl SigningKey {
    /// The requested algorithm, if it matches the key; without a request, the default for the key.
    pub fn algorithm(&self, wanted: Option<Algorithm>) -> Option<Algorithm> {
        match (self, wanted) {
            (Self::Rsa(_), None | Some(Algorithm::RS256)) => Some(Algorithm::RS256),
            (Self::Rsa(_), Some(Algorithm::RS512)) => Some(Algorithm::RS512),
            (Self::P384(_), None | Some(Algorithm::ES384)) => Some(Algorithm::ES384),
            _ => None,
        }
    }

    /// Signs; `None` when the algorithm does not match the key or the library fails.
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

/// The object identifiers of the kinds of keys (RFC 8017, RFC 5480, RFC 8410).
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const X25519_TO_ED448: [ObjectIdentifier; 4] = [
    ObjectIdentifier::new_unwrap("1.3.101.110"),
    ObjectIdentifier::new_unwrap("1.3.101.111"),
    ObjectIdentifier::new_unwrap("1.3.101.112"),
    ObjectIdentifier::new_unwrap("1.3.101.113"),
];

fn read_pkcs8(der: &[u8]) -> Result<SigningKey, BadKey> {
    let algorithm = PrivateKeyInfoRef::try_from(der).map_err(|_| BadKey::Damaged)?.algorithm;
    match algorithm.oid {
        RSA_ENCRYPTION => rsa(RsaKeyPair::from_pkcs8(der)),
        EC_PUBLIC_KEY => {
            let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der);
            key.map(SigningKey::P384).map_err(|_| match algorithm.parameters_oid() {
                Ok(SECP384R1) => BadKey::Damaged,
                // Also a curve with explicit parameters instead of a name; for P-384 the library supports that, too.
                _ => BadKey::WrongCurve,
            })
        }
        oid if X25519_TO_ED448.contains(&oid) => Err(BadKey::WrongCurve),
        _ => Err(BadKey::KeyType),
    }
}

fn read_sec1(der: &[u8]) -> Result<SigningKey, BadKey> {
    let key = EcdsaKeyPair::from_private_key_der(&ECDSA_P384_SHA384_FIXED_SIGNING, der);
    key.map(SigningKey::P384).map_err(|_| match EcPrivateKey::from_der(der).map(|key| key.parameters) {
        Ok(Some(EcParameters::NamedCurve(curve))) if curve != SECP384R1 => BadKey::WrongCurve,
        Err(problem) if matches!(problem.kind(), ErrorKind::TagUnexpected { actual: Tag::Sequence, .. }) => {
            BadKey::WrongCurve
        }
        _ => BadKey::Damaged,
    })
}

fn rsa(key: Result<RsaKeyPair, KeyRejected>) -> Result<SigningKey, BadKey> {
    match key {
        Ok(key) if key.public_modulus_len() < 256 => Err(BadKey::TooSmall),
        Ok(key) => Ok(SigningKey::Rsa(key)),
        Err(rejected) if rejected.to_string() == "TooSmall" => Err(BadKey::TooSmall),
        Err(_) => Err(BadKey::Damaged),
    }
}

/// A private JWK (RFC 7518, section 6). All members are text; the required ones depend on `kty`.
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

/// A set with one private key, as the owner of a JWKS endpoint has it (RFC 7517, section 5).
#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Jwk>,
}

fn read_json(text: &str, repaired: bool) -> Result<FoundKey, BadKey> {
    if let Ok(jwk) = serde_json::from_str::<Jwk>(text) {
        return read_jwk(jwk, repaired);
    }
    if let Ok(set) = serde_json::from_str::<JwkSet>(text) {
        let mut keys: Vec<_> = set.keys.into_iter().filter(|jwk| jwk.d.is_some()).collect();
        return match (keys.pop(), keys.is_empty()) {
            (Some(jwk), true) => read_jwk(jwk, repaired),
            (Some(_), false) => Err(BadKey::Several),
            (None, _) => Err(BadKey::Public),
        };
    }
    // Once: its escapes may have been doubled on the way.
    if text.contains('\\') { read_json(&document::without_escapes(text), true) } else { Err(BadKey::NotAKey) }
}

fn read_jwk(jwk: Jwk, repaired: bool) -> Result<FoundKey, BadKey> {
    let private = |text: &Option<Zeroizing<String>>| number(text.as_ref().map(|text| text.as_str()));
    let key = match (jwk.kty.as_str(), &jwk.d) {
        ("RSA" | "EC", None) => Err(BadKey::Public),
        ("RSA", Some(_)) => {
            if [&jwk.p, &jwk.q, &jwk.dp, &jwk.dq, &jwk.qi].into_iter().any(Option::is_none) {
                return Err(BadKey::NoPrimes);
            }
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
            let of_the_curve = |number: Zeroizing<Vec<u8>>| padded(&number, 48).ok_or(BadKey::Damaged);
            let x = of_the_curve(number(jwk.x.as_deref())?)?;
            let y = of_the_curve(number(jwk.y.as_deref())?)?;
            // An uncompressed point (SEC 1, section 2.3.3).
            let point = [&[4], &x[..], &y[..]].concat();
            let scheme = &ECDSA_P384_SHA384_FIXED_SIGNING;
            EcdsaKeyPair::from_private_key_and_public_key(scheme, &of_the_curve(private(&jwk.d)?)?, &point)
                .map(SigningKey::P384)
                .map_err(|_| BadKey::Damaged)
        }
        ("OKP", _) => Err(BadKey::WrongCurve),
        _ => Err(BadKey::KeyType),
    };
    Ok(FoundKey { key: key?, key_id: jwk.kid, repaired })
}

/// A number in base64url, without the leading zeros that some libraries write to avoid a sign. Padding and the alphabet of
/// plain base64, which others write, are accepted as well.
fn number(text: Option<&str>) -> Result<Zeroizing<Vec<u8>>, BadKey> {
    let text = text.ok_or(BadKey::Damaged)?;
    let alphabet = if text.contains(['+', '/']) { &alphabet::STANDARD } else { &alphabet::URL_SAFE };
    let bytes = document::base64(text, alphabet).ok_or(BadKey::Damaged)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    if zeros == bytes.len() {
        return Err(BadKey::Damaged);
    }
    Ok(Zeroizing::new(bytes[zeros..].to_vec()))
}

/// The number in so many bytes: some libraries leave out leading zeros that RFC 7518 (section 6.2.1.2) requires.
fn padded(number: &[u8], length: usize) -> Option<Zeroizing<Vec<u8>>> {
    let zeros = length.checked_sub(number.len())?;
    let mut bytes = Zeroizing::new(vec![0; length]);
    bytes[zeros..].copy_from_slice(number);
    Some(bytes)
}

#[cfg(test)]
mod tests;
