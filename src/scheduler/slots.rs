//! How many contexts may run at once, over all hosts (`--concurrency`).
//!
//! A quarter of the slots is reserved for contexts with a working token. Of the slots that a context may use, a single host
//! or namespace gets at most three quarters. So neither tenants that hang nor credentials that never worked block the other
//! contexts.

use std::collections::HashMap;
use std::sync::Arc;

use super::state::Ticket;

/// The slots.
#[derive(Debug)]
pub(super) struct Slots {
    limit: usize,
    taken: HashMap<Ticket, User>,
    all: Count,
    hosts: HashMap<Arc<str>, Count>,
    namespaces: HashMap<Arc<str>, Count>,
}

/// What uses a slot.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) host: Arc<str>,
    pub(super) namespace: Arc<str>,
    pub(super) working: bool,
}

/// Slots that are taken.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    all: usize,
    /// By contexts without a working token.
    others: usize,
}

impl Count {
    /// Those that count against a context with or without a working token.
    fn against(self, working: bool) -> usize {
        if working { self.all } else { self.others }
    }

    fn add(&mut self, working: bool) {
        self.all += 1;
        self.others += usize::from(!working);
    }

    fn remove(&mut self, working: bool) {
        self.all -= 1;
        self.others -= usize::from(!working);
    }
}

impl Slots {
    pub(super) fn new(limit: u16) -> Self {
        let limit = usize::from(limit).max(1);
        let (hosts, namespaces) = (HashMap::new(), HashMap::new());
        Self { limit, taken: HashMap::new(), all: Count::default(), hosts, namespaces }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// There is a free slot for contexts of this kind.
    pub(super) fn is_free(&self, working: bool) -> bool {
        self.all.all < self.limit && self.all.against(working) < self.usable(working)
    }

    /// This host may use one more.
    ///
    /// For contexts of one kind at most one host may not, unless there is no free slot at all: its share is over a half.
    pub(super) fn host_is_free(&self, working: bool, host: &str) -> bool {
        self.leaves_a_quarter(working, self.hosts.get(host))
    }

    /// This namespace may use one more; as for hosts, at most one may not.
    pub(super) fn namespace_is_free(&self, working: bool, namespace: &str) -> bool {
        self.leaves_a_quarter(working, self.namespaces.get(namespace))
    }

    pub(super) fn take(&mut self, ticket: Ticket, user: User) {
        self.all.add(user.working);
        self.hosts.entry(Arc::clone(&user.host)).or_default().add(user.working);
        self.namespaces.entry(Arc::clone(&user.namespace)).or_default().add(user.working);
        self.taken.insert(ticket, user);
    }

    pub(super) fn give_back(&mut self, ticket: Ticket) -> Option<User> {
        let user = self.taken.remove(&ticket)?;
        self.all.remove(user.working);
        for (counts, name) in [(&mut self.hosts, &user.host), (&mut self.namespaces, &user.namespace)] {
            if let Some(count) = counts.get_mut(name) {
                count.remove(user.working);
                if count.all == 0 {
                    counts.remove(name);
                }
            }
        }
        Some(user)
    }

    fn usable(&self, working: bool) -> usize {
        if working { self.limit } else { most_of(self.limit) }
    }

    fn leaves_a_quarter(&self, working: bool, count: Option<&Count>) -> bool {
        count.copied().unwrap_or_default().against(working) < most_of(self.usable(working))
    }
}

/// Three quarters, and at least one.
fn most_of(slots: usize) -> usize {
    (slots * 3).div_ceil(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(slots: &mut Slots, first: Ticket, user: impl Fn(u64) -> User) -> usize {
        let mut taken = 0;
        for n in 0..50 {
            let user = user(n);
            let working = user.working;
            if slots.is_free(working)
                && slots.host_is_free(working, &user.host)
                && slots.namespace_is_free(working, &user.namespace)
            {
                slots.take(first + n, user);
                taken += 1;
            }
        }
        taken
    }

    fn user(host: &str, namespace: &str, working: bool) -> User {
        User { host: host.into(), namespace: namespace.into(), working }
    }

    #[test]
    fn a_quarter_is_kept_for_what_works_and_a_quarter_from_any_one_host_or_namespace() {
        let mut slots = Slots::new(32);
        assert_eq!(fill(&mut slots, 0, |_| user("first", "a", false)), 18);
        assert_eq!(fill(&mut slots, 100, |_| user("first", "b", false)), 0, "the same host");
        assert_eq!(fill(&mut slots, 150, |_| user("second", "a", false)), 0, "the same namespace");
        assert_eq!(fill(&mut slots, 200, |_| user("second", "c", false)), 6);
        let names = ["a", "b", "c", "d"];
        let third = |n: u64| user("third", names[usize::try_from(n).unwrap() % 4], false);
        assert_eq!(fill(&mut slots, 300, third), 0, "the last quarter is kept");
        assert_eq!(fill(&mut slots, 400, |_| user("first", "d", true)), 6, "of this host, beside the eighteen");
        assert_eq!(fill(&mut slots, 500, |_| user("fourth", "e", true)), 2, "then all are taken");
        assert!(!slots.is_free(true));
    }

    #[test]
    fn a_single_slot_is_enough_for_anyone() {
        for working in [true, false] {
            let mut slots = Slots::new(1);
            assert_eq!(fill(&mut slots, 0, |_| user("host", "a", working)), 1);
        }
    }

    #[test]
    fn a_slot_is_given_back_once_and_by_its_ticket() {
        let mut slots = Slots::new(1);
        slots.take(7, user("host", "a", true));
        assert!(slots.give_back(8).is_none());
        assert!(!slots.is_free(true));
        assert!(slots.give_back(7).is_some());
        assert!(slots.give_back(7).is_none());
        assert!(slots.is_free(true));
        assert!(slots.hosts.is_empty() && slots.namespaces.is_empty());
    }

    #[test]
    fn at_most_one_host_and_one_namespace_have_used_up_their_share_while_there_is_a_free_slot() {
        for limit in 1..200u16 {
            let slots = Slots::new(limit);
            for working in [true, false] {
                assert!(2 * most_of(slots.usable(working)) > slots.usable(working), "{limit}");
            }
        }
    }
}
