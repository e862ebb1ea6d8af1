//! Responses that replace the normal one.

use http::StatusCode;
use http::header::RETRY_AFTER;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Echoed;
use crate::tenant::clock::Clock;
use crate::tenant::reply::{QlikError, Reply};

/// The body of a faulty response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FaultBody {
    /// Qlik's `errors[]` and `traceId`.
    Qlik,
    /// `error` and `error_description` of RFC 6749 section 5.2.
    Rfc6749,
    /// An HTML page of a gateway.
    Html,
    /// An empty body.
    Empty,
    /// Truncated JSON.
    Truncated,
    /// A mebibyte of valid JSON.
    Huge,
    /// Bytes that are not text, with the content type of JSON.
    NotUtf8,
    /// Qlik's shape, with the credential and the whole request repeated in every field.
    Echo,
}

/// The `retry-after` of a 429.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RetryAfter {
    /// A number of seconds, the documented form.
    Seconds(u64),
    /// The HTTP date this many seconds from now.
    Date(u64),
    /// No header.
    Absent,
    /// Any text.
    Text(String),
}

impl RetryAfter {
    pub(super) fn answer(&self, errors: &QlikError, clock: &Clock) -> Reply {
        let (seconds, header) = match self {
            Self::Seconds(seconds) => (*seconds, Some(seconds.to_string())),
            Self::Date(seconds) => {
                let ahead = i64::try_from(*seconds).unwrap_or(i64::MAX);
                (*seconds, Some(clock.http_date(ahead)))
            }
            Self::Absent => (1, None),
            Self::Text(text) => (1, Some(text.clone())),
        };
        let detail = format!("You need to wait {seconds} seconds until limit is lifted.");
        let reply = errors.write(StatusCode::TOO_MANY_REQUESTS, "HTTP-429", "API rate limit reached.", Some(&detail));
        match header {
            Some(value) => reply.with(RETRY_AFTER, &value),
            None => reply,
        }
    }
}

impl FaultBody {
    pub(super) fn answer(self, status: StatusCode, errors: &QlikError, echoed: &Echoed<'_>) -> Reply {
        let code = format!("HTTP-{}", status.as_u16());
        let title = status.canonical_reason().unwrap_or("Error");
        match self {
            Self::Qlik => errors.write(status, &code, title, None),
            Self::Rfc6749 => {
                Reply::json(status, &json!({"error": rfc_name(status), "error_description": "As RFC 6749 has it."}))
            }
            Self::Html => {
                let heading = match status {
                    // The gateway's text for an API key without permission.
                    StatusCode::UNAUTHORIZED => "401 Authorization Required".to_owned(),
                    _ => format!("{} {title}", status.as_u16()),
                };
                let page = format!("<html><head><title>{heading}</title></head><body>{heading}</body></html>");
                Reply::new(status, "text/html", page)
            }
            Self::Empty => Reply::new(status, "application/json", ""),
            Self::Truncated if status.is_success() => {
                Reply::new(status, "application/json", r#"{"access_token":"eyJhbGciOiJFUzM4NCIs"#)
            }
            Self::Truncated => Reply::new(status, "application/json", r#"{"errors":[{"title":"Unauth"#),
            Self::Huge => errors.write(status, &code, title, Some(&"x".repeat(1 << 20))),
            Self::NotUtf8 => {
                Reply::new(status, "application/json", &b"{\"errors\":[{\"title\":\"\xff\xfe\xc3\x28\"}]}"[..])
            }
            Self::Echo => {
                let body = String::from_utf8_lossy(echoed.body);
                errors.write(status, echoed.credential, echoed.credential, Some(&body))
            }
        }
    }
}

fn rfc_name(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "invalid_client",
        StatusCode::FORBIDDEN => "access_denied",
        StatusCode::SERVICE_UNAVAILABLE => "temporarily_unavailable",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request",
    }
}
