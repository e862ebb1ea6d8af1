//! The operator on a real control plane, with the permissions of the chart, against the fake tenant over TLS.
//!
//! These tests need a real API server: schemas, permissions, watches, server-side apply, garbage collection. All tests
//! share one control plane, one operator and one fake cloud. Each test has its own namespace and tenant.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "real processes need real time")]

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
