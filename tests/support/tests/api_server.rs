//! Tests of the API server in memory: it behaves like a real one, and its scripted faults work.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the shared code of the tests fails by panicking, too")]
#![expect(clippy::disallowed_methods, reason = "tests spawn tasks without joining them, and measure real time")]

#[path = "api_server/applies.rs"]
mod applies;
#[path = "api_server/controller.rs"]
mod controller;
#[path = "api_server/faults.rs"]
mod faults;
#[path = "api_server/fixtures.rs"]
mod fixtures;
#[path = "api_server/objects.rs"]
mod objects;
#[path = "api_server/session.rs"]
mod session;
#[path = "api_server/watches.rs"]
mod watches;
