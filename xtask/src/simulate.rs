//! `cargo xtask simulate`: histories of random faults on virtual time, from seeds; with `--mutants`, a proof that they find bugs.
//!
//! The program is `tests/simulation`; its flags are passed on. docs/testing.md explains the method.

mod mutants;

use anyhow::ensure;

use crate::cargo;
use crate::screen::Screen;

/// Flags of `simulate`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Check that each mutant of the operator in xtask/src/simulate/mutants/list.rs violates an invariant.
    #[arg(long)]
    mutants: bool,
    /// With `--mutants`: only mutants whose names contain this text.
    #[arg(long, requires = "mutants")]
    only: Option<String>,
    /// With `--mutants`: the largest number of histories for each mutant.
    #[arg(long, requires = "mutants", default_value_t = 1000)]
    within: u64,
    /// Flags of the program: `--seeds N`, `--from S`, `--replay SEED`, `--help` after `--`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Runs it.
pub fn run(args: &Args, screen: Screen) -> anyhow::Result<()> {
    if args.mutants {
        return mutants::run(args.only.as_deref(), args.within, screen);
    }
    let rest: Vec<_> = args.rest.iter().map(String::as_str).collect();
    let run = [&["run", "--quiet", "--profile", "simulation", "--package", "simulation", "--"][..], &rest].concat();
    ensure!(cargo::succeeds(&run)?, "an invariant was violated, or a history could not be run");
    Ok(())
}
