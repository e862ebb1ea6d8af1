//! Templates of `target.data`: placeholders are replaced once, and all other text is kept.

use qlik_context_operator::api::PLACEHOLDERS;
use qlik_context_operator::secret::template::{BadTemplate, render, rendered_len};

/// Expands a text as a template.
pub fn holds(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    // If the value of each placeholder is the placeholder itself, only the escapes change, because nothing is expanded
    // twice.
    let own: Vec<_> = PLACEHOLDERS.iter().map(|name| (*name, format!("$({name})"))).collect();
    let value = |asked: &str| {
        let known = own.iter().find(|(name, _)| *name == asked);
        known.map(|(_, value)| value.as_str()).expect("only known names are used")
    };
    let rendered = render(text, value);
    assert_eq!(rendered_len(text, value), rendered.as_ref().map(String::len).map_err(BadTemplate::clone));
    match rendered {
        Ok(rendered) => {
            assert!(is_good(text), "{text:?}");
            assert_eq!(rendered, text.replace("$$", "$"));
        }
        Err(_) => assert!(!is_good(text), "{text:?}"),
    }
    // Any text can be written as an escaped template.
    assert_eq!(render(&text.replace('$', "$$"), value).as_deref(), Ok(text));
}

/// Every `$(` that is not escaped starts a known name.
fn is_good(text: &str) -> bool {
    let text = text.replace("$$", "\0");
    let mut opened = text.split("$(").skip(1);
    opened.all(|rest| PLACEHOLDERS.iter().any(|name| rest.strip_prefix(name).is_some_and(|rest| rest.starts_with(')'))))
}
