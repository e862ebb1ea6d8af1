//! The parser of private keys: an accepted key can sign, a rejected one gets one of a few fixed messages.

use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use qlik_context_operator::oauth::key::{SigningKey, read};

/// Parses a text as a private key.
pub fn holds(input: &[u8]) {
    // A value that is not text is rejected before it is parsed as a key.
    let Ok(text) = std::str::from_utf8(input) else { return };
    let found = match read(text) {
        Ok(found) => found,
        Err(problem) => {
            let sentence = problem.to_string();
            assert!(sentence.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{sentence:?}");
            return;
        }
    };
    let algorithm = found.key.algorithm(None).expect("a key has an algorithm of its own");
    assert_eq!(found.key.algorithm(Some(algorithm)), Some(algorithm));
    let signature = found.key.sign(algorithm, b"message").expect("what is accepted signs");
    let (verification, public): (&'static dyn VerificationAlgorithm, &[u8]) = match &found.key {
        SigningKey::Rsa(key) => (&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref()),
        SigningKey::P384(key) => (&ECDSA_P384_SHA384_FIXED, key.public_key().as_ref()),
    };
    let verified = UnparsedPublicKey::new(verification, public).verify(b"message", &signature);
    assert!(verified.is_ok(), "the signature cannot be verified");
}
