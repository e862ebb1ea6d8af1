//! What a tenant's answer says of itself, reduced to what a user may see.
//!
//! Only the first error's `code` and `title` and the `traceId` are looked at, bounded, and dropped whole when they repeat a secret.
//! `detail`, `error_description` and the body itself go nowhere (<https://qlik.dev/apis/rest/oauth/>, RFC 6749 section 5.2).

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;

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

#[derive(Deserialize, Default)]
#[serde(default)]
struct Body {
    errors: Vec<QlikError>,
    error: Value,
    #[serde(rename = "traceId")]
    trace_id: Value,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct QlikError {
    code: Value,
    title: Value,
}

impl Refusal {
    /// Of a body in Qlik's shape, in that of RFC 6749, or in none.
    pub(super) fn read(body: &[u8], secrets: &Secrets) -> Self {
        let body: Body = serde_json::from_slice(body).unwrap_or_default();
        let first = body.errors.into_iter().next().unwrap_or_default();
        let word = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let printable = |c: char| (' '..='~').contains(&c);
        let clean = |value: &Value, limit: usize, allowed: &dyn Fn(char) -> bool| {
            let fits = |text: &&str| !text.is_empty() && text.len() <= limit && text.chars().all(allowed);
            value.as_str().filter(fits).filter(|text| !secrets.leak_in(text)).map(str::to_owned)
        };
        let code = if first.code.is_null() { &body.error } else { &first.code };
        Self {
            code: clean(code, CODE_LIMIT, &word),
            title: clean(&first.title, TITLE_LIMIT, &printable),
            trace_id: clean(&body.trace_id, TRACE_LIMIT, &word),
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
}
