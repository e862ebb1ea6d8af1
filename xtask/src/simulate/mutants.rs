//! Mutants of the operator: each is one bug in a copy of the sources, and has to violate an invariant of the simulation.
//!
//! All are built in one folder, so that a mutant costs one build of the operator. A mutant that cannot be applied, does not compile or
//! is not caught is a failure, and so is an invariant that catches none of them.

mod list;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use support::operator::repository;

use self::list::{MUTANTS, Mutant};
use crate::cargo;
use crate::screen::Screen;

/// The number of histories that have to pass without a mutant, before any mutant is tried.
const BASELINE: u64 = 20;

/// Tries every mutant whose name contains `only`.
pub fn run(only: Option<&str>, within: u64, screen: Screen) -> anyhow::Result<()> {
    let chosen: Vec<_> = MUTANTS.iter().filter(|mutant| only.is_none_or(|only| mutant.name.contains(only))).collect();
    ensure!(!chosen.is_empty(), "no mutant has such a name");
    let tree = Tree::copy()?;
    tree.clean()?;
    let program = tree.build()?;
    let (passed, output) = simulate(&program, BASELINE)?;
    ensure!(passed, "without a mutant, an invariant is violated:\n{output}");
    let mut unproven = invariants(&program)?;
    let mut missed = Vec::new();
    for mutant in &chosen {
        let begun = Instant::now();
        let result = tree.with(mutant, || simulate(&tree.build()?, within));
        let seconds = begun.elapsed().as_secs();
        match result.map(|(_, output)| caught(&output)) {
            Ok(Some((seed, invariant))) => {
                screen.text(&format!("caught, {seconds} s: {}: {seed}: {invariant}", mutant.name));
                unproven.remove(&invariant);
            }
            Ok(None) => {
                screen.failure(&format!("not caught within {within} histories, {seconds} s: {}", mutant.name));
                missed.push(mutant.name);
            }
            Err(error) => {
                screen.failure(&format!("{}: {error:#}", mutant.name));
                missed.push(mutant.name);
            }
        }
    }
    ensure!(missed.is_empty(), "{} of {} mutants are not caught: {}", missed.len(), chosen.len(), missed.join("; "));
    ensure!(only.is_some() || unproven.is_empty(), "no mutant violates {unproven:?}");
    screen.heading(&format!("{} mutants caught in {:.0} s", chosen.len(), screen.elapsed().as_secs_f32()));
    Ok(())
}

/// Whether all histories passed, and the output.
fn simulate(program: &Path, seeds: u64) -> anyhow::Result<(bool, String)> {
    let output = Command::new(program).args(["--first", "--seeds", &seeds.to_string()]).output()?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// The names of the invariants.
fn invariants(program: &Path) -> anyhow::Result<BTreeSet<String>> {
    let output = Command::new(program).arg("--invariants").output()?;
    let names: BTreeSet<_> = String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect();
    ensure!(!names.is_empty(), "the program lists no invariants");
    Ok(names)
}

/// The seed and the invariant: `seed 3`, `OnlyVerifiedTokens`. A history that cannot be run catches nothing.
fn caught(output: &str) -> Option<(String, String)> {
    let line = output.lines().find(|line| line.starts_with("seed ") && line.contains(" is violated: "))?;
    let (before, _) = line.split_once(" is violated: ")?;
    let (seed, _) = before.split_once(':')?;
    Some((seed.to_owned(), before.rsplit(' ').next()?.to_owned()))
}

/// A copy of the files of the repository.
struct Tree(PathBuf);

impl Tree {
    /// Only files that differ are written, so that nothing is built again without need.
    fn copy() -> anyhow::Result<Self> {
        let tree = repository().join("target/mutants");
        let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(repository()).output()?;
        ensure!(listed.status.success(), "git cannot list the files");
        for name in String::from_utf8(listed.stdout)?.split('\0').filter(|name| !name.is_empty()) {
            let (from, to) = (repository().join(name), tree.join(name));
            // A deleted file whose deletion is not committed.
            let Ok(content) = fs::read(&from) else { continue };
            write(&to, &content)?;
        }
        Ok(Self(tree))
    }

    /// Removes what was built of an earlier mutant: if that run was interrupted, it may be incomplete.
    fn clean(&self) -> anyhow::Result<()> {
        let packages = ["--package", "qlik-context-operator", "--package", "simulation"];
        let cleaned = self.cargo("clean").args(packages).status().context("cannot run cargo")?;
        ensure!(cleaned.success(), "cargo cannot remove the build of an earlier mutant");
        Ok(())
    }

    /// Cargo in this tree, with a target folder of its own: in that of the repository, cargo would take the program of a mutant for
    /// the repository's.
    fn cargo(&self, command: &str) -> Command {
        let mut cargo = cargo::cargo(&[command, "--profile", "simulation", "--quiet"]);
        cargo.arg("--manifest-path").arg(self.0.join("Cargo.toml"));
        cargo.arg("--target-dir").arg(self.0.join("target"));
        cargo
    }

    /// Builds the program of the simulation.
    fn build(&self) -> anyhow::Result<PathBuf> {
        let mut cargo = self.cargo("build");
        cargo.args(["--package", "simulation"]);
        cargo.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::piped());
        let output = cargo.output().context("cannot run cargo")?;
        if !output.status.success() {
            bail!("it does not compile:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        cargo::executable(&output.stdout, "simulation").context("cargo does not say where the program is")
    }

    /// Runs something with a mutant applied, and restores the sources.
    fn with<T>(&self, mutant: &Mutant, run: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let changed = mutant.apply(&self.0)?;
        for (file, _, new) in &changed {
            write(file, new.as_bytes())?;
        }
        let result = run();
        for (file, old, _) in &changed {
            write(file, old.as_bytes())?;
        }
        result
    }
}

impl Mutant {
    /// Its files, before and after.
    fn apply(&self, tree: &Path) -> anyhow::Result<Vec<(PathBuf, String, String)>> {
        let mut changed: Vec<(PathBuf, String, String)> = Vec::new();
        for (file, from, to) in self.edits {
            let path = tree.join(file);
            let at = changed.iter().position(|(changed, ..)| *changed == path);
            let (old, now) = match at.map(|at| changed.remove(at)) {
                Some((_, old, now)) => (old, now),
                None => {
                    let old = fs::read_to_string(&path).with_context(|| format!("cannot read {file}"))?;
                    (old.clone(), old)
                }
            };
            let count = now.matches(from).count();
            ensure!(count == 1, "{file} contains this {count} times, not once: {from}");
            changed.push((path, old, now.replace(from, to)));
        }
        Ok(changed)
    }
}

fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    if fs::read(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    let folder = path.parent().context("a file is in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_mutant_can_be_applied_to_the_sources() {
        for mutant in MUTANTS {
            let applied = mutant.apply(&repository());
            assert!(applied.is_ok_and(|changed| !changed.is_empty()), "{}", mutant.name);
        }
        let names: BTreeSet<_> = MUTANTS.iter().map(|mutant| mutant.name).collect();
        assert_eq!(names.len(), MUTANTS.len());
        assert!(MUTANTS.len() >= 25, "{}", MUTANTS.len());
    }

    #[test]
    fn a_mutant_is_caught_by_a_violation_and_not_by_a_history_that_cannot_run() {
        let output = "seed 3:      0:02.300  OnlyVerifiedTokens is violated: Secret a/b has\n0 histories";
        assert_eq!(caught(output), Some(("seed 3".to_owned(), "OnlyVerifiedTokens".to_owned())));
        assert_eq!(caught("seed 3: cannot run: panicked\n"), None);
    }
}
