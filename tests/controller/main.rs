//! The whole controller in memory, on virtual time: scenarios that take days, or that need an API server and a tenant
//! that fail on demand.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::unchecked_time_subtraction, reason = "times of a test are constants")]

mod adoption;
mod after_restart;
mod clocks;
mod costs;
mod election;
mod examples;
mod fights;
mod hosts;
mod kubernetes_trouble;
mod liveness;
mod memory_tokens;
mod methods;
mod neighbour;
mod oauth_clients;
mod reasons;
mod restore;
mod scope;
mod sharing;
mod slow_starts;
mod storm;
mod time;
mod trouble;
mod turns;
mod watches;
mod workloads;
mod world;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;
