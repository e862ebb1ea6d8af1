//! The test programs of the workspace, several at a time.
//!
//! Those that boot real parts mostly wait for them, and cargo runs one program after the other, so most of the time the processors
//! would have nothing to do. What a run prints is shown as a whole when it has ended.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::cargo;
use crate::screen::Screen;

/// The programs that take longest, the longest first, so that none of them is left for the end. The others are one run.
const LONG: [&str; 10] =
    ["controller", "cluster", "bench", "failover", "terminal", "chart", "node", "image", "release", "monitoring"];
/// How many runs go on at a time: more than processors, as most of them wait.
const AT_A_TIME: usize = 4;

/// Runs every test of the workspace with these variables.
pub fn run(screen: Screen, variables: &[(&str, &OsStr)]) -> anyhow::Result<()> {
    let begin = Instant::now();
    let waiting = Mutex::new(VecDeque::from(runs(&programs()?)));
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let worker = || -> anyhow::Result<()> {
            while let Some(arguments) = pop(&waiting) {
                if !succeeds(screen, &arguments, variables)? {
                    failed.lock().expect("no worker panics").push(shown(&arguments));
                }
            }
            Ok(())
        };
        let workers: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no worker panics"))
    })?;
    screen.text(&format!("all test programs: {:.1} s", begin.elapsed().as_secs_f32()));
    let failed = failed.into_inner().expect("no worker panics");
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

fn pop(waiting: &Mutex<VecDeque<Vec<String>>>) -> Option<Vec<String>> {
    waiting.lock().expect("no worker panics").pop_front()
}

fn succeeds(screen: Screen, arguments: &[String], variables: &[(&str, &OsStr)]) -> anyhow::Result<bool> {
    screen.progress(&format!("{} …", shown(arguments)));
    let begin = Instant::now();
    let output = command(arguments, variables).output().context("no cargo")?;
    let said = [output.stdout, output.stderr].concat();
    let heading = format!("{}: {:.1} s", shown(arguments), begin.elapsed().as_secs_f32());
    screen.heading_with_output(&heading, &String::from_utf8_lossy(&said));
    Ok(output.status.success())
}

fn command(arguments: &[String], variables: &[(&str, &OsStr)]) -> Command {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let mut cargo = cargo::cargo(&arguments);
    // Every failure is worth knowing, not the first alone.
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
