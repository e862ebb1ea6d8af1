//! The status of a context as a document, and as text.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use qlik_context_operator::api::{ConditionType, QlikContext};
use serde::Serialize;

use super::events::Event;
use super::readers::{Reader, State};
use crate::screen::{self, BOLD, GREEN, RED, YELLOW};
use crate::{age, context};

/// The document that `-o json` prints; the names of its fields are stable.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub name: String,
    pub namespace: String,
    pub tenant_url: String,
    pub ready: bool,
    pub reason: Option<String>,
    pub message: Option<String>,
    /// The status is not about the present spec yet.
    pub outdated: bool,
    pub suspended: bool,
    pub stages: Vec<Stage>,
    pub identity: Option<serde_json::Value>,
    pub secret: String,
    pub token: Token,
    pub failure: Option<Failure>,
    pub pods: Vec<Reader>,
    pub events: Vec<Event>,
    /// Parts that could not be read, and why.
    pub unknown: Vec<String>,
}

/// A step on the way to a token.
#[derive(Debug, Serialize)]
pub struct Stage {
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False`, or `None` when it was not reached.
    pub status: Option<String>,
    pub reason: Option<String>,
    pub message: Option<String>,
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

/// The present failure.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    pub reason: String,
    pub attempts: i32,
    pub next_attempt_time: Option<Timestamp>,
    pub trace_id: Option<String>,
}

impl Report {
    /// The part that comes from the context itself.
    pub fn new(context: &QlikContext) -> Self {
        let status = context.status.clone().unwrap_or_default();
        let ready = context::condition(context, ConditionType::Ready);
        let text = |text: &String| screen::harmless(text);
        let stages = context::STAGES.into_iter().map(|stage| {
            let condition = context::condition(context, stage);
            Stage {
                kind: stage.to_string(),
                status: condition.map(|condition| text(&condition.status)),
                reason: condition.map(|condition| text(&condition.reason)),
                message: condition.map(|condition| text(&condition.message)),
            }
        });
        let token = status.token.unwrap_or_default();
        Self {
            name: context.name_any(),
            namespace: context.namespace().unwrap_or_default(),
            tenant_url: screen::harmless(&context.spec.tenant_url),
            ready: context::is_ready(context),
            reason: ready.map(|ready| text(&ready.reason)),
            message: ready.map(|ready| text(&ready.message)),
            outdated: !context::is_current(context),
            suspended: context.spec.suspend == Some(true),
            stages: stages.collect(),
            identity: crate::whoami::identity(context).ok(),
            secret: context.target_name(),
            token: Token {
                issued_at: token.issued_at.map(|time| time.0),
                expires_at: token.expires_at.map(|time| time.0),
                renewal_time: token.renewal_time.map(|time| time.0),
                scopes: token.scopes.unwrap_or_default(),
            },
            failure: status.failure.map(|failure| Failure {
                reason: failure.reason,
                attempts: failure.count,
                next_attempt_time: failure.next_attempt_time.map(|time| time.0),
                trace_id: failure.trace_id.as_ref().map(text),
            }),
            pods: Vec::new(),
            events: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// For people.
    pub fn show(&self, now: Timestamp) {
        screen::result(&format!("{BOLD}{}{BOLD:#} in namespace {}", self.name, self.namespace));
        screen::labelled("  Tenant    ", &self.tenant_url);
        screen::labelled("  Ready     ", &self.readiness());
        if let Some(identity) = &self.identity {
            let part = |key: &str| screen::harmless(identity[key].as_str().unwrap_or_default());
            screen::labelled("  Acts as   ", &format!("{} ({})", part("name"), part("subject")));
        }
        screen::labelled("  Token     ", &self.times(now));
        if let Some(failure) = &self.failure {
            screen::labelled("  Attempts  ", &attempts(failure, now));
        }
        self.show_stages();
        self.show_pods(now);
        self.show_events(now);
        for unknown in &self.unknown {
            screen::note(&format!("\n{YELLOW}!{YELLOW:#} {unknown}."));
        }
    }

    fn readiness(&self) -> String {
        let reason = self.reason.as_deref();
        let mark = if self.ready { format!("{GREEN}✓{GREEN:#} ") } else { format!("{RED}✗{RED:#} ") };
        match (reason, &self.message) {
            _ if self.outdated && reason.is_none() => format!(
                "{YELLOW}…{YELLOW:#} The operator has not processed it yet. If that lasts, `kubectl qlik doctor` shows whether it runs."
            ),
            (Some(reason), Some(message)) => {
                let outdated = if self.outdated { " (This speaks of the spec before the last change.)" } else { "" };
                format!("{mark}{reason}: {message}{outdated}")
            }
            _ => format!("{mark}there is no condition yet"),
        }
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
        if let Some(renewal) = renewal_time.filter(|_| !self.suspended) {
            let left = age::left(renewal, now).map(age::span);
            parts.push(left.map_or("renewal is due".into(), |left| format!("renewed in {left}")));
        }
        parts.join(", ")
    }

    fn show_stages(&self) {
        screen::heading("Stages");
        for stage in &self.stages {
            let label = format!("{:22}", stage.kind);
            match (stage.status.as_deref(), &stage.reason, &stage.message) {
                (Some("True"), _, Some(message)) => screen::labelled(&format!("  {GREEN}✓{GREEN:#} {label}"), message),
                // The message of `Ready` is above already.
                (Some(_), Some(reason), message) if *message == self.message => {
                    screen::labelled(&format!("  {RED}✗{RED:#} {label}"), reason);
                }
                (Some(_), Some(reason), Some(message)) => {
                    screen::labelled(&format!("  {RED}✗{RED:#} {label}"), &format!("{reason}: {message}"));
                }
                _ => screen::labelled(&format!("  - {label}"), "not reached"),
            }
        }
    }

    fn show_pods(&self, now: Timestamp) {
        screen::heading(&format!("Pods that read Secret {}", self.secret));
        if self.pods.is_empty() {
            screen::result("  none");
            return;
        }
        let rows = self.pods.iter().map(|reader| {
            let since = reader.started_at.map_or("-".into(), |time| age::since(time, now));
            let has = match reader.state {
                State::Follows => "the new token within about a minute",
                State::Current => "the current token, but not the next",
                State::Stale => "an old token: restart it",
                State::NotRunning => "nothing: it does not run",
            };
            let place = screen::harmless(&reader.place);
            vec![
                format!("  {}", reader.pod),
                reader.container.clone(),
                format!("{} {place}", reader.way),
                has.into(),
                since,
            ]
        });
        screen::folded_table(&["  POD", "CONTAINER", "READS", "HAS", "STARTED"], rows.collect());
        let stale = self.pods.iter().filter(|reader| reader.state == State::Stale).count();
        if stale > 0 {
            screen::note(&format!(
                "\n{YELLOW}!{YELLOW:#} {stale} of these got the token when they started and never see a new one. Restart them \
                 (kubectl rollout restart), and mount the Secret as a volume, without subPath."
            ));
        }
    }

    fn show_events(&self, now: Timestamp) {
        screen::heading("Events");
        if self.events.is_empty() {
            screen::result("  none (Kubernetes keeps them for an hour)");
            return;
        }
        let rows = self.events.iter().map(|event| {
            let seen = event.last_seen.map_or("-".into(), |time| age::since(time, now));
            vec![format!("  {}", event.kind), event.reason.clone(), seen, event.message.clone()]
        });
        screen::folded_table(&["  TYPE", "REASON", "AGE", "MESSAGE"], rows.collect());
    }
}

fn attempts(failure: &Failure, now: Timestamp) -> String {
    let next = failure.next_attempt_time.and_then(|time| age::left(time, now));
    let next = next.map_or(String::new(), |left| format!(", the next in {}", age::span(left)));
    let trace = failure.trace_id.as_ref().map(|id| format!("; trace id for Qlik's support: {id}"));
    format!("{} failed in a row{next}{}", failure.attempts, trace.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_context_that_nobody_looked_at_says_so() {
        let context: QlikContext = serde_json::from_value(json!({
            "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext",
            "metadata": {"name": "acme", "namespace": "demo", "generation": 1},
            "spec": {"tenantUrl": "https://acme.eu.qlikcloud.com", "auth": {}}, "status": {"observedGeneration": -1}
        }))
        .expect("a context");
        let report = Report::new(&context);
        assert!(!report.ready && report.outdated && report.readiness().contains("has not processed it yet"));
        assert_eq!(report.stages.len(), 4);
    }
}
