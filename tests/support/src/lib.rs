//! What tests, demo and benchmarks stand on: a real control plane, a strict fake of Qlik Cloud, and
//! the operator as a process with the chart's own rights.
//!
//! Knows the operator only from outside, as a program, a chart and an API; so it cannot share a
//! misunderstanding with it.

#![expect(clippy::disallowed_methods, reason = "real processes need real time")]

pub mod api_server;
pub mod control_plane;
pub mod node;
pub mod operator;
pub mod planted;
pub mod skipped;
pub mod tenant;
pub mod wire;
