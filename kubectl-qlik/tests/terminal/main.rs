//! `kubectl qlik` as a person uses it: typed at a pseudo-terminal of 80 columns, on a real control plane. The operator
//! runs with the chart's permissions, and the fake tenant is reached over TLS.
//!
//! The final screen is compared with `golden/`; `WRITE_GENERATED=1` writes those files. At the end of a test, the
//! output of every program, its arguments, and the objects that it wrote to the cluster are searched for secrets.

#![expect(clippy::disallowed_methods, reason = "a terminal needs real time")]
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
