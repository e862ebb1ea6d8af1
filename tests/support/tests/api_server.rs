//! The API server in memory, tested: it does what a real one does, and goes wrong as it is told.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what the tests share is a test, too")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests are where tasks may go unjoined, and where real time is measured"
)]

#[path = "api_server/applies.rs"]
mod applies;
#[path = "api_server/controller.rs"]
mod controller;
#[path = "api_server/faults.rs"]
mod faults;
#[path = "api_server/objects.rs"]
mod objects;
#[path = "api_server/session.rs"]
mod session;
#[path = "api_server/watches.rs"]
mod watches;
#[path = "api_server/wishes.rs"]
mod wishes;
