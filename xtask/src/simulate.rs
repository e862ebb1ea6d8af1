//! `cargo xtask simulate`: histories of random faults on virtual time, from seeds; with `--mutants`, a proof that they find bugs.
//!
//! The program is `tests/simulation`; its flags are passed on. docs/testing.md explains the method.

mod mutants;

use anyhow::{Context as _, bail};

use crate::cargo;
use crate::screen::Screen;

/// Flags of `simulate`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Check that each mutant of the operator in xtask/src/simulate/mutants/list.rs violates an invariant.
    #[arg(long, conflicts_with = "rest")]
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
    screen.progress("building the simulation, which takes some minutes the first time …");
    if args.mutants {
        return mutants::run(args.only.as_deref(), args.within, screen);
    }
    let rest: Vec<_> = args.rest.iter().map(String::as_str).collect();
    let run = [&["run", "--quiet", "--profile", "simulation", "--package", "simulation", "--"][..], &rest].concat();
    let status = cargo::cargo(&run).status().context("cannot run cargo")?;
    verdict(status.code())
}

/// Does not blame the histories for a wrong flag (2) or a failed build (101).
fn verdict(exit_code: Option<i32>) -> anyhow::Result<()> {
    match exit_code {
        Some(0) => Ok(()),
        Some(1) => bail!("not every history ran without a violation: see above"),
        _ => bail!("no history ran, or not all of them: see above"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::{Args, verdict};

    #[derive(clap::Parser, Debug)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn a_name_of_a_mutant_without_its_flag_is_refused_instead_of_all_being_tried() {
        let parse = |flags: &[&'static str]| Command::try_parse_from([&["simulate"], flags].concat());
        let refused = parse(&["--mutants", "not active"]).unwrap_err().to_string();
        assert!(refused.contains("--mutants") && refused.contains("cannot be used with"), "{refused}");
        let mutants = parse(&["--mutants", "--only", "not active", "--within", "50"]).unwrap().args;
        assert_eq!((mutants.only.as_deref(), mutants.within), (Some("not active"), 50));
        let seeds = parse(&["--seeds", "20", "--from", "7"]).unwrap().args;
        assert_eq!(seeds.rest, ["--seeds", "20", "--from", "7"]);
    }

    #[test]
    fn a_wrong_flag_and_a_failed_build_are_not_reported_as_a_violation() {
        let shown = |code| verdict(code).unwrap_err().to_string();
        verdict(Some(0)).unwrap();
        assert!(shown(Some(1)).contains("violation"));
        for code in [Some(2), Some(101), None] {
            assert!(!shown(code).contains("violation"), "{code:?}");
        }
    }
}
