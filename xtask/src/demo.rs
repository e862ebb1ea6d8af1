//! `cargo xtask demo`: the operator at work, on this machine only.
//!
//! Only Qlik Cloud is a fake: the demo has a real control plane, the chart installed by Helm, the operator's own
//! program with the permissions that the chart grants it, the examples, kubectl and its plugin.
//! It leaves no process and no file behind, however it ends.

mod hints;
mod interrupt;
mod manifests;
mod show;
mod stage;

use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use support::control_plane::Programs;

use crate::screen::Screen;
use crate::{cargo, requirements};
use interrupt::Interrupt;
use stage::Stage;

/// Flags of `demo`.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Args {
    /// End after the check, with status 0 if everything was as expected.
    #[arg(long)]
    once: bool,
    /// Build the operator as for a release: takes longer.
    #[arg(long)]
    release: bool,
}

/// Runs the demo.
pub fn run(args: Args, screen: Screen) -> anyhow::Result<()> {
    screen.heading("A Kubernetes cluster and a Qlik Cloud of their own, on this machine only");
    requirements::to_build_and_boot()?;
    let programs = requirements::programs(screen)?;
    screen.progress("building the operator and the kubectl plugin; the first time this takes some minutes …");
    let [operator, plugin] = cargo::build_operator_and_plugin(args.release)?;
    screen.progress("built");
    // The time is counted from here, without compilation.
    let screen = screen.restarted();
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    runtime.block_on(perform(args.once, &programs, &operator, &plugin, screen))
}

async fn perform(
    once: bool,
    programs: &Programs,
    operator: &Path,
    plugin: &Path,
    screen: Screen,
) -> anyhow::Result<()> {
    let mut interrupt = Interrupt::listen()?;
    let mut stage = tokio::select! {
        stage = Stage::set(programs, operator, plugin, screen) => stage?,
        () = interrupt.arrives() => bail!("interrupted"),
    };
    let mut shown = tokio::select! {
        shown = show::all(&stage, screen) => shown.inspect_err(|_| last_words(&stage, screen)),
        () = interrupt.arrives() => Err(anyhow!("interrupted")),
    };
    if shown.is_ok() && !once {
        hints::print(&stage, screen);
        shown = tokio::select! {
            died = stage.operator_ends() => Err(died),
            () = interrupt.arrives() => Ok(()),
        };
        screen.heading("Ending");
    }
    // In any case the operator is stopped first. The first error is the cause.
    let ended = stage.strike(screen).await;
    shown.and(ended)?;
    if once {
        screen.heading("Everything held.");
    }
    Ok(())
}

fn last_words(stage: &Stage, screen: Screen) {
    screen.heading("The end of the operator's log");
    screen.output(&stage.operator.process.log_tail());
}
