//! `cargo xtask bench`: measures the cost of a token, and how many contexts one operator can serve.
//!
//! A real control plane, the chart's permissions, the release build of the operator, and a fake tenant over TLS. In the
//! same run a bare client sends only the requests that a token needs: its rate is the ceiling of this machine at this
//! moment. The operator, the bare client and the tenant are separate processes, so that the CPU time of each is
//! measured separately.
//!
//! Each figure comes from the same run, and is printed with the load of the machine. The bench changes the operator's
//! behavior only through flags and environment that anyone can set, and leaves no process behind.

mod bare;
mod bounds;
mod compare;
mod document;
mod figures;
mod fleet;
mod machine;
mod observer;
mod operator;
mod plot;
mod requests;
mod scale;
mod scenarios;
mod stage;
mod table;
mod tenant;
mod window;

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context as _, anyhow, ensure};
use support::operator::repository;

use crate::screen::Screen;
use crate::{cargo, requirements};
use figures::Report;
use scale::Scale;
use stage::Stage;

/// Flags of `bench`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Small sizes, under four minutes: counts are exact, times are rough.
    #[arg(long)]
    quick: bool,
    /// Only this scenario; can be repeated.
    #[arg(long = "scenario", value_name = "NAME", value_parser = scenarios::names())]
    scenarios: Vec<String>,
    /// Contexts of a burst; can be repeated. Default: 100, 1000, 3000 and 10000.
    #[arg(long = "burst", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    bursts: Vec<u32>,
    /// Bench this program instead of a new build of this repository.
    #[arg(long, value_name = "PATH")]
    operator: Option<PathBuf>,
    /// Where the results go as JSON; plots go into the same folder. Default: target/bench/result.json.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Show what changed against the results in this file.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Measure nothing: show, compare or document the results in this file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "scenarios", "operator", "sharded", "debug"])]
    from: Option<PathBuf>,
    /// Write figures and plots into docs/capacity.md.
    #[arg(long)]
    document: bool,
    /// Split a fleet between this many instances by label, and measure nothing else.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..=50))]
    sharded: Option<u16>,
    /// Contexts of the fleet that is split.
    #[arg(long, value_name = "N", default_value_t = 50_000, requires = "sharded")]
    contexts: usize,
    /// Debug builds: counts are the same, times mean nothing.
    #[arg(long)]
    debug: bool,
}

/// A separate process of the bench.
#[derive(clap::Args, Clone, Debug)]
pub struct Role {
    #[command(subcommand)]
    part: Part,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum Part {
    /// The fake tenant: commands on standard input, answers on standard output.
    Tenant,
    /// The bare client.
    Bare(bare::Job),
}

/// Runs a part of the bench as a separate process.
pub fn play(role: &Role) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    match &role.part {
        Part::Tenant => runtime.block_on(tenant::serve()),
        Part::Bare(job) => runtime.block_on(bare::work(job)),
    }
}

/// Runs the bench.
pub fn run(args: &Args, screen: Screen) -> anyhow::Result<()> {
    let earlier = args.compare.as_deref().map(Report::read).transpose()?;
    if let Some(file) = &args.from {
        let report = Report::read(file)?;
        table::show(&report, screen);
        return finish(args, &report, earlier.as_ref(), screen);
    }
    // Before anything is built.
    let given = args.operator.as_deref().map(program_at).transpose()?;
    requirements::to_build_and_boot()?;
    if !args.debug {
        continue_as_release(screen)?;
    }
    let programs = requirements::programs(screen)?;
    let operator = match given {
        Some(program) => program,
        None => {
            screen.progress("building the operator …");
            cargo::build_operator(!args.debug)?
        }
    };
    let bursts: Vec<_> = args.bursts.iter().map(|size| *size as usize).collect();
    let scale = Scale::new(args.quick, &bursts);
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    let report = runtime.block_on(async {
        let mut report = Report::begin(&operator, scale.name, args.debug)?;
        let stage = Stage::set(&programs, operator, scale, args.sharded.unwrap_or(1), screen).await?;
        match args.sharded {
            Some(instances) => scenarios::sharded(&stage, instances, args.contexts, &mut report).await?,
            None => scenarios::all(&stage, &args.scenarios, &mut report).await?,
        }
        report.end();
        Ok::<_, anyhow::Error>(report)
    })?;
    let out = args.out.clone().unwrap_or_else(|| repository().join("target/bench/result.json"));
    let folder = out.parent().map(Path::to_owned).unwrap_or_default();
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    report.write(&out)?;
    let plots = plot::all(&report, &folder)?;
    screen.heading(&format!("Results in {}", out.display()));
    plots.iter().for_each(|plot| screen.text(&format!("plot: {}", plot.display())));
    finish(args, &report, earlier.as_ref(), screen)
}

/// Compares, documents and checks the results.
fn finish(args: &Args, report: &Report, earlier: Option<&Report>, screen: Screen) -> anyhow::Result<()> {
    if let Some(earlier) = earlier {
        compare::show(earlier, report, screen);
    }
    if args.document {
        document::write(report)?;
        screen.text("written: docs/capacity.md");
    }
    let broken = bounds::check(report, screen);
    ensure!(broken == 0, "{broken} counts are out of their bounds");
    screen.heading(&format!("Done after {:.0} s", report.seconds));
    Ok(())
}

/// Continues in the release build of this program, unless this is that build: the tenant and the bare client are parts of it, and
/// would dominate the measurement without optimization. Whether a build is optimized cannot be told from `debug_assertions`,
/// which the dev profile turns off.
fn continue_as_release(screen: Screen) -> anyhow::Result<()> {
    screen.progress("building the bench itself as for a release …");
    let program = fs::canonicalize(cargo::build_tasks_for_release()?).context("the release build is not there")?;
    if env::current_exe().and_then(fs::canonicalize).is_ok_and(|this| this == program) {
        return Ok(());
    }
    let error = std::process::Command::new(&program).args(env::args_os().skip(1)).exec();
    Err(anyhow!(error).context(format!("cannot run {}", program.display())))
}

fn program_at(path: &Path) -> anyhow::Result<PathBuf> {
    let program = fs::canonicalize(path).with_context(|| format!("--operator: there is no {}", path.display()))?;
    ensure!(program.is_file(), "--operator: {} is not a program", program.display());
    Ok(program)
}
