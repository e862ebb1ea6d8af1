//! The circuit breaker of a host: whether it is worth asking at all.
//!
//! It opens when several keys found the host down and nobody has found it up for a minute. While it is open, one request
//! at a time goes through now and then, and one that is answered closes it.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::oauth::request::RequestKey;

/// So many different keys have to find the host down; one key's trouble may be its own.
const KEYS: usize = 3;
/// Nobody found it up for so long.
const QUIET: Duration = Duration::from_mins(1);
/// From one probe of an open circuit to the next.
pub(super) const PROBE_EVERY: Duration = Duration::from_secs(10);

/// What a request said of its host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Health {
    /// It did what it was asked.
    Up,
    /// It answered, though not as hoped.
    Answers,
    /// 5xx, no answer in time, or no connection.
    Down,
}

/// A host's circuit.
#[derive(Debug)]
pub(super) struct Circuit {
    /// Keys that found it down since anyone found it up.
    failing: HashSet<RequestKey>,
    /// When it was up last; at first, when it was asked first.
    up_at: Instant,
    /// While it is open: when the next probe may go.
    probe_at: Option<Instant>,
}

impl Circuit {
    /// A closed one.
    pub(super) fn new(now: Instant) -> Self {
        Self { failing: HashSet::new(), up_at: now, probe_at: None }
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
    use crate::oauth::traffic::tests::key;

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
    fn one_probe_goes_at_a_time_and_an_answer_closes_it() {
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
    fn a_refusal_is_no_proof_that_others_are_served() {
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
