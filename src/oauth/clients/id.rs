//! Parts of a path: the names that a tenant gives to a client and to its secrets.

use std::fmt;
use std::str::FromStr;

/// Longest accepted name, in bytes.
const LONGEST: usize = 128;

/// Letters, digits and `-._~`, which need no escaping in a path (RFC 3986, section 2.3); never only dots.
fn is_plain(text: &str) -> bool {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !text.is_empty() && text.len() <= LONGEST && text.bytes().all(unreserved) && !text.bytes().all(|byte| byte == b'.')
}

/// `clientId` of an OAuth client.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClientId(String);

/// `hint` of a client secret: the name under which Qlik lists and deletes it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Hint(String);

/// Why a text is neither a client's id nor the hint of a secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it is not 1 to 128 letters, digits, hyphens, underscores, dots and tildes")]
pub struct NotAnId;

impl ClientId {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Hint {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        is_plain(text).then(|| Self(text.to_owned())).ok_or(NotAnId)
    }
}

impl FromStr for Hint {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        is_plain(text).then(|| Self(text.to_owned())).ok_or(NotAnId)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_characters_that_need_no_escape_in_a_path_make_an_id() {
        for text in ["82e0", "e6815", "a-b_c.d~e", "..a", &"a".repeat(LONGEST)] {
            assert_eq!(text.parse::<ClientId>().map(|id| id.to_string()).as_deref(), Ok(text));
            assert_eq!(text.parse::<Hint>().map(|hint| hint.to_string()).as_deref(), Ok(text));
        }
        for text in ["", ".", "..", "a/b", "a?b", "a#b", "a%2fb", "a b", "a\n", "ü", "a\\b", &"a".repeat(LONGEST + 1)]
        {
            assert_eq!(text.parse::<ClientId>(), Err(NotAnId), "{text:?}");
            assert_eq!(text.parse::<Hint>(), Err(NotAnId), "{text:?}");
        }
    }
}
