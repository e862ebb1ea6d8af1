//! What the tenant answers, and how it hands the answer over.
//!
//! A reply is complete the moment it exists; its pacing is carried out by whoever delivers it, over
//! TLS or in memory on virtual time.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ledger::InFlight;
use super::refusal::Refused;

/// How an answer reaches the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Pacing {
    /// At once and whole.
    #[default]
    AtOnce,
    /// Whole, but this late.
    Late {
        /// Milliseconds before the first byte.
        millis: u64,
    },
    /// Headers never come; the connection stays open.
    Silent,
    /// Headers at once, the body in drops.
    Trickle {
        /// Bytes in a drop.
        bytes: usize,
        /// Milliseconds before each drop.
        millis: u64,
    },
    /// Headers at once, then a body without end.
    Endless,
    /// Headers and this much of the body, then a connection reset.
    Reset {
        /// Bytes of the body that are sent.
        after: usize,
    },
    /// The connection closes without a byte of an answer.
    Hangup,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// How to deliver it.
    pub pacing: Pacing,
    /// Keeps the request counted as in flight until the reply is delivered and dropped.
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

    /// A redirect as the users API documents it: HTML that nobody reads.
    pub(super) fn redirect(status: StatusCode, location: &str) -> Self {
        let page = "<html><body>Successful redirect</body></html>";
        Self::new(status, "text/html; charset=utf-8", page).with(LOCATION, location)
    }

    /// The reply with one more header; a value that no header may carry is left out.
    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }
}

/// How `errors[].status` is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StatusForm {
    /// `"401"`, as samples of the token endpoint have it.
    #[default]
    Text,
    /// `401`, as the users API documents it.
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
        let told = wait.map(|seconds| format!("You need to wait {seconds} seconds until limit is lifted."));
        let reply = self.write(refusal.status(), refusal.code(), refusal.title(), told.as_deref().or(detail));
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
