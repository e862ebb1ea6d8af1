//! Reads the bytes of one value as text, without characters that were pasted around it.

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::oauth::key::is_der;
use crate::oauth::pasted::trimmed;

/// The longest value that is read, in bytes: a private key of 16384 bits as JWK. A longer one is a mistake, or an attempt to
/// keep the operator busy.
const LONGEST: usize = 16 * 1024;

/// One value, ready to be sent.
pub(super) struct Value {
    pub(super) text: SecretString,
    /// Characters around it were removed, or it was written in UTF-16.
    pub(super) trimmed: bool,
}

/// Why bytes are not a value; continues a sentence that begins with the key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum NotText {
    #[error("is empty. Write the value there")]
    Empty,
    #[error("is longer than 16 KiB, which no credential is. Write the credential alone there")]
    TooLong,
    #[error("is not text. Write it again, as plain text")]
    Binary,
    #[error(
        "is binary, like a key in DER or PKCS#12. Convert it to PEM, for example with: openssl pkcs8 -topk8 -nocrypt -inform DER -in key.der"
    )]
    Der,
    #[error("is compressed. Write it again, as plain text")]
    Compressed,
}

pub(super) fn read(bytes: &[u8]) -> Result<Value, NotText> {
    // UTF-16, as PowerShell's `>` writes it, begins with a byte order mark that no other text begins with.
    let wide = match bytes {
        [0xff, 0xfe, rest @ ..] => Some(utf16(rest, u16::from_le_bytes)?),
        [0xfe, 0xff, rest @ ..] => Some(utf16(rest, u16::from_be_bytes)?),
        _ => None,
    };
    let text = match &wide {
        Some(text) => text.as_str(),
        None => std::str::from_utf8(bytes).map_err(|_| binary(bytes))?,
    };
    match trimmed(text) {
        "" => Err(NotText::Empty),
        value if value.len() > LONGEST => Err(NotText::TooLong),
        value => Ok(Value { text: value.into(), trimmed: wide.is_some() || value.len() != text.len() }),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<Zeroizing<String>, NotText> {
    let (units, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(NotText::Binary);
    }
    if bytes.len() > 4 * LONGEST {
        return Err(NotText::TooLong);
    }
    // At most three bytes of UTF-8 for each unit, so that the buffer never grows and leaves a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(units.len() * 3));
    for c in char::decode_utf16(units.iter().copied().map(unit)) {
        text.push(c.map_err(|_| NotText::Binary)?);
    }
    Ok(text)
}

fn binary(bytes: &[u8]) -> NotText {
    match bytes {
        [0x1f, 0x8b, ..] => NotText::Compressed,
        bytes if is_der(bytes) => NotText::Der,
        _ => NotText::Binary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    fn wide(text: &str, mark: [u8; 2], bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        mark.into_iter().chain(text.encode_utf16().flat_map(bytes)).collect()
    }

    #[test]
    fn text_in_utf_16_is_read_by_its_byte_order_mark() {
        for bytes in
            [wide("s3cret\r\n", [0xff, 0xfe], u16::to_le_bytes), wide("s3cret\n", [0xfe, 0xff], u16::to_be_bytes)]
        {
            let value = read(&bytes).unwrap_or_else(|problem| panic!("{problem}"));
            assert_eq!((value.text.expose_secret(), value.trimmed), ("s3cret", true));
        }
    }

    #[test]
    fn what_is_no_text_is_named() {
        for (bytes, problem) in [
            (&b""[..], NotText::Empty),
            (b" \n", NotText::Empty),
            ("\u{feff}\u{200b}".as_bytes(), NotText::Empty),
            (b"planted-\xff\xfe", NotText::Binary),
            (b"\xff\xfes", NotText::Binary),
            (b"\xff\xfe\x00\xd8", NotText::Binary),
            (b"\x1f\x8b\x08\x00", NotText::Compressed),
            (&[&b"\x30\x82\x04\xbd"[..], &[0xa5; 80]].concat(), NotText::Der),
            (&vec![b'a'; LONGEST + 1], NotText::TooLong),
            (&wide(&"a".repeat(3 * LONGEST), [0xff, 0xfe], u16::to_le_bytes), NotText::TooLong),
        ] {
            assert_eq!(read(bytes).err(), Some(problem), "{bytes:?}");
        }
        assert!(read(&vec![b'a'; LONGEST]).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_and_what_it_reads_was_there(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = read(&bytes) {
                let text = value.text.expose_secret();
                let is_wide = matches!(bytes[..], [0xff, 0xfe, ..] | [0xfe, 0xff, ..]);
                prop_assert!(is_wide || String::from_utf8_lossy(&bytes).contains(text));
                prop_assert!(!text.is_empty() && text.len() <= LONGEST);
            }
        }
    }
}
