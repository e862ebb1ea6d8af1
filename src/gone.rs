//! Letting go of contexts that are no more: whatever is remembered by context is forgotten here, and nowhere else.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use kube::{Resource, ResourceExt};

use crate::context::{Context, Guarded};

/// The contexts that something is remembered of, by uid: namespace and name.
#[derive(Default)]
pub struct Alive(Mutex<HashMap<String, (String, String)>>);

impl Context {
    /// A run begins for this context.
    pub fn alive(&self, object: &Guarded) {
        let place = (object.namespace().unwrap_or_default(), object.name_any());
        self.alive.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid(object), place);
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
        if let Some((namespace, name)) = alive.remove(uid) {
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
