//! The status of a context as a document, and as text.

use k8s_openapi::jiff::Timestamp;
use qlik_context_operator::api::QlikContext;
use serde::Serialize;

use super::events::{self, Event};
use super::readers::{Reader, State};
use super::summary::Summary;
use crate::age;
use crate::screen::{self, RED, YELLOW};

/// The document that `-o json` prints; the names of its fields are stable.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    #[serde(flatten)]
    pub summary: Summary,
    pub tenant_url: String,
    pub identity: Option<serde_json::Value>,
    pub secret: String,
    pub token: Token,
    /// Nothing when they could not be read.
    pub pods: Option<Vec<Reader>>,
    pub events: Option<Vec<Event>>,
}

/// The token's times.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    pub issued_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub renewal_time: Option<Timestamp>,
    pub scopes: Vec<String>,
}

impl Report {
    /// The part that comes from the context itself.
    pub fn new(context: &QlikContext) -> Self {
        let status = context.status.clone().unwrap_or_default();
        let token = status.token.unwrap_or_default();
        Self {
            summary: Summary::new(context, status.failure.as_ref()),
            tenant_url: screen::harmless(&context.spec.tenant_url),
            identity: crate::whoami::identity(context).ok(),
            secret: context.target_name(),
            token: Token {
                issued_at: token.issued_at.map(|time| time.0),
                expires_at: token.expires_at.map(|time| time.0),
                renewal_time: token.renewal_time.map(|time| time.0),
                scopes: token.scopes.unwrap_or_default(),
            },
            pods: None,
            events: None,
        }
    }

    /// For people.
    pub fn show(&self, now: Timestamp) {
        self.summary.show_name();
        screen::labelled("  Tenant    ", &self.tenant_url);
        self.summary.show_readiness();
        if let Some(identity) = &self.identity {
            let part = |key: &str| screen::harmless(identity[key].as_str().unwrap_or_default());
            screen::labelled("  Acts as   ", &format!("{} ({})", part("name"), part("subject")));
        }
        screen::labelled("  Token     ", &self.times(now));
        self.summary.show_attempts(now);
        self.summary.show_stages();
        self.show_pods(now);
        events::show(self.events.as_deref(), now);
        self.summary.show_unknown();
    }

    fn times(&self, now: Timestamp) -> String {
        let Token { issued_at, expires_at, renewal_time, .. } = &self.token;
        let Some(issued) = issued_at else {
            return format!("none yet in Secret {}", self.secret);
        };
        let mut parts = vec![format!("in Secret {}, issued {}", self.secret, age::relative(*issued, now))];
        parts.push(match expires_at {
            Some(end) if age::left(*end, now).is_none() => format!("{RED}expired {}{RED:#}", age::relative(*end, now)),
            Some(end) => format!("expires {}", age::relative(*end, now)),
            None => "an API key: when it expires, only the tenant knows".into(),
        });
        if let Some(renewal) = renewal_time.filter(|_| !self.summary.suspended) {
            let left = age::left(renewal, now).map(age::span);
            parts.push(left.map_or("renewal is due".into(), |left| format!("renewed in {left}")));
        }
        parts.join(", ")
    }

    fn show_pods(&self, now: Timestamp) {
        screen::heading(&format!("Pods that read Secret {}", self.secret));
        let pods = match self.pods.as_deref() {
            None => return screen::result("  unknown"),
            Some([]) => return screen::result("  none"),
            Some(pods) => pods,
        };
        let rows = pods.iter().map(|reader| {
            let since = reader.started_at.map_or("-".into(), |time| age::since(time, now));
            let has = match reader.state {
                State::Follows => "the new token within two minutes",
                State::Current => "the current token, but not the next",
                State::Stale => "an old token: restart it",
                State::NotRunning => "nothing: it does not run",
            };
            let place = screen::harmless(&reader.place);
            vec![
                format!("  {}", reader.pod),
                reader.container.clone(),
                format!("{} {place}", reader.source),
                has.into(),
                since,
            ]
        });
        screen::folded_table(&["  POD", "CONTAINER", "READS", "HAS", "STARTED"], rows.collect());
        let stale = pods.iter().filter(|reader| reader.state == State::Stale).count();
        if stale > 0 {
            screen::note(&format!(
                "\n{YELLOW}!{YELLOW:#} {stale} of these got the token when they started and never see a new one. Restart them \
                 (kubectl rollout restart), and mount the Secret as a volume, without subPath."
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_context_without_a_status_says_so() {
        let context: QlikContext = serde_json::from_value(json!({
            "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext",
            "metadata": {"name": "acme", "namespace": "demo", "generation": 1},
            "spec": {"tenantUrl": "https://acme.eu.qlikcloud.com", "auth": {}}, "status": {"observedGeneration": -1}
        }))
        .expect("a context");
        let report = Report::new(&context);
        let summary = report.summary;
        assert!(!summary.ready && summary.outdated && summary.readiness().contains("has not processed it yet"));
        assert_eq!(summary.stages.len(), 4);
    }
}
