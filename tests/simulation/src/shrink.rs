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
    for smaller in [one_replica, no_oauth_clients, no_workloads, fewest_contexts] {
        let Some(shorter) = smaller(&best.0) else { continue };
        if let Some(violation) = breaks(&shorter, invariant) {
            best = (shorter, violation);
        }
    }
    best
}

fn one_replica(history: &History) -> Option<History> {
    let alone = history.steps.iter().all(|step| !step.event.needs_many_replicas());
    (history.replicas > 1 && alone).then(|| History { replicas: 1, ..history.clone() })
}

fn no_oauth_clients(history: &History) -> Option<History> {
    let unused = history.steps.iter().all(|step| !step.event.needs_objects());
    (history.oauth_clients > 0 && unused).then(|| History { oauth_clients: 0, ..history.clone() })
}

fn no_workloads(history: &History) -> Option<History> {
    let unused = history.steps.iter().all(|step| !step.event.needs_workloads());
    (!history.workloads.is_empty() && unused).then(|| History { workloads: Vec::new(), ..history.clone() })
}

/// Without the contexts after the last one that a step names.
fn fewest_contexts(history: &History) -> Option<History> {
    let last = history.steps.iter().filter_map(|step| step.event.context()).max().unwrap_or_default();
    (last + 1 < history.contexts.len()).then(|| history.clone().with_contexts(last + 1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::history::Step;

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

    #[test]
    fn only_the_objects_are_left_that_the_steps_name() {
        let is_of_first = |step: &Step| step.event.context() == Some(0) && !step.event.needs_workloads();
        let is_large = |history: &History| {
            history.contexts.len() > 1
                && history.replicas > 1
                && history.oauth_clients > 0
                && !history.workloads.is_empty()
        };
        let mut histories = (0..1000).map(History::of).filter(is_large);
        let mut history = histories.find(|history| history.steps.iter().any(is_of_first)).unwrap();
        history.steps.retain(is_of_first);
        let at = Duration::from_hours(1);
        let violation = Violation { invariant: Invariant::Silence, at, seen: String::new() };
        let steps = history.steps.len();
        let keeps_steps = |history: &History| (history.steps.len() == steps).then(|| violation.clone());
        let (smallest, _) = shrink(history, violation.clone(), keeps_steps);
        assert_eq!((smallest.contexts.len(), smallest.replicas, smallest.oauth_clients), (1, 1, 0));
        assert!(smallest.workloads.is_empty());
    }
}
