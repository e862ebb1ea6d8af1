//! `cargo xtask fuzz`: generates inputs for everything that parses data from outside, and stops at the first input for
//! which a property of `fuzz/src` does not hold.
//!
//! It starts from `fuzz/corpus/`, which it does not change: new inputs are stored below `target/`, for the next run.
//! Once a bug is fixed, add its input to the corpus, which `tests/corpus.rs` always runs.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use support::operator::repository;

use crate::screen::Screen;

/// Flags of `fuzz`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// How long to run each target.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// The only target to run.
    target: Option<String>,
}

/// Runs each target for a while.
pub fn run(args: &Args, screen: Screen) -> anyhow::Result<()> {
    let all = targets()?;
    let chosen = match &args.target {
        None => all,
        Some(one) if all.contains(one) => vec![one.clone()],
        Some(other) => bail!("there is no target {other}, only {}", all.join(", ")),
    };
    ensure!(works(&["--version"]), "fuzzing needs a nightly compiler: rustup toolchain install nightly");
    ensure!(works(&["fuzz", "--version"]), "cargo fuzz is missing: cargo install cargo-fuzz --locked");
    for target in chosen {
        screen.heading(&format!("{target}, for {} s", args.seconds));
        look(&target, args.seconds)?;
    }
    screen.heading(&format!("Nothing found in {:.0} s", screen.elapsed().as_secs_f32()));
    Ok(())
}

fn look(target: &str, seconds: u32) -> anyhow::Result<()> {
    let found = repository().join("target/fuzz/corpus").join(target);
    fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    // New inputs go into the first folder; the second is only read.
    let found = found.to_string_lossy();
    let kept = format!("fuzz/corpus/{target}");
    let time = format!("-max_total_time={seconds}");
    // An input that takes 10 s counts as a bug, too.
    let run = ["fuzz", "run", "--target-dir", "target/fuzz", target, &found, &kept, "--", &time, "-timeout=10"];
    let status = nightly(&run).status().context("cannot run rustup")?;
    ensure!(status.success(), "{target} does not hold; the input is below fuzz/artifacts/{target}");
    Ok(())
}

/// The targets, a program each.
fn targets() -> anyhow::Result<Vec<String>> {
    let folder = repository().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let stem = |entry: fs::DirEntry| entry.path().file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let mut names: Vec<_> = entries.filter_map(Result::ok).filter_map(stem).collect();
    names.sort();
    Ok(names)
}

fn works(args: &[&str]) -> bool {
    let mut cargo = nightly(args);
    let silent = cargo.stdout(Stdio::null()).stderr(Stdio::null());
    silent.status().is_ok_and(|status| status.success())
}

/// The nightly cargo: a stable compiler does not have the fuzzer's instrumentation.
fn nightly(args: &[&str]) -> Command {
    let mut rustup = Command::new("rustup");
    rustup.args(["run", "nightly", "cargo"]).args(args).current_dir(repository());
    rustup
}
