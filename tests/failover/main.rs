//! Several instances on a real API server, and what befalls them: there is never more than one that acts, no token is asked
//! for twice, and all is normal again within the times that docs/operations.md names.
//!
//! Each test prints what it measured.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "real processes need real time")]

mod audit;
mod clocks;
mod control_plane;
mod instances;
mod stage;
mod standby;
