//! `cargo xtask test`: all checks that must pass before a change is accepted. Stops at the first failure. Tests that
//! this machine cannot run are listed in their place, and again at the end.

mod programs;

use std::fs;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use support::control_plane::Folder;
use support::node::sandbox;
use support::skipped::LIST;

use crate::screen::Screen;
use crate::{cargo, image, node_test, requirements};

/// Runs every check.
pub fn run(screen: Screen) -> anyhow::Result<()> {
    requirements::to_build_and_boot()?;
    requirements::to_check_format_and_lint()?;
    let mut skipped = Vec::new();
    let mut skip = |what: &str, why: &str| {
        let line = format!("SKIPPED: {what}: {why}");
        screen.text(&line);
        skipped.push(line);
    };
    // The fast ones first.
    step(screen, "format", &["fmt", "--all", "--check"])?;
    let clippy = ["clippy", "--workspace", "--all-targets"];
    step(screen, "lints", &[&clippy[..], &["--", "-D", "warnings"]].concat())?;
    if cargo::has("deny") {
        // Advisories need a list from the network, so a workflow checks them.
        step(screen, "dependencies", &["deny", "--workspace", "check", "bans", "licenses", "sources"])?;
    } else {
        skip("dependencies", "cargo deny is missing: cargo install cargo-deny --locked");
    }
    // Otherwise tests would build them without any output on the terminal, and wait while others measure time.
    screen.heading("control plane");
    let begin = Instant::now();
    requirements::programs_of_tests(screen, sandbox::obstacle().or_else(image::obstacle).is_none())?;
    took(screen, "control plane", begin);
    screen.heading("image: cargo xtask image");
    let begin = Instant::now();
    let image = match image::obstacle() {
        None => Some(image::make(&image::Args::default(), screen)?),
        Some(reason) => {
            skip("the image, and so the real node", &reason);
            None
        }
    };
    took(screen, "image", begin);
    let programs = programs::build(screen)?;
    let folder = Folder::new()?;
    let list = folder.path().join("skipped");
    let image = image.as_ref().map(|image| (node_test::IMAGE, image.as_os_str()));
    let variables: Vec<_> = image.into_iter().chain([(LIST, list.as_os_str())]).collect();
    programs::run(screen, &programs, &variables)?;
    if list.exists() {
        let list = fs::read_to_string(&list).context("cannot read the list of skipped tests")?;
        skipped.extend(list.lines().map(ToOwned::to_owned));
    }
    screen.heading(&format!("All good after {:.0} s, {} skipped", screen.elapsed().as_secs_f32(), skipped.len()));
    skipped.iter().for_each(|line| screen.text(line));
    Ok(())
}

fn step(screen: Screen, name: &str, args: &[&str]) -> anyhow::Result<()> {
    let command = format!("cargo {}", args.join(" "));
    screen.heading(&format!("{name}: {command}"));
    let begin = Instant::now();
    ensure!(cargo::succeeds(args)?, "{name} failed; to repeat it: {command}");
    took(screen, name, begin);
    Ok(())
}

fn took(screen: Screen, name: &str, begin: Instant) {
    screen.text(&format!("{name}: {:.1} s", begin.elapsed().as_secs_f32()));
}
