//! Placeholders in `target.data`: `$(name)` is replaced, `$$` is a dollar, everything else is literal.
//!
//! The syntax is that of a container's `env`. Nothing is evaluated, and a replaced value is not expanded again.

use std::fmt::Write as _;

use crate::api::PLACEHOLDERS;

/// Why a template is not valid; the API server refuses such objects, so only older ones contain them.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadTemplate {
    /// Not in [`PLACEHOLDERS`].
    #[error("an unknown placeholder")]
    Unknown,
    /// `$(` without `)`.
    #[error("a placeholder that does not end")]
    Unclosed,
}

/// Fills a template. `value` is called only with names of [`PLACEHOLDERS`].
pub fn render<'v>(template: &str, value: impl Fn(&str) -> &'v str) -> Result<String, BadTemplate> {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        rest = if let Some(after) = after.strip_prefix('$') {
            text.push('$');
            after
        } else if let Some(after) = after.strip_prefix('(') {
            let (name, after) = after.split_once(')').ok_or(BadTemplate::Unclosed)?;
            let known = PLACEHOLDERS.into_iter().find(|known| *known == name).ok_or(BadTemplate::Unknown)?;
            text.push_str(value(known));
            after
        } else {
            text.push('$');
            after
        };
    }
    text.push_str(rest);
    Ok(text)
}

/// The length that [`render`] would return, without rendering.
pub fn rendered_len<'v>(template: &str, value: impl Fn(&str) -> &'v str) -> Result<usize, BadTemplate> {
    // Rendering with lengths in place of values would need a second parser; names are short, so count them out.
    let names = std::cell::Cell::new(0usize);
    let skeleton = render(template, |name| {
        names.set(names.get().saturating_add(value(name).len()));
        ""
    })?;
    Ok(skeleton.len().saturating_add(names.get()))
}

/// qlik-cli's context file with one current context (<https://qlik.dev/toolkits/qlik-cli/qlik-cli-contexts>).
///
/// Every value is written as a JSON string, which YAML reads as it is. There is always a `headers` map and never a client
/// secret: readers of this file prefer the secret when both are there.
pub fn contexts_yml(name: &str, tenant_url: &str, token: &str) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let name = quoted(name);
    let mut yaml = String::new();
    let _ = write!(
        yaml,
        "current-context: {name}\ncontexts:\n  {name}:\n    server: {}\n    server-type: \"cloud\"\n    headers:\n      Authorization: {}",
        quoted(tenant_url),
        quoted(&format!("Bearer {token}")),
    );
    yaml
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(name: &str) -> &'static str {
        match name {
            "token" => "t0ken",
            "host" => "$(token)",
            _ => "",
        }
    }

    #[test]
    fn placeholders_are_replaced_once_and_dollars_escape() {
        for (template, expected) in [
            ("$(token)", Ok("t0ken")),
            ("Bearer $(token)\n", Ok("Bearer t0ken\n")),
            ("$$(token)", Ok("$(token)")),
            ("$$$(token)", Ok("$t0ken")),
            ("$(host)", Ok("$(token)")),
            ("costs 5$", Ok("costs 5$")),
            ("$x $", Ok("$x $")),
            ("{{ .token }} ${token}", Ok("{{ .token }} ${token}")),
            ("$(secret)", Err(BadTemplate::Unknown)),
            ("$()", Err(BadTemplate::Unknown)),
            ("$(token", Err(BadTemplate::Unclosed)),
        ] {
            assert_eq!(render(template, value).as_deref().map_err(Clone::clone), expected, "{template}");
        }
    }

    #[test]
    fn the_context_file_is_what_qlik_cli_reads() {
        let yaml = contexts_yml("123", "https://acme.eu.qlikcloud.com", "a\"b");
        let read: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(read["current-context"], "123");
        assert_eq!(read["contexts"]["123"]["server"], "https://acme.eu.qlikcloud.com");
        assert_eq!(read["contexts"]["123"]["headers"]["Authorization"], "Bearer a\"b");
        assert!(!yaml.ends_with('\n'));
    }

    proptest! {
        #[test]
        fn a_template_never_panics_and_its_length_is_known_before(template in "[$()a-z{}]{0,40}") {
            match render(&template, value) {
                Ok(text) => prop_assert_eq!(rendered_len(&template, value), Ok(text.len())),
                Err(error) => prop_assert_eq!(rendered_len(&template, value), Err(error)),
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_written_and_without_dollars_it_stands_for_itself(text in ".{0,60}") {
            prop_assert_eq!(render(&text.replace('$', "$$"), value), Ok(text));
        }

        #[test]
        fn each_placeholder_is_replaced_by_its_own_value_and_no_other_name_is_one(
            before in "[^$]{0,9}",
            known in prop::sample::select(&PLACEHOLDERS[..]),
            unknown in "[a-zA-Z ]{0,12}",
            after in "[^$]{0,9}"
        ) {
            // With names as values, only the names remain of the placeholders.
            let name = |asked: &str| PLACEHOLDERS.into_iter().find(|name| *name == asked).unwrap();
            let template = |name: &str| format!("{before}$({name}){after}");
            prop_assert_eq!(render(&template(known), name), Ok(format!("{before}{known}{after}")));
            if !PLACEHOLDERS.contains(&unknown.as_str()) {
                prop_assert_eq!(render(&template(&unknown), name), Err(BadTemplate::Unknown));
            }
        }

        #[test]
        fn the_context_file_reads_back_whatever_name_and_token(name in "[a-z0-9][a-z0-9.-]{0,62}", token in "[!-~]{1,80}") {
            let yaml = contexts_yml(&name, "https://acme.example", &token);
            let read: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
            prop_assert_eq!(&read["current-context"], &name);
            let header = &read["contexts"][&name]["headers"]["Authorization"];
            prop_assert_eq!(header, &format!("Bearer {token}"));
        }
    }
}
