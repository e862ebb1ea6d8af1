//! Large Secrets that are unrelated to the operator: they must not increase its memory.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use serde_json::json;

use crate::bench::figures::Scenario;
use crate::bench::fleet;
use crate::bench::operator::Settings;
use crate::bench::stage::Stage;
use crate::bench::window::Window;

/// The size of a Helm release Secret or of a bundle of certificates.
const SIZE: usize = 100 * 1024;
const SETTLED: Duration = Duration::from_secs(4);

pub async fn run(stage: &Stage) -> anyhow::Result<Scenario> {
    let count = stage.scale.foreign;
    let what = "Secrets of 100 KiB that have nothing to do with the operator, which has no contexts.";
    let mut scenario = Scenario::new("foreign", count, what);
    let namespace = stage.namespace("foreign").await?;
    measure(stage, "without", "", &mut scenario).await?;
    let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), &namespace);
    let filling = "x".repeat(SIZE);
    let manifests = (0..count).map(|index| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("foreign-{index:05}")},
            "stringData": {"filling": filling},
        })
    });
    fleet::create(&secrets, manifests).await?;
    measure(stage, "with", "", &mut scenario).await?;
    measure(stage, "with, one namespace watched", &namespace, &mut scenario).await?;
    let value = |scenario: &Scenario, name: &str| scenario.value(name).unwrap_or_default();
    let more = value(&scenario, "with: RSS, peak") - value(&scenario, "without: RSS, peak");
    scenario.lower("more RSS at the peak", "MiB", more);
    stage.clear(&namespace).await?;
    Ok(scenario)
}

async fn measure(stage: &Stage, label: &str, namespaces: &str, scenario: &mut Scenario) -> anyhow::Result<()> {
    let window = Window::open(stage, None).await?;
    let settings = Settings { namespaces: namespaces.to_owned(), ..Settings::default() };
    let operator = stage.operator(&settings).await?;
    tokio::time::sleep(SETTLED).await;
    let (usage, spent) = (operator.usage(), window.close(stage, Some(operator.pid())).await?);
    scenario.lower(&format!("{label}: ready after"), "s", (operator.ready - operator.started).as_secs_f64());
    scenario.lower(&format!("{label}: RSS, peak"), "MiB", usage.peak_mib);
    scenario.lower(&format!("{label}: RSS, at rest"), "MiB", usage.rss_mib);
    scenario.lower(&format!("{label}: operator CPU of the start"), "ms", spent.operator_ms);
    operator.stop().await
}
