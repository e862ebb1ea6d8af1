//! Many contexts deleted at once, while probes and renewals continue.

use std::time::{Duration, Instant};

use anyhow::ensure;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams};

use super::PATIENCE;
use crate::bench::figures::{Scenario, number, size};
use crate::bench::fleet::{self, Fleet};
use crate::bench::operator::{Running, Settings};
use crate::bench::stage::Stage;
use crate::bench::window::Window;

pub async fn run(stage: &Stage) -> anyhow::Result<Scenario> {
    let contexts = stage.scale.deleted;
    let mut scenario = Scenario::new("deletion", contexts, "Contexts deleted at once; their Secrets go with them.");
    let fleet = Fleet::new(&stage.namespace("deletion").await?, contexts);
    fleet.create(&stage.client, &stage.tenant).await?;
    let operator = stage.operator(&Settings::default()).await?;
    stage.observer.wait_for_ready(&fleet.namespace, contexts, PATIENCE).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;

    let window = Window::open(stage, Some(operator.pid())).await?;
    let begin = Instant::now();
    let all: Api<DynamicObject> = Api::namespaced_with(stage.client.clone(), &fleet.namespace, &fleet::kind());
    let delete = async {
        all.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        Ok::<_, anyhow::Error>(())
    };
    let (deleted, probed) = tokio::join!(delete, watch(&operator, begin));
    deleted?;
    let (forgotten, slowest) = probed?;
    let spent = window.close(stage, Some(operator.pid())).await?;
    scenario.lower("forgotten after", "s", forgotten.as_secs_f64());
    scenario.lower("slowest answer of /livez meanwhile", "ms", slowest.as_secs_f64() * 1000.0);
    scenario.lower("operator CPU", "ms/context", spent.operator_ms / size(contexts));
    scenario.plain(
        "Kubernetes API requests, Secrets collected by Kubernetes among them",
        "",
        number(spent.requests.objects()),
    );
    collected(stage, &fleet, begin).await?;
    scenario.plain("Secrets collected after", "s", begin.elapsed().as_secs_f64());
    scenario.lower("RSS, at rest", "MiB", operator.usage().rss_mib);
    spent.note_machine(&mut scenario);
    operator.stop().await?;
    stage.clear(&fleet.namespace).await?;
    Ok(scenario)
}

/// Waits until the operator has dropped all contexts. Returns how long that took, and the slowest response of its
/// probe.
async fn watch(operator: &Running, begin: Instant) -> anyhow::Result<(Duration, Duration)> {
    let mut slowest = Duration::ZERO;
    loop {
        for _ in 0..5 {
            let asked = Instant::now();
            operator.get("/livez").await?;
            slowest = slowest.max(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if operator.known().await? == 0 {
            return Ok((begin.elapsed(), slowest));
        }
        ensure!(begin.elapsed() < PATIENCE, "the operator still has series of deleted contexts");
    }
}

async fn collected(stage: &Stage, fleet: &Fleet, begin: Instant) -> anyhow::Result<()> {
    let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), &fleet.namespace);
    let ours = ListParams::default().labels("app.kubernetes.io/managed-by=qlik-context-operator").limit(1);
    while !secrets.list_metadata(&ours).await?.items.is_empty() {
        ensure!(begin.elapsed() < PATIENCE, "Kubernetes does not garbage-collect the Secrets");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
