//! Bounds of counts, which hold on every machine, however slow and busy it is. Each run is compared with them, also in
//! the tests.
//!
//! Two of them are times: how long a Secret held an expired token. If the scenario itself stops the operator until the
//! tokens have almost expired, the result depends on the load of the machine, and the bound applies to the full sizes
//! only.

use super::figures::Report;
use super::table::{title, value};
use crate::screen::Screen;

/// The bound of a figure of a scenario, at each size.
struct Bound {
    scenario: &'static str,
    figure: &'static str,
    goal: Limit,
    /// Whether it applies to the full sizes only.
    full_only: bool,
}

#[derive(Clone, Copy)]
enum Limit {
    AtMost(f64),
    Exactly(f64),
}

use Limit::{AtMost, Exactly};

/// Get the credential, apply the Secret, apply the status. An occasional conflict is retried.
const THREE_REQUESTS: Limit = AtMost(3.1);
/// A context that waits for a budget has read its credential once before, to report a mistake in it at once;
/// credentials are not kept, so it reads it again when its turn has come. A wait of more than a minute is also reported
/// in the status.
const WITH_A_WAIT: Limit = AtMost(5.1);

#[rustfmt::skip]
const BOUNDS: &[Bound] = &[
    bound("idle", "Kubernetes API requests", Exactly(0.0)),
    Bound { full_only: true, ..bound("burst", "Kubernetes API requests", THREE_REQUESTS) },
    // The operator starts with all contexts there. On a busy machine a part of a small fleet is reconciled before the
    // first list of Secrets has ended: then the token Secret is read, and the API server is asked once more whether the
    // token is wanted.
    bound("burst", "Kubernetes API requests", WITH_A_WAIT),
    bound("burst", "events", AtMost(1.0)),
    bound("burst", "token requests", Exactly(1.0)),
    bound("burst", "questions to users/me", Exactly(1.0)),
    bound("budgets", "Kubernetes API requests", WITH_A_WAIT),
    bound("budgets", "token requests", Exactly(1.0)),
    bound("steady", "Kubernetes API requests", THREE_REQUESTS),
    bound("steady", "served expired", Exactly(0.0)),
    Bound { full_only: true, ..bound("newcomers", "served expired", Exactly(0.0)) },
    bound("restart", "restart: token requests", Exactly(0.0)),
    bound("restart", "kill -9: token requests", Exactly(0.0)),
    bound("sharing", "token requests", Exactly(1.0)),
    bound("sharing", "questions to users/me", Exactly(1.0)),
    bound("names", "tokens of another context", Exactly(0.0)),
    // Get the credential, apply the status, and sometimes an event. Contexts that only wait send no request.
    bound("outage", "Kubernetes API requests for each token request", AtMost(3.3)),
    bound("faults", "contexts with the reason InvalidClient", Exactly(1.0)),
    bound("faults", "ready at the limited tenant meanwhile", Exactly(0.0)),
    bound("sharded", "token requests", Exactly(1.0)),
    bound("sharded", "token requests of a move", Exactly(0.0)),
];

const fn bound(scenario: &'static str, figure: &'static str, goal: Limit) -> Bound {
    Bound { scenario, figure, goal, full_only: false }
}

impl Limit {
    fn holds(self, value: f64) -> bool {
        match self {
            AtMost(most) => value <= most,
            Exactly(wanted) => (value - wanted).abs() < 1e-9,
        }
    }

    fn words(self) -> String {
        match self {
            AtMost(most) => format!("at most {}", value(most)),
            Exactly(wanted) => format!("exactly {}", value(wanted)),
        }
    }
}

/// Prints which counts are out of their bounds, and returns their number.
pub fn check(report: &Report, screen: Screen) -> usize {
    let (mut checked, mut broken) = (0, 0);
    for bound in BOUNDS.iter().filter(|bound| !bound.full_only || report.scale == "full") {
        for scenario in report.sizes_of(bound.scenario) {
            checked += 1;
            let found = scenario.value(bound.figure);
            let holds = |limit: Limit| found.is_some_and(|found| limit.holds(found));
            if holds(bound.goal) {
                continue;
            }
            let what = format!(
                "{}: {} is {}, and should be {}",
                title(scenario),
                bound.figure,
                found.map_or("missing".to_owned(), value),
                bound.goal.words()
            );
            broken += 1;
            screen.text(&format!("{what}; out of bounds"));
        }
    }
    screen.text(&format!("{} of {checked} counts are within their bounds", checked - broken));
    broken
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::figures::Scenario;
    use super::*;

    #[test]
    fn a_count_out_of_bounds_or_a_missing_one_is_found() {
        let screen = Screen::new();
        let program = "true";
        let mut report = Report::begin(Path::new(program), "quick", true).unwrap();
        assert_eq!(check(&report, screen), 0, "what did not run has no bounds");
        let mut names = Scenario::new("names", 10, "");
        names.lower("tokens of another context", "", 1.0);
        report.scenarios.push(names);
        assert_eq!(check(&report, screen), 1);
        report.scenarios[0].figures[0].value = 0.0;
        assert_eq!(check(&report, screen), 0);
        report.scenarios[0].figures.clear();
        assert_eq!(check(&report, screen), 1);
    }

    #[test]
    fn a_count_that_is_out_of_its_bound_is_found() {
        let mut report = Report::begin(Path::new("true"), "quick", true).unwrap();
        let mut steady = Scenario::new("steady", 10, "");
        steady.lower("served expired", "s", 0.0);
        steady.lower("Kubernetes API requests", "per token", 3.0);
        report.scenarios.push(steady);
        assert_eq!(check(&report, Screen::new()), 0);
        report.scenarios[0].figures[1].value = 4.0;
        assert_eq!(check(&report, Screen::new()), 1);
    }
}
