//! How long a new context waits for its token, alone and while many renewals are due.

use std::time::{Duration, Instant};

use support::tenant::{Fault, Pacing, Script};

use super::{PATIENCE, spread};
use crate::bench::figures::{Scenario, number};
use crate::bench::fleet::Fleet;
use crate::bench::operator::Settings;
use crate::bench::stage::Stage;

/// The delay of the tenant for each of the three responses of a token.
const ANSWER: u64 = 100;

pub async fn run(stage: &Stage) -> anyhow::Result<Scenario> {
    let (due, count) = stage.scale.newcomers;
    let what = format!(
        "New contexts one after the other at a tenant that takes {ANSWER} ms to answer, alone and while renewals are due."
    );
    let mut scenario = Scenario::new("newcomers", due, &what);
    let newcomers = Fleet::new(&stage.namespace("newcomers").await?, 2 * count);
    newcomers.register(&stage.tenant).await?;
    newcomers.credentials(&stage.client, 0..2 * count).await?;
    let mut fleet = Fleet::new(&stage.namespace("due").await?, due);
    // Enough to issue all of them, to wait until half is left of the last one, and to renew them before the first one
    // expires.
    fleet.lifetime = Duration::from_secs(if due > 500 { 300 } else { 40 });
    fleet.create(&stage.client, &stage.tenant).await?;

    let mut operator = stage.operator(&Settings::default()).await?;
    operator.during(stage.observer.wait_for_ready(&fleet.namespace, due, PATIENCE)).await?;
    let last = Instant::now();
    operator.stop().await?;
    tokio::time::sleep_until((last + fleet.lifetime / 2).into()).await;

    let answer = Fault::Delivery(Pacing::Late { millis: ANSWER });
    stage.tenant.script(Script { at: None, client: None, host: None, times: None, fault: answer }).await?;
    let asked = stage.tenant.counts().await?;
    let operator = stage.operator(&Settings::default()).await?;
    let busy = arrive(stage, &newcomers, 0..count).await?;
    let renewed = stage.tenant.counts().await?.since(asked).issued - busy.len() as u64;
    scenario.plain("renewals while they came", "", number(renewed));
    spread(&mut scenario, "ready after, while renewals are due", "s", busy);
    let all = |seen: &crate::bench::observer::Seen| !seen.lateness.is_empty();
    stage.observer.wait_until(&fleet.namespace, due, PATIENCE, all).await?;
    let expired = stage.observer.contexts(&fleet.namespace).iter().map(|(_, seen)| seen.expired()).sum();
    scenario.lower("served expired", "s", expired);
    stage.clear(&fleet.namespace).await?;
    let alone = arrive(stage, &newcomers, count..2 * count).await?;
    spread(&mut scenario, "ready after, alone", "s", alone);
    stage.tenant.clear().await?;
    operator.stop().await?;
    stage.clear(&newcomers.namespace).await?;
    Ok(scenario)
}

/// Creates contexts one after the other. Returns the seconds from the creation of each until it is ready.
async fn arrive(stage: &Stage, fleet: &Fleet, which: std::ops::Range<usize>) -> anyhow::Result<Vec<f64>> {
    let mut seconds = Vec::new();
    for index in which {
        let created = Instant::now();
        fleet.contexts(&stage.client, index..index + 1).await?;
        stage.observer.wait_for_ready(&fleet.namespace, index + 1, PATIENCE).await?;
        let ready = stage.observer.ready(&fleet.namespace);
        seconds.push(ready.last().map_or(0.0, |ready| (*ready - created).as_secs_f64()));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    Ok(seconds)
}
