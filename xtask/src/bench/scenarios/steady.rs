//! Short-lived tokens, renewed repeatedly.

use std::time::{Duration, Instant};

use super::{PATIENCE, per_token, spread};
use crate::bench::figures::{Scenario, number};
use crate::bench::fleet::Fleet;
use crate::bench::operator::Settings;
use crate::bench::stage::Stage;
use crate::bench::window::Window;

/// The period in which the tenant gets most requests.
const BUSIEST: usize = 10;

pub async fn run(stage: &Stage) -> anyhow::Result<Scenario> {
    let (contexts, lifetime, watched) = stage.scale.steady;
    let what = format!("Contexts whose tokens live for {} s, renewed for {} s.", lifetime.as_secs(), watched.as_secs());
    let mut scenario = Scenario::new("steady", contexts, &what);
    let mut fleet = Fleet::new(&stage.namespace("steady").await?, contexts);
    fleet.lifetime = lifetime;
    fleet.create(&stage.client, &stage.tenant).await?;
    let mut operator = stage.operator(&Settings::default()).await?;
    operator.during(stage.observer.wait_for_ready(&fleet.namespace, contexts, PATIENCE)).await?;

    let window = Window::open(stage, Some(operator.pid())).await?;
    let (begin, first) = (Instant::now(), stage.tenant.counts().await?);
    let mut samples = vec![0];
    while begin.elapsed() < watched {
        tokio::time::sleep(Duration::from_secs(1)).await;
        samples.push(stage.tenant.counts().await?.since(first).token);
    }
    let minutes = begin.elapsed().as_secs_f64() / 60.0;
    let asked = stage.tenant.counts().await?.since(first);
    let spent = window.close(stage, Some(operator.pid())).await?;

    let seen = stage.observer.contexts(&fleet.namespace);
    let lateness: Vec<f64> = seen.iter().flat_map(|(_, seen)| seen.lateness.clone()).collect();
    scenario.plain("renewals", "", number(lateness.len() as u64));
    spread(&mut scenario, "lateness of a renewal", "s", lateness);
    scenario.lower("served expired", "s", seen.iter().map(|(_, seen)| seen.expired()).sum());
    scenario.plain("token requests a minute, mean", "", number(asked.token) / minutes);
    let busiest = samples.windows(BUSIEST + 1).map(|window| window[BUSIEST] - window[0]).max().unwrap_or_default();
    scenario.lower("token requests a minute, busiest 10 s", "", number(busiest) * 6.0);
    per_token(&mut scenario, &spent, asked.issued);
    scenario.lower("RSS, at rest", "MiB", operator.usage().rss_mib);
    spent.note_machine(&mut scenario);
    operator.stop().await?;
    stage.clear(&fleet.namespace).await?;
    Ok(scenario)
}
