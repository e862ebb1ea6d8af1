//! A fixed set of seeds, and a test that a seed always has the same history.

#![expect(clippy::unwrap_used, reason = "the shared code of the tests fails by panicking, too")]

use std::process::{Command, Output};

use simulation::not_repeatable;
use support::skipped::skipped;

fn simulate(flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_simulation")).args(flags).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_fixed_set_of_histories_has_no_violation() {
    let output = simulate(&["--seeds", "24", "--from", "1000000"]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).starts_with("24 histories without a violation"), "{}", text(&output));
}

#[test]
fn a_seed_has_the_same_history_in_another_process() {
    if let Some(why) = not_repeatable() {
        return skipped("a_seed_has_the_same_history_in_another_process", why);
    }
    let hashes = |jobs| text(&simulate(&["--seeds", "5", "--jobs", jobs, "--hashes"]));
    let sorted = |text: String| {
        let mut lines: Vec<_> = text.lines().filter(|line| line.starts_with("seed ")).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let (first, second) = (sorted(hashes("1")), sorted(hashes("2")));
    assert_eq!(first.len(), 5);
    assert_eq!(first, second);
}

#[test]
fn a_replay_shows_the_history_that_was_run() {
    if let Some(why) = not_repeatable() {
        return skipped("a_replay_shows_the_history_that_was_run", why);
    }
    let run = text(&simulate(&["--seeds", "1", "--from", "7", "--hashes"]));
    let digest = run.lines().find_map(|line| line.strip_prefix("seed 7: ")).unwrap();
    let replay = simulate(&["--replay", "7"]);
    assert!(text(&replay).ends_with(&format!("no violation; digest {digest}\n")), "{}", text(&replay));
    let log = String::from_utf8_lossy(&replay.stderr).into_owned();
    assert!(log.contains("TRACE") && log.contains("POST acme.eu.qlikcloud.com/oauth/token"), "{}", log.len());
}
