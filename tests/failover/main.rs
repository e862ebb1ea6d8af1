//! Several instances on a real API server, with faults. Never more than one instance acts, no token is requested twice,
//! and the system recovers within the times in docs/operations.md.
//!
//! Each test prints its measurements.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "real processes need real time")]

mod audit;
#[cfg(target_os = "linux")]
mod clocks;
mod control_plane;
mod instances;
mod stage;
mod standby;
