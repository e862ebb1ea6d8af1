//! The documentation speaks of what there is: links, names, manifests and tests that a page mentions exist under that name.
//!
//! Reads files alone, but for the snippets in programming languages: those are compiled and run against a tenant on 127.0.0.1,
//! and their packages come from the registries once. What Helm makes of the values in `docs/install.md`, `tests/chart` asks; what the
//! API server says of `examples/`, `tests/cluster` asks; what becomes of them at a tenant, `tests/controller`.

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
