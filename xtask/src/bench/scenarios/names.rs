//! The same names in two namespaces, with clients of two tenants: no Secret ever holds the other's token.
//!
//! Every version of every Secret is checked, and the tenant is asked for the client that its token belongs to.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::Value;

use super::PATIENCE;
use crate::bench::figures::{Scenario, number};
use crate::bench::fleet::{Fleet, text_of};
use crate::bench::operator::Settings;
use crate::bench::stage::Stage;
use crate::bench::tenant::credential;

/// Shorter than the scenario, so that every token is renewed.
const LIFETIME: Duration = Duration::from_secs(12);
const WATCHED: Duration = Duration::from_secs(8);

pub async fn run(stage: &Stage) -> anyhow::Result<Scenario> {
    let contexts = stage.scale.namesakes;
    let what = "Names that exist in two namespaces, with clients of two tenants; renewals and a restart meanwhile.";
    let mut scenario = Scenario::new("names", contexts, what);
    let checks = Arc::new(Checks::new(stage)?);
    let mut fleets = Vec::new();
    let mut watches = Vec::new();
    for _ in 0..2 {
        let mut fleet = Fleet::new(&stage.namespace("names").await?, contexts);
        fleet.lifetime = LIFETIME;
        fleet.create(&stage.client, &stage.tenant).await?;
        watches.push(tokio::spawn(watch(stage.client.clone(), fleet.clone(), Arc::clone(&checks))).abort_handle());
        fleets.push(fleet);
    }
    for _ in 0..2 {
        let operator = stage.operator(&Settings::default()).await?;
        for fleet in &fleets {
            stage.observer.wait_for_ready(&fleet.namespace, contexts, PATIENCE).await?;
        }
        tokio::time::sleep(WATCHED).await;
        operator.stop().await?;
    }
    for watch in watches {
        watch.abort();
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
    scenario.plain("tokens looked at", "", number(count(&checks.all)));
    scenario.lower("tokens of another context", "", number(count(&checks.wrong)));
    ensure!(count(&checks.all) >= 2 * contexts as u64, "too few Secrets were checked");
    for fleet in &fleets {
        stage.clear(&fleet.namespace).await?;
    }
    Ok(scenario)
}

struct Checks {
    client: reqwest::Client,
    all: AtomicU64,
    wrong: AtomicU64,
}

impl Checks {
    fn new(stage: &Stage) -> anyhow::Result<Self> {
        let address = &stage.tenant.address;
        let client = reqwest::Client::builder()
            .proxy(reqwest::Proxy::all(&address.proxy)?)
            .tls_certs_only([reqwest::Certificate::from_pem(address.ca.as_bytes())?])
            .build()?;
        Ok(Self { client, all: AtomicU64::new(0), wrong: AtomicU64::new(0) })
    }

    /// Asks the tenant of this fleet for the client of the token in this Secret.
    async fn check(&self, fleet: &Fleet, secret: &Secret) -> anyhow::Result<()> {
        let name = secret.name_any();
        let index: usize = name.trim_start_matches("context-").trim_end_matches("-token").parse()?;
        let url = format!("https://{}/api/v1/users/me", fleet.host);
        let authorization = text_of(secret, "authorization")?;
        let answer = self.client.get(url).header("authorization", authorization).send().await?;
        // This tenant rejects a token of another tenant, which also counts as wrong.
        let user: Value = serde_json::from_slice(&answer.bytes().await?)?;
        self.all.fetch_add(1, Ordering::SeqCst);
        if user["clientId"] != credential(&fleet.clients, index).0 {
            self.wrong.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

async fn watch(client: kube::Client, fleet: Fleet, checks: Arc<Checks>) -> anyhow::Result<()> {
    let secrets: Api<Secret> = Api::namespaced(client, &fleet.namespace);
    let ours = watcher::Config::default().labels("app.kubernetes.io/managed-by=qlik-context-operator");
    let mut events = pin!(watcher(secrets, ours));
    while let Some(event) = events.next().await {
        if let Ok(Event::Apply(secret) | Event::InitApply(secret)) = event {
            let (fleet, checks) = (fleet.clone(), Arc::clone(&checks));
            // A check that cannot be made does not count; the scenario requires enough of them.
            tokio::spawn(async move { checks.check(&fleet, &secret).await.context("cannot check a token") });
        }
    }
    Ok(())
}
