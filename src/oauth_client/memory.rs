//! What the process remembers of each object. Nothing here is needed after a restart: a credential whose value was only in
//! memory is removed by its hint.

use std::collections::HashMap;
use std::sync::Arc;

use kube::{Resource, ResourceExt};
use parking_lot::Mutex;

use super::StoredClient;
use super::facts::Candidate;
use crate::api::Kind;
use crate::reconcile::memory::digest;
use crate::scheduler::Caller;

/// The entries, by uid.
#[derive(Default)]
pub struct Memories(Mutex<HashMap<Arc<str>, Memory>>);

/// The entry of one object.
pub struct Memory {
    /// Its name.
    pub caller: Caller,
    /// A digest of the fields whose change wakes it.
    seen: u64,
    /// The host that it called last.
    pub host: Option<String>,
    /// A credential that was made and is not in the Secret yet.
    pub candidate: Option<Candidate>,
    /// Failures of the Kubernetes API in a row.
    pub failures: u32,
    /// The rotate request that was ignored last.
    pub ignored: Option<String>,
}

impl Memory {
    fn of(object: &StoredClient) -> Self {
        Self {
            caller: caller(object),
            seen: digest(object.meta()),
            host: None,
            candidate: None,
            failures: 0,
            ignored: None,
        }
    }
}

impl Memories {
    /// Whether this object is new or changed, apart from its status.
    pub fn needs_reconcile(&self, object: &StoredClient) -> bool {
        let now = Memory::of(object);
        let mut all = self.0.lock();
        match all.get_mut(&now.caller.uid) {
            Some(known) => std::mem::replace(&mut known.seen, now.seen) != now.seen,
            None => {
                all.insert(now.caller.uid.clone(), now);
                true
            }
        }
    }

    /// A run begins.
    pub fn begin(&self, object: &StoredClient) -> Caller {
        let memory = Memory::of(object);
        let mut all = self.0.lock();
        all.entry(memory.caller.uid.clone()).or_insert(memory).caller.clone()
    }

    /// Reads or changes the entry; does nothing if the object is gone.
    pub fn with<T>(&self, uid: &str, change: impl FnOnce(&mut Memory) -> T) -> Option<T> {
        self.0.lock().get_mut(uid).map(change)
    }

    /// Forgets an object.
    pub fn forget(&self, uid: &str) -> Option<Memory> {
        self.0.lock().remove(uid)
    }

    /// The objects with an entry that are not among these.
    pub fn missing(&self, objects: &[Arc<StoredClient>]) -> Vec<Arc<str>> {
        let is_there = |uid: &str| objects.iter().any(|object| object.meta().uid.as_deref() == Some(uid));
        self.0.lock().keys().filter(|uid| !is_there(uid)).cloned().collect()
    }
}

/// The name of an object, readable or not.
pub fn caller(object: &StoredClient) -> Caller {
    Caller {
        kind: Kind::OAuthClient,
        uid: object.meta().uid.as_deref().unwrap_or_default().into(),
        namespace: object.namespace().unwrap_or_default().into(),
        name: object.name_any().into(),
    }
}
