//! A span for each request to a tenant.

use futures::future::BoxFuture;
use tracing::{Instrument as _, Span, field};

use super::{TARGET, answered, failed};
use crate::oauth::transport::{Answer, Request, Transport, TransportFailure};

/// A transport whose requests are traced.
pub struct Traced<T>(pub T);

impl<T: Transport> Transport for Traced<T> {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Answer, TransportFailure>> {
        let span = span(&request);
        let recorded = span.clone();
        let answer = async move {
            let answer = self.0.send(request).await;
            match &answer {
                Ok(answer) => answered(&recorded, answer.status),
                Err(failure) => failed(&recorded, &format!("{failure:?}")),
            }
            answer
        };
        Box::pin(answer.instrument(span))
    }
}

fn span(request: &Request) -> Span {
    let (method, template) = (request.method, template(&request.path));
    tracing::info_span!(
        target: TARGET,
        "tenant",
        otel.name = format!("{method} {template}"),
        otel.kind = "client",
        http.request.method = %method,
        url.template = template,
        server.address = %request.tenant.host(),
        server.port = request.tenant.port(),
        http.response.status_code = field::Empty,
        "error.type" = field::Empty,
        otel.status_code = field::Empty,
    )
}

/// A path without its query, and without the ids in it, which may come from a Secret.
fn template(path: &str) -> &'static str {
    let parts: Vec<_> = path.split(['?', '#']).next().unwrap_or_default().split('/').skip(1).collect();
    match parts[..] {
        ["oauth", "token"] => "/oauth/token",
        ["api", "v1", "users", "me"] => "/api/v1/users/me",
        ["api", "v1", "oauth-clients"] => "/api/v1/oauth-clients",
        ["api", "v1", "oauth-clients", _] => "/api/v1/oauth-clients/{id}",
        ["api", "v1", "oauth-clients", _, "client-secrets"] => "/api/v1/oauth-clients/{id}/client-secrets",
        ["api", "v1", "oauth-clients", _, "client-secrets", _] => "/api/v1/oauth-clients/{id}/client-secrets/{hint}",
        ["api", "v1", "oauth-clients", _, "connection-configs", "me"] => {
            "/api/v1/oauth-clients/{id}/connection-configs/me"
        }
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_recorded_without_its_query_and_without_ids() {
        for (path, expected) in [
            ("/oauth/token", "/oauth/token"),
            ("/api/v1/users/me", "/api/v1/users/me"),
            ("/api/v1/oauth-clients?limit=100&filter=planted", "/api/v1/oauth-clients"),
            ("/api/v1/oauth-clients/planted", "/api/v1/oauth-clients/{id}"),
            (
                "/api/v1/oauth-clients/planted/client-secrets/planted",
                "/api/v1/oauth-clients/{id}/client-secrets/{hint}",
            ),
            ("/planted", "other"),
        ] {
            assert_eq!(template(path), expected, "{path}");
        }
    }
}
