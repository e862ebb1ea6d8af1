//! The test programs of the workspace, several at a time.
//!
//! Those that start real programs mostly wait, and cargo runs one test program after the other, so the processors would
//! be idle most of the time. The programs are built once and then started without cargo, which runs one command at a
//! time in a target folder. The output of a run is shown as a whole when it has ended.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;
use support::control_plane::Folder;
use tokio::process::Command;
use tokio::runtime::Runtime;

use crate::cargo;
use crate::screen::Screen;

/// The programs that take longest, the longest first, so that none of them is left for the end.
const LONG: [&str; 11] = [
    "controller",
    "seeds",
    "cluster",
    "bench",
    "failover",
    "node",
    "terminal",
    "chart",
    "release",
    "monitoring",
    "image",
];
/// The number of concurrent runs: more than processors, as most of them wait.
const AT_A_TIME: usize = 4;

/// A test program that was built.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Program {
    name: String,
    executable: PathBuf,
    /// The folder of its package, in which cargo would start it.
    folder: PathBuf,
    /// The command that builds and runs it alone.
    repeat: String,
}

/// Builds every test program, the longest first.
pub fn build(screen: Screen) -> anyhow::Result<Vec<Program>> {
    let arguments = ["test", "--workspace", "--no-run"];
    screen.heading(&format!("build: cargo {}", arguments.join(" ")));
    let mut cargo = cargo::cargo(&arguments);
    cargo.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit());
    let output = cargo.output().context("cannot run cargo")?;
    ensure!(output.status.success(), "the tests do not compile");
    let mut programs = built(&String::from_utf8_lossy(&output.stdout));
    let place = |name: &str| LONG.iter().position(|long| *long == name);
    for long in LONG {
        ensure!(programs.iter().any(|program| program.name == long), "there is no test program {long} any more");
    }
    programs.sort_by_key(|program| place(&program.name).unwrap_or(LONG.len()));
    Ok(programs)
}

/// Runs every test of the workspace with these variables.
pub fn run(screen: Screen, programs: &[Program], variables: &[(&str, &OsStr)]) -> anyhow::Result<()> {
    let begin = Instant::now();
    let folder = Folder::new()?;
    let programs = programs.iter().map(|program| (command(program), program.repeat.clone()));
    let documentation = ["test", "--workspace", "--doc"];
    let examples = (Command::from(cargo::cargo(&documentation)), format!("cargo {}", documentation.join(" ")));
    let runs = programs.chain([examples]).enumerate();
    let ended = stream::iter(runs.map(async |(index, (mut command, repeat))| {
        command.envs(variables.iter().copied());
        let output = folder.path().join(index.to_string());
        let passed = passes(screen, command, &repeat, &output).await?;
        anyhow::Ok((!passed).then_some(repeat))
    }));
    let ended = ended.buffer_unordered(AT_A_TIME).try_collect::<Vec<_>>();
    let ended = Runtime::new().context("cannot start")?.block_on(ended)?;
    screen.text(&format!("all test programs: {:.1} s", begin.elapsed().as_secs_f32()));
    let failed: Vec<_> = ended.into_iter().flatten().collect();
    ensure!(failed.is_empty(), "tests failed; to repeat them: {}", failed.join("; "));
    Ok(())
}

/// The command, as cargo would start it.
fn command(program: &Program) -> Command {
    let mut command = Command::new(&program.executable);
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    command.current_dir(&program.folder).env("CARGO", cargo).env("CARGO_MANIFEST_DIR", &program.folder);
    command
}

/// Both streams go to one file, so that they keep their order.
async fn passes(screen: Screen, mut command: Command, name: &str, output: &Path) -> anyhow::Result<bool> {
    screen.progress(&format!("{name} …"));
    let begin = Instant::now();
    let file = File::create(output).context("cannot keep the output of tests")?;
    let status = command.stdout(file.try_clone()?).stderr(file).status().await;
    let status = status.with_context(|| format!("cannot start {name}"))?;
    let heading = format!("{name}: {:.1} s", begin.elapsed().as_secs_f32());
    let said = fs::read(output).context("cannot read the output of tests")?;
    screen.heading_with_output(&heading, &String::from_utf8_lossy(&said));
    Ok(status.success())
}

/// The test programs in cargo's messages.
fn built(messages: &str) -> Vec<Program> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages.filter_map(|message| program(&message)).collect()
}

fn program(message: &Value) -> Option<Program> {
    let executable = message["executable"].as_str()?;
    let name = message["target"]["name"].as_str()?;
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
    let package = package(message["package_id"].as_str()?)?;
    let repeat = match (message["target"]["kind"][0].as_str()?, message["profile"]["test"].as_bool()?) {
        ("test", true) => format!("cargo test --workspace --test {name}"),
        ("lib", true) => format!("cargo test --package {package} --lib"),
        ("bin", true) => format!("cargo test --package {package} --bin {name}"),
        _ => return None,
    };
    Some(Program { name: name.to_owned(), executable: executable.into(), folder: folder.to_owned(), repeat })
}

/// The name in a package id: `path+file:///folder/NAME#VERSION` or `path+file:///folder#NAME@VERSION`.
fn package(id: &str) -> Option<&str> {
    let (path, version) = id.rsplit_once('#')?;
    match version.split_once('@') {
        Some((name, _)) => Some(name),
        None => path.rsplit('/').next(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_test_programs_are_started_each_in_the_folder_of_its_package() {
        let message = |kind: &str, name: &str, test: bool| {
            json!({
                "reason": "compiler-artifact", "package_id": "path+file:///w/tests/support#0.1.0",
                "manifest_path": "/w/tests/support/Cargo.toml", "target": {"kind": [kind], "name": name},
                "profile": {"test": test}, "executable": format!("/t/{name}-1"),
            })
            .to_string()
        };
        let messages =
            [message("test", "tenant", true), message("bin", "program", false), message("lib", "support", true)];
        let programs = built(&messages.join("\n"));
        let shown: Vec<_> = programs.iter().map(|program| (program.name.as_str(), program.repeat.as_str())).collect();
        let support = ("support", "cargo test --package support --lib");
        assert_eq!(shown, [("tenant", "cargo test --workspace --test tenant"), support]);
        assert_eq!(programs[0].folder, Path::new("/w/tests/support"));
        assert_eq!(package("path+file:///w#qlik-context-operator@0.1.0"), Some("qlik-context-operator"));
    }
}
