//! The life of a release of the chart on a real control plane: with a second release, with least privilege, through
//! upgrade, rollback and re-installation, and with QlikContexts in their own releases.
//!
//! There is no kubelet: the operator runs with the arguments and the ServiceAccount of the release's Deployment, and is
//! restarted where a rollout would restart it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "real processes need real time")]

mod chart;
mod contexts;
mod lifecycle;
mod permissions;
mod shards;
mod side_by_side;
mod stage;
