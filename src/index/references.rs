//! Which contexts refer to a Secret, by hash: a lookup never scans contexts.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::{ContextName, SecretKey};
use crate::api::Kind;

/// Both directions; each is changed with the other.
#[derive(Default)]
pub(super) struct References {
    secrets: HashMap<Arc<ContextName>, [Option<SecretKey>; 2]>,
    /// In order, so that contexts are woken in the same order each time. Never an empty set.
    contexts: HashMap<SecretKey, BTreeSet<Arc<ContextName>>>,
}

impl References {
    pub(super) fn set(&mut self, context: &ContextName, credential: Option<SecretKey>, target: SecretKey) {
        let secrets = [credential, Some(target)];
        if self.secrets.get(context) == Some(&secrets) {
            return;
        }
        self.remove(context);
        let context = Arc::new(context.clone());
        for secret in secrets.into_iter().flatten() {
            self.contexts.entry(secret).or_default().insert(context.clone());
        }
        self.secrets.insert(context, secrets);
    }

    pub(super) fn remove(&mut self, context: &ContextName) {
        for secret in self.secrets.remove(context).into_iter().flatten().flatten() {
            if let Some(contexts) = self.contexts.get_mut(&secret) {
                contexts.remove(context);
                if contexts.is_empty() {
                    self.contexts.remove(&secret);
                }
            }
        }
    }

    /// Forgets all contexts of a kind but these.
    pub(super) fn retain(&mut self, kind: Kind, contexts: &HashSet<ContextName>) {
        let gone = self.secrets.keys().filter(|context| context.kind == kind && !contexts.contains(&***context));
        for context in gone.cloned().collect::<Vec<_>>() {
            self.remove(&context);
        }
    }

    pub(super) fn of(&self, secret: SecretKey) -> impl Iterator<Item = &Arc<ContextName>> {
        self.contexts.get(&secret).into_iter().flatten()
    }

    pub(super) fn is_referenced(&self, secret: SecretKey) -> bool {
        self.contexts.contains_key(&secret)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.secrets.is_empty() && self.contexts.is_empty()
    }
}
