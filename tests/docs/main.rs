//! The documentation matches the code: links, names, manifests and tests that a page mentions exist under that name.
//!
//! Most tests only read files. Snippets in programming languages are compiled and run against a tenant on 127.0.0.1;
//! their packages are downloaded once. `tests/chart` renders the values of `docs/install.md` with Helm. `tests/cluster`
//! applies `examples/` to a real API server, and `tests/controller` runs them with a fake tenant.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod book;
mod foreign;
mod glossary;
mod links;
mod log;
mod manifests;
mod metrics;
mod names;
mod pages;
mod pictures;
mod snippets;
