//! Which contexts refer to which Secret, and which version of every Secret in scope the watches have shown last.
//!
//! A pure data structure behind one lock. The watches and the operator's own writes update it, and it returns the contexts to
//! wake. It guarantees:
//!
//! - A change by another client wakes every context that refers to the Secret, in whatever order watch events and responses
//!   arrive.
//! - A known version wakes no context: a re-list that changed nothing, or the watch event of an own write. (A Secret that one
//!   context writes may be the credential of another, which is woken once.)
//! - The version that it reports is the one that the watch has shown, or that was written since. While a watch is broken, it
//!   reports none.
//!
//! No operation is linear in the number of contexts, and only the end of a list is linear in the number of Secrets. A
//! foreign Secret costs 25 to 50 bytes: neither its name nor its version is kept, only their hashes. Two Secrets with the
//! same hash (the key is drawn by each process) overwrite each other's version, which wakes once too often.
//!
//! It never parses or orders a `resourceVersion`, and never reads a Secret.

mod references;
mod versions;
mod writes;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use parking_lot::Mutex;

use self::references::References;
use self::versions::{Change, Versions};
use self::writes::Writes;
use crate::api::Kind;

/// The key of every hash here, drawn once for the process, so that names cannot be chosen to collide.
static HASHES: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A context, or another object that has a Secret.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ContextName {
    /// What it is.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A `resourceVersion`, for comparison only.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VersionDigest(u64);

impl VersionDigest {
    /// The digest of a `resourceVersion` that was read or written.
    pub fn of(resource_version: &str) -> Self {
        Self(HASHES.hash_one(resource_version))
    }
}

/// A Secret, by the hash of namespace and name.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct SecretKey(u64);

impl SecretKey {
    fn of(namespace: &str, name: &str) -> Self {
        Self(HASHES.hash_one((namespace, name)))
    }
}

/// What is known of a Secret without reading it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SecretVersion {
    /// The watch has not listed yet, has failed and shown nothing since, or its selector may hide the Secret.
    Unknown,
    /// There is no such Secret.
    Absent,
    /// It is there, in this version.
    Version(VersionDigest),
}

impl SecretVersion {
    /// True when the watch will show a change of the Secret.
    pub fn is_watched(self) -> bool {
        self != Self::Unknown
    }

    /// True when the Secret is known to have this version, or, for `None`, to be absent.
    pub fn is(self, resource_version: Option<&str>) -> bool {
        match (self, resource_version) {
            (Self::Version(version), Some(known)) => version == VersionDigest::of(known),
            (Self::Absent, None) => true,
            _ => false,
        }
    }
}

/// Which Secrets a watch shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Selection {
    /// All of them: credentials and targets alike.
    All,
    /// Those that `--credential-selector` selects: credentials.
    Credentials,
    /// Those with the operator's label: targets.
    Derived,
}

/// A watch of Secrets that feeds the index.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WatchId(usize);

/// The index. See the module.
pub struct Index {
    state: Mutex<State>,
    woken: UnboundedSender<Arc<ContextName>>,
}

#[derive(Default)]
struct State {
    watches: Vec<Versions>,
    credentials: Coverage,
    targets: Coverage,
    references: References,
    writes: Writes,
}

/// Which watch shows a namespace; the empty name stands for all namespaces.
#[derive(Default)]
struct Coverage(HashMap<String, WatchId>);

impl Coverage {
    fn of(&self, namespace: &str) -> Option<WatchId> {
        self.0.get(namespace).or_else(|| self.0.get("")).copied()
    }
}

impl Index {
    /// An index without a watch, and the channel of the contexts that have to be woken because of own writes.
    pub fn new() -> (Arc<Self>, UnboundedReceiver<Arc<ContextName>>) {
        let (woken, receiver) = unbounded();
        (Arc::new(Self { state: Mutex::default(), woken }), receiver)
    }

    /// Adds a watch of one namespace, or of all.
    pub fn watch(&self, namespace: Option<&str>, selection: Selection) -> WatchId {
        let state = &mut *self.state.lock();
        let id = WatchId(state.watches.len());
        state.watches.push(Versions::new(selection));
        let namespace = namespace.unwrap_or_default();
        if selection != Selection::Derived {
            state.credentials.0.insert(namespace.to_owned(), id);
        }
        if selection != Selection::Credentials {
            state.targets.0.insert(namespace.to_owned(), id);
        }
        id
    }

    /// The context refers to these Secrets of its namespace.
    pub fn context_applied(&self, context: &ContextName, credential: Option<&str>, target: &str) {
        let key = |name| SecretKey::of(&context.namespace, name);
        self.state.lock().references.set(context, credential.map(key), key(target));
    }

    /// The context is gone.
    pub fn context_deleted(&self, context: &ContextName) {
        self.state.lock().references.remove(context);
    }

    /// These are all contexts of their kind; removes the others, whose deletion was missed.
    pub fn contexts_listed(&self, kind: Kind, contexts: &HashSet<ContextName>) {
        self.state.lock().references.retain(kind, contexts);
    }

    /// The watch has shown a Secret. Returns the contexts to wake.
    pub fn secret_applied(
        &self,
        watch: WatchId,
        namespace: &str,
        name: &str,
        resource_version: &str,
    ) -> Vec<Arc<ContextName>> {
        let (key, version) = (SecretKey::of(namespace, name), VersionDigest::of(resource_version));
        let state = &mut *self.state.lock();
        let changed = state.watch(watch).is_some_and(|versions| versions.applied(key, version));
        if changed { state.changed(key, Some(version)) } else { Vec::new() }
    }

    /// The watch has shown that a Secret is deleted, or no longer selected. Returns the contexts to wake.
    pub fn secret_deleted(&self, watch: WatchId, namespace: &str, name: &str) -> Vec<Arc<ContextName>> {
        let key = SecretKey::of(namespace, name);
        let state = &mut *self.state.lock();
        let changed = state.watch(watch).is_some_and(|versions| versions.deleted(key));
        if changed { state.changed(key, None) } else { Vec::new() }
    }

    /// The watch has begun a list.
    pub fn list_began(&self, watch: WatchId) {
        if let Some(versions) = self.state.lock().watch(watch) {
            versions.list_began();
        }
    }

    /// The list has this Secret. The contexts that it wakes are returned at the end of the list.
    pub fn list_applied(&self, watch: WatchId, namespace: &str, name: &str, resource_version: &str) {
        let (key, version) = (SecretKey::of(namespace, name), VersionDigest::of(resource_version));
        let state = &mut *self.state.lock();
        let is_referenced = state.references.is_referenced(key);
        if state.watch(watch).is_some_and(|versions| versions.list_applied(key, version, is_referenced)) {
            state.writes.overtake(key);
        }
    }

    /// The list is complete: a Secret that it did not have is deleted. Returns the contexts to wake.
    pub fn list_ended(&self, watch: WatchId) -> Vec<Arc<ContextName>> {
        let state = &mut *self.state.lock();
        let changes = state.watch(watch).map(Versions::list_ended).unwrap_or_default();
        state.all_changed(changes)
    }

    /// The watch failed. Returns the contexts to wake: those for which an interrupted list has shown something new.
    pub fn watch_failed(&self, watch: WatchId) -> Vec<Arc<ContextName>> {
        let state = &mut *self.state.lock();
        let changes = state.watch(watch).map(Versions::failed).unwrap_or_default();
        state.all_changed(changes)
    }

    /// The Secret was read in this version, perhaps before the watch shows it: if the watch skips it, the next list wakes the
    /// contexts that refer to it. `epoch` is that from before the request. False if a watch broke since: a list may be newer
    /// than what was read, so it has to be read again.
    #[must_use]
    pub fn secret_read(&self, namespace: &str, name: &str, resource_version: &str, epoch: u64) -> bool {
        let (key, version) = (SecretKey::of(namespace, name), VersionDigest::of(resource_version));
        let state = &mut *self.state.lock();
        let watches = [state.credentials.of(namespace), state.targets.of(namespace)];
        for watch in watches.into_iter().flatten() {
            // One with a selector may never show it.
            if let Some(versions) = state.watch(watch).filter(|versions| versions.shows_all()) {
                versions.read(key, version);
            }
        }
        state.epoch(namespace) == epoch
    }

    /// What is known of a Secret as a credential.
    pub fn credential(&self, namespace: &str, name: &str) -> SecretVersion {
        let state = self.state.lock();
        state.version(state.credentials.of(namespace), SecretKey::of(namespace, name))
    }

    /// True when this version of a credential was read and the watch has not shown it yet.
    pub fn credential_is_ahead(&self, namespace: &str, name: &str, resource_version: &str) -> bool {
        let state = self.state.lock();
        let watch = state.credentials.of(namespace).and_then(|watch| state.watches.get(watch.0));
        let (key, version) = (SecretKey::of(namespace, name), VersionDigest::of(resource_version));
        watch.is_some_and(|versions| versions.is_ahead(key, version))
    }

    /// What is known of a Secret as a target.
    pub fn target(&self, namespace: &str, name: &str) -> SecretVersion {
        let (state, key) = (self.state.lock(), SecretKey::of(namespace, name));
        let watch = state.targets.of(namespace);
        match state.version(watch, key) {
            // It was read; the watch shows a state from before it was created.
            SecretVersion::Absent if state.was_read_ahead(watch, key) => SecretVersion::Unknown,
            version => version,
        }
    }

    /// How often the watches of a namespace broke or restarted. If it is still the number that a caller remembers, no event in
    /// between was delayed by more than the delay of a healthy watch.
    pub fn epoch(&self, namespace: &str) -> u64 {
        self.state.lock().epoch(namespace)
    }

    /// A write of this Secret begins, for this context. It has to have the version that the context read (or create only),
    /// so that it cannot hide a change that the context has not seen. Begun before the request is sent, ended by
    /// [`Writing::written`]; dropped, the outcome is unclear and the echo counts as a change.
    pub fn writing(self: &Arc<Self>, writer: &ContextName, name: &str) -> Writing {
        let state = &mut *self.state.lock();
        let key = SecretKey::of(&writer.namespace, name);
        let watch = state.targets.of(&writer.namespace);
        let versions = watch.and_then(|watch| state.watches.get(watch.0));
        Writing {
            index: self.clone(),
            id: state.writes.begin(key, writer),
            key,
            watch,
            breaks: versions.map_or(0, Versions::breaks),
            was_current: versions.is_some_and(Versions::is_current),
            version: None,
        }
    }

    /// A write has ended: with a version, or with an unknown outcome.
    fn wrote(&self, writing: &Writing) {
        let state = &mut *self.state.lock();
        let Some(write) = state.writes.end(writing.key, writing.id) else { return };
        let versions = writing.watch.and_then(|watch| state.watches.get_mut(watch.0));
        if let (Some(version), Some(versions)) = (writing.version, versions) {
            let unbroken = versions.breaks() == writing.breaks;
            if !unbroken || !writing.was_current || !versions.is_current() || write.overtaken {
                versions.wrote(writing.key, version);
                if !unbroken {
                    // A list may have come after a change that came after the write.
                    self.wake(Arc::new(write.writer.clone()));
                }
            } else if versions.applied(writing.key, version) {
                // No event came in between, so the written version is newer than the shown one.
                let others = state.changed(writing.key, Some(version)).into_iter();
                others.filter(|context| **context != write.writer).for_each(|context| self.wake(context));
            }
        }
        if write.held.iter().any(|held| writing.version.is_none() || *held != writing.version) {
            self.wake(Arc::new(write.writer));
        }
    }

    fn wake(&self, context: Arc<ContextName>) {
        // After the controller has ended, the receiver is gone.
        let _ = self.woken.unbounded_send(context);
    }
}

impl State {
    fn watch(&mut self, watch: WatchId) -> Option<&mut Versions> {
        self.watches.get_mut(watch.0)
    }

    fn version(&self, watch: Option<WatchId>, key: SecretKey) -> SecretVersion {
        watch.and_then(|watch| self.watches.get(watch.0)).map_or(SecretVersion::Unknown, |versions| versions.get(key))
    }

    fn was_read_ahead(&self, watch: Option<WatchId>, key: SecretKey) -> bool {
        watch.and_then(|watch| self.watches.get(watch.0)).is_some_and(|versions| versions.was_read_ahead(key))
    }

    fn epoch(&self, namespace: &str) -> u64 {
        let watches = [self.credentials.of(namespace), self.targets.of(namespace)];
        watches.into_iter().flatten().filter_map(|watch| self.watches.get(watch.0)).map(Versions::breaks).sum()
    }

    /// Several Secrets have changed: each context once, in the same order each time.
    fn all_changed(&mut self, changes: Vec<Change>) -> Vec<Arc<ContextName>> {
        let contexts = changes.into_iter().flat_map(|(key, version)| self.changed(key, version));
        contexts.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// A Secret has changed; `None` means deleted. A context that writes it at this moment is not woken yet: the event may come
    /// from its own write.
    fn changed(&mut self, key: SecretKey, version: Option<VersionDigest>) -> Vec<Arc<ContextName>> {
        self.writes.overtake(key);
        let referring = self.references.of(key);
        referring.filter(|context| !self.writes.hold(key, context, version)).cloned().collect()
    }
}

/// A write in flight. See [`Index::writing`].
#[must_use]
pub struct Writing {
    index: Arc<Index>,
    id: u64,
    key: SecretKey,
    watch: Option<WatchId>,
    /// The watch, when the write began.
    breaks: u64,
    was_current: bool,
    version: Option<VersionDigest>,
}

impl Writing {
    /// The write resulted in this version. If the watch has shown nothing of the Secret since the write began, the version counts
    /// as shown, and its watch event wakes no context (unless the next write is faster than that event).
    pub fn written(mut self, resource_version: &str) {
        self.version = Some(VersionDigest::of(resource_version));
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.index.wrote(self);
    }
}

#[cfg(test)]
mod tests;
