//! The events about an object, newest last.

use k8s_openapi::api::events::v1::Event as Stored;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use serde::Serialize;

use crate::cluster::Cluster;
use crate::object::Reconciled;
use crate::problem::Explain as _;
use crate::{age, screen};

/// As many as fit on a screen with the rest.
const NEWEST: usize = 10;

/// An event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    #[serde(rename = "type")]
    pub kind: String,
    pub reason: String,
    pub message: String,
    pub last_seen: Option<Timestamp>,
    pub count: i32,
}

/// The newest events about this very object.
pub async fn read<K: Reconciled>(cluster: &Cluster, object: &K) -> anyhow::Result<Vec<Event>> {
    let events: Api<Stored> = cluster.objects();
    let name = object.name_any();
    let about = format!("regarding.kind={},regarding.name={name}", K::KIND.api_name());
    let list = events.list(&ListParams::default().fields(&about)).await;
    let list = list.explain(format_args!("cannot list the events of {name}"))?;
    let uid = object.uid();
    let theirs =
        list.items.into_iter().filter(|event| event.regarding.as_ref().and_then(|about| about.uid.clone()) == uid);
    let mut events: Vec<Event> = theirs.map(Event::from).collect();
    events.sort_by_key(|event| event.last_seen);
    events.drain(..events.len().saturating_sub(NEWEST));
    Ok(events)
}

/// Shows the events; `None` when they could not be read.
pub fn show(events: Option<&[Event]>, now: Timestamp) {
    screen::heading("Events");
    let events = match events {
        None => return screen::result("  unknown"),
        Some([]) => return screen::result("  none (Kubernetes keeps them for an hour)"),
        Some(events) => events,
    };
    let rows = events.iter().map(|event| {
        let seen = event.last_seen.map_or("-".into(), |time| age::since(time, now));
        vec![format!("  {}", event.kind), event.reason.clone(), seen, event.message.clone()]
    });
    screen::folded_table(&["  TYPE", "REASON", "AGE", "MESSAGE"], rows.collect());
}

impl From<Stored> for Event {
    fn from(stored: Stored) -> Self {
        let last = stored.series.as_ref().map(|series| series.last_observed_time.0);
        let last = last.or(stored.deprecated_last_timestamp.map(|time| time.0));
        Self {
            kind: screen::harmless(&stored.type_.unwrap_or_default()),
            reason: screen::harmless(&stored.reason.unwrap_or_default()),
            message: screen::harmless(&stored.note.unwrap_or_default()),
            last_seen: last.or(stored.event_time.map(|time| time.0)),
            count: stored.series.map_or(1, |series| series.count),
        }
    }
}
