//! Shortens a history that violates an invariant: removes steps, first in halves and in the end one by one, as long as the same
//! invariant is violated (delta debugging: Zeller and Hildebrandt, 2002).

use crate::history::History;
use crate::invariants::{Invariant, Violation};

/// The largest number of runs.
const RUNS: usize = 120;

/// A shorter history with its violation. `run` runs a history and returns its violation.
pub fn shrink(
    history: History,
    violation: Violation,
    run: impl Fn(&History) -> Option<Violation>,
) -> (History, Violation) {
    let mut best = (history, violation);
    let invariant = best.1.invariant;
    let breaks =
        |history: &History, invariant: Invariant| run(history).filter(|violation| violation.invariant == invariant);
    // Later steps did not cause the violation.
    let mut shorter = best.0.clone();
    shorter.steps.retain(|step| step.at <= best.1.at);
    if let Some(violation) = breaks(&shorter, invariant) {
        best = (shorter, violation);
    }
    let mut runs = 0;
    let mut size = best.0.steps.len().div_ceil(2);
    while size > 0 && runs < RUNS {
        let mut begin = 0;
        while begin < best.0.steps.len() && runs < RUNS {
            let mut shorter = best.0.clone();
            shorter.steps.drain(begin..(begin + size).min(shorter.steps.len()));
            runs += 1;
            match breaks(&shorter, invariant) {
                Some(violation) => best = (shorter, violation),
                None => begin += size,
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    for smaller in smaller_casts(&best.0) {
        if let Some(violation) = breaks(&smaller, invariant) {
            best = (smaller, violation);
        }
    }
    best
}

/// The history with one replica, and without QlikOAuthClients.
fn smaller_casts(history: &History) -> Vec<History> {
    let alone = history.steps.iter().all(|step| !step.event.needs_many_replicas());
    let no_objects = history.steps.iter().all(|step| !step.event.needs_objects());
    let mut casts = Vec::new();
    if history.replicas > 1 && alone {
        casts.push(History { replicas: 1, ..history.clone() });
    }
    if history.oauth_clients > 0 && no_objects {
        casts.push(History { oauth_clients: 0, ..history.clone() });
    }
    casts
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_the_steps_are_left_that_break_the_rule() {
        let history = History::of(7);
        let needed: Vec<_> = [2, 5].map(|index| history.steps[index].number).into();
        let run = |history: &History| {
            let breaks = needed.iter().all(|number| history.steps.iter().any(|step| step.number == *number));
            let at = Duration::from_hours(1);
            breaks.then(|| Violation { invariant: Invariant::Silence, at, seen: String::new() })
        };
        let violation = run(&history).unwrap();
        let (shortest, _) = shrink(history, violation, run);
        assert_eq!(shortest.steps.iter().map(|step| step.number).collect::<Vec<_>>(), needed);
    }
}
