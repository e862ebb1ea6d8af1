//! More contexts of one tenant than its default budget serves in a minute.

use super::{PATIENCE, SETTLE, per_token, times};
use crate::bench::figures::{Scenario, number, size};
use crate::bench::fleet::Fleet;
use crate::bench::operator::Settings;
use crate::bench::stage::Stage;
use crate::bench::window::Window;

pub async fn run(stage: &Stage) -> anyhow::Result<Scenario> {
    let contexts = stage.scale.budgeted;
    let mut scenario = Scenario::new("budgets", contexts, "Contexts of one tenant, with the default budgets.");
    let fleet = Fleet::new(&stage.namespace("budgets").await?, contexts);
    fleet.create(&stage.client, &stage.tenant).await?;
    let asked = stage.tenant.counts().await?;
    let window = Window::open(stage, None).await?;
    let mut operator = stage.operator(&Settings { budgets: true, ..Settings::default() }).await?;
    operator.during(stage.observer.wait_for_ready(&fleet.namespace, contexts, PATIENCE)).await?;
    tokio::time::sleep(SETTLE).await;
    let spent = window.close(stage, Some(operator.pid())).await?;
    let ready = stage.observer.ready(&fleet.namespace);
    times(&mut scenario, "operator", operator.started, &ready);
    let asked = stage.tenant.counts().await?.since(asked);
    scenario.lower("token requests", "per context", number(asked.token) / size(contexts));
    per_token(&mut scenario, &spent, asked.issued);
    spent.note_machine(&mut scenario);
    operator.stop().await?;
    stage.clear(&fleet.namespace).await?;
    Ok(scenario)
}
