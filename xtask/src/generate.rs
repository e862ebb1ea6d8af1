//! `cargo xtask generate`: writes the generated files that are committed: the CRDs, for `kubectl apply` and for the
//! chart, and the files that tests generate: the tables of metrics, of states and of the chart's values, and the
//! manifest for `kubectl apply`.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, ensure};
use support::operator::repository;

use crate::cargo;
use crate::screen::Screen;

/// The folder of the CRDs, and that of their copies for Helm, which reads no file outside of the chart.
const FOLDERS: [&str; 2] = ["crds", "charts/qlik-context-operator/files/crds"];

/// The files that tests generate: test, case and files. They read the CRDs in the chart, so they come after it.
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
    let mut stale = Vec::new();
    for (name, crd) in printed_crds()? {
        for folder in FOLDERS {
            let file = format!("{folder}/{name}");
            let path = repository().join(&file);
            if fs::read(&path).is_ok_and(|found| found == crd.as_bytes()) {
                screen.text(&format!("{file}: up to date"));
            } else if args.check {
                stale.push(file);
            } else {
                fs::write(&path, &crd).with_context(|| format!("cannot write {file}"))?;
                screen.text(&format!("{file}: written"));
            }
        }
    }
    for (test, cases, files) in MADE_BY_TESTS {
        if made_by(test, cases, args)? {
            screen.text(&format!("{files}: up to date"));
        } else {
            stale.push(files.to_owned());
        }
    }
    ensure!(stale.is_empty(), "not as generated: {}; run cargo xtask generate", stale.join(", "));
    Ok(())
}

/// Lets a test compare its files, or write them; false when one is outdated.
fn made_by(test: &str, cases: &str, args: Args) -> anyhow::Result<bool> {
    let mut test = cargo::cargo(&["test", "--quiet", "--test", test, cases]);
    if !args.check {
        test.env("WRITE_GENERATED", "1");
    }
    Ok(test.status().context("cannot run cargo")?.success())
}

/// The CRDs as the program prints them, each with the name of its file.
fn printed_crds() -> anyhow::Result<Vec<(String, String)>> {
    let program = cargo::build_operator(false)?;
    let output = Command::new(&program).arg("crd").output();
    let output = output.with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(
        output.status.success(),
        "qlik-context-operator crd failed: {}",
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    let text = String::from_utf8(output.stdout).context("the CRDs are no text")?;
    let named = |crd: &str| {
        let name = crd.lines().find_map(|line| line.strip_prefix("  name: ")).context("a CRD has no name")?;
        let plural = name.split('.').next().unwrap_or_default();
        Ok((format!("{plural}.yaml"), crd.to_owned()))
    };
    text.split("---\n").map(named).collect()
}
