//! Cargo subcommands that a task needs and a minimal installation lacks: built once, in pinned versions, into the
//! user's cache, and not installed anywhere else.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use support::control_plane::Sources;

use crate::cargo;
use crate::screen::Screen;

/// Writes the list of crates into a program.
const CARGO_AUDITABLE: &str = "0.7.7";

/// The folder that has to be in `PATH` for `cargo auditable`.
pub fn cargo_auditable(screen: Screen) -> anyhow::Result<PathBuf> {
    installed("cargo-auditable", CARGO_AUDITABLE, screen)
}

fn installed(name: &str, version: &str, screen: Screen) -> anyhow::Result<PathBuf> {
    let root = Sources::from_environment()?.cache.join("tools").join(format!("{name}-{version}"));
    let folder = root.join("bin");
    if !folder.join(name).is_file() {
        screen.progress(&format!("installing {name} {version} into the cache …"));
        let root = root.to_str().context("the cache folder is not UTF-8")?;
        let args = ["install", name, "--version", version, "--locked", "--quiet", "--root", root];
        ensure!(cargo::succeeds(&args)?, "cannot install {name} {version}: cargo {}", args.join(" "));
    }
    Ok(folder)
}
