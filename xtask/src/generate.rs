//! `cargo xtask generate`: writes what is made from code and committed: the CRD, where `kubectl
//! apply` and where the chart look for it, and what tests make: the tables of metrics, of states and of the chart's values, and the
//! manifest for `kubectl apply`.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, ensure};
use support::operator::repository;

use crate::cargo;
use crate::screen::Screen;

/// The CRD as a file, and its copy for Helm, which sees nothing outside of the chart.
const CRD: [&str; 2] = ["crds/qlikcontexts.yaml", "charts/qlik-context-operator/files/crds/qlikcontexts.yaml"];

/// What tests make: the test, which of its cases, and the files. Theirs is the CRD in the chart, so they come after it.
const MADE_BY_TESTS: [(&str, &str, &str); 4] = [
    ("docs", "metrics::", "docs/reference.md"),
    ("states", "", "docs/states.md"),
    ("argocd", "", "deploy/argocd/argocd-cm.yaml"),
    ("chart", "generated::", "charts/qlik-context-operator/README.md, deploy/kubernetes/qlik-context-operator.yaml"),
];

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
    for (test, cases, files) in MADE_BY_TESTS {
        if made_by(test, cases, args)? {
            screen.text(&format!("{files}: up to date"));
        } else {
            stale.push(files);
        }
    }
    ensure!(stale.is_empty(), "not as generated: {}; run cargo xtask generate", stale.join(", "));
    Ok(())
}

/// Has a test compare its files, or write them; false when one is old.
fn made_by(test: &str, cases: &str, args: Args) -> anyhow::Result<bool> {
    let mut test = cargo::cargo(&["test", "--quiet", "--test", test, cases]);
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
