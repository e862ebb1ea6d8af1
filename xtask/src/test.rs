//! `cargo xtask test`: all that has to hold before a change is taken in. Stops at what fails first.

use std::time::Instant;

use anyhow::ensure;

use crate::screen::Screen;
use crate::{cargo, node_test, requirements};

/// What to run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Make the image as well, and run it as real Pods on a real node of this machine; needs root on Linux.
    #[arg(long)]
    node: bool,
}

/// Runs every check.
pub fn run(args: &Args, screen: Screen) -> anyhow::Result<()> {
    requirements::to_build_and_boot()?;
    requirements::to_check_format_and_lint()?;
    // The quick ones first.
    step(screen, "format", &["fmt", "--all", "--check"])?;
    let clippy = ["clippy", "--workspace", "--all-targets"];
    step(screen, "lints", &[&clippy[..], &["--", "-D", "warnings"]].concat())?;
    if cargo::has("deny") {
        // Advisories need a list from the network, which a workflow has.
        step(screen, "dependencies", &["deny", "--workspace", "check", "bans", "licenses", "sources"])?;
    } else {
        screen.text("dependencies: SKIPPED, cargo deny is missing: cargo install cargo-deny --locked");
    }
    // Else the first test would build them, in silence as far as the terminal shows.
    screen.heading("Control plane");
    let begin = Instant::now();
    requirements::programs(screen)?;
    took(screen, "control plane", begin);
    screen.heading("Image");
    let begin = Instant::now();
    let image = if args.node {
        node_test::image_to_test(screen)?
    } else {
        screen.text("SKIPPED: the tests of the image and of the real node; add --node to run them");
        None
    };
    took(screen, "image", begin);
    // Documentation's examples are among them.
    let tests = ["test", "--workspace"];
    screen.heading(&format!("tests: cargo {}", tests.join(" ")));
    let begin = Instant::now();
    let mut cargo = cargo::cargo(&tests);
    cargo.envs(image.map(|image| (node_test::IMAGE, image)));
    ensure!(cargo.status()?.success(), "tests failed; to repeat them: cargo {}", tests.join(" "));
    took(screen, "tests", begin);
    screen.heading(&format!("All good after {:.0} s", screen.elapsed().as_secs_f32()));
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
    screen.text(&format!("{name}: passed in {:.1} s", begin.elapsed().as_secs_f32()));
}
