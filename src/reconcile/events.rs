//! Events, as `kubectl describe` shows them.
//!
//! Events report transitions, findings about a new token, and another client that keeps changing the Secret. A separate task
//! writes them, in order: a run never waits for one. An event that could not be written is logged at debug and changes nothing;
//! one that finds the queue full is dropped and counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, Resource};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::api::ConditionType::Ready;
use crate::api::condition::Notice;
use crate::api::{OPERATOR_NAME, QlikContext, QlikContextStatus, REFRESH_REQUESTED_ANNOTATION, Reason};
use crate::clock::Clock;
use crate::desired::{is_refresh_request, not_granted};
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::reconcile::memory::Memories;
use crate::values::{Facts, Secrets};

/// Longer than a healthy API server needs.
const TIMEOUT: Duration = Duration::from_secs(4);
/// The API's bound on `note`.
const NOTE_LIMIT: usize = 1024;
/// Maximum length of the queue; with more, the API server does not keep up.
const QUEUE: usize = 1000;

/// One event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EventDraft {
    warning: bool,
    reason: String,
    note: String,
    /// Reported once for each note, however often it is found.
    once: bool,
}

impl EventDraft {
    /// Something that happened, reported each time.
    pub fn new(warning: bool, reason: Notice, note: String) -> Self {
        Self { warning, reason: reason.to_string(), note, once: false }
    }

    /// Reported once for the same note, however often it is found.
    pub fn once(warning: bool, reason: Notice, note: String) -> Self {
        Self { warning, reason: reason.to_string(), note, once: true }
    }

    /// Whether it is to be reported. `noted`: the notes that were reported once, by reason.
    pub fn is_news(&self, noted: &mut HashMap<String, String>) -> bool {
        !self.once || noted.insert(self.reason.clone(), self.note.clone()).as_ref() != Some(&self.note)
    }

    /// `Ready` has changed.
    pub fn transition(warning: bool, reason: String, note: String) -> Self {
        Self { warning, reason, note, once: false }
    }

    /// Another client keeps changing a Secret of the operator.
    pub fn contested(secret: &str, managers: &[String], fix: &str) -> Self {
        let managers = if managers.is_empty() { "unknown field managers".to_owned() } else { managers.join(", ") };
        let note = format!(
            "Secret {secret} is changed again and again after the operator has written it. Field managers seen in it: \
             {managers}. {fix}; until then the operator repairs it less and less often."
        );
        Self::once(true, Notice::SecretContested, note)
    }
}

/// The queue of the task that writes events.
pub struct Events {
    queue: mpsc::Sender<(ObjectReference, EventDraft)>,
    metrics: Arc<Metrics>,
}

/// The task that writes events.
pub struct EventWriter {
    queue: mpsc::Receiver<(ObjectReference, EventDraft)>,
    client: Client,
    /// The Pod.
    instance: String,
    leadership: Leadership,
    clock: Clock,
}

impl Events {
    /// Events of this operator, written in the name of `instance` while it leads.
    pub fn new(
        client: Client,
        instance: String,
        leadership: Leadership,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> (Self, EventWriter) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self { queue: sender, metrics }, EventWriter { queue: receiver, client, instance, leadership, clock })
    }

    /// Queues the new events of a context.
    pub fn emit(&self, memories: &Memories, context: &QlikContext, drafts: Vec<EventDraft>) {
        let uid = context.metadata.uid.as_deref().unwrap_or_default();
        for draft in drafts {
            if memories.with(uid, |memory| draft.is_news(&mut memory.noted)) == Some(true) {
                self.send(context.object_ref(&()), draft);
            }
        }
    }

    /// Queues an event of any object.
    pub fn send(&self, object: ObjectReference, draft: EventDraft) {
        if self.queue.try_send((object, draft)).is_err() {
            self.metrics.event_dropped();
        }
    }
}

impl EventWriter {
    /// Writes until all senders are gone.
    pub async fn run(mut self) {
        while let Some((object, draft)) = self.queue.recv().await {
            if self.leadership.check().is_err() {
                continue;
            }
            match tokio::time::timeout(TIMEOUT, self.write(object, draft)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::debug!(%error, "an event was not written"),
                Err(_) => tracing::debug!("an event was not written in time"),
            }
        }
    }

    async fn write(&self, object: ObjectReference, draft: EventDraft) -> kube::Result<Event> {
        let (namespace, name) = (object.namespace.clone().unwrap_or_default(), object.name.clone().unwrap_or_default());
        let event = Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{}", Uuid::new_v4().simple())),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            action: Some("Reconcile".into()),
            event_time: Some(MicroTime(self.clock.now())),
            note: Some(draft.note.chars().take(NOTE_LIMIT).collect()),
            reason: Some(draft.reason),
            regarding: Some(object),
            reporting_controller: Some(OPERATOR_NAME.into()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(if draft.warning { "Warning" } else { "Normal" }.into()),
            ..Event::default()
        };
        Api::namespaced(self.client.clone(), &namespace).create(&PostParams::default(), &event).await
    }
}

/// The events of a run.
pub fn events_for(context: &QlikContext, facts: Option<&Facts<'_>>, status: &QlikContextStatus) -> Vec<EventDraft> {
    let before = context.status.as_ref();
    let conditions = before.map(|status| &status.conditions[..]).unwrap_or_default();
    let mut drafts: Vec<_> = transition(conditions, &status.conditions).into_iter().collect();
    let requested = context.metadata.annotations.as_ref().and_then(|all| all.get(REFRESH_REQUESTED_ANNOTATION));
    if requested.is_some_and(|value| !is_refresh_request(value)) {
        let note = format!(
            "The annotation {REFRESH_REQUESTED_ANNOTATION} of this QlikContext is ignored: it is not 1 to 64 printable characters. Set it to a \
             time, such as the output of date +%s."
        );
        drafts.push(EventDraft::once(true, Notice::RefreshRequestIgnored, note));
    }
    let issued = |status: Option<&QlikContextStatus>| status?.token.as_ref()?.issued_at.clone();
    if let Some(facts) = facts.filter(|_| issued(Some(status)).is_some() && issued(Some(status)) != issued(before)) {
        drafts.extend(of_a_new_token(facts, status));
    }
    drafts
}

/// `Ready` is another now, of whichever kind.
pub fn transition(before: &[Condition], after: &[Condition]) -> Option<EventDraft> {
    let ready = |all: &[Condition]| all.iter().find(|condition| condition.type_ == Ready.to_string()).cloned();
    let (now, was) = (ready(after)?, ready(before));
    if now.reason == Reason::SecretContested.to_string() {
        // It comes and goes with each repair; a separate event reports it, with the names of the other clients.
        return None;
    }
    let same = was.is_some_and(|was| was.status == now.status && was.reason == now.reason);
    let fails = [Reason::RenewalFailing, Reason::SyncFailing].iter().any(|reason| now.reason == reason.to_string());
    let good = now.status == "True" && !fails;
    (!same).then_some(EventDraft { warning: !good, reason: now.reason, note: now.message, once: false })
}

fn of_a_new_token(facts: &Facts<'_>, status: &QlikContextStatus) -> Vec<EventDraft> {
    let desired = &facts.desired;
    let trimmed = match &facts.secrets {
        Secrets::Read(read) => read.credential.as_ref().is_ok_and(|credential| credential.trimmed),
        _ => false,
    };
    let trimmed = trimmed.then(|| EventDraft {
        warning: false,
        reason: Notice::CredentialTrimmed.to_string(),
        note: format!(
            "A value in Secret {} has whitespace, invisible characters, quotation marks or escapes that do not belong to it; \
             the operator left them out. Write the value again without them, so that other consumers can use it too.",
            desired.credential_secret
        ),
        once: true,
    });
    let granted = status.token.as_ref().and_then(|token| token.scopes.as_deref());
    let missing = not_granted(&desired.scopes, granted).map(|missing| EventDraft {
        warning: true,
        reason: Notice::ScopesNotGranted.to_string(),
        note: format!(
            "The tenant issued a token without the scopes {missing}. Add them to the OAuth client, or ask for fewer."
        ),
        once: true,
    });
    trimmed.into_iter().chain(missing).collect()
}
