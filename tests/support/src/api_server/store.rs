//! The store: objects by kind, one version counter for all of them, the recent changes, and the watchers.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::kind::Kind;
use super::list::Snapshots;
use crate::tenant::Clock;

/// The number of changes of a kind in the history, for watches that start at an older version.
const HISTORY: usize = 4096;
/// The first version, so that no object ever has the version 1.
const FIRST_VERSION: u64 = 1000;

/// Namespace (empty for a namespace itself) and name.
pub(super) type Key = (String, String);

/// One change of one object.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) key: Key,
    pub(super) before: Option<Arc<Value>>,
    pub(super) after: Option<Arc<Value>>,
    pub(super) at: Instant,
}

/// A change at the moment when it is stored.
#[derive(Clone, Copy, Debug)]
pub struct Committed<'c> {
    /// The field manager of the request; `test` and `garbage-collector` for changes without a request.
    pub manager: &'c str,
    /// Of the object.
    pub kind: Kind,
    /// Empty for a namespace itself.
    pub namespace: &'c str,
    /// Of the object.
    pub name: &'c str,
    /// Before the change; `None` if the object is created.
    pub before: Option<&'c Value>,
    /// After the change; `None` if the object is deleted.
    pub after: Option<&'c Value>,
}

/// Gets every change. It must not call the server, which is locked meanwhile.
pub type Observer = Arc<dyn Fn(&Committed<'_>) + Send + Sync>;

/// Changes from a version on.
pub(super) struct Changes {
    pub(super) past: Vec<Arc<Change>>,
    pub(super) coming: UnboundedReceiver<Arc<Change>>,
}

#[derive(Debug, Default)]
struct Collection {
    objects: BTreeMap<Key, Arc<Value>>,
    history: VecDeque<Arc<Change>>,
    /// Every change after this version is in the history.
    forgotten: u64,
    watchers: Vec<UnboundedSender<Arc<Change>>>,
}

pub(super) struct Store {
    pub(super) observer: Option<Observer>,
    pub(super) version: u64,
    pub(super) snapshots: Snapshots,
    pub(super) clock: Clock,
    /// The feature gate `WatchList`: whether a watch can start with a list.
    pub(super) watch_list: bool,
    /// The delay after which a watch reports a change. A watch that starts with a list starts with one of this age.
    pub(super) watch_delay: Duration,
    /// The number of its last lines that a watch sends again before each change.
    pub(super) watch_repeats: usize,
    made: u64,
    collections: BTreeMap<Kind, Collection>,
}

impl Store {
    pub(super) fn new(clock: Clock) -> Self {
        let collections = Kind::ALL.into_iter().map(|kind| (kind, Collection::default())).collect();
        Self {
            observer: None,
            version: FIRST_VERSION,
            snapshots: Snapshots::default(),
            clock,
            watch_list: true,
            watch_delay: Duration::ZERO,
            watch_repeats: 0,
            made: 0,
            collections,
        }
    }

    fn collection(&mut self, kind: Kind) -> &mut Collection {
        self.collections.entry(kind).or_default()
    }

    pub(super) fn get(&self, kind: Kind, key: &Key) -> Option<&Arc<Value>> {
        self.collections.get(&kind)?.objects.get(key)
    }

    /// The objects of a kind, in one namespace or all, by namespace and name.
    pub(super) fn objects<'s>(
        &'s self,
        kind: Kind,
        namespace: Option<&'s str>,
    ) -> impl Iterator<Item = (&'s Key, &'s Arc<Value>)> {
        let first = (namespace.unwrap_or_default().to_owned(), String::new());
        let from = (Bound::Included(first), Bound::Unbounded);
        let objects = self.collections.get(&kind).into_iter().flat_map(move |all| all.objects.range(from.clone()));
        objects.take_while(move |((in_namespace, _), _)| namespace.is_none_or(|wanted| wanted == in_namespace))
    }

    /// The objects of a kind as they were some time ago, as far as the history goes back, and the version of that list.
    pub(super) fn objects_before(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        age: Duration,
    ) -> (BTreeMap<Key, Arc<Value>>, u64) {
        let now = Instant::now();
        let mut version = self.version;
        let mut objects: BTreeMap<_, _> =
            self.objects(kind, namespace).map(|(key, at)| (key.clone(), at.clone())).collect();
        let history = self.collections.get(&kind).into_iter().flat_map(|all| all.history.iter().rev());
        for change in history.take_while(|change| now.duration_since(change.at) < age) {
            version = change.version - 1;
            match &change.before {
                Some(before) if namespace.is_none_or(|wanted| wanted == change.key.0) => {
                    objects.insert(change.key.clone(), before.clone());
                }
                Some(_) => {}
                None => drop(objects.remove(&change.key)),
            }
        }
        (objects, version)
    }

    /// Stores an object as its next version, or deletes it, and notifies the observer and the watchers.
    pub(super) fn commit(&mut self, manager: &str, kind: Kind, key: Key, object: Option<Value>) -> Option<Arc<Value>> {
        self.version += 1;
        let version = self.version;
        let collection = self.collection(kind);
        let after = object.map(|mut object| {
            object["metadata"]["resourceVersion"] = json!(version.to_string());
            Arc::new(object)
        });
        let before = match &after {
            Some(object) => collection.objects.insert(key.clone(), object.clone()),
            None => collection.objects.remove(&key),
        };
        if let Some(observer) = &self.observer {
            let (namespace, name) = (key.0.as_str(), key.1.as_str());
            let (before, after) = (before.as_deref(), after.as_deref());
            observer(&Committed { manager, kind, namespace, name, before, after });
        }
        let collection = self.collection(kind);
        let change = Arc::new(Change { version, key, before, after: after.clone(), at: Instant::now() });
        collection.watchers.retain(|watcher| watcher.send(change.clone()).is_ok());
        collection.history.push_back(change);
        if collection.history.len() > HISTORY {
            collection.forgotten = collection.history.pop_front().map_or(0, |change| change.version);
        }
        after
    }

    /// All changes after `version`, including future ones; `None` if some of them are no longer in the history.
    pub(super) fn changes_since(&mut self, kind: Kind, version: u64) -> Option<Changes> {
        let collection = self.collection(kind);
        if version < collection.forgotten {
            return None;
        }
        let begin = collection.history.partition_point(|change| change.version <= version);
        let past = collection.history.range(begin..).cloned().collect();
        let (sender, receiver) = unbounded_channel();
        collection.watchers.retain(|watcher| !watcher.is_closed());
        collection.watchers.push(sender);
        Some(Changes { past, coming: receiver })
    }

    /// Drops the history of changes, and every list that was not read to its end.
    pub(super) fn compact(&mut self) {
        let version = self.version;
        self.snapshots = Snapshots::default();
        for collection in self.collections.values_mut() {
            collection.history.clear();
            collection.forgotten = version;
        }
    }

    pub(super) fn end_watches(&mut self) {
        self.collections.values_mut().for_each(|collection| collection.watchers.clear());
    }

    /// The number of open watches of a kind.
    pub(super) fn watchers(&self, kind: Kind) -> usize {
        let watchers = self.collections.get(&kind).map(|collection| &collection.watchers);
        watchers.into_iter().flatten().filter(|watcher| !watcher.is_closed()).count()
    }

    /// A new uid.
    pub(super) fn new_uid(&mut self) -> String {
        self.made += 1;
        format!("00000000-0000-4000-8000-{:012x}", self.made)
    }

    /// A generated name that starts with `prefix`.
    pub(super) fn new_name(&mut self, prefix: &str) -> String {
        self.made += 1;
        format!("{prefix}{:05x}", self.made)
    }

    /// The time in the API server's format: whole seconds.
    pub(super) fn now(&self) -> Value {
        let seconds = i64::try_from(self.clock.unix()).ok();
        let now = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
        json!(now.unwrap_or_default().to_string())
    }
}
