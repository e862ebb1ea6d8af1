//! What the chart makes of its values, by Helm itself; and what an API server says to that, in a dry run.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod deploy;
mod flags;
mod generated;
mod helm;
mod monitoring;
mod notes;
mod objects;
mod pod;
mod rights;
mod schema;
mod server;
mod values;
