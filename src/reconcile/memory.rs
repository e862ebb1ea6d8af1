//! What the process remembers of each context: one entry per context, removed in one step with the context.
//!
//! Nothing here is needed after a restart: all of it is read again from the cluster or learned again.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::api::{Kind, QlikContext, QlikContextStatus, REFRESH_REQUESTED_ANNOTATION};
use crate::clock::Timestamp;
use crate::reconcile::context::StoredContext;
use crate::reconcile::repairs::Repairs;
use crate::scheduler::Caller;
use crate::secret::derived::WrittenSecret;
use crate::tokens::TokenDigest;
use crate::values::{Settled, Wanted};

/// After this time without a change by another client, the next repair comes at once again.
pub const REPAIR_FORGOTTEN: Duration = Duration::from_mins(10);
/// The delay after the first conflict. It doubles with each further one.
const CONFLICT: Duration = Duration::from_millis(100);

/// The memory of all contexts, by uid.
#[derive(Default)]
pub struct Memories {
    /// Boxed: a table has room for twice as many entries as it may hold.
    all: Mutex<HashMap<Arc<str>, Box<Memory>>>,
    /// Contexts that do not exist, according to the API server, although the watch still shows them.
    deleted: Mutex<HashSet<Arc<str>>>,
}

/// The entry of one context.
pub struct Memory {
    /// Its name.
    pub caller: Caller,
    /// A digest of the fields whose change wakes it: generation, annotations, finalizers.
    seen: u64,
    /// The refresh request in its annotation, and when the watch showed it.
    refresh: Option<(String, Instant)>,
    /// The status that was written and that the watch has not shown yet.
    pending: Option<Box<PendingStatus>>,
    conflict: Option<Box<Conflict>>,
    /// The status of the last run, if it could not be written.
    pub unwritten: Option<Box<QlikContextStatus>>,
    /// Failures of the Kubernetes API in a row.
    pub failures: u32,
    /// The notes that were sent once, by reason.
    pub noted: HashMap<String, String>,
    /// The result of the last run, if everything was in order.
    pub settled: Option<(Settled, Versions)>,
    /// What was read last, and when; `None` since the last write.
    pub read: Option<(Versions, Instant)>,
    /// The request that it waited to send when its last run ended.
    pub wanted: Option<Wanted>,
    /// The token Secret as this process wrote it last.
    pub written: Option<WrittenSecret>,
    /// The token that its Secret held last.
    pub published: Option<TokenDigest>,
    /// The token that its Secret holds, for the workloads that read it.
    pub held: Option<HeldToken>,
    /// When a round for its workloads was requested, or when the last one ended. The next round needs newer lists.
    pub lists_after: Option<Instant>,
    /// Repairs of the token Secret.
    pub repairs: Repairs,
}

/// A token that fits its context, in the derived Secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HeldToken {
    /// When it was asked for.
    pub issued_at: Timestamp,
    /// A container that started before does not have it.
    pub since: Timestamp,
    /// The generation of the context then.
    pub generation: Option<i64>,
}

/// The objects that a finding was made from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Versions {
    /// [`Memory::seen`] of the context.
    pub context: u64,
    /// The resourceVersion of the credential Secret.
    pub credential: Option<String>,
    /// The resourceVersion of the token Secret.
    pub target: Option<String>,
}

struct PendingStatus {
    status: QlikContextStatus,
    /// The version of the object that the write made.
    version: Option<String>,
    /// The versions before it: while the watch shows one of them, it has not caught up.
    before: Vec<Option<String>>,
}

/// Writes of the status that conflicted while the watch showed one version.
#[derive(Default)]
struct Conflict {
    watched: Option<String>,
    count: u32,
    /// The object as it was read since.
    newest: Option<QlikContext>,
}

impl Memory {
    fn of(object: &StoredContext) -> Self {
        let refresh = object.annotations().get(REFRESH_REQUESTED_ANNOTATION);
        Self {
            caller: caller(object),
            seen: digest(object.meta()),
            refresh: refresh.map(|value| (value.clone(), Instant::now())),
            pending: None,
            conflict: None,
            unwritten: None,
            failures: 0,
            noted: HashMap::new(),
            settled: None,
            read: None,
            wanted: None,
            written: None,
            published: None,
            held: None,
            lists_after: None,
            repairs: Repairs::forgotten_after(REPAIR_FORGOTTEN),
        }
    }

    /// A digest of the fields whose change wakes the context.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// How long ago the watch showed this refresh request.
    pub fn refresh_seen(&self, request: &str) -> Option<Duration> {
        self.refresh.as_ref().filter(|(value, _)| value == request).map(|(_, at)| at.elapsed())
    }
}

impl Memories {
    /// Whether this context is new or changed, apart from its status. (kube's predicates do not forget a deleted context, so one
    /// that is selected again would not wake.)
    pub fn needs_reconcile(&self, object: &StoredContext) -> bool {
        let now = Memory::of(object);
        let mut all = self.all.lock();
        match all.get_mut(&now.caller.uid) {
            Some(known) => {
                if known
                    .pending
                    .as_ref()
                    .is_some_and(|pending| !pending.before.contains(&object.meta().resource_version))
                {
                    // The watch has caught up, or another client has written since.
                    known.pending = None;
                }
                known.conflict.take_if(|conflict| conflict.watched != object.meta().resource_version);
                let changed = known.seen != now.seen;
                if changed {
                    let request = |memory: &Memory| memory.refresh.as_ref().map(|(value, _)| value.clone());
                    if request(known) != request(&now) {
                        known.refresh.clone_from(&now.refresh);
                    }
                    (known.seen, known.settled, known.read, known.wanted) = (now.seen, None, None, None);
                    known.repairs.forget();
                }
                changed
            }
            None => {
                all.insert(now.caller.uid.clone(), Box::new(now));
                true
            }
        }
    }

    /// A run begins for this context: adds its entry, if there is none.
    pub fn begin(&self, object: &StoredContext) -> Caller {
        let mut all = self.all.lock();
        let uid = uid(object);
        if let Some(memory) = all.get(uid) {
            return memory.caller.clone();
        }
        let memory = Memory::of(object);
        let caller = memory.caller.clone();
        all.insert(caller.uid.clone(), Box::new(memory));
        caller
    }

    /// Reads or changes the entry; does nothing if the context is gone since its run began, so that the entry is not created
    /// again.
    pub fn with<T>(&self, uid: &str, change: impl FnOnce(&mut Memory) -> T) -> Option<T> {
        self.all.lock().get_mut(uid).map(|memory| change(memory))
    }

    /// Forgets a context.
    pub fn forget(&self, uid: &str) -> Option<Box<Memory>> {
        self.deleted.lock().remove(uid);
        self.all.lock().remove(uid)
    }

    /// The API server says that this context does not exist.
    pub fn mark_deleted(&self, uid: &str) {
        self.deleted.lock().insert(uid.into());
    }

    /// Whether the API server said so, and no watch has shown it yet.
    pub fn is_deleted(&self, uid: &str) -> bool {
        self.deleted.lock().contains(uid)
    }

    /// The contexts with an entry that are not among these: their deletion was missed.
    pub fn missing(&self, objects: &[Arc<StoredContext>]) -> Vec<Arc<str>> {
        let there: HashSet<_> = objects.iter().map(|object| uid(object)).collect();
        let (all, deleted) = (self.all.lock(), self.deleted.lock());
        all.keys().chain(&*deleted).filter(|uid| !there.contains(&***uid)).cloned().collect()
    }

    /// The context as it was read after a conflict, with its newest status and the version that has it.
    ///
    /// A run may begin before the watch has shown what the run before it wrote. With the older status it would report the same
    /// transition twice and move its time. Only this operator writes the status, so the last written one is the newest.
    pub fn catch_up(&self, context: &QlikContext) -> QlikContext {
        let mut context = context.clone();
        let all = self.all.lock();
        let Some(memory) = all.get(context.metadata.uid.as_deref().unwrap_or_default()) else { return context };
        let conflict =
            memory.conflict.as_ref().filter(|conflict| conflict.watched == context.metadata.resource_version);
        if let Some(newest) = conflict.and_then(|conflict| conflict.newest.as_ref()) {
            context.clone_from(newest);
        }
        let pending = memory.pending.as_ref();
        if let Some(pending) = pending.filter(|pending| pending.before.contains(&context.metadata.resource_version)) {
            context.status = Some(pending.status.clone());
            context.metadata.resource_version.clone_from(&pending.version);
        }
        context
    }

    /// This status was written over the version that was read, which resulted in this version.
    pub fn status_written(&self, context: &QlikContext, status: &QlikContextStatus, version: Option<String>) {
        self.with(context.metadata.uid.as_deref().unwrap_or_default(), |memory| {
            let mut before = memory.pending.take().map(|pending| pending.before).unwrap_or_default();
            before.push(context.metadata.resource_version.clone());
            memory.pending = Some(Box::new(PendingStatus { status: status.clone(), version, before }));
            if let Some(conflict) = &mut memory.conflict {
                conflict.count = 1;
            }
        });
    }

    /// Another client has changed the object, and the watch shows this version. Returns the number of conflicts while it does.
    pub fn status_conflict(&self, uid: &str, watched: Option<String>) -> u32 {
        let count = self.with(uid, |memory| {
            memory.pending = None;
            let conflict = memory.conflict.get_or_insert_default();
            if conflict.watched != watched {
                **conflict = Conflict { watched, ..Conflict::default() };
            }
            conflict.count = conflict.count.saturating_add(1);
            conflict.count
        });
        count.unwrap_or_default()
    }

    /// After a conflict, the object was read: the watch is late.
    pub fn read_again(&self, uid: &str, newest: QlikContext) {
        self.with(uid, |memory| {
            if let Some(conflict) = &mut memory.conflict {
                conflict.newest = Some(newest);
            }
        });
    }

    /// The delay after a conflict: the watch shows the change within a moment, unless it is late.
    pub fn after_conflict(&self, uid: &str) -> Duration {
        let count = self.with(uid, |memory| memory.conflict.as_ref().map_or(0, |conflict| conflict.count));
        CONFLICT * 2_u32.pow(count.unwrap_or_default().saturating_sub(1).min(8))
    }
}

/// A digest of the fields whose change wakes an object.
pub fn digest(meta: &ObjectMeta) -> u64 {
    let mut seen = DefaultHasher::new();
    (meta.generation, &meta.annotations, &meta.finalizers, meta.deletion_timestamp.is_some()).hash(&mut seen);
    seen.finish()
}

/// The name of an object, readable or not.
pub fn caller(object: &StoredContext) -> Caller {
    Caller {
        kind: Kind::Context,
        uid: uid(object).into(),
        namespace: object.namespace().unwrap_or_default().into(),
        name: object.name_any().into(),
    }
}

/// The uid of an object, readable or not.
pub fn uid(object: &StoredContext) -> &str {
    object.meta().uid.as_deref().unwrap_or_default()
}
