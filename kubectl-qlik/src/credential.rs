//! Secret values: typed at a prompt, or read from a file or from standard input, never from an argument.

use std::fs::File;
use std::io::{IsTerminal as _, Read, stdin};

use anyhow::{Context as _, bail};
use secrecy::{ExposeSecret, SecretString};

/// Far longer than any key; the operator refuses longer values.
const LONGEST: usize = 16 * 1024;

/// Reads a value from a file; `-` is standard input.
pub fn from_file(path: &str, flag: &str) -> anyhow::Result<SecretString> {
    if path == "-" {
        if stdin().is_terminal() {
            bail!(
                "{flag} - reads standard input, which is your terminal: pipe the value in, or leave {flag} out to be asked"
            );
        }
        return read(stdin().lock(), "standard input");
    }
    // A shell expands `~` in an argument, but not at a prompt.
    let expanded = match (path.strip_prefix("~/"), crate::cluster::home()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => path.into(),
    };
    let file = File::open(&expanded).with_context(|| format!("cannot read {path}"))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        bail!("{path} is a folder; name the file");
    }
    read(file, path)
}

fn read(source: impl Read, place: &str) -> anyhow::Result<SecretString> {
    let mut text = String::new();
    let limit = u64::try_from(LONGEST).unwrap_or(u64::MAX) + 1;
    source.take(limit).read_to_string(&mut text).with_context(|| format!("cannot read {place} as text"))?;
    Ok(SecretString::from(text))
}

/// A value in one piece, without whitespace that was copied with it.
pub fn one_piece(text: &str) -> Result<SecretString, String> {
    let text = whole(text)?;
    if text.expose_secret().chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("There is whitespace inside. Copy the value in one piece.".into());
    }
    Ok(text)
}

/// A value that may have several lines.
pub fn whole(text: &str) -> Result<SecretString, String> {
    // Windows editors begin a file with a byte order mark.
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err("The value is empty.".into());
    }
    if text.len() > LONGEST {
        return Err("The value is longer than 16 KiB, which no credential is.".into());
    }
    Ok(SecretString::from(text))
}

/// A private key, recognised by its beginning; the operator checks whether it is usable.
pub fn private_key(text: &str) -> Result<SecretString, String> {
    let key = whole(text)?;
    let text = key.expose_secret();
    if text.contains("PUBLIC KEY") || text.contains("BEGIN CERTIFICATE") {
        return Err("This is a public key or a certificate: give the private key.".into());
    }
    if !(text.starts_with("-----BEGIN ") || text.starts_with('{')) {
        return Err("This is neither a PEM file nor a JWK: give the file with the private key.".into());
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_around_a_value_are_taken_off_and_blanks_inside_are_refused() {
        for (text, expected) in [
            ("planted", Ok("planted")),
            (" planted \r\n", Ok("planted")),
            ("\u{feff}planted", Ok("planted")),
            ("", Err(())),
            (" \n", Err(())),
            ("two words", Err(())),
            ("two\nlines", Err(())),
        ] {
            let value = one_piece(text);
            assert_eq!(value.as_ref().map(ExposeSecret::expose_secret).map_err(|_| ()), expected, "{text:?}");
        }
        assert!(one_piece(&"x".repeat(LONGEST + 1)).is_err());
    }

    #[test]
    fn a_public_key_is_not_taken_for_a_private_one() {
        assert!(private_key("-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----").is_err());
        assert!(private_key("ssh-rsa AAAA").is_err());
        assert!(private_key("-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n").is_ok());
        assert!(private_key(r#"{"kty":"EC"}"#).is_ok());
    }

    #[test]
    fn what_is_no_text_or_no_file_is_said_without_its_content() {
        let folder = std::env::temp_dir();
        let error = from_file(&folder.to_string_lossy(), "--x-file").expect_err("a folder");
        assert!(format!("{error:#}").contains("name the file"), "{error:#}");
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), b"planted\xff").expect("written");
        let error = from_file(&file.path().to_string_lossy(), "--x-file").expect_err("no text");
        assert!(!format!("{error:#}").contains("planted"), "{error:#}");
    }
}
