//! The state that all runs share.

use std::sync::Arc;

use futures::channel::mpsc::UnboundedSender;
use kube::Client;
use kube::core::{DeserializeGuard, Selector};
use kube::runtime::reflector::{ObjectRef, Store};

use crate::api::QlikContext;
use crate::clock::{Clock, Jitter};
use crate::health::Health;
use crate::index::Index;
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::oauth::tenant::AllowedHosts;
use crate::reconcile::events::Events;
use crate::reconcile::memory::Memories;
use crate::scheduler::Caller;
use crate::tokens::TokenCache;

/// The state that all runs share.
pub struct Context {
    /// The Kubernetes API.
    pub client: Client,
    /// The contexts, as the watch shows them.
    pub contexts: Store<StoredContext>,
    /// The Secrets that they refer to, as the watches show them.
    pub index: Arc<Index>,
    /// `--context-selector`.
    pub context_selector: Selector,
    /// `--credential-selector`, if it hides any Secret from the watch.
    pub credential_selector: Option<String>,
    /// The tokens of all requests.
    pub tokens: TokenCache,
    /// `--allowed-tenant-hosts`.
    pub allowed_hosts: AllowedHosts,
    /// Whether this process may write.
    pub leadership: Leadership,
    /// The memory of each context.
    pub memories: Memories,
    /// Events, written outside of the runs.
    pub events: Events,
    /// `--workloads`: requests a round of [`crate::workloads`].
    pub workloads: Option<UnboundedSender<ObjectRef<StoredContext>>>,
    /// Whether the Kubernetes API answers.
    pub health: Arc<Health>,
    /// The clock.
    pub clock: Clock,
    /// Randomness.
    pub jitter: Jitter,
    /// The metrics.
    pub metrics: Arc<Metrics>,
}

/// An object as received: a `QlikContext`, or data that cannot be read as one.
pub type StoredContext = DeserializeGuard<QlikContext>;

impl Context {
    /// A context is gone: the only place that removes everything that is remembered of it.
    pub fn gone(&self, uid: &str) {
        if let Some(memory) = self.memories.forget(uid) {
            self.metrics.forget(&memory.caller.namespace, &memory.caller.name, self.clock.now());
        }
        self.tokens.forget(uid);
    }

    /// The API server says that a context does not exist, and no watch has shown that yet.
    pub fn deleted(&self, uid: &str) {
        self.gone(uid);
        self.memories.mark_deleted(uid);
    }

    /// The Kubernetes API failed in a run for this context. Returns the number of failures in a row.
    pub fn count_failure(&self, caller: &Caller) -> u32 {
        self.health.kubernetes_failed();
        let count = self.memories.with(&caller.uid, |memory| {
            memory.failures = memory.failures.saturating_add(1);
            memory.failures
        });
        count.unwrap_or(1)
    }

    /// The requests to the Kubernetes API of a run for this context succeeded.
    pub fn succeeded(&self, caller: &Caller) {
        self.health.kubernetes_answered();
        self.memories.with(&caller.uid, |memory| memory.failures = 0);
    }

    /// These are all contexts: the watch restarted, and deletions may have been missed.
    pub fn only(&self, objects: &[Arc<StoredContext>]) {
        self.memories.missing(objects).iter().for_each(|uid| self.gone(uid));
    }
}
