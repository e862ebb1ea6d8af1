//! `cargo xtask generate`: writes what is made from code and committed: the CRD, where `kubectl
//! apply` and where the chart look for it, and the table of states, which a test makes.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, ensure};
use support::operator::repository;

use crate::cargo;
use crate::screen::Screen;

/// The CRD as a file, and its copy for Helm, which sees nothing outside of the chart.
const CRD: [&str; 2] = ["crds/qlikcontexts.yaml", "charts/qlik-context-operator/files/crds/qlikcontexts.yaml"];

/// What other tools say of every state.
const STATES: &str = "docs/states.md";

/// Flags of `generate`.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Args {
    /// Write nothing; fail when a file is not as it would be written.
    #[arg(long)]
    check: bool,
}

/// Writes the generated files, or compares them.
pub fn run(args: Args, screen: Screen) -> anyhow::Result<()> {
    let crd = printed_crd()?;
    let mut stale = Vec::new();
    for file in CRD {
        let path = repository().join(file);
        if fs::read(&path).is_ok_and(|found| found == crd) {
            screen.text(&format!("{file}: up to date"));
        } else if args.check {
            stale.push(file);
        } else {
            fs::write(&path, &crd).with_context(|| format!("cannot write {file}"))?;
            screen.text(&format!("{file}: written"));
        }
    }
    if !states(args)? {
        stale.push(STATES);
    }
    ensure!(stale.is_empty(), "not as generated: {}; run cargo xtask generate", stale.join(", "));
    screen.text(&format!("{STATES}: up to date"));
    Ok(())
}

/// Has the test compare the table of states, or write it; false when it is old.
fn states(args: Args) -> anyhow::Result<bool> {
    let mut test = cargo::cargo(&["test", "--quiet", "--test", "states"]);
    if !args.check {
        test.env("WRITE_GENERATED", "1");
    }
    Ok(test.status().context("cannot run cargo")?.success())
}

/// What users of the program get from it.
fn printed_crd() -> anyhow::Result<Vec<u8>> {
    let program = cargo::build_operator(false)?;
    let output = Command::new(&program).arg("crd").output();
    let output = output.with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(
        output.status.success(),
        "qlik-context-operator crd failed: {}",
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    Ok(output.stdout)
}
