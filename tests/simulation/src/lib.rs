//! Histories of faults: the whole controller, one to three replicas with a Lease, against the API server and the tenant in
//! memory, on virtual time, from a seed. `docs/testing.md` explains the method.
//!
//! - `history`: the events and their times, from a seed; `event`: all possible events; `fields`: the fields that users edit;
//!   `random`: random numbers from a seed.
//! - `world`: API server, tenant and replicas; `replica`: the processes of the operator; `kill_switch`: kills them; `transport`:
//!   their requests to the tenant.
//! - `invariants`: the invariants, checked at every step; `log`: the operator's log, which is searched for secrets.
//! - `run`: runs one history up to the first violation; `process`: in a process of its own; `shrink`: shortens a history with a
//!   violation; `summary`: the summary of many histories.
//!
//! After the faults everything is repaired. The operator has to converge without help, and then to send no requests.

mod event;
mod fields;
mod history;
mod invariants;
mod kill_switch;
mod log;
mod process;
mod random;
mod replica;
mod run;
mod shrink;
mod summary;
mod transport;
mod world;

pub use history::{Cut, History};
pub use invariants::{Invariant, Violation};
pub use log::{search, show};
pub use process::{command, not_repeatable, run_apart};
pub use run::{Ended, Report, run};
pub use shrink::shrink;
pub use summary::Summary;
