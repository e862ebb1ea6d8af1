//! The hosts that are known, and where each is listed.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Known, State};
use crate::scheduler::host::Host;

impl State {
    /// The name of a host that is known from now on.
    pub(super) fn host(&mut self, name: &str, now: Instant) -> Arc<str> {
        if let Some((name, _)) = self.hosts.get_key_value(name) {
            return Arc::clone(name);
        }
        let name: Arc<str> = name.into();
        let host = Host::new(&self.limits, now);
        let known = Known { host, ready: Default::default(), alarm: None, circuit_is_open: false };
        self.hosts.insert(Arc::clone(&name), known);
        name
    }

    pub(super) fn change(&mut self, name: &Arc<str>, now: Instant, change: impl FnOnce(&mut Host)) {
        if let Some(known) = self.hosts.get_mut(name) {
            change(&mut known.host);
            self.refresh(name, now);
        }
    }

    /// Updates where a changed host is listed, or forgets it.
    pub(super) fn refresh(&mut self, name: &Arc<str>, now: Instant) {
        let Some(known) = self.hosts.get_mut(name) else {
            return;
        };
        known.host.settle(now);
        for working in [false, true] {
            let (ready, listed) = (&mut self.ready[usize::from(working)], &mut known.ready[usize::from(working)]);
            let firsts = known.host.firsts(working, now);
            if *listed != firsts {
                listed.iter().flatten().for_each(|(rank, namespace)| ready.remove(*rank, namespace));
                firsts.iter().flatten().for_each(|(rank, namespace)| ready.insert(*rank, namespace, name));
                *listed = firsts;
            }
        }
        let alarm = known.host.alarm(now);
        if known.alarm != alarm {
            known.alarm.iter().for_each(|at| {
                self.alarms.remove(&(*at, Arc::clone(name)));
            });
            alarm.iter().for_each(|at| {
                self.alarms.insert((*at, Arc::clone(name)));
            });
            known.alarm = alarm;
        }
        let over = known.host.is_over(now);
        let open = known.host.circuit_is_open() && !over;
        if known.circuit_is_open != open {
            known.circuit_is_open = open;
            self.open_circuits = if open { self.open_circuits + 1 } else { self.open_circuits.saturating_sub(1) };
            self.effects.circuits_open = Some(self.open_circuits);
        }
        if over {
            self.hosts.remove(name);
        }
    }
}
