//! Requests to a tenant over real TLS: what is sent, what is rejected, and which hosts never get a connection.
//!
//! The rows of a table run concurrently, each with its own tenant. The longest takes the fifteen seconds of a call's
//! timeout.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::panic, reason = "a test fails by panicking, also in its helpers")]
#![expect(clippy::disallowed_methods, reason = "peers run concurrently with the test and need the real time")]

mod attacks;
mod clients;
mod clients_errors;
mod clients_unclear;
mod door;
mod log;
mod proxy;
mod taxonomy;
mod tokens;
mod transport;
mod users_me;
mod world;
