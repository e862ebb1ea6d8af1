//! Many contexts at once, each with its own credential; and the bare client before and after, as the ceiling.

use std::time::{Duration, Instant};

use anyhow::ensure;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams};

use super::{PATIENCE, SETTLE, per_token, times};
use crate::bench::figures::{Curve, Scenario, number, size};
use crate::bench::fleet::Fleet;
use crate::bench::operator::Settings;
use crate::bench::stage::Stage;
use crate::bench::window::{Spent, Window};

/// Contexts of the bare client on either side: enough for a stable figure.
const CEILING: usize = 1500;
/// Points of a curve.
const POINTS: usize = 200;
/// The time until memory use is stable.
const REST: Duration = Duration::from_secs(3);

pub async fn run(stage: &Stage, contexts: usize) -> anyhow::Result<Scenario> {
    let what = "Contexts with a credential each, all there when the operator starts; budgets lifted.";
    let mut scenario = Scenario::new("burst", contexts, what);
    let side = (contexts / 2).clamp(1, CEILING);
    stage.screen.progress(&format!("the bare client, {side} contexts …"));
    let before = Ceiling::measure(stage, side).await?;
    stage.screen.progress(&format!("the operator, {contexts} contexts …"));
    let operator = measure(stage, contexts, &mut scenario).await?;
    stage.screen.progress(&format!("the bare client again, {side} contexts …"));
    let after = Ceiling::measure(stage, side).await?;

    let bare = (size(2 * side) - 2.0) / (duration(&before.ready) + duration(&after.ready)).max(0.001);
    scenario.plain("bare client", "tokens/s", bare);
    scenario.plain("bare client, before", "tokens/s", rate(&before.ready));
    scenario.plain("bare client, after", "tokens/s", rate(&after.ready));
    scenario.higher("share of the ceiling", "%", 100.0 * rate(&operator) / bare);
    let mean = |figure: fn(&Ceiling) -> f64| f64::midpoint(figure(&before), figure(&after));
    let tokens = size(side);
    scenario.plain("bare client CPU", "ms/token", mean(|ceiling| ceiling.cpu_ms) / tokens);
    scenario.plain("bare client RSS, peak", "MiB", mean(|ceiling| ceiling.peak_mib));
    let api_server = mean(|ceiling| ceiling.spent.api_server_ms) / tokens;
    scenario.plain("API server CPU for the bare client", "ms/token", api_server);
    let ours = scenario.value("API server CPU").unwrap_or_default();
    scenario.lower("API server CPU against the bare client's", "times", ours / api_server.max(0.001));
    let requests = mean(|ceiling| number(ceiling.spent.requests.objects())) / tokens;
    scenario.plain("Kubernetes API requests of the bare client", "per token", requests);
    scenario.curves.push(progress("bare client", before.begin, &before.ready));
    Ok(scenario)
}

async fn measure(stage: &Stage, contexts: usize, scenario: &mut Scenario) -> anyhow::Result<Vec<Instant>> {
    let fleet = Fleet::new(&stage.namespace("burst").await?, contexts);
    fleet.create(&stage.client, &stage.tenant).await?;
    let asked = stage.tenant.counts().await?;
    let window = Window::open(stage, None).await?;
    let mut operator = stage.operator(&Settings::default()).await?;
    let memory = operator.memory();
    operator.during(stage.observer.wait_for_ready(&fleet.namespace, contexts, PATIENCE)).await?;
    tokio::time::sleep(SETTLE).await;
    let spent = window.close(stage, Some(operator.pid())).await?;
    let ready = stage.observer.ready(&fleet.namespace);

    scenario.higher("operator", "tokens/s", rate(&ready));
    times(scenario, "operator", operator.started, &ready);
    let asked = stage.tenant.counts().await?.since(asked);
    scenario.lower("token requests", "per context", number(asked.token) / size(contexts));
    scenario.lower("questions to users/me", "per context", number(asked.users_me) / size(contexts));
    per_token(scenario, &spent, asked.issued);
    tokio::time::sleep(REST).await;
    let usage = operator.usage();
    scenario.lower("RSS, peak", "MiB", usage.peak_mib);
    scenario.lower("RSS, at rest", "MiB", usage.rss_mib);
    spent.note_machine(scenario);
    let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), &fleet.namespace);
    let ours = ListParams::default().labels("app.kubernetes.io/managed-by=qlik-context-operator");
    let published = secrets.list_metadata(&ours).await?.items.len();
    ensure!(published == contexts, "{published} Secrets were published, not {contexts}");
    scenario.curves.push(progress("operator", operator.started, &ready));
    scenario.curves.push(Curve { name: "operator RSS".into(), unit: "MiB".into(), points: thinned(&memory.points()) });
    operator.stop().await?;
    stage.clear(&fleet.namespace).await?;
    Ok(ready)
}

/// The result of the bare client.
struct Ceiling {
    begin: Instant,
    ready: Vec<Instant>,
    cpu_ms: f64,
    peak_mib: f64,
    spent: Spent,
}

impl Ceiling {
    async fn measure(stage: &Stage, contexts: usize) -> anyhow::Result<Self> {
        let fleet = Fleet::new(&stage.namespace("bare").await?, contexts);
        fleet.create(&stage.client, &stage.tenant).await?;
        let window = Window::open(stage, None).await?;
        let begin = Instant::now();
        let done = stage.bare(&fleet.namespace).await?;
        ensure!(done.contexts == contexts, "the bare client served {} contexts, not {contexts}", done.contexts);
        stage.observer.wait_for_ready(&fleet.namespace, contexts, PATIENCE).await?;
        let spent = window.close(stage, None).await?;
        let ready = stage.observer.ready(&fleet.namespace);
        stage.clear(&fleet.namespace).await?;
        Ok(Self { begin, ready, cpu_ms: done.cpu_ms, peak_mib: done.peak_mib, spent })
    }
}

/// From the first request to the last, without the start of the process.
fn duration(ready: &[Instant]) -> f64 {
    match (ready.first(), ready.last()) {
        (Some(first), Some(last)) => (*last - *first).as_secs_f64(),
        _ => 0.0,
    }
}

fn rate(ready: &[Instant]) -> f64 {
    (size(ready.len()) - 1.0) / duration(ready).max(0.001)
}

fn progress(name: &str, since: Instant, ready: &[Instant]) -> Curve {
    let point = |(index, at): (usize, &Instant)| ((*at - since).as_secs_f64(), size(index + 1));
    let points: Vec<_> = ready.iter().enumerate().map(point).collect();
    Curve { name: name.to_owned(), unit: "contexts ready".to_owned(), points: thinned(&points) }
}

/// As many points as a plot can show, including the last.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let step = points.len().div_ceil(POINTS).max(1);
    points.iter().rev().step_by(step).rev().copied().collect()
}
