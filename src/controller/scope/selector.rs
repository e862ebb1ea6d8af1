//! Label selectors in the syntax of kubectl's `--selector`; kube has the type, but parses it from objects only.

use std::collections::BTreeSet;

use kube::core::{Expression, Selector};

/// The text is not a label selector.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{0:?} is no label selector; write key=value, key!=value, key in (a,b), key notin (a,b), key or !key, with commas between"
)]
pub struct NotASelector(String);

/// Requirements separated by commas, all of which must hold; an empty text selects everything.
pub fn parse(text: &str) -> Result<Selector, NotASelector> {
    if text.trim().is_empty() {
        return Ok(Selector::default());
    }
    let read = |part: &str| requirement(part.trim()).ok_or_else(|| NotASelector(part.trim().to_owned()));
    let mut depth = 0;
    let between = |letter| {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        letter == ',' && depth == 0
    };
    text.split(between).map(read).collect()
}

fn requirement(text: &str) -> Option<Expression> {
    if let Some(absent) = text.strip_prefix('!') {
        return key(absent).map(Expression::DoesNotExist);
    }
    if let Some(set) = text.strip_suffix(')') {
        let (left, values) = set.split_once('(')?;
        let (left, operator) = left.trim_end().rsplit_once(char::is_whitespace)?;
        let values = values.split(',').map(value).collect::<Option<BTreeSet<_>>>()?;
        return match operator {
            "in" => Some(Expression::In(key(left)?, values)),
            "notin" => Some(Expression::NotIn(key(left)?, values)),
            _ => None,
        };
    }
    // The longer operators first: each contains the last one.
    if let Some((left, right)) = text.split_once("!=") {
        return Some(Expression::NotEqual(key(left)?, value(right)?));
    }
    if let Some((left, right)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Some(Expression::Equal(key(left)?, value(right)?));
    }
    key(text).map(Expression::Exists)
}

/// A name, perhaps after a domain and a slash.
fn key(text: &str) -> Option<String> {
    let text = text.trim();
    let (domain, name) = text.rsplit_once('/').unwrap_or(("domain", text));
    let of_domain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let part = |part: &str| part.bytes().all(of_domain) && has_plain_ends(part);
    let good = domain.len() <= 253 && domain.split('.').all(part) && is_name(name);
    good.then(|| text.to_owned())
}

/// A name, or an empty text.
fn value(text: &str) -> Option<String> {
    let text = text.trim();
    (text.is_empty() || is_name(text)).then(|| text.to_owned())
}

fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.len() <= 63 && text.bytes().all(plain) && has_plain_ends(text)
}

/// Begins and ends with a letter or a digit, so it is not empty.
fn has_plain_ends(text: &str) -> bool {
    let plain = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    plain(text.chars().next()) && plain(text.chars().next_back())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_that_kubectl_takes_is_read() {
        for (text, means) in [
            ("", ""),
            ("shard=a", "shard=a"),
            ("shard == a", "shard=a"),
            ("shard!=a", "shard!=a"),
            ("shard=", "shard="),
            ("shard", "shard"),
            ("! shard", "!shard"),
            ("qlik.dev/shard in (b, a)", "qlik.dev/shard in (a,b)"),
            ("a notin(x),b=1 , !c", "a notin (x),b=1,!c"),
            ("in in (in)", "in in (in)"),
        ] {
            assert_eq!(parse(text).map(|selector| selector.to_string()), Ok(means.to_owned()), "{text}");
        }
        assert!(parse(" ").unwrap().selects_all());
    }

    #[test]
    fn what_the_api_server_would_refuse_is_refused_with_the_part_that_is_wrong() {
        for text in [
            ",", "a,", "=", "=a", "a=b=c", "a!b", "a in", "a in b", "a in (b", "a on (b)", "a b", "!", "!a=b", "-a",
            "a=b_", "/a", "a/", "A/a", "a..b/c", "a=ä", "a>1", "a)b",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let long = "x".repeat(64);
        assert!(parse(&long).is_err() && parse(&format!("a={long}")).is_err() && parse(&long[1..]).is_ok());
        assert_eq!(parse("a=b, c d").unwrap_err(), NotASelector("c d".into()));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_is_written_so_that_it_reads_the_same(text in "[a-c/.=!(), in-]{0,24}") {
            if let Ok(selector) = parse(&text) {
                prop_assert_eq!(parse(&selector.to_string()), Ok(selector));
            }
        }
    }
}
