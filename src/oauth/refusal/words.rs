//! What a tenant's answer says of itself, reduced to what a user may see.
//!
//! Only the first error's `code` and `title` and the `traceId` are looked at, bounded, and dropped whole when they repeat a secret.
//! `detail`, `error_description` and the body itself go nowhere (<https://qlik.dev/apis/rest/oauth/>, RFC 6749 section 5.2).

use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use crate::oauth::leak::Secrets;

const CODE_LIMIT: usize = 64;
const TITLE_LIMIT: usize = 128;
const TRACE_LIMIT: usize = 64;

/// A tenant's answer that is not the one asked for, reduced to what a user may see.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Refusal {
    pub(super) code: Option<String>,
    title: Option<String>,
    pub(super) trace_id: Option<String>,
}

/// Of Qlik Cloud, of RFC 6749, and of gateways that nest either: what is missing or of another kind is passed over, field by
/// field, so that one odd field hides no other.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Body {
    errors: First,
    error: First,
    #[serde(rename = "traceId")]
    trace_id: Text,
}

/// One error: an object, the first of a list, or a code alone.
#[derive(Default)]
struct First {
    code: Text,
    title: Text,
}

/// A text; anything else is none. It may repeat a secret, so it is wiped.
#[derive(Default)]
struct Text(Option<Zeroizing<String>>);

struct Lenient;

impl<'de> Visitor<'de> for Lenient {
    type Value = First;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<First, E> {
        Ok(First { code: Text(Some(Zeroizing::new(text.to_owned()))), title: Text(None) })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<First, A::Error> {
        let first = list.next_element()?.unwrap_or_default();
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<First, A::Error> {
        let mut found = First::default();
        while let Some(name) = fields.next_key::<String>()? {
            let field = match name.as_str() {
                "code" => &mut found.code,
                "title" => &mut found.title,
                _ => {
                    fields.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *field = Text(fields.next_value::<First>()?.code.0);
        }
        Ok(found)
    }

    fn visit_unit<E>(self) -> Result<First, E> {
        Ok(First::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<First, E> {
        Ok(First::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<First, E> {
        Ok(First::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<First, E> {
        Ok(First::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<First, E> {
        Ok(First::default())
    }
}

impl<'de> Deserialize<'de> for First {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_any(Lenient)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        Ok(First::deserialize(value)?.code)
    }
}

impl Refusal {
    /// Of a body in Qlik's shape, in that of RFC 6749, or in none.
    pub(super) fn read(body: &[u8], secrets: &Secrets) -> Self {
        let Body { errors, error, trace_id } = serde_json::from_slice(body).unwrap_or_default();
        let word = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let printable = |c: char| (' '..='~').contains(&c);
        let clean = |text: &Text, limit: usize, allowed: &dyn Fn(char) -> bool| {
            let fits = |text: &&str| !text.is_empty() && text.len() <= limit && text.chars().all(allowed);
            let text = text.0.as_ref().map(|text| text.as_str()).filter(fits);
            text.filter(|text| !secrets.leak_in(text)).map(str::to_owned)
        };
        let or = |first: Text, second: Text| if first.0.is_some() { first } else { second };
        let (code, title) = (or(errors.code, error.code), or(errors.title, error.title));
        Self {
            code: clean(&code, CODE_LIMIT, &word),
            title: clean(&title, TITLE_LIMIT, &printable),
            trace_id: clean(&trace_id, TRACE_LIMIT, &word),
        }
    }

    /// True when code or title has this word.
    pub(super) fn mentions(&self, word: &str) -> bool {
        [&self.code, &self.title].into_iter().flatten().any(|text| text.to_ascii_lowercase().contains(word))
    }

    /// `HTTP 401, OAUTH-5 "Unauthorized"`.
    pub(super) fn describe(&self, status: u16) -> String {
        let mut text = format!("HTTP {status}");
        // A gateway's code may say no more than the status.
        if let Some(code) = self.code.as_ref().filter(|code| **code != format!("HTTP-{status}")) {
            let _ = write!(text, ", {code}");
        }
        if let Some(title) = &self.title {
            let _ = write!(text, ", \"{title}\"");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_a_secret_or_is_not_plain_text_is_dropped_whole() {
        let secrets = Secrets::new().and("planted-secret-value");
        for body in [
            r#"{"errors":[{"title":"bad secret planted-secret-value","code":"planted-secret"}],"traceId":"ted-secret-val"}"#,
            "{\"errors\":[{\"title\":\"line\\nbreak\",\"code\":\"a b\"}],\"traceId\":\"<script>\"}",
        ] {
            assert_eq!(Refusal::read(body.as_bytes(), &secrets), Refusal::default(), "{body}");
        }
        let long = format!(r#"{{"errors":[{{"title":"{}","code":"{}"}}]}}"#, "t".repeat(129), "c".repeat(65));
        assert_eq!(Refusal::read(long.as_bytes(), &secrets), Refusal::default());
    }

    #[test]
    fn the_code_is_found_whatever_stands_beside_it() {
        for (body, code, title) in [
            (r#"{"errors":null,"error":"invalid_client"}"#, Some("invalid_client"), None),
            (r#"{"errors":[],"error":"invalid_client"}"#, Some("invalid_client"), None),
            (r#"{"errors":[null],"error":"invalid_client"}"#, Some("invalid_client"), None),
            (r#"{"errors":{},"error":"invalid_client"}"#, Some("invalid_client"), None),
            (r#"{"errors":7,"error":"invalid_client"}"#, Some("invalid_client"), None),
            (r#"{"errors":[{"code":null,"title":7}],"error":"invalid_client"}"#, Some("invalid_client"), None),
            (r#"{"error":"invalid_client","traceId":null,"error_description":["x"]}"#, Some("invalid_client"), None),
            (r#"{"error":{"code":"invalid_client","title":"Unknown"}}"#, Some("invalid_client"), Some("Unknown")),
            (r#"{"error":{"code":401,"message":"x"}}"#, None, None),
            (r#"{"errors":{"code":"OAUTH-14","title":"Invalid"}}"#, Some("OAUTH-14"), Some("Invalid")),
            (r#"{"errors":["OAUTH-14"]}"#, Some("OAUTH-14"), None),
            (r#"{"errors":[{"code":"OAUTH-14","status":401,"meta":[{}]},7],"error":"x"}"#, Some("OAUTH-14"), None),
            (r#"{"errors":[{"title":"Invalid","code":{"n":1}}]}"#, None, Some("Invalid")),
            (r#"{"error":[["deep"]]}"#, Some("deep"), None),
            ("null", None, None),
            ("[]", None, None),
            ("{", None, None),
        ] {
            let refusal = Refusal::read(body.as_bytes(), &Secrets::new());
            assert_eq!((refusal.code.as_deref(), refusal.title.as_deref()), (code, title), "{body}");
        }
        let deep = format!(r#"{{"error":{}"x"{}}}"#, "[".repeat(5000), "]".repeat(5000));
        assert_eq!(Refusal::read(deep.as_bytes(), &Secrets::new()), Refusal::default(), "and nothing overflows");
    }
}
