//! The requirements of a task, checked before it starts: one line for each missing one, which says
//! what to do.

use std::env;
use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::sync::Once;

use anyhow::{Context as _, ensure};
use support::control_plane::{MonitoringPrograms, NodePrograms, Programs};

use crate::cargo;
use crate::screen::Screen;

/// The requirements of compiling and of a control plane.
pub fn to_build_and_boot() -> anyhow::Result<()> {
    c_compiler()?;
    control_plane()
}

/// The parts of Rust that a minimal installation may lack.
pub fn to_check_format_and_lint() -> anyhow::Result<()> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        ensure!(cargo::has(subcommand), "cargo {subcommand} is missing: rustup component add {component}");
    }
    Ok(())
}

/// The programs of the control plane, built if necessary; the first build on a machine prints a
/// message and its progress.
pub fn programs(screen: Screen) -> anyhow::Result<Programs> {
    Programs::find(&announced(screen)).context("no control plane")
}

/// The programs of every test, built if necessary. Those of a node only where one can run.
pub fn programs_of_tests(screen: Screen, node: bool) -> anyhow::Result<()> {
    let progress = announced(screen);
    Programs::find(&progress).context("no control plane")?;
    if node {
        NodePrograms::find(&progress).context("no node")?;
    }
    MonitoringPrograms::find(&progress).context("no Prometheus")?;
    Ok(())
}

/// Shows the progress of builds, and before the first one a message.
fn announced(screen: Screen) -> impl Fn(&str) {
    let first = Once::new();
    move |line| {
        first.call_once(|| {
            screen.text(
                "The first run on a machine compiles Kubernetes' control plane from source: some ten minutes \
                 on two cores. What is built is kept for the next time.",
            );
        });
        screen.progress(line);
    }
}

/// aws-lc, which does the cryptography, is C.
fn c_compiler() -> anyhow::Result<()> {
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    ensure!(
        runs(&compiler, "--version"),
        "the C compiler {} does not run: install gcc or clang, or set CC to one",
        compiler.display()
    );
    Ok(())
}

/// With Go everything can be built. Without it every program has to exist, and the search prints
/// what is missing and what to do.
fn control_plane() -> anyhow::Result<()> {
    if !runs(&"go".into(), "version") {
        Programs::find(&|_| ())?;
    }
    Ok(())
}

fn runs(program: &OsString, argument: &str) -> bool {
    // CC may have arguments, as in `ccache gcc`.
    let words = program.to_string_lossy();
    let mut words = words.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    let silent = command.stdout(Stdio::null()).stderr(Stdio::null());
    silent.args(words).arg(argument).status().is_ok_and(|status| status.success())
}
