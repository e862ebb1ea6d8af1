//! Runs cargo for a task: the same cargo that runs the task, in the root of the repository.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use support::operator::repository;

const OPERATOR: &str = "qlik-context-operator";
const PLUGIN: &str = "kubectl-qlik";

/// Whether cargo succeeds with these arguments; its output goes to ours.
pub fn succeeds(args: &[&str]) -> anyhow::Result<bool> {
    let status = cargo(args).status().context("cannot run cargo")?;
    Ok(status.success())
}

/// Whether cargo has this subcommand.
pub fn has(subcommand: &str) -> bool {
    let mut cargo = cargo(&[subcommand, "--version"]);
    let silent = cargo.stdout(Stdio::null()).stderr(Stdio::null());
    silent.status().is_ok_and(|status| status.success())
}

/// Builds the operator, and returns the path of its program.
pub fn build_operator(release: bool) -> anyhow::Result<PathBuf> {
    let [program] = build([OPERATOR], release)?;
    Ok(program)
}

/// Builds the operator and the kubectl plugin, and returns the paths of the programs.
pub fn build_operator_and_plugin(release: bool) -> anyhow::Result<[PathBuf; 2]> {
    build([OPERATOR, PLUGIN], release)
}

/// Builds these tasks, optimized as for a release, and returns the path of their program.
pub fn build_tasks_for_release() -> anyhow::Result<PathBuf> {
    let [program] = build([env!("CARGO_PKG_NAME")], true)?;
    Ok(program)
}

/// Builds packages with a program of the same name each. In one call, so that what they share is built once.
fn build<const N: usize>(packages: [&str; N], release: bool) -> anyhow::Result<[PathBuf; N]> {
    let profile = if release { "release" } else { "dev" };
    // Only cargo knows where it puts files; it reports that in JSON, and its progress as text.
    let output = cargo(&["build", "--profile", profile])
        .args(packages.iter().flat_map(|package| ["--package", package, "--bin", package]))
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("does not compile: cargo build --package {}", packages.join(" --package "));
    }
    let programs = packages.map(|package| executable(&output.stdout, package));
    if let Some(missing) =
        packages.iter().zip(&programs).find_map(|(package, program)| program.is_none().then_some(package))
    {
        bail!("cargo does not say where the program {missing} is");
    }
    Ok(programs.map(Option::unwrap_or_default))
}

/// The program of a package that was built, from cargo's messages in JSON.
pub fn executable(messages: &[u8], package: &str) -> Option<PathBuf> {
    let messages = String::from_utf8_lossy(messages);
    messages.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let executable = message["executable"].as_str().map(PathBuf::from)?;
        (message["target"]["name"] == package).then_some(executable)
    })
}

/// Cargo with these arguments and the subcommands of this folder, to be run.
pub fn cargo_with(subcommands: &Path, args: &[&str]) -> Command {
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([subcommands.to_owned()].into_iter().chain(env::split_paths(&path)));
    let mut cargo = cargo(args);
    cargo.env("PATH", path.unwrap_or_default());
    cargo
}

/// Cargo with these arguments, to be run.
pub fn cargo(args: &[&str]) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(args).current_dir(repository());
    cargo
}
