//! The operator on a real control plane, with the chart's own rights, against the fake tenant over TLS.
//!
//! Here stands only what a real API server can show: schemas, rights, watches, server-side apply, garbage collection. All
//! tests share one control plane, one operator and one cloud; each has a namespace and a tenant of its own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no by panicking")]
#![expect(clippy::disallowed_methods, reason = "what is real is measured by real time")]

mod command_line;
mod credentials;
mod guard;
mod interference;
mod lifecycle;
mod memory;
mod methods;
mod oauth_clients;
mod process;
mod promises;
mod schema;
mod target;
mod workloads;
mod world;
