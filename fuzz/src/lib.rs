//! What must hold for any input from outside, one module for each door it comes through.
//!
//! Each has a function `holds`, which panics where a promise is broken. Two things call it: the programs in `fuzz_targets/`,
//! which make inputs up (`cargo xtask fuzz`), and `tests/corpus.rs` of the operator, which takes this file in as a module of
//! its own and feeds it what is kept in `corpus/<module>/`: inputs made by hand, and those that once broke something.
//!
//! Nothing here reaches into the operator: all of it goes through functions that the operator uses itself.

pub mod answer;
pub mod clients;
pub mod credential;
pub mod identity;
pub mod key;
pub mod template;
pub mod tenant;
pub mod token;
