//! A tenant that is down while a fleet waits for it, and then recovers.

use std::time::{Duration, Instant};

use support::tenant::{Fault, FaultBody, Route, Script};

use super::PATIENCE;
use crate::bench::figures::{Scenario, number, size};
use crate::bench::fleet::Fleet;
use crate::bench::operator::Settings;
use crate::bench::stage::Stage;
use crate::bench::window::Window;

/// After this time without a response the operator only probes a host.
const ONLY_PROBED: Duration = Duration::from_mins(1);

pub async fn run(stage: &Stage) -> anyhow::Result<Scenario> {
    let (contexts, settled, watched) = stage.scale.waiting;
    let what = format!(
        "A tenant answers 503 while contexts wait for their first token, watched for {} s after {} s; then it is back.",
        watched.as_secs(),
        settled.as_secs()
    );
    let mut scenario = Scenario::new("outage", contexts, &what);
    let fleet = Fleet::new(&stage.namespace("outage").await?, contexts);
    fleet.create(&stage.client, &stage.tenant).await?;
    let down = Fault::Answer { status: 503, body: FaultBody::Qlik };
    stage.tenant.script(Script::at(Route::Token, down).host(&fleet.host)).await?;
    let begin = stage.tenant.counts().await?;
    let mut operator = stage.operator(&Settings::default()).await?;
    tokio::time::sleep(settled).await;

    let asked = stage.tenant.counts().await?;
    let window = Window::open(stage, Some(operator.pid())).await?;
    tokio::time::sleep(watched).await;
    let spent = window.close(stage, Some(operator.pid())).await?;
    let minutes = spent.seconds / 60.0;
    let requests = number(spent.requests.all());
    scenario.lower("Kubernetes API requests while waiting", "a minute", requests / minutes);
    let each = requests / minutes / size(contexts);
    scenario.lower("Kubernetes API requests of one waiting context", "a minute", each);
    scenario.lower("operator CPU while waiting", "ms/s", spent.operator_ms / spent.seconds);
    scenario.lower("API server CPU while waiting", "ms/s", spent.api_server_ms / spent.seconds);
    let attempts = number(stage.tenant.counts().await?.since(asked).token);
    let name = if settled > ONLY_PROBED { "probes while waiting" } else { "token requests while waiting" };
    scenario.lower(name, "a minute", attempts / minutes);
    scenario.lower("Kubernetes API requests for each token request", "", requests / attempts.max(1.0));
    scenario.lower("token requests until then", "", number(asked.since(begin).token));
    scenario.lower("RSS while waiting", "MiB", operator.usage().rss_mib);

    let back = Instant::now();
    stage.tenant.clear().await?;
    operator.during(stage.observer.wait_for_ready(&fleet.namespace, contexts, PATIENCE)).await?;
    let ready = stage.observer.ready(&fleet.namespace);
    super::times(&mut scenario, "back", back, &ready);
    spent.note_machine(&mut scenario);
    operator.stop().await?;
    stage.clear(&fleet.namespace).await?;
    Ok(scenario)
}
