//! The status of a QlikOAuthClient as a document, and as people read it.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use qlik_context_operator::api::{ConditionType, QlikContext, QlikOAuthClient};
use serde::Serialize;

use super::events::{self, Event};
use super::summary::Summary;
use crate::screen::{self, GREEN, RED};
use crate::{age, object};

/// The document that `-o json` prints; the names of its fields are stable.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientReport {
    #[serde(flatten)]
    pub summary: Summary,
    pub admin_context: String,
    pub client_id: Option<String>,
    pub secret: String,
    pub credential: Credential,
    /// Credentials that were replaced and still work.
    pub previous: Vec<Previous>,
    /// The QlikContexts that read the Secret; nothing when they could not be read.
    pub contexts: Option<Vec<Reader>>,
    pub events: Option<Vec<Event>>,
}

/// The credential in the Secret. Never holds the credential itself.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Credential {
    pub issued_at: Option<Timestamp>,
    pub hint: Option<String>,
    pub rotation_time: Option<Timestamp>,
}

/// One that was replaced.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Previous {
    pub hint: String,
    pub removal_time: Timestamp,
}

/// A QlikContext that reads the Secret.
#[derive(Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reader {
    pub name: String,
    pub ready: bool,
    pub reason: Option<String>,
}

impl ClientReport {
    /// The part that comes from the object itself.
    pub fn new(client: &QlikOAuthClient) -> Self {
        let status = client.status.clone().unwrap_or_default();
        let secret = status.secret.unwrap_or_default();
        let previous = status.previous.into_iter();
        Self {
            summary: Summary::new(client, status.failure.as_ref()),
            admin_context: client.spec.admin_context_ref.name.clone(),
            client_id: status.client_id.map(|id| screen::harmless(&id)),
            secret: client.secret_name(),
            credential: Credential {
                issued_at: secret.issued_at.map(|time| time.0),
                hint: secret.hint.map(|hint| screen::harmless(&hint)),
                rotation_time: status.rotation_time.map(|time| time.0),
            },
            previous: previous
                .map(|old| Previous { hint: screen::harmless(&old.hint), removal_time: old.removal_time.0 })
                .collect(),
            contexts: None,
            events: None,
        }
    }

    /// For people.
    pub fn show(&self, now: Timestamp) {
        self.summary.show_name();
        screen::labelled("  Made by   ", &format!("QlikContext {}", self.admin_context));
        self.summary.show_readiness();
        screen::labelled("  Client    ", self.client_id.as_deref().unwrap_or("not known yet"));
        screen::labelled("  Secret    ", &self.times(now));
        for old in &self.previous {
            let removed = age::relative(old.removal_time, now);
            screen::labelled("  Before    ", &format!("{}, works until it is removed {removed}", old.hint));
        }
        self.summary.show_attempts(now);
        self.summary.show_stages();
        self.show_contexts();
        events::show(self.events.as_deref(), now);
        self.summary.show_unknown();
    }

    fn times(&self, now: Timestamp) -> String {
        let Credential { issued_at, hint, rotation_time } = &self.credential;
        let Some(issued) = issued_at else {
            return format!("{}, without a credential yet", self.secret);
        };
        let hint = hint.as_ref().map(|hint| format!(" {hint}")).unwrap_or_default();
        let rotated = match rotation_time.filter(|_| !self.summary.suspended) {
            Some(time) => {
                age::left(time, now).map_or("rotation is due".into(), |left| format!("rotated in {}", age::span(left)))
            }
            None => "rotated on request".to_owned(),
        };
        format!("{} with credential{hint}, issued {}, {rotated}", self.secret, age::relative(*issued, now))
    }

    fn show_contexts(&self) {
        screen::heading(&format!("QlikContexts that read Secret {}", self.secret));
        let contexts = match self.contexts.as_deref() {
            None => return screen::result("  unknown"),
            Some([]) => return screen::result("  none"),
            Some(contexts) => contexts,
        };
        for reader in contexts {
            let mark = if reader.ready { format!("{GREEN}✓{GREEN:#}") } else { format!("{RED}✗{RED:#}") };
            let reason = reader.reason.as_deref().unwrap_or("not processed yet");
            screen::labelled(&format!("  {mark} "), &format!("{}: {reason}", reader.name));
        }
    }
}

/// Those of the contexts whose credential is in this Secret.
pub fn readers(contexts: &[QlikContext], secret: &str) -> Vec<Reader> {
    let reading = contexts.iter().filter(|context| context.credential_name() == Some(secret));
    let reader = |context: &QlikContext| {
        let ready = object::condition(context, ConditionType::Ready);
        Reader {
            name: context.name_any(),
            ready: object::is_ready(context),
            reason: ready.map(|ready| screen::harmless(&ready.reason)),
        }
    };
    reading.map(reader).collect()
}
