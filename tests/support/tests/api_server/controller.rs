//! A kube controller on virtual time, to test that it works with the fake.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{Api, PartialObjectMeta, Patch, PatchParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use serde_json::{Value, json};
use support::api_server::{ApiServer, Kind, Verb};
use tokio::time::Instant;

const PERIOD: Duration = Duration::from_hours(4);

/// Writes a Secret `<name>-token` for every source Secret: every four hours, and when it is missing.
async fn control(client: kube::Client) {
    let config = watcher::Config::default().page_size(50);
    let metadata: Api<PartialObjectMeta<Secret>> = Api::all(client.clone());
    let begun = Instant::now();
    let run = move |source: Arc<PartialObjectMeta<Secret>>, client: Arc<kube::Client>| async move {
        let secrets: Api<Secret> = Api::namespaced((*client).clone(), &source.namespace().unwrap());
        let name = format!("{}-token", source.name_any());
        let now = begun.elapsed();
        let written = secrets.get_metadata_opt(&name).await?.map(|written| written.annotations()["at"].clone());
        let age = written.map(|at| now.saturating_sub(Duration::from_secs(at.parse().unwrap())));
        if let Some(age) = age.filter(|age| *age < PERIOD) {
            return Ok::<_, kube::Error>(Action::requeue(PERIOD.saturating_sub(age)));
        }
        let wanted = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "labels": { "kind": "derived" },
                "annotations": { "at": now.as_secs().to_string() },
                "ownerReferences": [{
                    "apiVersion": "v1", "kind": "Secret", "controller": true,
                    "name": source.name_any(), "uid": source.uid(),
                }],
            },
            "data": { "token": "YQ==" },
        });
        secrets.patch(&name, &PatchParams::apply("op").force(), &Patch::Apply(wanted)).await?;
        Ok(Action::requeue(PERIOD))
    };
    Controller::new(metadata.clone(), config.clone().labels("kind=source"))
        .owns(metadata, config.labels("kind=derived"))
        .run(run, |_, _, _| Action::requeue(Duration::from_secs(1)), Arc::new(client))
        .for_each(|_| std::future::ready(()))
        .await;
}

fn source(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "namespace": namespace, "name": name, "labels": { "kind": "source" } },
    })
}

#[tokio::test(start_paused = true)]
async fn a_controller_of_a_thousand_objects_runs_through_a_day_in_seconds() {
    let server = ApiServer::new();
    for number in 0..1000 {
        server.put(source(&format!("n{}", number % 10), &format!("s{number}"))).unwrap();
    }
    let begin = std::time::Instant::now();
    let day = (6 * PERIOD).saturating_sub(Duration::from_mins(1));
    tokio::time::timeout(day, control(server.kube_client())).await.unwrap_err();
    assert_eq!(server.list(Kind::Secret, None).len(), 2000);
    server.log(|log| {
        assert_eq!(log.count(Verb::Patch, Kind::Secret), 6000);
        // Two streams, a new watch every five minutes.
        let watches = log.count(Verb::Watch, Kind::Secret);
        assert!((500..700).contains(&watches), "{watches}");
        assert_eq!(log.count(Verb::List, Kind::Secret), 21);
    });
    assert!(begin.elapsed() < Duration::from_mins(1), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_controller_lists_again_after_the_history_is_dropped() {
    let server = ApiServer::new();
    let controller = tokio::spawn(control(server.kube_client()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.clear_log();
    server.put(source("n", "s")).unwrap();
    server.end_watches();
    server
        .put(json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "namespace": "n", "name": "other" } }))
        .unwrap();
    server.compact();
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert!(server.get(Kind::Secret, "n", "s-token").is_some());
    assert!(server.log(|log| log.count(Verb::List, Kind::Secret)) >= 2);
    controller.abort();
}
