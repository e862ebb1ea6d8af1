//! Properties that hold for any external input, one module for each parser.
//!
//! Each module has a function `holds`, which panics if a property does not hold. It is called by the programs in
//! `fuzz_targets/`, with generated inputs (`cargo xtask fuzz`), and by the operator's `tests/corpus.rs`, which includes
//! this file as a module, with the inputs in `corpus/<module>/`: inputs written by hand, and those that once found a
//! bug.
//!
//! The checks use only functions that the operator uses itself.

pub mod answer;
pub mod clients;
pub mod credential;
pub mod identity;
pub mod key;
pub mod template;
pub mod tenant;
pub mod token;
