//! What every run has at hand, and what the process remembers between runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kube::Client;
use kube::core::DeserializeGuard;

use crate::api::QlikContext;
use crate::clock::{Clock, Jitter};
use crate::events::Events;
use crate::gone::Alive;
use crate::latest::Latest;
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::oauth::cache::TokenCache;
use crate::oauth::tenant::AllowedHosts;

/// What every run needs.
pub struct Context {
    /// The Kubernetes API.
    pub client: Client,
    /// The way to tokens.
    pub tokens: TokenCache,
    /// `--allowed-tenant-hosts`.
    pub allowed_hosts: AllowedHosts,
    /// Whether writing is ours.
    pub leadership: Leadership,
    /// The contexts that something is remembered of.
    pub alive: Alive,
    /// What was written and not seen yet.
    pub latest: Latest,
    /// Failures of the Kubernetes API in a row.
    pub troubles: Troubles,
    /// What people are told.
    pub events: Events,
    /// What time it is.
    pub clock: Clock,
    /// Chance.
    pub jitter: Jitter,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// An object as it came: a `QlikContext`, or what could not be read as one.
pub type Guarded = DeserializeGuard<QlikContext>;

/// Failures of the Kubernetes API in a row, by uid.
#[derive(Default)]
pub struct Troubles(Mutex<HashMap<String, u32>>);

impl Troubles {
    /// One more; how many it makes.
    pub fn one_more(&self, uid: String) -> u32 {
        let mut troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = troubles.entry(uid).or_default();
        *count = count.saturating_add(1);
        *count
    }

    /// A run went well, or there is nothing to run for.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}
