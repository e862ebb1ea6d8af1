//! The tests in two lanes, side by side: those that compute, and those that boot real parts and mostly wait for them.
//!
//! Cargo runs one test program after the other, so half of the time the processors would have nothing to do. What the second
//! lane prints is kept, and shown when the first has ended.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use support::control_plane::Folder;

use crate::cargo;
use crate::screen::Screen;

/// Test programs that boot real parts.
const REAL: [&str; 10] =
    ["api_server", "bench", "chart", "cluster", "control_plane", "failover", "image", "node", "release", "terminal"];

/// Runs every test of the workspace with these variables.
pub fn run(screen: Screen, variables: &[(&str, &OsStr)]) -> anyhow::Result<()> {
    let all = programs()?;
    let (real, computing): (Vec<_>, Vec<_>) = all.iter().map(String::as_str).partition(|name| REAL.contains(name));
    let named = |names: &[&str]| names.iter().flat_map(|name| ["--test".to_owned(), (*name).to_owned()]).collect();
    let arguments = |more: &[&str], names: Vec<String>| -> Vec<String> {
        ["test", "--workspace"].iter().chain(more).map(|word| (*word).to_owned()).chain(names).collect()
    };
    let computing = arguments(&["--lib", "--bins"], named(&computing));
    let real = arguments(&[], named(&real));
    let folder = Folder::new()?;
    let kept = folder.path().join("output");
    let output = File::create(&kept).context("cannot keep the output of tests")?;
    let begin = Instant::now();
    let mut beside =
        command(&real, variables).stdout(output.try_clone()?).stderr(output).spawn().context("no cargo")?;
    let passed = [
        run_lane(screen, &computing, variables)?,
        // Documentation's examples.
        run_lane(screen, &arguments(&["--doc"], Vec::new()), variables)?,
    ];
    screen.progress("waiting for the tests that boot real parts …");
    let beside = beside.wait()?;
    screen.heading(&shown(&real));
    screen.output(&fs::read_to_string(&kept).context("cannot read the output of tests")?);
    screen.text(&format!("both lanes: {:.1} s", begin.elapsed().as_secs_f32()));
    let failed = [(passed[0], &computing), (beside.success(), &real)];
    for (passed, lane) in failed {
        ensure!(passed, "tests failed; to repeat them: {}", shown(lane));
    }
    ensure!(passed[1], "examples in the documentation failed; to repeat them: cargo test --workspace --doc");
    Ok(())
}

/// Builds every test program, so that the lanes have nothing to wait for each other.
pub fn build(screen: Screen) -> anyhow::Result<()> {
    let arguments = ["test", "--workspace", "--no-run"];
    screen.heading("build: cargo test --workspace --no-run");
    ensure!(cargo::succeeds(&arguments)?, "the tests do not compile");
    Ok(())
}

fn run_lane(screen: Screen, arguments: &[String], variables: &[(&str, &OsStr)]) -> anyhow::Result<bool> {
    screen.heading(&shown(arguments));
    let begin = Instant::now();
    let status = command(arguments, variables).status().context("no cargo")?;
    screen.text(&format!("{:.1} s", begin.elapsed().as_secs_f32()));
    Ok(status.success())
}

fn command(arguments: &[String], variables: &[(&str, &OsStr)]) -> Command {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let mut cargo = cargo::cargo(&arguments);
    // Every failure of a lane is worth knowing, not the first alone.
    cargo.arg("--no-fail-fast").envs(variables.iter().copied());
    cargo
}

fn shown(arguments: &[String]) -> String {
    format!("cargo {}", arguments.join(" "))
}

/// The test programs of the workspace, by name.
fn programs() -> anyhow::Result<Vec<String>> {
    let output = cargo::cargo(&["metadata", "--no-deps", "--format-version", "1"]).output().context("no cargo")?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("no metadata from cargo")?;
    let targets =
        metadata["packages"].as_array().into_iter().flatten().filter_map(|package| package["targets"].as_array());
    let tests = targets.flatten().filter(|target| target["kind"][0] == "test");
    Ok(tests.filter_map(|target| target["name"].as_str().map(ToOwned::to_owned)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_that_boots_real_parts_is_a_test_program_and_no_name_is_used_twice() {
        let mut all = programs().unwrap();
        assert!(REAL.iter().all(|name| all.iter().any(|program| program == name)), "{all:?}");
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count, "a name stands for one program");
    }
}
