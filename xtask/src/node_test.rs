//! `cargo xtask node-test`: the image of this source, installed by the chart as real Pods on a real node of this
//! machine.

use anyhow::ensure;
use support::node::sandbox;

use crate::screen::Screen;
use crate::{cargo, image, requirements};

/// The variables that the tests of image and node read.
pub const IMAGE: &str = "QLIK_CONTEXT_TEST_IMAGE";

/// Flags of `node-test`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Also measure the resources of the Pod and how long a workload waits for a new token; takes about ten minutes
    /// more.
    #[arg(long)]
    figures: bool,
    /// Only tests with this in their name.
    filter: Option<String>,
}

/// Builds the image and runs the tests, or prints why this machine cannot.
pub fn run(args: &Args, screen: Screen) -> anyhow::Result<()> {
    if let Some(reason) = sandbox::obstacle().or_else(image::obstacle) {
        screen.text(&format!("SKIPPED: {reason}\n\n0 passed, 0 failed, 1 skipped"));
        return Ok(());
    }
    requirements::to_build_and_boot()?;
    requirements::programs(screen)?;
    let image = image::make(&image::Args::default(), screen)?;
    let mut test = cargo::cargo(&["test", "--package", "qlik-context-operator", "--test", "node", "--"]);
    test.args(&args.filter).env(IMAGE, image);
    if args.figures {
        test.env("QLIK_CONTEXT_NODE_FIGURES", "1");
    }
    ensure!(test.status()?.success(), "the tests on a real node failed");
    Ok(())
}
