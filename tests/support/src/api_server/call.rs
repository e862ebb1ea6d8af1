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
    /// Many objects.
    List,
    /// Changes.
    Watch,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// Server-side apply and merge patches.
    Patch,
    /// One object.
    Delete,
    /// Many objects at once, which this server rejects.
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
    /// The verb.
    pub verb: Verb,
    /// The kind of the object.
    pub kind: Kind,
    /// `status`, or `None`.
    pub subresource: Option<String>,
    /// The namespace; `None` for all namespaces and for Namespace objects.
    pub namespace: Option<String>,
    /// The name of the object; `None` for a request about many.
    pub name: Option<String>,
    /// `fieldManager`, or the name that the server derives from the user agent.
    pub field_manager: String,
    /// The form of the objects in the response.
    pub form: Form,
    /// The query's parameters.
    pub parameters: BTreeMap<String, String>,
    /// The `Content-Type`.
    pub content_type: String,
    /// The raw body.
    pub body: Bytes,
}

impl Call {
    /// Parses a request. The inner error is for one that this server does not serve.
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

/// The parts of a URL.
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
        // The name of an object of a namespaced kind follows its namespace.
        (name.is_none() || namespace.is_some() == kind.is_namespaced()).then_some(Self {
            kind,
            namespace,
            name,
            subresource,
        })
    }
}
