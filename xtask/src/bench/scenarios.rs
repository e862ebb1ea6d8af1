//! The scenarios, one file each. Each starts with an empty cluster and leaves one.

mod budgets;
mod burst;
mod deletion;
mod faults;
mod foreign;
mod idle;
mod names;
mod newcomers;
mod outage;
mod restart;
mod shards;
mod sharing;
mod steady;

use std::time::{Duration, Instant};

use clap::builder::PossibleValuesParser;

use super::figures::{self, Report, Scenario};
use super::stage::Stage;
use super::table;
use super::window::Spent;

const ALL: [&str; 12] = [
    "idle",
    "burst",
    "budgets",
    "steady",
    "newcomers",
    "restart",
    "sharing",
    "names",
    "foreign",
    "outage",
    "faults",
    "deletion",
];

/// Longer than any scenario waits for its fleet.
const PATIENCE: Duration = Duration::from_mins(10);
/// The work of the operator after the last context is ready, such as reading what it wrote, is included in the figures.
const SETTLE: Duration = Duration::from_millis(1500);

/// The names that `--scenario` accepts.
pub fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(ALL)
}

/// Runs the scenarios with these names, or all.
pub async fn all(stage: &Stage, chosen: &[String], report: &mut Report) -> anyhow::Result<()> {
    for name in ALL {
        if !chosen.is_empty() && !chosen.iter().any(|wanted| wanted == name) {
            continue;
        }
        let sizes = if name == "burst" { &stage.scale.bursts[..] } else { &[0] };
        for size in sizes {
            stage.screen.progress(&format!("{name} {} …", if *size == 0 { String::new() } else { size.to_string() }));
            let begin = Instant::now();
            let scenario = one(stage, name, *size).await;
            let mut scenario = scenario.map_err(|error| error.context(format!("scenario {name}")))?;
            scenario.seconds = begin.elapsed().as_secs_f64();
            table::scenario(&scenario, stage.screen);
            report.scenarios.push(scenario);
        }
    }
    Ok(())
}

async fn one(stage: &Stage, name: &str, size: usize) -> anyhow::Result<Scenario> {
    match name {
        "idle" => idle::run(stage).await,
        "burst" => burst::run(stage, size).await,
        "budgets" => budgets::run(stage).await,
        "steady" => steady::run(stage).await,
        "newcomers" => newcomers::run(stage).await,
        "restart" => restart::run(stage).await,
        "sharing" => sharing::run(stage).await,
        "names" => names::run(stage).await,
        "foreign" => foreign::run(stage).await,
        "outage" => outage::run(stage).await,
        "faults" => faults::run(stage).await,
        _ => deletion::run(stage).await,
    }
}

/// Runs the one scenario of `--sharded`.
pub async fn sharded(stage: &Stage, instances: u16, contexts: usize, report: &mut Report) -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut scenario = shards::run(stage, instances, contexts).await?;
    scenario.seconds = begin.elapsed().as_secs_f64();
    table::scenario(&scenario, stage.screen);
    report.scenarios.push(scenario);
    Ok(())
}

/// Adds the cost of one token.
fn per_token(scenario: &mut Scenario, spent: &Spent, tokens: u64) {
    let tokens = figures::number(tokens.max(1));
    scenario.lower("operator CPU", "ms/token", spent.operator_ms / tokens);
    scenario.lower("API server CPU", "ms/token", spent.api_server_ms / tokens);
    scenario.plain("tenant CPU", "ms/token", spent.tenant_ms / tokens);
    scenario.lower("Kubernetes API requests", "per token", figures::number(spent.requests.objects()) / tokens);
    for (name, count) in spent.requests.of_objects() {
        scenario.lower(&format!("  {name}"), "per token", figures::number(count) / tokens);
    }
    scenario.lower("events", "per token", figures::number(spent.requests.events()) / tokens);
}

/// Adds when 50, 99 and 100 % were ready.
fn times(scenario: &mut Scenario, whose: &str, since: Instant, ready: &[Instant]) {
    for percent in [50, 99, 100] {
        let Some(at) = percentile(ready, percent) else { continue };
        scenario.lower(&format!("{whose}: {percent} % ready after"), "s", (*at - since).as_secs_f64());
    }
}

/// The percentile of sorted values.
fn percentile<T>(sorted: &[T], percent: usize) -> Option<&T> {
    sorted.get((sorted.len() * percent).div_ceil(100).max(1) - 1)
}

/// Adds the median, the 99th percentile and the maximum of some measurements.
fn spread(scenario: &mut Scenario, what: &str, unit: &str, mut values: Vec<f64>) {
    values.sort_by(f64::total_cmp);
    for (label, percent) in [("50 %", 50), ("99 %", 99), ("worst", 100)] {
        if let Some(value) = percentile(&values, percent) {
            scenario.lower(&format!("{what}, {label}"), unit, *value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_value_that_this_percentage_does_not_exceed() {
        let values: Vec<u32> = (1..=200).collect();
        for (percent, value) in [(0, 1), (50, 100), (99, 198), (100, 200)] {
            assert_eq!(percentile(&values, percent), Some(&value), "{percent}");
        }
        assert_eq!(percentile(&[7], 1), Some(&7));
        assert_eq!(percentile::<u32>(&[], 50), None);
    }
}
