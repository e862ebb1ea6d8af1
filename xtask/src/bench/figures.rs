//! The results of a run, which are written as JSON and read again.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use support::operator::repository;

use super::machine::{self, Machine};

/// Incremented when a reader of older results would misread them.
const FORMAT: u32 = 1;

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    format: u32,
    /// The version that the operator's program prints, and the name of its file if it is another program.
    pub operator: String,
    /// The commit of this repository, from which the operator was built for the run.
    pub commit: String,
    /// `full` or `quick`.
    pub scale: String,
    /// Whether these were debug builds, whose times mean nothing.
    pub debug: bool,
    /// When the run began.
    pub began: String,
    /// How long it took.
    pub seconds: f64,
    /// Where it ran.
    pub machine: Machine,
    /// What was measured, in order.
    pub scenarios: Vec<Scenario>,
    #[serde(skip)]
    clock: Option<Instant>,
}

/// One scenario at one size.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scenario {
    /// The name for `--scenario`.
    pub name: String,
    /// What happens in it, in one sentence.
    pub what: String,
    /// Its contexts.
    pub size: usize,
    /// The duration, including the preparation.
    pub seconds: f64,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// The values to plot.
    pub curves: Vec<Curve>,
}

/// One number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// Its name; unique in its scenario.
    pub name: String,
    /// Its unit; empty for a plain number.
    pub unit: String,
    /// The value.
    pub value: f64,
    /// Which direction is an improvement.
    pub better: Better,
}

/// Which direction is an improvement.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
    /// It only describes the circumstances.
    Neither,
}

/// A value over the seconds of a scenario.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Curve {
    /// The process that it belongs to.
    pub name: String,
    /// The unit of the values.
    pub unit: String,
    /// Pairs of seconds and value.
    pub points: Vec<(f64, f64)>,
}

impl Report {
    /// An empty report on this program, from now on.
    pub fn begin(program: &Path, scale: &str, debug: bool) -> anyhow::Result<Self> {
        let mut said = output(Command::new(program).arg("--version"))?;
        let file = program.file_name().unwrap_or_default().to_string_lossy();
        if !said.starts_with(&format!("{file} ")) {
            said = format!("{said} ({file})");
        }
        let commit = output(Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(repository()));
        Ok(Self {
            format: FORMAT,
            operator: said,
            commit: commit.unwrap_or_else(|_| "unknown".to_owned()),
            scale: scale.to_owned(),
            debug,
            began: k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
            seconds: 0.0,
            machine: machine::describe(),
            scenarios: Vec::new(),
            clock: Some(Instant::now()),
        })
    }

    /// Records the duration.
    pub fn end(&mut self) {
        self.seconds = self.clock.map_or(0.0, |clock| clock.elapsed().as_secs_f64());
    }

    /// Reads the results of an earlier run.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let report: Self =
            serde_json::from_str(&text).with_context(|| format!("{} holds no results", file.display()))?;
        ensure!(report.format == FORMAT, "{} has the format {}, not {FORMAT}", file.display(), report.format);
        Ok(report)
    }

    /// Writes the results.
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
    }

    /// The scenario of this name and size.
    pub fn scenario(&self, name: &str, size: usize) -> Option<&Scenario> {
        self.scenarios.iter().find(|scenario| scenario.name == name && scenario.size == size)
    }

    /// Every size of a scenario, in order.
    pub fn sizes_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Scenario> {
        self.scenarios.iter().filter(move |scenario| scenario.name == name)
    }
}

impl Scenario {
    /// A scenario without figures yet.
    pub fn new(name: &str, size: usize, what: &str) -> Self {
        Self {
            name: name.to_owned(),
            what: what.to_owned(),
            size,
            seconds: 0.0,
            figures: Vec::new(),
            curves: Vec::new(),
        }
    }

    /// A number for which more is better.
    pub fn higher(&mut self, name: &str, unit: &str, value: f64) {
        self.add(name, unit, value, Better::Higher);
    }

    /// A number for which less is better.
    pub fn lower(&mut self, name: &str, unit: &str, value: f64) {
        self.add(name, unit, value, Better::Lower);
    }

    /// A number that only describes the circumstances.
    pub fn plain(&mut self, name: &str, unit: &str, value: f64) {
        self.add(name, unit, value, Better::Neither);
    }

    /// The value of a figure.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.name == name).map(|figure| figure.value)
    }

    fn add(&mut self, name: &str, unit: &str, value: f64, better: Better) {
        self.figures.push(Figure { name: name.to_owned(), unit: unit.to_owned(), value, better });
    }
}

/// A count as a number to calculate with; counts here are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
pub fn number(count: u64) -> f64 {
    count as f64
}

/// The same for sizes.
pub fn size(count: usize) -> f64 {
    number(count as u64)
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().context("cannot run a program")?;
    ensure!(output.status.success(), "{command:?} fails: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
