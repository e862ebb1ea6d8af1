//! Events: what a person who runs `kubectl describe` should not miss.
//!
//! Only transitions are told, and what a new token shows. An event is advice: that one could not be written is logged at
//! debug and changes nothing.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};

use crate::api::ConditionType::Ready;
use crate::api::condition::Notice;
use crate::api::{OPERATOR_NAME, QlikContext, QlikContextStatus, REFRESH_REQUESTED_ANNOTATION, Reason};
use crate::lease::Leadership;
use crate::observe::{Seen, is_refresh_request};

/// Longer than an API server that is well needs; the run does not wait for one that is not.
const TIMEOUT: Duration = Duration::from_secs(4);
/// The API's bound on `note`.
const NOTE_LIMIT: usize = 1024;

/// One thing to tell.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct News {
    warning: bool,
    reason: String,
    note: String,
    /// Told once for each note, however often it is found.
    once: bool,
}

/// Writes events.
pub struct Events {
    recorder: Recorder,
    leadership: Leadership,
    /// What was told once, by uid and reason.
    told: Mutex<HashMap<String, HashMap<String, String>>>,
}

impl Events {
    /// Events of this operator, told by `instance` while it leads.
    pub fn new(client: Client, instance: Option<String>, leadership: Leadership) -> Self {
        let recorder = Recorder::new(client, Reporter { controller: OPERATOR_NAME.into(), instance });
        Self { recorder, leadership, told: Mutex::default() }
    }

    /// Tells the news of a context.
    pub async fn tell(&self, context: &QlikContext, news: Vec<News>) {
        for mut news in news {
            if self.leadership.check().is_err() || !self.is_new(context, &news) {
                continue;
            }
            if let Some((end, _)) = news.note.char_indices().nth(NOTE_LIMIT) {
                news.note.truncate(end);
            }
            let type_ = if news.warning { EventType::Warning } else { EventType::Normal };
            let (reason, note) = (news.reason, Some(news.note));
            let event = Event { type_, reason, note, action: "Reconcile".into(), secondary: None };
            let object = context.object_ref(&());
            match tokio::time::timeout(TIMEOUT, self.recorder.publish(&event, &object)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "an event was not written"),
                Err(_) => tracing::debug!("an event was not written in time"),
            }
        }
    }

    /// A context is gone.
    pub fn forget(&self, uid: &str) {
        self.told().remove(uid);
    }

    fn is_new(&self, context: &QlikContext, news: &News) -> bool {
        let uid = context.metadata.uid.clone().unwrap_or_default();
        let before = self.told().entry(uid).or_default().insert(news.reason.clone(), news.note.clone());
        !news.once || before.as_ref() != Some(&news.note)
    }

    fn told(&self) -> MutexGuard<'_, HashMap<String, HashMap<String, String>>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is worth telling about a run.
pub fn news(context: &QlikContext, seen: Option<&Seen>, status: &QlikContextStatus) -> Vec<News> {
    let before = context.status.as_ref();
    let mut news: Vec<_> = transition(before, status).into_iter().collect();
    let requested = context.metadata.annotations.as_ref().and_then(|all| all.get(REFRESH_REQUESTED_ANNOTATION));
    if requested.is_some_and(|value| !is_refresh_request(value)) {
        let note = format!(
            "The annotation {REFRESH_REQUESTED_ANNOTATION} of this QlikContext is ignored: it is not 1 to 64 printable characters. Set it to a \
             time, such as the output of date +%s."
        );
        news.push(News { warning: true, reason: Notice::RefreshRequestIgnored.to_string(), note, once: true });
    }
    let issued = |status: Option<&QlikContextStatus>| status?.token.as_ref()?.issued_at.clone();
    if let Some(seen) = seen.filter(|_| issued(Some(status)).is_some() && issued(Some(status)) != issued(before)) {
        news.extend(of_a_new_token(seen, status));
    }
    news
}

fn transition(before: Option<&QlikContextStatus>, after: &QlikContextStatus) -> Option<News> {
    let ready = |status: &QlikContextStatus| {
        status.conditions.iter().find(|condition| condition.type_ == Ready.to_string()).cloned()
    };
    let (now, was) = (ready(after)?, before.and_then(ready));
    let same = was.is_some_and(|was| was.status == now.status && was.reason == now.reason);
    let good = now.status == "True" && now.reason != Reason::RenewalFailing.to_string();
    (!same).then_some(News { warning: !good, reason: now.reason, note: now.message, once: false })
}

fn of_a_new_token(seen: &Seen, status: &QlikContextStatus) -> Vec<News> {
    let trimmed = seen.credential.as_ref().is_ok_and(|credential| credential.trimmed).then(|| News {
        warning: false,
        reason: Notice::CredentialTrimmed.to_string(),
        note: format!(
            "A value in Secret {} has whitespace, invisible characters, quotation marks or escapes that do not belong to it; \
             the operator left them out. Write the value again without them, so that other consumers can use it too.",
            seen.desired.credential_secret
        ),
        once: true,
    });
    let granted = status.token.as_ref().and_then(|token| token.scopes.as_deref());
    let missing = not_granted(&seen.desired.scopes, granted).map(|missing| News {
        warning: true,
        reason: Notice::ScopesNotGranted.to_string(),
        note: format!(
            "The tenant issued a token without the scopes {missing}. Add them to the OAuth client, or ask for less."
        ),
        once: true,
    });
    trimmed.into_iter().chain(missing).collect()
}

/// The scopes that were asked for and not granted, where the tenant says what it granted.
pub fn not_granted(asked: &BTreeSet<String>, granted: Option<&[String]>) -> Option<String> {
    let granted = granted?;
    let missing: Vec<_> = asked.iter().filter(|scope| !granted.contains(scope)).map(String::as_str).collect();
    (!missing.is_empty()).then(|| missing.join(" "))
}
