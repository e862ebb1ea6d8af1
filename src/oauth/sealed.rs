//! JSON and base64 of secrets, written into buffers that are wiped.
//!
//! A buffer that grows leaves a copy of its old bytes behind, so each is allocated with its final length.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde::Serialize;
use zeroize::Zeroizing;

/// The value as JSON. Derived implementations of `Serialize` do not fail.
pub(super) fn json(value: &impl Serialize) -> Option<Zeroizing<Vec<u8>>> {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, value).ok()?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *bytes, value).ok()?;
    Some(bytes)
}

/// JSON to send. (Its buffer is moved, not copied.)
pub(super) fn json_text(value: &impl Serialize) -> Option<SecretString> {
    let mut bytes = json(value)?;
    String::from_utf8(std::mem::take(&mut *bytes)).ok().map(SecretString::from)
}

/// Appends base64url to a text with enough capacity.
pub(super) fn push_base64(text: &mut Zeroizing<String>, bytes: &[u8]) {
    URL_SAFE_NO_PAD.encode_string(bytes, text);
}

/// The maximum length of the base64url of so many bytes.
pub(super) fn base64_length(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// Counts.
struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn nothing_is_written_into_a_buffer_that_has_to_grow() {
        let value = ["s3cr\"et", "ü\n", &"a".repeat(5000)];
        let bytes = json(&value).unwrap();
        assert_eq!(bytes.len(), bytes.capacity());
        assert_eq!(json_text(&value).unwrap().expose_secret().as_bytes(), &bytes[..]);
        for length in 0..50 {
            let mut text = Zeroizing::new(String::with_capacity(base64_length(length)));
            let room = text.capacity();
            push_base64(&mut text, &vec![7; length]);
            assert_eq!(text.capacity(), room, "{length}");
        }
    }
}
