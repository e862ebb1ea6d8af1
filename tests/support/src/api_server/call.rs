//! A request as the API server reads it: verb, resource, name, parameters.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request};
use kube::client::Body;
use serde_json::Value;

use super::form::Form;
use super::kind::Kind;
use super::refusal::Refusal;

/// A verb in terms of RBAC.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Verb {
    /// One object.
    Get,
    /// Many.
    List,
    /// What changes.
    Watch,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// Server-side apply and merge patches.
    Patch,
    /// One object.
    Delete,
    /// Many at once, which this server refuses.
    DeleteCollection,
}

impl fmt::Display for Verb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", format!("{self:?}").to_lowercase())
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    /// What is done.
    pub verb: Verb,
    /// To which kind.
    pub kind: Kind,
    /// `status`, or nothing.
    pub subresource: Option<String>,
    /// Where; none for all namespaces and for namespaces themselves.
    pub namespace: Option<String>,
    /// To which object; none for many.
    pub name: Option<String>,
    /// `fieldManager`, or what the server makes of the user agent.
    pub field_manager: String,
    /// How objects are to be sent.
    pub form: Form,
    /// The query's parameters.
    pub parameters: BTreeMap<String, String>,
    /// The `Content-Type`.
    pub content_type: String,
    /// The body, as it came.
    pub body: Bytes,
}

impl Call {
    /// Reads a request; the inner refusal is for one that is nothing this server serves.
    pub(super) async fn read(request: Request<Body>) -> anyhow::Result<Result<Self, Refusal>> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.context("the request's body broke off")?;
        let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let query = parts.uri.query().unwrap_or_default();
        let parameters: BTreeMap<_, _> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let path: Vec<_> = parts.uri.path().split('/').filter(|segment| !segment.is_empty()).collect();
        let is_watch = parameters.get("watch").is_some_and(|value| value == "true" || value == "1");
        let Some(place) = Place::read(&path) else { return Ok(Err(Refusal::unknown_path())) };
        let verb = match (&parts.method, place.name.is_some()) {
            (&Method::GET, true) => Verb::Get,
            (&Method::GET, false) if is_watch => Verb::Watch,
            (&Method::GET, false) => Verb::List,
            (&Method::POST, false) => Verb::Create,
            (&Method::PUT, true) => Verb::Update,
            (&Method::PATCH, true) => Verb::Patch,
            (&Method::DELETE, true) => Verb::Delete,
            (&Method::DELETE, false) => Verb::DeleteCollection,
            _ => return Ok(Err(not_allowed())),
        };
        let agent = header("user-agent").split('/').next().filter(|agent| !agent.is_empty()).unwrap_or("unknown");
        let field_manager = parameters.get("fieldManager").cloned().unwrap_or_else(|| agent.to_owned());
        let metadata = header("accept").contains("PartialObjectMetadata");
        Ok(Ok(Self {
            verb,
            kind: place.kind,
            subresource: place.subresource,
            namespace: place.namespace,
            name: place.name,
            field_manager,
            form: if metadata { Form::Metadata } else { Form::Full },
            parameters,
            content_type: header("content-type").split(';').next().unwrap_or_default().trim().to_owned(),
            body,
        }))
    }

    /// The body as JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.parameter(name), Some("true" | "1"))
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.parameter(name).and_then(|value| value.parse().ok())
    }

    pub(super) fn timeout(&self) -> Option<Duration> {
        self.number("timeoutSeconds").map(Duration::from_secs)
    }
}

pub(super) fn not_allowed() -> Refusal {
    Refusal::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
}

/// What a URL points at.
struct Place {
    kind: Kind,
    namespace: Option<String>,
    name: Option<String>,
    subresource: Option<String>,
}

impl Place {
    fn read(path: &[&str]) -> Option<Self> {
        let (api_version, rest) = match path {
            ["api", version, rest @ ..] => ((*version).to_owned(), rest),
            ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
            _ => return None,
        };
        let find = |plural: &str| Kind::find(&api_version, |kind| kind.plural() == plural);
        let (namespace, plural, rest) = match rest {
            ["namespaces", namespace, plural, rest @ ..] if find(plural).is_some_and(Kind::is_namespaced) => {
                (Some((*namespace).to_owned()), plural, rest)
            }
            [plural, rest @ ..] => (None, plural, rest),
            [] => return None,
        };
        let kind = find(plural)?;
        let (name, subresource) = match rest {
            [] => (None, None),
            [name] => (Some((*name).to_owned()), None),
            [name, "status"] if kind.is_custom() => (Some((*name).to_owned()), Some("status".to_owned())),
            _ => return None,
        };
        // An object of a namespaced kind has a namespace.
        (name.is_none() || namespace.is_some() == kind.is_namespaced()).then_some(Self {
            kind,
            namespace,
            name,
            subresource,
        })
    }
}
