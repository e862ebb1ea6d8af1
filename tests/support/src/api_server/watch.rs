//! A watch: lines of JSON, from a version on, until its timeout or until a test ends it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until};

use super::ApiServer;
use super::form::{Form, Shown};
use super::kind::Kind;
use super::refusal::Refusal;
use super::selector::Selector;
use super::store::{Change, Store};

/// The interval of bookmarks on a watch without changes, and the time before its end at which it gets one.
const BOOKMARK_PERIOD: Duration = Duration::from_mins(1);
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// The number of lines that a watch can send again.
const KEPT: usize = 8;
/// The default timeout. A real server uses a random value between this and its double.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(30);

/// The parameters of a watch.
pub(super) struct WatchRequest {
    pub(super) kind: Kind,
    pub(super) namespace: Option<String>,
    pub(super) selector: Selector,
    pub(super) form: Form,
    pub(super) from: Option<u64>,
    pub(super) timeout: Option<Duration>,
    pub(super) bookmarks: bool,
    pub(super) initial_events: bool,
}

struct Watch {
    request: WatchRequest,
    server: ApiServer,
    lines: VecDeque<Bytes>,
    /// Changes from before the watch started.
    past: VecDeque<Arc<Change>>,
    /// `None`: the watch ends after its lines.
    changes: Option<UnboundedReceiver<Arc<Change>>>,
    /// A change that is delayed.
    late: Option<(Instant, Arc<Change>)>,
    /// The last lines that were sent.
    sent: VecDeque<Bytes>,
    end: Instant,
    bookmark: Option<Instant>,
}

/// Starts a watch.
pub(super) fn watch(
    request: WatchRequest,
    store: &mut Store,
    server: ApiServer,
) -> impl Stream<Item = Bytes> + Send + use<> {
    let now = Instant::now();
    let end = now + request.timeout.unwrap_or(DEFAULT_TIMEOUT);
    let mut lines = VecDeque::new();
    let from = request.from.filter(|version| *version > 0 && !request.initial_events);
    let version = from.unwrap_or_else(|| {
        // From version 0, a real server answers from its cache, which may be behind.
        let delay = store.watch_delay;
        let (objects, version) = store.objects_before(request.kind, request.namespace.as_deref(), delay);
        for object in objects.values().filter(|object| request.selector.selects(object)) {
            lines.push_back(line("ADDED", &Shown { form: request.form, object, is_bare: false }));
        }
        version
    });
    if request.initial_events && request.bookmarks {
        let end = Some(json!({ "k8s.io/initial-events-end": "true" }));
        lines.push_back(line("BOOKMARK", &request.form.bookmark(request.kind, version, end)));
    }
    let (past, changes) = match store.changes_since(request.kind, version) {
        Some(changes) => (changes.past.into(), Some(changes.coming)),
        None => {
            let gone = Refusal::expired(format!("too old resource version: {version} ({})", store.version));
            lines.push_back(line("ERROR", &gone.status()));
            (VecDeque::new(), None)
        }
    };
    let bookmark = request.bookmarks.then(|| next_bookmark(now, end));
    let watch = Watch { request, server, lines, past, changes, late: None, sent: VecDeque::new(), end, bookmark };
    futures::stream::unfold(watch, |mut watch| async { watch.next().await.map(|line| (line, watch)) })
}

fn next_bookmark(now: Instant, end: Instant) -> Instant {
    let last = end.checked_sub(BOOKMARK_BEFORE_END).filter(|last| *last > now);
    (now + BOOKMARK_PERIOD).min(last.unwrap_or(now + BOOKMARK_PERIOD))
}

impl Watch {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if self.late.is_none()
                && let Some(change) = self.past.pop_front()
            {
                self.take(change);
                continue;
            }
            let bookmark = self.bookmark.unwrap_or(self.end);
            let late_until = self.late.as_ref().map(|(at, _)| *at);
            tokio::select! {
                biased;
                () = sleep_until(late_until.unwrap_or(self.end)), if late_until.is_some() => {
                    let change = self.late.take();
                    if let Some((_, change)) = change {
                        self.send(&change);
                    }
                }
                change = self.changes.as_mut()?.recv(), if late_until.is_none() => {
                    let change = change?;
                    self.take(change);
                }
                () = sleep_until(self.end) => return None,
                // Not while a change is delayed: no bookmark can be sent before it, so this would be due again at once.
                () = sleep_until(bookmark), if self.bookmark.is_some() && late_until.is_none() => self.mark(),
            }
        }
    }

    /// Sends a change, or delays it.
    fn take(&mut self, change: Arc<Change>) {
        let delay = self.server.lock().store.watch_delay;
        match delay {
            Duration::ZERO => self.send(&change),
            delay => self.late = Some((change.at + delay, change)),
        }
    }

    fn send(&mut self, change: &Change) {
        let Some(line) = self.request.line(change) else { return };
        let repeats = self.server.lock().store.watch_repeats;
        self.lines.extend(self.sent.iter().skip(self.sent.len().saturating_sub(repeats)).cloned());
        self.lines.push_back(line.clone());
        self.sent.push_back(line);
        if self.sent.len() > KEPT {
            self.sent.pop_front();
        }
    }

    /// Sends a bookmark with the latest version, if all changes up to it were sent.
    fn mark(&mut self) {
        let server = self.server.lock();
        let now = Instant::now();
        if self.late.is_none() && self.past.is_empty() && self.changes.as_ref().is_some_and(UnboundedReceiver::is_empty)
        {
            self.lines.push_back(line(
                "BOOKMARK",
                &self.request.form.bookmark(self.request.kind, server.store.version, None),
            ));
            self.bookmark = Some(next_bookmark(now, self.end));
        }
    }
}

impl WatchRequest {
    /// A change from the view of this watch: an object that no longer matches the selector is deleted.
    fn line(&self, change: &Change) -> Option<Bytes> {
        if self.namespace.as_ref().is_some_and(|namespace| *namespace != change.key.0) {
            return None;
        }
        let selected = |object: &Option<Arc<Value>>| object.clone().filter(|object| self.selector.selects(object));
        let shown = |event, object: &Value| Some(line(event, &Shown { form: self.form, object, is_bare: false }));
        match (selected(&change.before), selected(&change.after)) {
            (None, Some(after)) => shown("ADDED", &after),
            (Some(_), Some(after)) => shown("MODIFIED", &after),
            (Some(before), None) => {
                // The previous object, with the version of the deletion.
                let mut last = Value::clone(&before);
                last["metadata"]["resourceVersion"] = json!(change.version.to_string());
                shown("DELETED", &last)
            }
            (None, None) => None,
        }
    }
}

fn line(event: &str, object: &impl Serialize) -> Bytes {
    #[derive(Serialize)]
    struct Line<'a, T> {
        #[serde(rename = "type")]
        event: &'a str,
        object: &'a T,
    }
    // Values of JSON always serialize.
    let mut line = serde_json::to_vec(&Line { event, object }).unwrap_or_default();
    line.push(b'\n');
    line.into()
}
