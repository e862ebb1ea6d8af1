//! The test programs of the workspace, several at a time.
//!
//! Those that start real programs mostly wait, and cargo runs one test program after the other, so the processors would be idle
//! most of the time. The output of a run is shown as a whole when it has ended.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;
use support::control_plane::Folder;
use tokio::process::Command;
use tokio::runtime::Runtime;

use crate::cargo;
use crate::screen::Screen;

/// The programs that take longest, the longest first, so that none of them is left for the end. The others are one run.
const LONG: [&str; 10] =
    ["controller", "cluster", "bench", "failover", "terminal", "chart", "node", "image", "release", "monitoring"];
/// The number of concurrent runs: more than processors, as most of them wait.
const AT_A_TIME: usize = 4;

/// Runs every test of the workspace with these variables.
pub fn run(screen: Screen, variables: &[(&str, &OsStr)]) -> anyhow::Result<()> {
    let begin = Instant::now();
    let folder = Folder::new()?;
    let runs = runs(&programs()?)
        .into_iter()
        .enumerate()
        .map(|(index, arguments)| (folder.path().join(index.to_string()), arguments));
    let ended = stream::iter(runs.map(async |(output, arguments)| {
        let passed = passes(screen, &arguments, variables, &output).await?;
        anyhow::Ok((!passed).then(|| shown(&arguments)))
    }));
    let ended = ended.buffer_unordered(AT_A_TIME).try_collect::<Vec<_>>();
    let ended = Runtime::new().context("cannot start")?.block_on(ended)?;
    screen.text(&format!("all test programs: {:.1} s", begin.elapsed().as_secs_f32()));
    let failed: Vec<_> = ended.into_iter().flatten().collect();
    ensure!(failed.is_empty(), "tests failed; to repeat them: {}", failed.join("; "));
    Ok(())
}

/// Builds every test program, so that no run waits for another's build.
pub fn build(screen: Screen) -> anyhow::Result<()> {
    let arguments = ["test", "--workspace", "--no-run"];
    screen.heading("build: cargo test --workspace --no-run");
    ensure!(cargo::succeeds(&arguments)?, "the tests do not compile");
    Ok(())
}

/// The arguments of each call of cargo that together run every test once.
fn runs(programs: &[String]) -> Vec<Vec<String>> {
    let arguments = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let long = LONG.iter().map(|name| arguments(&["test", "--workspace", "--test", name]));
    let short = programs.iter().map(String::as_str).filter(|name| !LONG.contains(name));
    let mut others = arguments(&["test", "--workspace", "--lib", "--bins"]);
    others.extend(short.flat_map(|name| arguments(&["--test", name])));
    long.chain([others, arguments(&["test", "--workspace", "--doc"])]).collect()
}

/// Both streams go to one file, so that they keep their order.
async fn passes(
    screen: Screen,
    arguments: &[String],
    variables: &[(&str, &OsStr)],
    output: &Path,
) -> anyhow::Result<bool> {
    let command = shown(arguments);
    screen.progress(&format!("{command} …"));
    let begin = Instant::now();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let mut cargo = Command::from(cargo::cargo(&arguments));
    // Report every failure, not only the first.
    cargo.arg("--no-fail-fast").envs(variables.iter().copied());
    let file = File::create(output).context("cannot keep the output of tests")?;
    let status = cargo.stdout(file.try_clone()?).stderr(file).status().await.context("no cargo")?;
    let heading = format!("{command}: {:.1} s", begin.elapsed().as_secs_f32());
    let said = fs::read(output).context("cannot read the output of tests")?;
    screen.heading_with_output(&heading, &String::from_utf8_lossy(&said));
    Ok(status.success())
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
    fn every_test_program_is_in_one_run_and_no_name_is_used_twice() {
        let mut all = programs().unwrap();
        let runs = runs(&all);
        let named = runs.iter().flat_map(|run| run.windows(2).filter(|pair| pair[0] == "--test").map(|pair| &pair[1]));
        let mut named: Vec<_> = named.cloned().collect();
        named.sort();
        all.sort();
        assert_eq!(named, all);
        all.dedup();
        assert_eq!(named, all, "a name stands for one program");
    }
}
