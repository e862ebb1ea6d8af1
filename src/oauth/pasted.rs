//! Characters that an editor, a shell or a web page adds to a copied value: whitespace, byte order marks, invisible characters.
//!
//! At the ends of a value they can be dropped, since no credential begins or ends with one. Inside, something may be missing in
//! their place, so the value is refused, with the name of the character.

use std::fmt;

/// True for invisible characters that are not whitespace: zero-width, direction marks, fillers, the byte order mark
/// (Unicode's `Default_Ignorable_Code_Point`, and the format characters that web pages and word processors insert).
pub fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// The text without what was pasted around it.
///
/// An escape character stays: it begins a sequence whose other characters are visible, and would be sent.
pub fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || is_invisible(c) || c.is_control() && c != '\u{1b}')
}

/// A character inside a value that no credential contains.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Foreign {
    /// A space, or one of its kind.
    Space,
    /// The end of a line.
    LineBreak,
    /// Text in UTF-16 without a byte order mark reads so.
    Nul,
    /// Colours of a terminal.
    Escape,
    /// Another control character.
    Control,
    /// A character that shows nothing.
    Invisible(char),
}

impl Foreign {
    /// The first such character.
    pub fn find(text: &str) -> Option<Self> {
        text.chars().find_map(|c| match c {
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some(Self::LineBreak),
            '\0' => Some(Self::Nul),
            '\u{1b}' => Some(Self::Escape),
            c if c.is_whitespace() => Some(Self::Space),
            c if c.is_control() => Some(Self::Control),
            c if is_invisible(c) => Some(Self::Invisible(c)),
            _ => None,
        })
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Space => f.write_str("whitespace"),
            Self::LineBreak => f.write_str("a line break"),
            Self::Nul => f.write_str("NUL characters, as text in UTF-16 has,"),
            Self::Escape => f.write_str("a terminal's escape sequence"),
            Self::Control => f.write_str("a control character"),
            Self::Invisible(c) => write!(f, "an invisible character (U+{:04X})", *c as u32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INVISIBLE: [char; 18] = [
        '\u{feff}',
        '\u{200b}',
        '\u{200c}',
        '\u{200d}',
        '\u{200e}',
        '\u{200f}',
        '\u{2060}',
        '\u{2064}',
        '\u{ad}',
        '\u{180e}',
        '\u{202a}',
        '\u{202e}',
        '\u{2066}',
        '\u{2069}',
        '\u{61c}',
        '\u{fe0f}',
        '\u{3164}',
        '\u{e0001}',
    ];

    #[test]
    fn what_is_pasted_around_a_value_is_taken_off_at_both_ends() {
        let around = ["\n", "\r\n", " ", "\u{a0}", "\u{3000}", "\t", "\0", "\u{4}", "\u{1a}"].map(str::to_owned);
        for around in around.into_iter().chain(INVISIBLE.map(String::from)) {
            let text = format!("{around}{around}s3cret{around}\n{around}");
            assert_eq!(trimmed(&text), "s3cret", "{around:?}");
        }
        assert_eq!(trimmed("\u{1b}[32ms3cret"), "\u{1b}[32ms3cret", "or what is visible of it would be sent");
        assert_eq!(trimmed("\u{feff}\u{200b}\n"), "");
    }

    #[test]
    fn foreign_characters_inside_a_value_are_named() {
        for (text, name) in [
            ("a b", "whitespace"),
            ("a\u{a0}b", "whitespace"),
            ("a\r\nb", "a line break"),
            ("a\u{2028}b", "a line break"),
            ("a\0b\0", "NUL characters, as text in UTF-16 has,"),
            ("\u{1b}[32ma", "a terminal's escape sequence"),
            ("a\u{8}b", "a control character"),
            ("a\u{200b}b", "an invisible character (U+200B)"),
            ("a\u{2060}b", "an invisible character (U+2060)"),
            ("a\u{ad}b", "an invisible character (U+00AD)"),
        ] {
            assert_eq!(Foreign::find(text).map(|found| found.to_string()).as_deref(), Some(name), "{text:?}");
        }
        for text in ["", "s3cr&t=+/ü", "“quoted”", "日本"] {
            assert_eq!(Foreign::find(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_left_has_nothing_foreign_at_its_ends_and_lost_nothing_else(text in "\\PC{0,6}[ -~\u{200b}\u{feff}]{0,9}\\s{0,3}") {
            let kept = trimmed(&text);
            prop_assert!(text.contains(kept));
            prop_assert_eq!(trimmed(kept), kept);
            for end in [kept.chars().next(), kept.chars().last()].into_iter().flatten() {
                prop_assert!(Foreign::find(&end.to_string()).is_none_or(|found| found == Foreign::Escape));
            }
            let visible = |text: &str| text.chars().filter(|c| Foreign::find(&c.to_string()).is_none()).collect::<String>();
            prop_assert_eq!(visible(kept), visible(&text));
        }
    }
}
