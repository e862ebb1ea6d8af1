//! The contexts that wait at one host for the same kind of request under the same limits, in order.
//!
//! Renewals that are due go first, nearest expiry first; then namespaces take turns; within a namespace the order is by urgency
//! and then by arrival.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Urgency;

/// The order within a namespace, and among hosts. The arrival is unique, and identifies the place.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Rank {
    pub(super) urgency: Urgency,
    pub(super) arrival: u64,
}

/// The order within a lane: `None`, for a renewal that is due, comes before every turn.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Head {
    turn: Option<u64>,
    pub(super) rank: Rank,
    pub(super) namespace: Arc<str>,
}

/// A lane.
#[derive(Debug, Default)]
pub(super) struct Lane {
    groups: HashMap<Arc<str>, Group>,
    /// The first of each group, in order of service.
    heads: BTreeSet<Head>,
    /// The first of each group, in order of rank.
    ranks: BTreeMap<Rank, Arc<str>>,
    length: usize,
    due: usize,
}

/// The places of one namespace.
#[derive(Debug, Default)]
struct Group {
    turn: u64,
    ranks: BTreeSet<Rank>,
}

impl Group {
    fn head(&self, namespace: &Arc<str>) -> Option<Head> {
        let rank = *self.ranks.first()?;
        let turn = (!rank.urgency.is_due()).then_some(self.turn);
        Some(Head { turn, rank, namespace: Arc::clone(namespace) })
    }
}

impl Lane {
    pub(super) fn insert(&mut self, namespace: &Arc<str>, rank: Rank, turn: u64) {
        self.length += 1;
        self.due += usize::from(rank.urgency.is_due());
        self.change(namespace, |group| {
            group.turn = turn;
            group.ranks.insert(rank);
        });
    }

    pub(super) fn remove(&mut self, namespace: &Arc<str>, rank: Rank) {
        self.length -= 1;
        self.due -= usize::from(rank.urgency.is_due());
        self.change(namespace, |group| {
            group.ranks.remove(&rank);
        });
    }

    /// This namespace was served, here or in another lane.
    pub(super) fn set_turn(&mut self, namespace: &Arc<str>, turn: u64) {
        if self.groups.contains_key(namespace) {
            self.change(namespace, |group| group.turn = turn);
        }
    }

    /// The first in order of service, of the namespaces that may go.
    pub(super) fn first_to_serve(&self, may: impl Fn(&str) -> bool) -> Option<&Head> {
        self.heads.iter().find(|head| may(&head.namespace))
    }

    /// The first in order of rank, of the namespaces that may go.
    pub(super) fn first_by_rank(&self, may: impl Fn(&str) -> bool) -> Option<(Rank, &Arc<str>)> {
        self.ranks.iter().find(|(_, namespace)| may(namespace)).map(|(rank, namespace)| (*rank, namespace))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// An estimate of how many go before a context of this namespace: as many of each namespace as of its own, and no more than
    /// there are.
    pub(super) fn ahead(&self, namespace: &str, urgency: Urgency) -> usize {
        let own = self.groups.get(namespace).map_or(0, |group| group.ranks.len());
        let all = if urgency.is_due() { self.due } else { self.length.min(self.due + own * self.groups.len()) };
        all.saturating_sub(1)
    }

    fn change(&mut self, namespace: &Arc<str>, change: impl FnOnce(&mut Group)) {
        let group = self.groups.entry(Arc::clone(namespace)).or_default();
        if let Some(head) = group.head(namespace) {
            self.ranks.remove(&head.rank);
            self.heads.remove(&head);
        }
        change(group);
        match group.head(namespace) {
            Some(head) => {
                self.ranks.insert(head.rank, Arc::clone(namespace));
                self.heads.insert(head);
            }
            None => {
                self.groups.remove(namespace);
            }
        }
    }
}

impl Head {
    /// The order of service among lanes whose namespaces share their turns.
    pub(super) fn order(&self) -> (Option<u64>, Rank) {
        (self.turn, self.rank)
    }
}
