//! The part of a status that both kinds have: readiness, stages, the failure at hand.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use qlik_context_operator::api::ConditionType;
use qlik_context_operator::api::v1alpha1::FailureStatus;
use serde::Serialize;

use crate::age;
use crate::object::{self, Reconciled};
use crate::screen::{self, BOLD, GREEN, RED, YELLOW};

/// The beginning of the document that `-o json` prints; the names of its fields are stable.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub name: String,
    pub namespace: String,
    pub ready: bool,
    pub reason: Option<String>,
    pub message: Option<String>,
    /// The status does not speak of the present spec yet.
    pub outdated: bool,
    pub suspended: bool,
    pub stages: Vec<Stage>,
    pub failure: Option<Failure>,
    /// Parts that could not be read, and why.
    pub unknown: Vec<String>,
}

/// A step on the way to what is wished.
#[derive(Debug, Serialize)]
pub struct Stage {
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False`, or nothing when it was not reached.
    pub status: Option<String>,
    pub reason: Option<String>,
    pub message: Option<String>,
}

/// The failure at hand.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    pub reason: String,
    pub attempts: i32,
    pub next_attempt_time: Option<Timestamp>,
    pub trace_id: Option<String>,
}

impl Summary {
    /// Of an object and the failure in its status.
    pub fn new<K: Reconciled>(object: &K, failure: Option<&FailureStatus>) -> Self {
        let text = |text: &String| screen::harmless(text);
        let ready = object::condition(object, ConditionType::Ready);
        let stages = K::STAGES.iter().map(|stage| {
            let condition = object::condition(object, *stage);
            Stage {
                kind: stage.to_string(),
                status: condition.map(|condition| text(&condition.status)),
                reason: condition.map(|condition| text(&condition.reason)),
                message: condition.map(|condition| text(&condition.message)),
            }
        });
        Self {
            name: object.name_any(),
            namespace: object.namespace().unwrap_or_default(),
            ready: object::is_ready(object),
            reason: ready.map(|ready| text(&ready.reason)),
            message: ready.map(|ready| text(&ready.message)),
            outdated: !object::is_current(object),
            suspended: object.is_suspended(),
            stages: stages.collect(),
            failure: failure.map(|failure| Failure {
                reason: failure.reason.clone(),
                attempts: failure.count,
                next_attempt_time: failure.next_attempt_time.as_ref().map(|time| time.0),
                trace_id: failure.trace_id.as_ref().map(text),
            }),
            unknown: Vec::new(),
        }
    }

    pub fn show_name(&self) {
        screen::result(&format!("{BOLD}{}{BOLD:#} in namespace {}", self.name, self.namespace));
    }

    pub fn show_readiness(&self) {
        screen::labelled("  Ready     ", &self.readiness());
    }

    pub fn readiness(&self) -> String {
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

    pub fn show_attempts(&self, now: Timestamp) {
        if let Some(failure) = &self.failure {
            screen::labelled("  Attempts  ", &attempts(failure, now));
        }
    }

    pub fn show_stages(&self) {
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

    pub fn show_unknown(&self) {
        for unknown in &self.unknown {
            screen::note(&format!("\n{YELLOW}!{YELLOW:#} {unknown}."));
        }
    }
}

fn attempts(failure: &Failure, now: Timestamp) -> String {
    let next = failure.next_attempt_time.and_then(|time| age::left(time, now));
    let next = next.map_or(String::new(), |left| format!(", the next in {}", age::span(left)));
    let trace = failure.trace_id.as_ref().map(|id| format!("; trace id for Qlik's support: {id}"));
    format!("{} failed in a row{next}{}", failure.attempts, trace.unwrap_or_default())
}
