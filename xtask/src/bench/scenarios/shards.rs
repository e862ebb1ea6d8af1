//! A fleet over several instances, split by a label; then contexts move from one to another.

use std::time::{Duration, Instant};

use anyhow::ensure;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::json;

use super::{SETTLE, per_token, times};
use crate::bench::figures::{Scenario, number};
use crate::bench::fleet::{self, Fleet};
use crate::bench::operator::{Running, Settings};
use crate::bench::stage::{self, Stage};
use crate::bench::window::Window;

/// Contexts that move.
const MOVED: usize = 20;
const PATIENCE: Duration = Duration::from_hours(1);

pub async fn run(stage: &Stage, instances: u16, contexts: usize) -> anyhow::Result<Scenario> {
    let what = format!("A fleet over {instances} instances, split by the label shard; budgets lifted.");
    let mut scenario = Scenario::new("sharded", contexts, &what);
    let mut fleets = Vec::new();
    for shard in 0..instances {
        let mut fleet = Fleet::new(&stage.namespace("fleet").await?, contexts / usize::from(instances));
        fleet.labels = json!({"shard": shard.to_string()});
        fleet.create(&stage.client, &stage.tenant).await?;
        stage.screen.progress(&format!("created shard {} of {instances}", shard + 1));
        fleets.push(fleet);
    }
    let asked = stage.tenant.counts().await?;
    let window = Window::open(stage, None).await?;
    let begin = Instant::now();
    let mut operators: Vec<Running> = Vec::new();
    for index in 0..instances {
        operators.push(stage.operator(&Settings { release: stage::shard(index), ..Settings::default() }).await?);
    }
    let mut ready = Vec::new();
    for fleet in &fleets {
        stage.observer.wait_for_ready(&fleet.namespace, fleet.size, PATIENCE).await?;
        ready.extend(stage.observer.ready(&fleet.namespace));
    }
    ready.sort();
    tokio::time::sleep(SETTLE).await;
    let mut spent = window.close(stage, None).await?;
    let usage: Vec<_> = operators.iter().map(Running::usage).collect();
    spent.operator_ms = usage.iter().map(|usage| usage.cpu.as_secs_f64() * 1000.0).sum();
    let asked = stage.tenant.counts().await?.since(asked);
    scenario.plain("instances", "", f64::from(instances));
    times(&mut scenario, "all instances", begin, &ready);
    scenario.lower("token requests", "per context", number(asked.token) / number(ready.len() as u64));
    per_token(&mut scenario, &spent, asked.issued);
    let largest = usage.iter().map(|usage| usage.peak_mib).fold(0.0, f64::max);
    scenario.lower("RSS of the largest instance, peak", "MiB", largest);
    spent.note_machine(&mut scenario);
    if let [from, to, ..] = &fleets[..] {
        moved(stage, (from, to), &operators, &mut scenario).await?;
    }
    for operator in operators {
        operator.stop().await?;
    }
    for fleet in &fleets {
        stage.clear(&fleet.namespace).await?;
    }
    Ok(scenario)
}

/// Gives contexts of the first shard the label of the second.
async fn moved(
    stage: &Stage,
    (from, to): (&Fleet, &Fleet),
    operators: &[Running],
    scenario: &mut Scenario,
) -> anyhow::Result<()> {
    let count = MOVED.min(from.size);
    let asked = stage.tenant.counts().await?;
    let contexts: Api<DynamicObject> = Api::namespaced_with(stage.client.clone(), &from.namespace, &fleet::kind());
    let label = Patch::Merge(json!({"metadata": {"labels": to.labels}}));
    let begin = Instant::now();
    for index in 0..count {
        contexts.patch(&fleet::name(index), &PatchParams::default(), &label).await?;
    }
    while operators[1].known().await? < to.size + count || operators[0].known().await? > from.size - count {
        ensure!(begin.elapsed() < Duration::from_mins(1), "the contexts do not arrive at the other instance");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    scenario.lower("contexts moved to another instance after", "s", begin.elapsed().as_secs_f64());
    tokio::time::sleep(SETTLE).await;
    let asked = stage.tenant.counts().await?.since(asked);
    scenario.lower("token requests of a move", "", number(asked.token));
    Ok(())
}
