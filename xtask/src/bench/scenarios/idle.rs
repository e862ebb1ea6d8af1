//! An operator without contexts: its base cost.

use std::time::Duration;

use crate::bench::figures::{Scenario, number};
use crate::bench::operator::Settings;
use crate::bench::stage::Stage;
use crate::bench::window::Window;

const WATCHED: Duration = Duration::from_secs(10);

pub async fn run(stage: &Stage) -> anyhow::Result<Scenario> {
    let mut scenario = Scenario::new("idle", 0, "An operator without contexts.");
    let operator = stage.operator(&Settings::default()).await?;
    scenario.lower("ready after", "s", (operator.ready - operator.started).as_secs_f64());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let window = Window::open(stage, Some(operator.pid())).await?;
    tokio::time::sleep(WATCHED).await;
    let spent = window.close(stage, Some(operator.pid())).await?;
    scenario.lower("RSS", "MiB", operator.usage().rss_mib);
    scenario.lower("operator CPU", "ms/s", spent.operator_ms / spent.seconds);
    scenario.lower("Kubernetes API requests", "", number(spent.requests.all()));
    spent.note_machine(&mut scenario);
    operator.stop().await?;
    Ok(scenario)
}
