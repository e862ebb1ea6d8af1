//! What the chart makes of its values, told by Helm itself. Needs no cluster and no network.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no by panicking")]

mod deploy;
mod flags;
mod generated;
mod helm;
mod monitoring;
mod objects;
mod pod;
mod rights;
mod schema;
mod values;
