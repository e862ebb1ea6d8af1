//! The sizes of the scenarios.

use std::time::Duration;

/// Sizes and times of a run.
#[derive(Clone, Debug)]
pub struct Scale {
    /// `full` or `quick`.
    pub name: &'static str,
    /// Contexts of each burst.
    pub bursts: Vec<usize>,
    /// Contexts of one tenant with the default budgets.
    pub budgeted: usize,
    /// Contexts with short-lived tokens, the lifetime of these, and for how long they are observed.
    pub steady: (usize, Duration, Duration),
    /// Renewals that are due at once while new contexts are created, and the number of new contexts.
    pub newcomers: (usize, usize),
    /// Contexts that hold valid tokens when the operator restarts.
    pub restarted: usize,
    /// Contexts with one credential.
    pub sharing: usize,
    /// Names that exist in two namespaces.
    pub namesakes: usize,
    /// Secrets of 100 KiB that have nothing to do with the operator.
    pub foreign: usize,
    /// Contexts whose tenant is down, after how long they are observed, and for how long.
    pub waiting: (usize, Duration, Duration),
    /// Contexts whose tenants fail.
    pub faulty: usize,
    /// Contexts that are deleted at once.
    pub deleted: usize,
}

impl Scale {
    /// The sizes of `--quick`, or those of the whole run; `bursts` replaces the sizes of bursts.
    pub fn new(quick: bool, bursts: &[usize]) -> Self {
        let secs = Duration::from_secs;
        let mut scale = if quick {
            Self {
                name: "quick",
                bursts: vec![100, 300],
                budgeted: 104,
                steady: (40, secs(30), secs(30)),
                newcomers: (60, 5),
                restarted: 100,
                sharing: 30,
                namesakes: 10,
                foreign: 60,
                waiting: (100, secs(12), secs(10)),
                faulty: 60,
                deleted: 100,
            }
        } else {
            Self {
                name: "full",
                bursts: vec![100, 1_000, 3_000, 10_000],
                budgeted: 400,
                steady: (500, secs(100), secs(150)),
                newcomers: (3_000, 15),
                restarted: 1_000,
                sharing: 300,
                namesakes: 100,
                foreign: 5_000,
                waiting: (3_000, secs(75), secs(60)),
                faulty: 600,
                deleted: 1_000,
            }
        };
        if !bursts.is_empty() {
            scale.bursts = bursts.to_vec();
        }
        scale
    }
}
