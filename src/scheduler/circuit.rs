//! The circuit breaker of a host.
//!
//! It opens when several keys found the host down and none has found it up for a minute. While it is open, one request
//! every ten seconds is sent as a probe, and any response closes it.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::oauth::request::RequestKey;

/// This many different keys have to find the host down; a failure of a single key may concern that key only.
const KEYS: usize = 3;
/// No key has found it up for this long.
const QUIET: Duration = Duration::from_mins(1);
/// From one probe of an open circuit to the next.
pub(super) const PROBE_EVERY: Duration = Duration::from_secs(10);

/// What a request showed of its host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Health {
    /// The request succeeded.
    Up,
    /// It answered with a failure.
    Answers,
    /// 5xx, no answer in time, or no connection.
    Down,
}

/// A host's circuit.
#[derive(Debug)]
pub(super) struct Circuit {
    /// Keys that found it down since any key found it up.
    failing: HashSet<RequestKey>,
    /// When it was last up; at first, when the host became known.
    up_at: Instant,
    /// While it is open: when the next probe may go.
    probe_at: Option<Instant>,
}

impl Circuit {
    /// Closed.
    pub(super) fn new(now: Instant) -> Self {
        Self { failing: HashSet::new(), up_at: now, probe_at: None }
    }

    /// This key is no longer used.
    pub(super) fn forget(&mut self, key: &RequestKey) {
        self.failing.remove(key);
    }

    pub(super) fn is_open(&self) -> bool {
        self.probe_at.is_some()
    }

    /// When the next request may go, if it has to wait for a probe.
    pub(super) fn probe_at(&self) -> Option<Instant> {
        self.probe_at
    }

    /// A request begins. While the circuit is open it is the probe.
    pub(super) fn begin(&mut self, now: Instant) {
        self.probe_at = self.probe_at.map(|_| now + PROBE_EVERY);
    }

    /// A request ended; `keys`: how many keys there are for this host. True when this closed the circuit.
    pub(super) fn end(&mut self, key: RequestKey, health: Health, keys: usize, now: Instant) -> bool {
        match health {
            Health::Down => {
                self.failing.insert(key);
                let enough = self.failing.len() >= KEYS.min(keys);
                if enough && now.duration_since(self.up_at) >= QUIET && !self.is_open() {
                    self.probe_at = Some(now + PROBE_EVERY);
                }
                false
            }
            Health::Answers if !self.is_open() => false,
            Health::Up | Health::Answers => {
                self.failing.clear();
                self.up_at = now;
                self.probe_at.take().is_some()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> RequestKey {
        RequestKey::numbered(n)
    }

    #[test]
    fn it_opens_when_three_keys_find_the_host_down_and_none_has_found_it_up_for_a_minute() {
        let begin = Instant::now();
        let mut circuit = Circuit::new(begin);
        let later = begin + QUIET;
        for n in 0..2 {
            circuit.end(key(n), Health::Down, 10, later);
        }
        circuit.end(key(0), Health::Down, 10, later);
        assert!(!circuit.is_open(), "two keys, one of them twice");
        circuit.end(key(2), Health::Down, 10, later);
        assert!(circuit.is_open());
        assert_eq!(circuit.probe_at(), Some(later + PROBE_EVERY));
    }

    #[test]
    fn a_success_within_the_minute_keeps_it_closed() {
        let begin = Instant::now();
        let mut circuit = Circuit::new(begin);
        circuit.end(key(9), Health::Up, 10, begin + Duration::from_secs(30));
        for n in 0..5 {
            circuit.end(key(n), Health::Down, 10, begin + QUIET);
        }
        assert!(!circuit.is_open());
        circuit.end(key(1), Health::Down, 10, begin + Duration::from_secs(90));
        assert!(circuit.is_open());
    }

    #[test]
    fn where_there_are_fewer_keys_all_of_them_are_enough() {
        let begin = Instant::now();
        let mut circuit = Circuit::new(begin);
        circuit.end(key(0), Health::Down, 1, begin + QUIET);
        assert!(circuit.is_open());
    }

    #[test]
    fn one_probe_is_sent_every_ten_seconds_and_any_answer_closes_it() {
        let begin = Instant::now();
        let mut circuit = Circuit::new(begin);
        circuit.end(key(0), Health::Down, 1, begin + QUIET);
        let probe = begin + QUIET + PROBE_EVERY;
        circuit.begin(probe);
        assert_eq!(circuit.probe_at(), Some(probe + PROBE_EVERY));
        assert!(!circuit.end(key(0), Health::Down, 1, probe));
        assert!(circuit.is_open());
        assert!(circuit.end(key(0), Health::Answers, 1, probe + PROBE_EVERY), "a refusal is an answer too");
        assert!(!circuit.is_open());
    }

    #[test]
    fn a_refusal_does_not_prove_that_others_are_served() {
        let begin = Instant::now();
        let mut circuit = Circuit::new(begin);
        for n in 0..3 {
            circuit.end(key(n), Health::Down, 10, begin + QUIET / 2);
        }
        circuit.end(key(7), Health::Answers, 10, begin + QUIET);
        circuit.end(key(0), Health::Down, 10, begin + QUIET);
        assert!(circuit.is_open());
    }
}
