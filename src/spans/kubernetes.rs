//! A span for each request to the Kubernetes API, up to the head of the answer.

use tracing::{Span, field};

use super::{TARGET, answered, failed};

/// A request. `verb`: as the API server calls it.
pub fn kubernetes(verb: &'static str, path: &str) -> Span {
    let (namespace, resource) = resource(path);
    tracing::info_span!(
        target: TARGET,
        "kubernetes",
        otel.name = format!("{verb} {resource}"),
        otel.kind = "client",
        k8s.namespace.name = namespace,
        kubernetes.verb = verb,
        kubernetes.resource = resource,
        http.response.status_code = field::Empty,
        "error.type" = field::Empty,
        otel.status_code = field::Empty,
    )
}

/// The status of its answer, if there was one.
pub fn kubernetes_answered(span: &Span, code: Option<u16>) {
    match code {
        Some(code) => answered(span, code),
        None => failed(span, "connection"),
    }
}

/// Namespace and resource in `/api/v1/…` or `/apis/GROUP/VERSION/…`. The rest of the path is not recorded.
fn resource(path: &str) -> (Option<&str>, &str) {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let skipped = if parts.next() == Some("api") { 1 } else { 2 };
    let mut rest = parts.skip(skipped);
    match (rest.next(), rest.next(), rest.next()) {
        (Some("namespaces"), namespace, Some(resource)) => (namespace, resource),
        (resource, ..) => (None, resource.unwrap_or("other")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_and_resource_are_those_of_the_path() {
        let contexts = "/apis/qlikcontext.dev/v1alpha1";
        for (path, namespace, expected) in [
            ("/api/v1/namespaces/a/secrets/b".to_owned(), Some("a"), "secrets"),
            ("/api/v1/secrets".into(), None, "secrets"),
            ("/api/v1/namespaces".into(), None, "namespaces"),
            ("/version".into(), None, "other"),
            (format!("{contexts}/qlikcontexts"), None, "qlikcontexts"),
            (format!("{contexts}/namespaces/a/qlikcontexts/b/status"), Some("a"), "qlikcontexts"),
        ] {
            assert_eq!(resource(&path), (namespace, expected), "{path}");
        }
    }
}
