//! Finds planted secrets in the output of the operator, in every encoding that could occur.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use aho_corasick::AhoCorasick;
use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The encodings of one secret: plain, base64 at each offset, and percent-encoded.
fn spellings(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    // Inside longer base64 a secret starts at one of three offsets. Its first and last character can be mixed with the
    // surrounding text.
    let phases = (0..3).flat_map(|skip| {
        let rest = &bytes[skip..];
        let whole = &rest[..rest.len() / 3 * 3];
        [STANDARD_NO_PAD.encode(whole), URL_SAFE_NO_PAD.encode(whole)]
    });
    let percent = form_urlencoded::byte_serialize(bytes).collect();
    // The `Debug` output of a byte string.
    let debug = format!("{bytes:?}").trim_matches(['[', ']']).to_owned();
    [secret.to_owned(), percent, debug].into_iter().chain(phases).collect()
}

/// The planted secrets, prepared for a search in large texts.
#[derive(Clone, Debug)]
pub struct Planted(AhoCorasick);

impl Planted {
    /// These secrets, in every encoding.
    pub fn new(secrets: &[&str]) -> Result<Self> {
        Ok(Self(AhoCorasick::new(secrets.iter().flat_map(|secret| spellings(secret)))?))
    }

    /// The first one that the text contains.
    pub fn found<'t>(&self, text: &'t str) -> Option<&'t str> {
        self.0.find(text).map(|found| &text[found.range()])
    }
}

/// A writer for a log that is too long to keep. It searches each line and keeps only the first one with a planted
/// secret.
#[derive(Debug)]
pub struct Searched {
    planted: Planted,
    lines: AtomicUsize,
    leak: Mutex<Option<String>>,
}

impl Searched {
    /// An empty log.
    pub fn new(planted: Planted) -> Self {
        Self { planted, lines: AtomicUsize::new(0), leak: Mutex::new(None) }
    }

    /// The number of lines so far.
    pub fn lines(&self) -> usize {
        self.lines.load(Ordering::Relaxed)
    }

    /// The first line with a planted secret.
    pub fn leak(&self) -> Option<String> {
        self.leak.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Write for &Searched {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.fetch_add(1, Ordering::Relaxed);
        let text = String::from_utf8_lossy(line);
        if self.planted.found(&text).is_some() {
            self.leak.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text.into_owned());
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn a_planted_secret_is_found_in_every_encoding_and_nothing_else_is() {
        let secret = "planted s3cret/+ü";
        let planted = Planted::new(&[secret]).unwrap();
        let within = |before: &str| STANDARD.encode(format!("{before}{secret} and more"));
        for text in [
            secret.to_owned(),
            within(""),
            within("a"),
            within("ab"),
            "planted+s3cret%2F%2B%C3%BC".into(),
            format!("{:?}", secret.as_bytes()),
        ] {
            assert!(planted.found(&text).is_some(), "{text}");
        }
        assert_eq!(planted.found("planted and s3cret"), None);
    }

    #[test]
    fn a_log_keeps_the_first_line_with_a_planted_secret() {
        let log = Searched::new(Planted::new(&["planted-"]).unwrap());
        for line in ["all is well", "planted-one", "planted-two"] {
            (&log).write_all(line.as_bytes()).unwrap();
        }
        assert_eq!((log.lines(), log.leak().as_deref()), (3, Some("planted-one")));
    }
}
