//! Finds planted secrets in whatever the operator says, in every spelling in which they could leave it.

use aho_corasick::AhoCorasick;
use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The spellings of one secret: as it is, as base64 at each phase, and percent-encoded.
fn spellings(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    // Inside longer base64 a secret starts at one of three phases; its first and last character may be mixed with what
    // stands around it.
    let phases = (0..3).flat_map(|skip| {
        let rest = &bytes[skip..];
        let whole = &rest[..rest.len() / 3 * 3];
        [STANDARD_NO_PAD.encode(whole), URL_SAFE_NO_PAD.encode(whole)]
    });
    let percent = form_urlencoded::byte_serialize(bytes).collect();
    // How a byte string prints under `Debug`.
    let debug = format!("{bytes:?}").trim_matches(['[', ']']).to_owned();
    [secret.to_owned(), percent, debug].into_iter().chain(phases).collect()
}

/// What was planted, ready to be looked for in a great deal of text.
#[derive(Debug)]
pub struct Planted(AhoCorasick);

impl Planted {
    /// These secrets, in every spelling.
    pub fn new(secrets: &[&str]) -> Result<Self> {
        Ok(Self(AhoCorasick::new(secrets.iter().flat_map(|secret| spellings(secret)))?))
    }

    /// The first that stands in the text.
    pub fn found<'t>(&self, text: &'t str) -> Option<&'t str> {
        self.0.find(text).map(|found| &text[found.range()])
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn a_planted_secret_is_found_in_every_spelling_and_nothing_else_is() {
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
}
