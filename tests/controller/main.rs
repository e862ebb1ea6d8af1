//! The whole controller in memory, on virtual time: what takes days, or an API server and a tenant that fail at will.

#![expect(clippy::unwrap_used, reason = "a test says no by panicking")]

mod after_restart;
mod clocks;
mod election;
mod examples;
mod hosts;
mod methods;
mod neighbour;
mod reasons;
mod scope;
mod sharing;
mod storm;
mod time;
mod trouble;
mod turns;
mod watches;
mod world;
