//! What the process remembers of each object. Nothing here is needed after a restart: a credential whose value was only in
//! memory is removed by its hint, and a deletion gets the full time again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use kube::{Resource, ResourceExt};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::StoredClient;
use super::facts::Candidate;
use crate::api::Kind;
use crate::reconcile::memory::{REPAIR_FORGOTTEN, digest};
use crate::reconcile::repairs::Repairs;
use crate::scheduler::Caller;

/// A client is compared with its spec each quarter of an hour: one that was as it should be so often is not fought over.
const CLIENT_REPAIR_FORGOTTEN: Duration = Duration::from_hours(1);

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
    /// When this process first saw that it is being deleted.
    pub deleting_since: Option<Instant>,
    /// Failures of the Kubernetes API in a row.
    pub failures: u32,
    /// Runs in a row that left it failing.
    pub failing: u32,
    /// Repairs of its Secret.
    pub secret_repairs: Repairs,
    /// Repairs of its client in the tenant.
    pub client_repairs: Repairs,
    /// What was repaired in the client last, and how often in a row.
    pub repaired: (String, u32),
    /// The notes that were reported once, by reason.
    pub noted: HashMap<String, String>,
}

impl Memory {
    fn of(object: &StoredClient) -> Self {
        Self {
            caller: caller(object),
            seen: digest(object.meta()),
            host: None,
            candidate: None,
            deleting_since: None,
            failures: 0,
            failing: 0,
            secret_repairs: Repairs::forgotten_after(REPAIR_FORGOTTEN),
            client_repairs: Repairs::forgotten_after(CLIENT_REPAIR_FORGOTTEN),
            repaired: (String::new(), 0),
            noted: HashMap::new(),
        }
    }
}

impl Memories {
    /// Whether this object is new or changed, apart from its status.
    pub fn needs_reconcile(&self, object: &StoredClient) -> bool {
        let now = Memory::of(object);
        let mut all = self.0.lock();
        match all.get_mut(&now.caller.uid) {
            Some(known) => {
                let changed = known.seen != now.seen;
                if changed {
                    (known.seen, known.failing) = (now.seen, 0);
                }
                changed
            }
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
        let there: HashSet<_> = objects.iter().filter_map(|object| object.meta().uid.as_deref()).collect();
        self.0.lock().keys().filter(|uid| !there.contains(&***uid)).cloned().collect()
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
