//! The view of users: a watch of every QlikContext, and the time at which each became ready.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
use futures::StreamExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::api::Api;
use kube::core::{NotUsed, Object};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt as _};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::fleet::kind;

/// The fields of a context that the bench reads.
type Observed = Object<NotUsed, Status>;

#[derive(Clone, Debug, Default, Deserialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
    token: Option<Token>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    issued_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    renewal_time: Option<Timestamp>,
}

/// The latest state of one context.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// When it was first ready with a valid token.
    pub ready: Option<Instant>,
    /// The reason of `Ready`; empty before the first status.
    pub reason: String,
    /// Its token: when it was requested, expires, and is due for renewal.
    token: Option<Token>,
    /// Seconds from the planned time of each renewal to the moment at which it was seen.
    pub lateness: Vec<f64>,
    /// Seconds in which the status showed an expired token, until the last renewal.
    expired: f64,
}

impl Seen {
    /// Seconds in which the Secret held an expired token, according to the status, which is written after the Secret.
    pub fn expired(&self) -> f64 {
        self.expired + self.token.as_ref().map_or(0.0, Token::expired)
    }
}

impl Token {
    /// Seconds since it expired.
    fn expired(&self) -> f64 {
        self.expires_at.map_or(0.0, |expires| Timestamp::now().duration_since(expires).as_secs_f64().max(0.0))
    }
}

type Contexts = HashMap<(String, String), Seen>;

/// The watch.
pub struct Observer {
    contexts: Arc<Mutex<Contexts>>,
    changed: watch::Receiver<()>,
    task: AbortHandle,
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Observer {
    /// Starts the watch.
    pub fn start(client: Client) -> Self {
        let contexts = Arc::new(Mutex::new(Contexts::new()));
        let (notify, changed) = watch::channel(());
        let seen = Arc::clone(&contexts);
        let task = tokio::spawn(async move {
            let api: Api<Observed> = Api::all_with(client, &kind());
            let mut events = pin!(watcher(api, watcher::Config::default()));
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::Apply(object) | Event::InitApply(object)) => note(&mut lock(&seen), &object),
                    Ok(Event::Delete(object)) => {
                        lock(&seen).remove(&key(&object));
                    }
                    // The watcher retries automatically.
                    Ok(Event::Init | Event::InitDone) | Err(_) => {}
                }
                notify.send_replace(());
            }
        });
        Self { contexts, changed, task: task.abort_handle() }
    }

    /// The contexts of a namespace.
    pub fn contexts(&self, namespace: &str) -> Vec<(String, Seen)> {
        let contexts = lock(&self.contexts);
        let here = contexts.iter().filter(|((found, _), _)| found == namespace);
        here.map(|((_, name), seen)| (name.clone(), seen.clone())).collect()
    }

    /// The times at which the contexts of a namespace became ready, in order.
    pub fn ready(&self, namespace: &str) -> Vec<Instant> {
        let contexts = lock(&self.contexts);
        let here = contexts.iter().filter(|((found, _), _)| found == namespace);
        let mut ready: Vec<_> = here.filter_map(|(_, seen)| seen.ready).collect();
        ready.sort();
        ready
    }

    /// How many contexts of a namespace fulfil a condition.
    pub fn count(&self, namespace: &str, counts: impl Fn(&Seen) -> bool) -> usize {
        let contexts = lock(&self.contexts);
        contexts.iter().filter(|((found, _), seen)| found == namespace && counts(seen)).count()
    }

    /// Waits until this many contexts of a namespace are ready.
    pub async fn wait_for_ready(&self, namespace: &str, count: usize, limit: Duration) -> anyhow::Result<()> {
        self.wait_until(namespace, count, limit, |seen| seen.ready.is_some()).await
    }

    /// Waits until this many contexts of a namespace fulfil a condition.
    pub async fn wait_until(
        &self,
        namespace: &str,
        count: usize,
        limit: Duration,
        counts: impl Fn(&Seen) -> bool,
    ) -> anyhow::Result<()> {
        let mut changed = self.changed.clone();
        let waiting = async {
            while self.count(namespace, &counts) < count {
                if changed.changed().await.is_err() {
                    break;
                }
                // One check for many changes, because a fleet is large.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(limit, waiting).await.is_err() {
            let mut reasons: HashMap<String, usize> = HashMap::new();
            for (_, seen) in self.contexts(namespace) {
                *reasons.entry(seen.reason).or_default() += 1;
            }
            bail!(
                "timed out after {} s waiting for {count} contexts in {namespace}; seen: {reasons:?}",
                limit.as_secs()
            );
        }
        Ok(())
    }
}

fn note(contexts: &mut Contexts, object: &Observed) {
    let now = Instant::now();
    let seen = contexts.entry(key(object)).or_default();
    let Some(status) = &object.status else { return };
    if let Some(ready) = status.conditions.iter().find(|condition| condition.type_ == "Ready") {
        seen.reason.clone_from(&ready.reason);
        if ready.status == "True" && seen.ready.is_none() {
            seen.ready = Some(now);
        }
    }
    let Some(token) = &status.token else { return };
    if let Some(before) = seen.token.take_if(|before| before.issued_at != token.issued_at) {
        let late = before.renewal_time.map(|planned| Timestamp::now().duration_since(planned).as_secs_f64());
        seen.lateness.extend(late);
        seen.expired += before.expired();
    }
    seen.token = Some(token.clone());
}

fn key(object: &Observed) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn lock(contexts: &Mutex<Contexts>) -> MutexGuard<'_, Contexts> {
    contexts.lock().unwrap_or_else(PoisonError::into_inner)
}
