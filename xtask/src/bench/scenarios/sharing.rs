//! Contexts in several namespaces with equal requests and the same credential: one token request for all.

use std::time::Instant;

use super::PATIENCE;
use crate::bench::figures::{Scenario, number, size};
use crate::bench::fleet::Fleet;
use crate::bench::operator::Settings;
use crate::bench::stage::Stage;
use crate::bench::window::Window;

const NAMESPACES: usize = 3;

pub async fn run(stage: &Stage) -> anyhow::Result<Scenario> {
    let contexts = stage.scale.sharing;
    let what = format!("Contexts with one credential in {NAMESPACES} namespaces, with the default budgets.");
    let mut scenario = Scenario::new("sharing", contexts, &what);
    let mut fleets: Vec<Fleet> = Vec::new();
    for _ in 0..NAMESPACES {
        let mut fleet = Fleet::new(&stage.namespace("sharing").await?, contexts / NAMESPACES);
        if let Some(first) = fleets.first() {
            (fleet.host, fleet.clients) = (first.host.clone(), first.clients.clone());
        }
        fleet.shared = true;
        fleet.create(&stage.client, &stage.tenant).await?;
        fleets.push(fleet);
    }
    let asked = stage.tenant.counts().await?;
    let window = Window::open(stage, None).await?;
    let operator = stage.operator(&Settings { budgets: true, ..Settings::default() }).await?;
    for fleet in &fleets {
        stage.observer.wait_for_ready(&fleet.namespace, fleet.size, PATIENCE).await?;
    }
    let spent = window.close(stage, Some(operator.pid())).await?;
    let last = fleets.iter().filter_map(|fleet| stage.observer.ready(&fleet.namespace).last().copied()).max();
    let asked = stage.tenant.counts().await?.since(asked);
    let all = last.unwrap_or_else(Instant::now) - operator.started;
    scenario.lower("all ready after", "s", all.as_secs_f64());
    scenario.lower("token requests", "", number(asked.token));
    scenario.lower("questions to users/me", "", number(asked.users_me));
    let requests = number(spent.requests.objects()) / size(contexts);
    scenario.lower("Kubernetes API requests", "per context", requests);
    spent.note_machine(&mut scenario);
    operator.stop().await?;
    for fleet in &fleets {
        stage.clear(&fleet.namespace).await?;
    }
    Ok(scenario)
}
