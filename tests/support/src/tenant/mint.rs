//! Generates tokens, ids and trace ids.
//!
//! Ids are derived from names, so that a restarted tenant has the same id and the same bots. Tokens
//! and trace ids are unique.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, anyhow};
use aws_lc_rs::digest::{SHA256, SHA512, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

/// The number of bytes that makes a token about 900 characters long, like Qlik's.
const PAYLOAD: usize = 512;
/// An ES384 signature.
const SIGNATURE: usize = 96;

/// A generator of unique strings.
#[derive(Debug)]
pub(super) struct Mint {
    seed: [u8; 32],
    drawn: AtomicU64,
}

impl Mint {
    /// From a seed; without one, random.
    pub(super) fn new(seed: Option<u64>) -> Result<Self> {
        let mut bytes = [0; 32];
        match seed {
            Some(seed) => bytes[..8].copy_from_slice(&seed.to_be_bytes()),
            None => aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow!("no randomness"))?,
        }
        Ok(Self { seed: bytes, drawn: AtomicU64::new(0) })
    }

    /// A string with the format of a JWT and random content. Qlik calls its tokens opaque
    /// (<https://qlik.dev/changelog/67-oauth-token-contents>), so a client that decodes one finds nothing.
    pub(super) fn access_token(&self) -> String {
        let header = json!({"alg": "ES384", "kid": "0bad5eed-7e57-4f4c-9d3a-6f1e5c0ffee0", "typ": "JWT"});
        let noise = self.noise(PAYLOAD + SIGNATURE);
        let (payload, signature) = noise.split_at(PAYLOAD);
        format!(
            "{}.{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(payload),
            URL_SAFE_NO_PAD.encode(signature)
        )
    }

    pub(super) fn trace_id(&self) -> String {
        hex(&self.noise(16))
    }

    fn noise(&self, length: usize) -> Vec<u8> {
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
        let mut noise = Vec::with_capacity(length + 64);
        for block in 0_u64.. {
            if noise.len() >= length {
                break;
            }
            let input = [&self.seed[..], &drawn.to_be_bytes(), &block.to_be_bytes()].concat();
            noise.extend_from_slice(digest(&SHA512, &input).as_ref());
        }
        noise.truncate(length);
        noise
    }
}

/// The id for a name: 24 hexadecimal digits, like Qlik's user ids.
pub(super) fn id_of(name: &str) -> String {
    hex(&digest(&SHA256, name.as_bytes()).as_ref()[..12])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
