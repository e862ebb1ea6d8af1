//! What every run has at hand.

use std::sync::Arc;

use kube::Client;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;

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

/// What every run needs.
pub struct Context {
    /// The Kubernetes API.
    pub client: Client,
    /// The contexts, as the watch shows them.
    pub contexts: Store<StoredContext>,
    /// The Secrets that they refer to, as the watches show them.
    pub index: Arc<Index>,
    /// `--credential-selector`, if it hides any Secret from the watch.
    pub credential_selector: Option<String>,
    /// The way to tokens.
    pub tokens: TokenCache,
    /// `--allowed-tenant-hosts`.
    pub allowed_hosts: AllowedHosts,
    /// Whether this process may write.
    pub leadership: Leadership,
    /// What is remembered of each context.
    pub memories: Memories,
    /// Events, written outside of the runs.
    pub events: Events,
    /// Whether the Kubernetes API answers.
    pub health: Arc<Health>,
    /// What time it is.
    pub clock: Clock,
    /// Randomness.
    pub jitter: Jitter,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// An object as it came: a `QlikContext`, or what could not be read as one.
pub type StoredContext = DeserializeGuard<QlikContext>;

impl Context {
    /// A context is gone: whatever is remembered of it goes with it, here and nowhere else.
    pub fn gone(&self, uid: &str) {
        if let Some(memory) = self.memories.forget(uid) {
            self.metrics.forget(&memory.caller.namespace, &memory.caller.name, self.clock.now());
        }
        self.tokens.forget(uid);
    }

    /// The Kubernetes API failed in a run for this context; how many failures in a row that makes.
    pub fn count_failure(&self, caller: &Caller) -> u32 {
        self.health.kubernetes_failed();
        let count = self.memories.with(&caller.uid, |memory| {
            memory.failures = memory.failures.saturating_add(1);
            memory.failures
        });
        count.unwrap_or(1)
    }

    /// The Kubernetes API did what it was asked in a run for this context.
    pub fn succeeded(&self, caller: &Caller) {
        self.health.kubernetes_answered();
        self.memories.with(&caller.uid, |memory| memory.failures = 0);
    }

    /// These contexts are all there are: the watch began anew, and deletions may have been missed.
    pub fn only(&self, objects: &[Arc<StoredContext>]) {
        self.memories.missing(objects).iter().for_each(|uid| self.gone(uid));
    }
}
