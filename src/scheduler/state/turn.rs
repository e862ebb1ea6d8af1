//! The turn at the host that belongs to a permit: reserved, used, returned.

use std::sync::Arc;

use tokio::time::Instant;

use super::{State, Ticket};
use crate::scheduler::host::Turn;
use crate::scheduler::slots::User;

impl State {
    /// The permit has this turn at the host, or gets it: it is free, and no context that goes first waits for it.
    pub(super) fn has_turn(&mut self, ticket: Ticket, turn: Turn, now: Instant) -> bool {
        let Some(held) = self.permits.get(&ticket) else {
            return false;
        };
        let host = Arc::clone(&held.host);
        let Some(known) = self.hosts.get(&host) else {
            return false;
        };
        let reserved = held.turn.filter(|had| had.lane == turn.lane);
        match reserved {
            Some(had) if had.key == turn.key && known.host.may_use(now) => return true,
            // Its key changed while it waited: the turn at the host is still its own.
            Some(had) if known.host.may_use(now) && known.host.key_may_go(&turn, now) => {
                self.change(&host, now, |host| {
                    host.release(&had, now);
                    host.reserve(&turn, now);
                });
                self.set_turn(ticket, Some(turn));
                return true;
            }
            _ => {}
        }
        self.return_turn(ticket, now);
        self.serve(now);
        let may_go = self.hosts.get(&host).is_some_and(|known| known.host.may_go(&turn, now));
        if may_go {
            self.change(&host, now, |host| host.reserve(&turn, now));
            self.set_turn(ticket, Some(turn));
        }
        may_go
    }

    pub(super) fn set_turn(&mut self, ticket: Ticket, turn: Option<Turn>) {
        if let Some(held) = self.permits.get_mut(&ticket) {
            held.turn = turn;
        }
    }

    pub(super) fn return_turn(&mut self, ticket: Ticket, now: Instant) {
        if let Some(held) = self.permits.get_mut(&ticket)
            && let Some(turn) = held.turn.take()
        {
            let host = Arc::clone(&held.host);
            self.change(&host, now, |host| host.release(&turn, now));
        }
    }

    /// The slot counts as one with or without a working token from now on; false if there is none of that kind.
    pub(super) fn reclass(&mut self, ticket: Ticket, working: bool) -> bool {
        let Some(user) = self.slots.give_back(ticket) else {
            return false;
        };
        let fits = user.working == working
            || (self.slots.is_free(working)
                && self.slots.host_is_free(working, &user.host)
                && self.slots.namespace_is_free(working, &user.namespace));
        let working = if fits { working } else { user.working };
        self.slots.take(ticket, User { working, ..user });
        fits
    }

    pub(super) fn begin(&mut self, ticket: Ticket, working: bool, now: Instant) {
        if let Some(held) = self.permits.get_mut(&ticket)
            && let Some(turn) = held.turn.take()
        {
            held.sent = Some((turn.key, working));
            held.arrival = None;
            let host = Arc::clone(&held.host);
            self.change(&host, now, |host| host.begin(&turn, now));
        }
    }
}
