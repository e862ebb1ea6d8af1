//! The summary of many histories.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use qlik_context_operator::api::Reason;
use strum::IntoEnumIterator as _;

use crate::invariants::Violation;
use crate::run::{Ended, Report};

/// The result of many histories.
#[derive(Debug, Default)]
pub struct Summary {
    passed: u64,
    requests: u64,
    issued: u64,
    lost: u64,
    reasons: BTreeSet<String>,
    plans: BTreeSet<String>,
    events: BTreeMap<String, u64>,
    recovery: Duration,
    violations: Vec<(u64, Violation)>,
    failed: Vec<u64>,
}

impl Summary {
    /// Adds a history. Returns a message, if it failed.
    pub fn add(&mut self, seed: u64, ended: Ended) -> Option<String> {
        match ended {
            Ended::Passed(report) => {
                self.add_report(report);
                None
            }
            Ended::Violated(violation) => {
                let text = format!("seed {seed}: {violation}");
                self.violations.push((seed, violation));
                Some(text)
            }
            Ended::Failed(why) => {
                self.failed.push(seed);
                Some(format!("seed {seed}: cannot run: {why}"))
            }
        }
    }

    fn add_report(&mut self, report: Report) {
        self.passed += 1;
        self.requests += report.requests;
        self.issued += report.issued;
        self.lost += report.lost;
        self.reasons.extend(report.reasons);
        self.plans.extend(report.plans);
        self.recovery = self.recovery.max(report.recovery);
        for (kind, count) in report.events {
            *self.events.entry(kind).or_default() += count;
        }
    }

    /// Whether all histories ran without a violation.
    pub fn passed(&self) -> bool {
        self.violations.is_empty() && self.failed.is_empty()
    }

    /// The violation of the lowest seed.
    pub fn first(&self) -> Option<(u64, Violation)> {
        self.violations.iter().min_by_key(|(seed, _)| *seed).cloned()
    }

    /// The text of the summary.
    pub fn text(&self, took: Duration) -> String {
        let all: Vec<_> = Reason::iter().map(|reason| reason.to_string()).collect();
        let (seen, unseen): (Vec<_>, Vec<_>) = all.into_iter().partition(|reason| self.reasons.contains(reason));
        let events: Vec<_> = self.events.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        let counts: BTreeMap<String, usize> =
            self.violations.iter().fold(BTreeMap::new(), |mut counts, (_, violation)| {
                *counts.entry(format!("{:?}", violation.invariant)).or_default() += 1;
                counts
            });
        let plans: Vec<_> = self.plans.iter().map(String::as_str).collect();
        [
            format!(
                "{} histories without a violation, {} with one {counts:?}, {} that could not run, in {} s",
                self.passed,
                self.violations.len(),
                self.failed.len(),
                took.as_secs()
            ),
            format!(
                "{} tokens issued, {} of them lost by crashes; {} requests to the API server; slowest recovery {} s",
                self.issued,
                self.lost,
                self.requests,
                self.recovery.as_secs()
            ),
            format!("{} reasons: {}", seen.len(), seen.join(" ")),
            format!("{} reasons that did not occur: {}", unseen.len(), unseen.join(" ")),
            format!("{} plans: {}", plans.len(), plans.join(", ")),
            format!("{} kinds of events: {}", events.len(), events.join(", ")),
        ]
        .join("\n")
    }
}
