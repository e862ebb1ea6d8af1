//! The way to a tenant over real TLS: what arrives, what is refused, and what never gets a connection.
//!
//! The rows of a table run side by side, each with a tenant of its own; the longest takes the fifteen seconds of a call.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::panic, reason = "so does a helper")]
#![expect(clippy::disallowed_methods, reason = "peers run beside the test, and know the real time")]

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
