//! An access token and its properties.

use std::sync::Arc;

use crate::clock::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::identity::Identity;

/// Longest accepted token, in bytes: a longer one does not fit into the headers that servers accept.
const LONGEST: usize = 8 * 1024;

/// An opaque access token (<https://qlik.dev/changelog/67-oauth-token-contents>): never parsed, never printed.
///
/// Clones share it, so that the process holds only one copy.
#[derive(Clone)]
pub struct AccessToken(Arc<SecretString>);

impl AccessToken {
    /// Accepts a token that a header can hold after `Bearer`: visible ASCII, at most 8 KiB.
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
    /// When it was requested.
    pub issued_at: Timestamp,
    /// When it stops working; unknown for an API key.
    pub expires_at: Option<Timestamp>,
    /// The granted scopes, if the tenant reports them.
    pub scopes: Option<Vec<String>>,
}

impl Token {
    /// True while it has not expired, as far as is known.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| end > now)
    }
}

/// A token whose identity the tenant has confirmed: the only type that is ever published.
#[derive(Clone)]
pub struct VerifiedToken {
    /// The token.
    pub token: Token,
    /// Its identity.
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
