//! A restart, and a `kill -9`, while every token is valid: no request to the tenant is repeated.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::PATIENCE;
use crate::bench::figures::{Scenario, number, size};
use crate::bench::fleet::Fleet;
use crate::bench::operator::{Running, Settings};
use crate::bench::stage::Stage;
use crate::bench::window::Window;

/// Late requests count, too.
const WATCHED: Duration = Duration::from_secs(5);

pub async fn run(stage: &Stage) -> anyhow::Result<Scenario> {
    let contexts = stage.scale.restarted;
    let what = "The operator is stopped, and killed, while every context holds a valid token.";
    let mut scenario = Scenario::new("restart", contexts, what);
    let fleet = Fleet::new(&stage.namespace("restart").await?, contexts);
    fleet.create(&stage.client, &stage.tenant).await?;
    let operator = stage.operator(&Settings::default()).await?;
    stage.observer.wait_for_ready(&fleet.namespace, contexts, PATIENCE).await?;
    operator.stop().await?;
    let operator = again(stage, contexts, "restart", &mut scenario).await?;
    operator.kill()?;
    // The Lease of a process that was killed is free after 15 s.
    let operator = again(stage, contexts, "kill -9", &mut scenario).await?;
    scenario.lower("RSS, peak", "MiB", operator.usage().peak_mib);
    operator.stop().await?;
    stage.clear(&fleet.namespace).await?;
    Ok(scenario)
}

/// Starts the operator, and measures until it knows every context.
async fn again(stage: &Stage, contexts: usize, after: &str, scenario: &mut Scenario) -> anyhow::Result<Running> {
    let asked = stage.tenant.counts().await?;
    let window = Window::open(stage, None).await?;
    let operator = stage.operator(&Settings::default()).await?;
    while operator.metric("qlik_context_leader ").await? < 1.0 {
        ensure!(operator.started.elapsed() < PATIENCE, "the operator does not become the leader");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let leads = Instant::now();
    while operator.known().await? < contexts {
        ensure!(leads.elapsed() < PATIENCE, "the operator does not know all contexts");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let knows = Instant::now();
    tokio::time::sleep(WATCHED).await;
    let spent = window.close(stage, Some(operator.pid())).await?;
    let asked = stage.tenant.counts().await?.since(asked);
    scenario.lower(&format!("{after}: leads after"), "s", (leads - operator.started).as_secs_f64());
    scenario.lower(&format!("{after}: knows all contexts after"), "s", (knows - operator.started).as_secs_f64());
    scenario.lower(&format!("{after}: token requests"), "", number(asked.token));
    scenario.lower(
        &format!("{after}: questions to users/me in the first {} s", WATCHED.as_secs()),
        "",
        number(asked.users_me),
    );
    let requests = number(spent.requests.objects()) / size(contexts);
    scenario.lower(&format!("{after}: Kubernetes API requests"), "per context", requests);
    scenario.lower(&format!("{after}: operator CPU"), "ms/context", spent.operator_ms / size(contexts));
    Ok(operator)
}
