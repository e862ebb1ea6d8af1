//! A layer of the Kubernetes client that counts its requests, and measures and traces them up to the head of the answer.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use kube::client::Body;
use tokio::time::Instant;
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::Metrics;
use super::labels::RequestVerb;
use crate::health::Health;
use crate::spans;

/// Counts requests, and reports each watch that begins to the health check.
#[derive(Clone)]
pub struct CountRequests {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

impl CountRequests {
    /// Counts in `metrics`, reports to `health`.
    pub fn new(metrics: Arc<Metrics>, health: Arc<Health>) -> Self {
        Self { metrics, health }
    }
}

impl<S> Layer<S> for CountRequests {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, counts: self.clone() }
    }
}

/// A client whose requests are counted.
#[derive(Clone)]
pub struct Counted<S> {
    inner: S,
    counts: CountRequests,
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (path, query) = (request.uri().path(), request.uri().query());
        let verb = verb(request.method(), path, query);
        match verb {
            RequestVerb::watch => self.counts.health.watch_begun(objects(path, query)),
            RequestVerb::list => self.counts.health.listed(&objects(path, query)),
            _ => {}
        }
        let (metrics, begun) = (self.counts.metrics.clone(), Instant::now());
        let span = spans::kubernetes(verb.into(), path);
        let answer = self.inner.call(request).instrument(span.clone()).inspect(move |answer| {
            let code = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            spans::kubernetes_answered(&span, code);
            metrics.kubernetes_requested(verb, code, begun.elapsed());
        });
        answer.boxed()
    }
}

/// Which objects a list or a watch is of.
fn objects(path: &str, query: Option<&str>) -> String {
    let selector = query.into_iter().flat_map(|query| query.split('&')).find(|pair| pair.starts_with("labelSelector="));
    format!("{path}?{}", selector.unwrap_or_default())
}

/// The verb that the API server uses for a request.
fn verb(method: &Method, path: &str, query: Option<&str>) -> RequestVerb {
    match *method {
        Method::POST => RequestVerb::create,
        Method::PUT => RequestVerb::update,
        Method::PATCH => RequestVerb::patch,
        Method::DELETE => RequestVerb::delete,
        _ if query.is_some_and(|query| query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"))) => {
            RequestVerb::watch
        }
        _ if names_an_object(path) => RequestVerb::get,
        _ => RequestVerb::list,
    }
}

/// `/api/v1/…` or `/apis/GROUP/VERSION/…`, then perhaps a namespace, a resource and a name.
fn names_an_object(path: &str) -> bool {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let skipped = if parts.next() == Some("api") { 1 } else { 2 };
    let mut rest = parts.skip(skipped);
    match (rest.next(), rest.next(), rest.next()) {
        (Some("namespaces"), Some(_), Some(_)) => rest.next().is_some(),
        (_, name, _) => name.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_under_the_verb_that_the_api_server_would_use() {
        let secrets = "/api/v1/namespaces/a/secrets";
        let contexts = "/apis/qlikcontext.dev/v1alpha1";
        for (method, path, query, expected) in [
            (Method::GET, secrets.to_owned(), None, RequestVerb::list),
            (Method::GET, format!("{secrets}/b"), None, RequestVerb::get),
            (Method::GET, "/api/v1/secrets".into(), Some("limit=5"), RequestVerb::list),
            (Method::GET, "/api/v1/secrets".into(), Some("&watch=true&timeoutSeconds=290"), RequestVerb::watch),
            (Method::GET, "/api/v1/namespaces".into(), None, RequestVerb::list),
            (Method::GET, "/api/v1/namespaces/a".into(), None, RequestVerb::get),
            (Method::GET, format!("{contexts}/qlikcontexts"), Some("labelSelector=watch"), RequestVerb::list),
            (Method::GET, format!("{contexts}/namespaces/a/qlikcontexts"), None, RequestVerb::list),
            (Method::GET, format!("{contexts}/namespaces/a/qlikcontexts/b"), None, RequestVerb::get),
            (Method::PATCH, format!("{contexts}/namespaces/a/qlikcontexts/b/status"), None, RequestVerb::patch),
            (Method::POST, secrets.to_owned(), None, RequestVerb::create),
            (Method::PUT, format!("{secrets}/b"), None, RequestVerb::update),
            (Method::DELETE, format!("{secrets}/b"), None, RequestVerb::delete),
        ] {
            assert_eq!(verb(&method, &path, query), expected, "{method} {path}?{query:?}");
        }
    }
}
