//! Detects text from outside that repeats a secret, so that it never reaches a condition, an event or a log.
//!
//! A tenant's response is untrusted and may echo the request. The caller drops a text completely if it contains eight or more
//! consecutive characters of a secret, plain or as base64, percent- or JSON-escaped.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

const RUN: usize = 8;
const FILTER_WORDS: usize = 64;

/// The secrets that a piece of text must not repeat.
#[derive(Clone, Default)]
pub struct Secrets {
    known: Vec<SecretString>,
    /// There are others that are not known here, so any text may repeat one.
    and_others: bool,
}

impl Secrets {
    /// No secrets.
    pub fn new() -> Self {
        Self::default()
    }

    /// The secrets are not known: every text is refused.
    pub fn everything() -> Self {
        Self { known: Vec::new(), and_others: true }
    }

    /// Adds a secret; an empty one is ignored.
    #[must_use]
    pub fn and(mut self, secret: &str) -> Self {
        if !secret.is_empty() {
            self.known.push(secret.into());
        }
        self
    }

    /// True when the text repeats a part of a secret.
    pub fn leak_in(&self, text: &str) -> bool {
        if self.and_others {
            return true;
        }
        // Writers differ in the characters that they escape, so the text is checked with its escapes and without.
        let mut texts = Zeroizing::new([text.as_bytes().to_vec(), Vec::with_capacity(text.len()), unescaped(text)]);
        texts[1].extend(percent_decode_str(text));
        texts.iter_mut().for_each(|text| text.make_ascii_lowercase());
        // The text is short and a secret may be long, so the text is split once and each spelling is scanned once.
        let secret_runs = Runs::of(&texts[..]);
        let repeats = |spelling: &Zeroizing<String>| match spelling.as_bytes() {
            short if short.len() < RUN => {
                texts.iter().any(|text| text.windows(short.len().max(1)).any(|run| run == short))
            }
            long => runs(long).any(|run| secret_runs.contains(run)),
        };
        self.known.iter().any(|secret| spellings(secret.expose_secret()).iter().any(repeats))
    }
}

/// Every substring of eight bytes, as a number, which is fast to compare.
fn runs(text: &[u8]) -> impl Iterator<Item = u64> {
    text.windows(RUN).filter_map(|run| run.first_chunk().copied().map(u64::from_be_bytes))
}

/// The substrings of a text, for fast look-up.
struct Runs {
    sorted: Zeroizing<Vec<u64>>,
    /// One bit for each substring, at a position computed from it: a zero there excludes most substrings of a secret.
    filter: Zeroizing<[u64; FILTER_WORDS]>,
}

impl Runs {
    fn of(texts: &[Vec<u8>]) -> Self {
        let mut sorted = Zeroizing::new(Vec::with_capacity(texts.iter().map(Vec::len).sum()));
        sorted.extend(texts.iter().flat_map(|text| runs(text)));
        sorted.sort_unstable();
        let mut filter = Zeroizing::new([0; FILTER_WORDS]);
        for run in &*sorted {
            let (word, bit) = place(*run);
            filter[word] |= bit;
        }
        Self { sorted, filter }
    }

    fn contains(&self, run: u64) -> bool {
        let (word, bit) = place(run);
        self.filter[word] & bit != 0 && self.sorted.binary_search(&run).is_ok()
    }
}

/// The position of a substring: multiplied by 2^64 over the golden ratio, whose highest bits depend on every bit of it.
fn place(run: u64) -> (usize, u64) {
    let [high, low, ..] = run.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
    (usize::from(high) % FILTER_WORDS, 1 << (low % 64))
}

/// The text with JSON's escapes decoded, also the unnecessary ones (`\u0026`, `\/`).
fn unescaped(text: &str) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        let unit = rest.strip_prefix('u').and_then(|rest| rest.get(..4));
        // A single surrogate does not matter: credentials have no characters outside of the basic plane.
        if let Some(c) = unit.and_then(|digits| u32::from_str_radix(digits, 16).ok()).and_then(char::from_u32) {
            plain.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            rest = &rest[5..];
        }
    }
    plain.extend_from_slice(rest.as_bytes());
    plain
}

/// The spellings of a secret, in lower case (escapes differ in case only). Each in a buffer of its own that is wiped.
fn spellings(secret: &str) -> Vec<Zeroizing<String>> {
    let bytes = secret.as_bytes();
    // Inside longer base64 a secret starts at one of three phases.
    let phases = (0..3.min(bytes.len())).flat_map(|skip| {
        let rest = &bytes[skip..];
        [STANDARD_NO_PAD.encode(rest), URL_SAFE_NO_PAD.encode(rest)].map(Zeroizing::new)
    });
    // At most six characters for each, so that the buffer never grows and leaves a copy behind.
    let with_room = || Zeroizing::new(String::with_capacity(6 * secret.len()));
    let mut escaped = with_room();
    let mut ascii = with_room();
    for c in secret.chars() {
        match c {
            '"' | '\\' => escaped.extend(['\\', c]),
            c if c.is_control() => {}
            c => escaped.push(c),
        }
        if c.is_ascii() {
            ascii.push(c);
        } else {
            let _ = write!(ascii, "\\u{:04x}", c as u32);
        }
    }
    let mut spellings: Vec<_> = [Zeroizing::new(secret.to_owned()), escaped, ascii].into_iter().chain(phases).collect();
    spellings.iter_mut().for_each(|spelling| spelling.make_ascii_lowercase());
    spellings
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_secret_is_noticed_in_every_spelling() {
        let secrets = Secrets::new().and("s3cr&t=+/ü-planted-value");
        for text in [
            "s3cr&t=+/ü-planted-value",
            "invalid secret s3cr&t=+/ü",
            "…planted-…",
            "PLANTED-VALUE",
            "c2VjcmV0IHMzY3ImdD0rL8O8LXBsYW50ZWQtdmFsdWU=", // inside longer base64
            "s3cr%26t%3D%2B%2F%C3%BC",
            "s3cr%26t=+/",              // not every writer escapes the same
            "%73%33%63%72%26%74%3d%2b", // nor as little
            "100% of s3cr%26t%3D%2B%",
            "s3cr&t=+/\\u00fc-",
            "s3cr\\u0026t=\\u002B\\/\\u00FC", // Go and PHP escape more than they have to
        ] {
            assert!(secrets.leak_in(text), "{text}");
        }
    }

    #[test]
    fn ordinary_text_passes() {
        let secrets = Secrets::new().and("s3cr&t=+/ü-planted-value");
        for text in
            ["100%", "%", "%%", "%zz%", "50 %20", "Invalid client_id", "OAUTH-14", "Unauthorized", "", "planted"]
        {
            assert!(!secrets.leak_in(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_eight_characters_in_a_row_are_noticed(secret in "[ -~]{12,60}", start in 0usize..4, around in "[ -~]{0,20}") {
            let text = format!("{around}{}{around}", &secret[start..start + 8]);
            prop_assert!(Secrets::new().and(&secret).leak_in(&text));
        }

        #[test]
        fn base64_of_a_request_that_holds_it_is_noticed(secret in "[!-~]{16,60}", before in "[ -~]{0,9}", after in "[ -~]{0,9}") {
            let echoed = STANDARD_NO_PAD.encode(format!("{before}{secret}{after}"));
            prop_assert!(Secrets::new().and(&secret).leak_in(&echoed));
        }
    }

    proptest! {
        #[test]
        fn no_part_of_eight_characters_passes_however_it_is_written(
            secret in "[!-~üß]{8,40}", start in 0usize..33, before in "[a-z]{0,4}", after in "[a-z]{0,4}"
        ) {
            let part: String = secret.chars().skip(start.min(secret.chars().count() - 8)).take(8).collect();
            let percent: String = url::form_urlencoded::byte_serialize(part.as_bytes()).collect();
            let json = serde_json::to_string(&part).unwrap();
            let base64 = STANDARD_NO_PAD.encode(format!("{before}{part}{after}"));
            let base64url = URL_SAFE_NO_PAD.encode(format!("{before}{part}{after}"));
            for spelling in [&part, &percent, json.trim_matches('"'), &base64, &base64url] {
                let text = format!("{before} {spelling} {after}");
                prop_assert!(Secrets::new().and(&secret).leak_in(&text), "{}", text);
            }
        }
    }

    #[test]
    fn a_short_secret_is_noticed_as_a_whole() {
        for secret in ["s3cret", "s3cret!", "s3cret!!"] {
            assert!(Secrets::new().and(secret).leak_in(&format!("it is {secret}.")), "{secret}");
            assert!(!Secrets::new().and(secret).leak_in(&format!("it is {}.", &secret[1..])), "{secret}");
        }
    }
}
