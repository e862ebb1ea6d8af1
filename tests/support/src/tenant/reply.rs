//! The tenant's response, and how it is delivered.
//!
//! A reply is complete when it is created. Its pacing is applied at the delivery, over TLS or in
//! memory on virtual time.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ledger::InFlight;
use super::refusal::Refused;

/// How a response is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Pacing {
    /// At once and complete.
    #[default]
    AtOnce,
    /// Complete, after a delay.
    Late {
        /// Milliseconds before the first byte.
        millis: u64,
    },
    /// Headers are never sent. The connection stays open.
    Silent,
    /// Headers at once, the body in small pieces.
    Trickle {
        /// Bytes of a piece.
        bytes: usize,
        /// Milliseconds before each piece.
        millis: u64,
    },
    /// Headers at once, then an endless body.
    Endless,
    /// Headers and a part of the body, then a connection reset.
    Reset {
        /// Bytes of the body that are sent.
        after: usize,
    },
    /// The connection closes without a response.
    Hangup,
}

/// A response.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The complete body.
    pub body: Bytes,
    /// The pacing.
    pub pacing: Pacing,
    /// Counts the request as in flight until the reply is delivered and dropped.
    pub(super) in_flight: Option<InFlight>,
}

impl Reply {
    pub(super) fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self { status, headers, body: body.into(), pacing: Pacing::AtOnce, in_flight: None }
    }

    pub(super) fn json(status: StatusCode, document: &Value) -> Self {
        Self::new(status, "application/json", document.to_string())
    }

    /// A redirect as documented for the users API, with a body of HTML.
    pub(super) fn redirect(status: StatusCode, location: &str) -> Self {
        let page = "<html><body>Successful redirect</body></html>";
        Self::new(status, "text/html; charset=utf-8", page).with(LOCATION, location)
    }

    /// The reply with an additional header. An invalid value is omitted.
    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }
}

/// The format of `errors[].status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StatusForm {
    /// `"401"`, as in the samples of the token endpoint.
    #[default]
    Text,
    /// `401`, as documented for the users API.
    Number,
}

/// Writes errors in Qlik's shape.
pub(super) struct QlikError {
    pub(super) form: StatusForm,
    pub(super) trace_id: String,
}

impl QlikError {
    pub(super) fn refuse(&self, refused: Refused) -> Reply {
        let Refused { refusal, detail, wait } = refused;
        let detail_text = wait.map(|seconds| format!("You need to wait {seconds} seconds until limit is lifted."));
        let reply = self.write(refusal.status(), refusal.code(), refusal.title(), detail_text.as_deref().or(detail));
        match wait {
            Some(seconds) => reply.with(RETRY_AFTER, &seconds.to_string()),
            None => reply,
        }
    }

    pub(super) fn write(&self, status: StatusCode, code: &str, title: &str, detail: Option<&str>) -> Reply {
        let number = match self.form {
            StatusForm::Text => json!(status.as_str()),
            StatusForm::Number => json!(status.as_u16()),
        };
        let mut error = json!({"title": title, "code": code, "status": number});
        if let Some(detail) = detail {
            error["detail"] = json!(detail);
        }
        Reply::json(status, &json!({"errors": [error], "traceId": self.trace_id}))
    }
}
