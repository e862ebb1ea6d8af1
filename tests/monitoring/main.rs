//! What watches the operator, judged by Prometheus itself: the formats of the metrics, the alerts, the dashboard.
//!
//! Prometheus and promtool are built from their Go module once. What they read comes from the whole controller on virtual time,
//! scraped as a Prometheus would.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no by panicking")]
#![expect(clippy::disallowed_methods, reason = "Prometheus is a process of its own and takes real time")]

mod alerts;
mod dashboard;
mod formats;
mod prometheus;
mod recording;
#[expect(dead_code, reason = "a part of what the controller's tests need")]
#[path = "../controller/world.rs"]
mod world;
