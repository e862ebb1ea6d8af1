//! Every span of a trace, declared in one place: its name and its attributes, as docs/reference.md shows them.
//!
//! Spans are for the exporter of traces alone; the log does not show them. Attributes are names of objects, words from enums,
//! a tenant's host and the status of an answer. None holds a secret, the id of an OAuth client, a query or a message.

mod kubernetes;
mod tenant;

use tracing::{Span, field};

pub use self::kubernetes::{kubernetes, kubernetes_answered};
pub use self::tenant::Traced;
use crate::api::Kind;

/// The target of every span here, and of nothing else.
pub const TARGET: &str = "qlik_context_operator::spans";

/// One run for one object.
pub fn reconcile(kind: Kind, namespace: &str, name: &str) -> Span {
    let kind = match kind {
        Kind::Context => "QlikContext",
        Kind::OAuthClient => "QlikOAuthClient",
    };
    tracing::info_span!(
        target: TARGET,
        "reconcile",
        qlikcontext.kind = kind,
        qlikcontext.name = name,
        qlikcontext.outcome = field::Empty,
        k8s.namespace.name = namespace,
        otel.status_code = field::Empty,
    )
}

/// How the run ended, as the metrics count it.
pub fn ended(span: &Span, outcome: &'static str, failed: bool) {
    span.record("qlikcontext.outcome", outcome);
    if failed {
        span.record("otel.status_code", "ERROR");
    }
}

/// A status, and an error where it says so.
fn answered(span: &Span, status: u16) {
    span.record("http.response.status_code", status);
    if status >= 400 {
        span.record("error.type", field::display(status));
        span.record("otel.status_code", "ERROR");
    }
}

/// No answer came.
fn failed(span: &Span, error: &str) {
    span.record("error.type", error);
    span.record("otel.status_code", "ERROR");
}
