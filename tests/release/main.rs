//! The chart as people live with it, on a real control plane: beside a second release, with no right too many, through
//! upgrade, rollback and re-installation, and with QlikContexts in releases of their own.
//!
//! There is no kubelet: the operator runs with the arguments and the ServiceAccount of the release's Deployment, and is
//! started anew where a rollout would do so.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "real processes need real time")]

mod chart;
mod contexts;
mod lifecycle;
mod rights;
mod shards;
mod side_by_side;
mod stage;
