//! The hosts that could serve a context now, ordered by the most urgent context that waits there.
//!
//! Each host is listed for the namespace of its first context, and once more for the first of any other namespace. That is
//! enough: at most one namespace may use no more of the free slots, so one of the two may go.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::lane::Rank;

/// Hosts that are ready, for contexts of one kind: with, or without a working token.
#[derive(Debug, Default)]
pub(super) struct Ready {
    namespaces: HashMap<Arc<str>, BTreeMap<Rank, Arc<str>>>,
    /// The first of each namespace.
    firsts: BTreeMap<Rank, Arc<str>>,
}

impl Ready {
    pub(super) fn insert(&mut self, rank: Rank, namespace: &Arc<str>, host: &Arc<str>) {
        self.change(namespace, |hosts| {
            hosts.insert(rank, Arc::clone(host));
        });
    }

    pub(super) fn remove(&mut self, rank: Rank, namespace: &Arc<str>) {
        self.change(namespace, |hosts| {
            hosts.remove(&rank);
        });
    }

    /// The first host, of the namespaces and hosts that may go.
    pub(super) fn first(
        &self,
        namespace_may: impl Fn(&str) -> bool,
        host_may: impl Fn(&str) -> bool,
    ) -> Option<(Rank, &Arc<str>)> {
        let mut best: Option<(Rank, &Arc<str>)> = None;
        for (first, namespace) in &self.firsts {
            if best.is_some_and(|(rank, _)| rank < *first) {
                break;
            }
            let hosts = self.namespaces.get(namespace).filter(|_| namespace_may(namespace));
            let found = hosts.and_then(|hosts| hosts.iter().find(|(_, host)| host_may(host)));
            if let Some((rank, host)) = found.filter(|(rank, _)| best.is_none_or(|(best, _)| **rank < best)) {
                best = Some((*rank, host));
            }
        }
        best
    }

    fn change(&mut self, namespace: &Arc<str>, change: impl FnOnce(&mut BTreeMap<Rank, Arc<str>>)) {
        let hosts = self.namespaces.entry(Arc::clone(namespace)).or_default();
        if let Some((rank, _)) = hosts.first_key_value() {
            self.firsts.remove(rank);
        }
        change(hosts);
        match hosts.first_key_value() {
            Some((rank, _)) => {
                self.firsts.insert(*rank, Arc::clone(namespace));
            }
            None => {
                self.namespaces.remove(namespace);
            }
        }
    }
}
