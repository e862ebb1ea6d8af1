//! `kubectl qlik` as a person uses it: typed at a pseudo-terminal of 80 columns, on a real control plane, with the operator
//! running with the chart's own permissions and the fake tenant over TLS.
//!
//! The screen at the end is compared with `golden/`; `WRITE_GENERATED=1` writes those files. Everything that a program
//! printed, its arguments, and what it wrote to the cluster are searched for secrets when a test ends.

#![expect(clippy::disallowed_methods, reason = "a person at a terminal waits in real time")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod commands;
mod doctor;
mod export;
mod golden;
mod krew;
mod mistakes;
mod oauth_clients;
mod scripts;
mod status;
mod terminal;
mod tutorial;
mod world;
