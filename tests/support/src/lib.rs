//! Shared code of tests, demo and benchmarks: a real control plane, a strict fake of Qlik Cloud, and
//! the operator as a process with the permissions of the chart.
//!
//! It does not use the operator's code. It knows the operator only as a program, a chart and an API,
//! so it cannot repeat the operator's mistakes.

#![expect(clippy::disallowed_methods, reason = "real processes need real time")]

pub mod api_server;
pub mod control_plane;
pub mod go;
pub mod node;
pub mod operator;
pub mod planted;
pub mod port;
pub mod skipped;
pub mod tenant;
pub mod wire;
