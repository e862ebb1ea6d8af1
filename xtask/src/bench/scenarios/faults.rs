//! Tenants that fail: errors, stalls, a rate limit, and one wrong credential.

use std::time::{Duration, Instant};

use support::tenant::{Fault, FaultBody, Pacing, RetryAfter, Route, Script};

use super::{PATIENCE, per_token, times};
use crate::bench::figures::{Scenario, number};
use crate::bench::fleet::{self, Fleet};
use crate::bench::operator::Settings;
use crate::bench::stage::Stage;
use crate::bench::tenant::credential;
use crate::bench::window::Window;

/// One in this many contexts gets a 500 for its first token request, and one in this many is stalled.
const FAILS: usize = 20;
const STALLS: usize = 10;
const STALL: u64 = 10_000;
/// The response of the rate-limited host, and for how long it sends it.
const RETRY_AFTER: u64 = 5;
const LIMITED: Duration = Duration::from_secs(12);

pub async fn run(stage: &Stage) -> anyhow::Result<Scenario> {
    let contexts = stage.scale.faulty;
    let what = "5 % of the first token requests get a 500, 10 % are stalled for 10 s, a second tenant answers 429, and one \
                credential is wrong.";
    let mut scenario = Scenario::new("faults", contexts, what);
    let fleet = Fleet::new(&stage.namespace("faults").await?, contexts);
    let limited = Fleet::new(&stage.namespace("limited").await?, (contexts / 10).max(1));
    // One more context, whose client the tenant does not know.
    let with_broken = Fleet { size: contexts + 1, ..fleet.clone() };
    fleet.register(&stage.tenant).await?;
    with_broken.credentials(&stage.client, 0..contexts + 1).await?;
    with_broken.contexts(&stage.client, 0..contexts + 1).await?;
    limited.create(&stage.client, &stage.tenant).await?;
    misbehave(stage, &fleet, &limited).await?;

    let asked = stage.tenant.counts().await?;
    let window = Window::open(stage, None).await?;
    let operator = stage.operator(&Settings::default()).await?;
    tokio::time::sleep_until((operator.started + LIMITED).into()).await;
    scenario.lower(
        "ready at the limited tenant meanwhile",
        "",
        number(stage.observer.ready(&limited.namespace).len() as u64),
    );
    stage.observer.wait_for_ready(&fleet.namespace, contexts, PATIENCE).await?;
    let back = Instant::now();
    stage.tenant.clear().await?;
    stage.observer.wait_for_ready(&limited.namespace, limited.size, PATIENCE).await?;
    let spent = window.close(stage, Some(operator.pid())).await?;

    times(&mut scenario, "all", operator.started, &stage.observer.ready(&fleet.namespace));
    let healthy =
        |name: &str| (0..contexts).any(|index| fleet::name(index) == name && index % FAILS != 0 && index % STALLS != 1);
    let seen = stage.observer.contexts(&fleet.namespace);
    let mut ready: Vec<_> = seen.iter().filter(|(name, _)| healthy(name)).filter_map(|(_, seen)| seen.ready).collect();
    ready.sort();
    times(&mut scenario, "those without a fault", operator.started, &ready);
    times(&mut scenario, "limited tenant, back", back, &stage.observer.ready(&limited.namespace));
    let broken = seen.iter().filter(|(_, seen)| seen.reason == "InvalidClient").count();
    scenario.plain("contexts with the reason InvalidClient", "", number(broken as u64));
    let asked = stage.tenant.counts().await?.since(asked);
    scenario.lower("token requests", "per token", number(asked.token) / number(asked.issued));
    per_token(&mut scenario, &spent, asked.issued);
    spent.note_machine(&mut scenario);
    operator.stop().await?;
    stage.clear(&fleet.namespace).await?;
    stage.clear(&limited.namespace).await?;
    Ok(scenario)
}

async fn misbehave(stage: &Stage, fleet: &Fleet, limited: &Fleet) -> anyhow::Result<()> {
    for index in 0..fleet.size {
        let fault = if index % FAILS == 0 {
            Fault::Answer { status: 500, body: FaultBody::Qlik }
        } else if index % STALLS == 1 {
            Fault::Delivery(Pacing::Late { millis: STALL })
        } else {
            continue;
        };
        let (id, _) = credential(&fleet.clients, index);
        stage.tenant.script(Script::at(Route::Token, fault).client(&id).once()).await?;
    }
    let limit = Fault::RateLimited(RetryAfter::Seconds(RETRY_AFTER));
    stage.tenant.script(Script::at(Route::Token, limit).host(&limited.host)).await
}
