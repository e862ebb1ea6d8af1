//! The mark in the description of an OAuth client: the object that it belongs to, and the credentials that it had before.
//!
//! The description is the only field that a request both writes and lists, so the mark finds a client whose id could not be
//! recorded: `[qlikcontext.dev uid=…]`, and for a client that was taken over
//! `[qlikcontext.dev uid=… keep=e6815,00000]`. Names in it are percent-encoded: ids of keys are free text.

use crate::secret::oauth_credential::{escaped, unescaped};

const BEGINNING: &str = "[qlikcontext.dev ";

/// The content of a mark.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mark {
    /// `metadata.uid` of the object.
    pub uid: String,
    /// Credentials that the client had before it was taken over.
    pub kept: Vec<String>,
}

impl Mark {
    /// The mark in a description; the last, if there are several.
    pub fn read(description: &str) -> Option<Self> {
        let (_, rest) = description.rsplit_once(BEGINNING)?;
        let (inside, _) = rest.split_once(']')?;
        let value = |name: &str| inside.split(' ').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        let kept = value("keep").unwrap_or_default().split(',').filter(|id| !id.is_empty()).map(unescaped);
        Some(Self { uid: value("uid").filter(|uid| !uid.is_empty())?.to_owned(), kept: kept.collect() })
    }

    /// A description with this mark.
    pub fn write(&self, description: Option<&str>) -> String {
        let kept = if self.kept.is_empty() {
            String::new()
        } else {
            format!(" keep={}", self.kept.iter().map(|id| escaped(id)).collect::<Vec<_>>().join(","))
        };
        let mark = format!("{BEGINNING}uid={}{kept}]", self.uid);
        match description {
            Some(text) => format!("{text} {mark}"),
            None => mark,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_that_is_not_a_mark_is_ignored() {
        for text in ["", "reporting", "[qlikcontext.dev ]", "[qlikcontext.dev uid=]", "[qlikcontext.dev uid=u", "uid=u"]
        {
            assert_eq!(Mark::read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_mark_is_read_as_it_was_written(
            description in prop::option::of("[^\\[]{0,20}"),
            uid in "[0-9a-f-]{1,36}",
            kept in prop::collection::vec("\\PC{1,8}", 0..5),
        ) {
            let mark = Mark { uid, kept };
            prop_assert_eq!(Mark::read(&mark.write(description.as_deref())), Some(mark));
        }
    }
}
