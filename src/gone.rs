//! The contexts that are there, and letting go of those that are no more: whatever is remembered by context is forgotten
//! here, and nowhere else.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use kube::{Resource, ResourceExt};

use crate::context::{Context, Guarded};

/// The contexts that something is remembered of, by uid.
#[derive(Default)]
pub struct Alive(Mutex<HashMap<String, Known>>);

struct Known {
    namespace: String,
    name: String,
    seen: u64,
}

impl Known {
    fn of(object: &Guarded) -> Self {
        let mut seen = DefaultHasher::new();
        let meta = object.meta();
        (meta.generation, &meta.annotations, &meta.finalizers).hash(&mut seen);
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        Self { namespace, name, seen: seen.finish() }
    }
}

impl Context {
    /// A run begins for this context.
    pub fn alive(&self, object: &Guarded) {
        let mut alive = self.alive.0.lock().unwrap_or_else(PoisonError::into_inner);
        alive.entry(uid(object)).or_insert_with(|| Known::of(object));
    }

    /// Whether this context was not known, or not so: what only changed its status is no news. (kube's predicates forget
    /// nothing when a context goes; one that is selected again would not wake.)
    pub fn is_news(&self, object: &Guarded) -> bool {
        let known = Known::of(object);
        let mut alive = self.alive.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = known.seen;
        alive.insert(uid(object), known).is_none_or(|before| before.seen != seen)
    }

    /// Does this unless the context has gone since its run began; a run in flight must not bring it back.
    pub fn unless_gone(&self, uid: &str, remember: impl FnOnce()) {
        let alive = self.alive.0.lock().unwrap_or_else(PoisonError::into_inner);
        if alive.contains_key(uid) {
            remember();
        }
    }

    /// This context is gone.
    pub fn gone(&self, uid: &str) {
        let mut alive = self.alive.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Known { namespace, name, .. }) = alive.remove(uid) {
            self.metrics.forget(&namespace, &name, self.clock.now());
        }
        self.latest.forget(uid);
        self.tokens.forget(uid);
        self.events.forget(uid);
        self.troubles.forget(uid);
    }

    /// These contexts are all there are: the watch began anew, and deletions may have been missed.
    pub fn only(&self, objects: &[Arc<Guarded>]) {
        let there: HashSet<_> = objects.iter().map(|object| uid(object)).collect();
        let known: Vec<_> = self.alive.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        known.iter().filter(|uid| !there.contains(*uid)).for_each(|uid| self.gone(uid));
    }
}

/// The uid of an object, readable or not.
pub fn uid(object: &Guarded) -> String {
    object.meta().uid.clone().unwrap_or_default()
}
