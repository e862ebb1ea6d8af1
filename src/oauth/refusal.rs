//! A response that is not a success, reduced to the parts that may be shown.
//!
//! Only the first error's `code` and `title` and the `traceId` are read, bounded, and dropped completely if they repeat a secret.
//! `detail`, `error_description` and the body itself are not kept (<https://qlik.dev/apis/rest/oauth/>, RFC 6749 section 5.2).

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use super::leak::Secrets;
use super::transport::Answer;

const CODE_LIMIT: usize = 64;
const TITLE_LIMIT: usize = 128;
const TRACE_LIMIT: usize = 64;

/// The failure that a tenant answered. Its texts repeat no secret of the request.
#[derive(Eq, PartialEq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// `Retry-After`, as a wait from now.
    pub retry_after: Option<Duration>,
    /// The first error's `code`.
    pub code: Option<String>,
    /// Its `title`.
    pub title: Option<String>,
    /// The tenant's id of the request.
    pub trace_id: Option<String>,
}

/// Prints the status only: the rest is text of the tenant.
impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal").field("status", &self.status).finish_non_exhaustive()
    }
}

/// A body of Qlik Cloud, of RFC 6749, or of a gateway that nests either. A field that is missing or of another type is skipped
/// on its own, so that it hides no other.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Body {
    errors: First,
    error: First,
    #[serde(rename = "traceId")]
    trace_id: Text,
}

/// One error: an object, the first of a list, or only a code.
#[derive(Default)]
struct First {
    code: Text,
    title: Text,
}

/// A text; any other type is ignored. It may repeat a secret, so it is wiped.
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
    /// From a response in Qlik's format, in that of RFC 6749, or in neither.
    pub fn read(answer: &Answer, secrets: &Secrets) -> Self {
        let Body { errors, error, trace_id } = serde_json::from_slice(answer.object()).unwrap_or_default();
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
            status: answer.status,
            retry_after: answer.retry_after,
            code: clean(&code, CODE_LIMIT, &word),
            title: clean(&title, TITLE_LIMIT, &printable),
            trace_id: clean(&trace_id, TRACE_LIMIT, &word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretSlice;

    fn refusal(body: &str, secrets: &Secrets) -> Refusal {
        let body = SecretSlice::from(body.as_bytes().to_vec());
        Refusal::read(&Answer { status: 401, date: None, retry_after: None, body }, secrets)
    }

    fn words(body: &str, secrets: &Secrets) -> [Option<String>; 3] {
        let Refusal { code, title, trace_id, .. } = refusal(body, secrets);
        [code, title, trace_id]
    }

    #[test]
    fn what_repeats_a_secret_or_is_not_plain_text_is_dropped_whole() {
        let secrets = Secrets::new().and("planted-secret-value");
        for body in [
            r#"{"errors":[{"title":"bad secret planted-secret-value","code":"planted-secret"}],"traceId":"ted-secret-val"}"#,
            "{\"errors\":[{\"title\":\"line\\nbreak\",\"code\":\"a b\"}],\"traceId\":\"<script>\"}",
        ] {
            assert_eq!(words(body, &secrets), [None, None, None], "{body}");
        }
        let long = format!(r#"{{"errors":[{{"title":"{}","code":"{}"}}]}}"#, "t".repeat(129), "c".repeat(65));
        assert_eq!(words(&long, &secrets), [None, None, None]);
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
            let refusal = refusal(body, &Secrets::new());
            assert_eq!((refusal.code.as_deref(), refusal.title.as_deref()), (code, title), "{body}");
        }
        let deep = format!(r#"{{"error":{}"x"{}}}"#, "[".repeat(5000), "]".repeat(5000));
        assert_eq!(words(&deep, &Secrets::new()), [None, None, None], "and nothing overflows");
    }

    #[test]
    fn a_refusal_prints_none_of_the_tenants_words() {
        let body = r#"{"errors":[{"title":"said of it","code":"OAUTH-5"}],"traceId":"e6f75ad8"}"#;
        let refusal = refusal(body, &Secrets::new());
        assert_eq!((refusal.title.as_deref(), refusal.trace_id.as_deref()), (Some("said of it"), Some("e6f75ad8")));
        assert_eq!(format!("{refusal:?}"), "Refusal { status: 401, .. }");
    }
}
