//! The objects that Helm renders from the chart and its values, and the API server's response to them in a dry run.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod deploy;
mod flags;
mod generated;
mod helm;
mod monitoring;
mod notes;
mod objects;
mod permissions;
mod pod;
mod schema;
mod server;
mod values;
