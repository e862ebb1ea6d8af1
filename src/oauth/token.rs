//! An access token and what is known of it.

use std::sync::Arc;

use crate::clock::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::identity::Identity;

/// Longest accepted token, in bytes: more does not fit into the headers that servers accept.
const LONGEST: usize = 8 * 1024;

/// An opaque access token (<https://qlik.dev/changelog/67-oauth-token-contents>): never looked into, never printed.
///
/// Clones share it, so that the process holds one copy of it however many places know it.
#[derive(Clone)]
pub struct AccessToken(Arc<SecretString>);

impl AccessToken {
    /// Accepts what a header can carry after `Bearer`: visible ASCII, at most 8 KiB.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= LONGEST && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(Arc::new(text.into())))
    }

    /// The value of the `Authorization` header.
    pub fn authorization(&self) -> SecretString {
        format!("Bearer {}", self.0.expose_secret()).into()
    }
}

impl ExposeSecret<str> for AccessToken {
    fn expose_secret(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for AccessToken {
    fn eq(&self, other: &Self) -> bool {
        self.expose_secret() == other.expose_secret()
    }
}

/// A token as the tenant issued it.
#[derive(Clone)]
pub struct Token {
    /// The token itself.
    pub access_token: AccessToken,
    /// When it was asked for.
    pub issued_at: Timestamp,
    /// When it stops working; unknown for an API key.
    pub expires_at: Option<Timestamp>,
    /// The scopes granted, where the tenant says so.
    pub scopes: Option<Vec<String>>,
}

impl Token {
    /// True while nothing says that it has ended.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| end > now)
    }
}

/// A token of which the tenant has confirmed whose it is: the only kind that is ever published.
#[derive(Clone)]
pub struct VerifiedToken {
    /// The token.
    pub token: Token,
    /// Whose it is.
    pub identity: Arc<Identity>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_header_carries_is_a_token() {
        assert!(AccessToken::parse("eyJhbGciOiJFUzM4NCJ9.e30.c2ln").is_some());
        for text in ["", "two words", "line\nbreak", "tab\t", "ü", "nul\0"] {
            assert!(AccessToken::parse(text).is_none(), "{text:?}");
        }
        assert!(AccessToken::parse(&"a".repeat(LONGEST)).is_some());
        assert!(AccessToken::parse(&"a".repeat(LONGEST + 1)).is_none());
    }
}
