//! The turns of the namespaces of a host: start-time fair queueing.
//!
//! Each namespace has a turn on a virtual clock that advances with each turn served. A namespace without requests for a while
//! joins at the current time: it does not accumulate turns.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The turns of the namespaces that wait for one kind of request at one host.
#[derive(Debug, Default)]
pub(super) struct Turns {
    clock: u64,
    next: HashMap<Arc<str>, Next>,
    /// Namespaces with nothing waiting; they are forgotten when the clock has reached their turn.
    idle: BTreeSet<(u64, Arc<str>)>,
}

#[derive(Clone, Copy, Debug)]
struct Next {
    turn: u64,
    waiting: usize,
}

impl Turns {
    /// A context of this namespace begins to wait; returns the namespace's turn.
    pub(super) fn join(&mut self, namespace: &Arc<str>) -> u64 {
        let next = self.next.entry(Arc::clone(namespace)).or_insert(Next { turn: self.clock, waiting: 0 });
        if next.waiting == 0 {
            self.idle.remove(&(next.turn, Arc::clone(namespace)));
        }
        next.waiting += 1;
        next.turn
    }

    /// One context of this namespace waits no longer.
    pub(super) fn leave(&mut self, namespace: &Arc<str>) {
        if let Some(next) = self.next.get_mut(namespace) {
            next.waiting = next.waiting.saturating_sub(1);
            if next.waiting == 0 {
                self.idle.insert((next.turn, Arc::clone(namespace)));
                self.prune();
            }
        }
    }

    /// This namespace, which waits, is served; returns its next turn. The clock stands still for what goes out of turn.
    pub(super) fn serve(&mut self, namespace: &Arc<str>, in_turn: bool) -> u64 {
        let Some(next) = self.next.get_mut(namespace) else {
            return self.clock;
        };
        if in_turn {
            self.clock = self.clock.max(next.turn);
        }
        next.turn = (next.turn + 1).max(self.clock);
        let turn = next.turn;
        self.prune();
        turn
    }

    /// The turn of a namespace that waits.
    #[cfg(test)]
    pub(super) fn turn(&self, namespace: &Arc<str>) -> u64 {
        self.next.get(namespace).map_or(self.clock, |next| next.turn)
    }

    fn prune(&mut self) {
        while let Some((_, namespace)) = self.idle.first().filter(|(turn, _)| *turn <= self.clock) {
            self.next.remove(namespace);
            self.idle.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_was_away_saves_nothing_up_and_is_forgotten_in_the_meantime() {
        let mut turns = Turns::default();
        let (busy, back): (Arc<str>, Arc<str>) = ("busy".into(), "back".into());
        turns.join(&back);
        turns.serve(&back, true);
        turns.leave(&back);
        turns.join(&busy);
        (0..100).for_each(|_| {
            turns.serve(&busy, true);
        });
        assert_eq!(turns.next.len(), 1);
        assert_eq!(turns.join(&back), 99);
    }

    #[test]
    fn a_request_out_of_turn_counts_for_its_own_namespace_alone() {
        let mut turns = Turns::default();
        let (due, other): (Arc<str>, Arc<str>) = ("due".into(), "other".into());
        assert_eq!((turns.join(&due), turns.join(&other)), (0, 0));
        assert_eq!((1..=5).map(|_| turns.serve(&due, false)).last(), Some(5));
        assert_eq!(turns.serve(&other, true), 1);
        turns.leave(&other);
        assert_eq!(turns.join(&other), 1);
    }
}
