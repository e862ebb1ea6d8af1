//! Watches of the fake, on virtual time.

use std::time::Duration;

use futures::{Stream, TryStreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use support::api_server::{ApiServer, Kind};
use tokio::time::Instant;

fn secret(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "namespace": "a", "name": name } })
}

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap()
}

/// The rest of a watch: every event until it ends.
async fn rest(events: impl Stream<Item = kube::Result<WatchEvent<Secret>>>) -> Vec<String> {
    let name = |secret: &Secret| secret.metadata.name.clone().unwrap();
    let said = events.map_ok(|event| match event {
        WatchEvent::Added(secret) => format!("added {}", name(&secret)),
        WatchEvent::Modified(secret) => format!("modified {}", name(&secret)),
        WatchEvent::Deleted(secret) => format!("deleted {}", name(&secret)),
        WatchEvent::Bookmark(bookmark) => format!("bookmark {}", bookmark.metadata.resource_version),
        WatchEvent::Error(status) => format!("error {} {}", status.code, status.reason),
    });
    said.try_collect().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_at_its_timeout_and_sends_bookmarks() {
    let server = ApiServer::new();
    let made = server.put(secret("s")).unwrap();
    let secrets: Api<Secret> = Api::namespaced(server.kube_client(), "a");
    let begin = Instant::now();
    let events = secrets.watch(&WatchParams::default().timeout(150), version(&made)).await.unwrap();
    let said = rest(events).await;
    assert_eq!(begin.elapsed().as_secs(), 150);
    let mark = format!("bookmark {}", version(&made));
    assert_eq!(said, [mark.clone(), mark.clone(), mark]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_starts_at_its_version_and_reports_only_its_namespace() {
    let server = ApiServer::new();
    let first = server.put(secret("first")).unwrap();
    server.put(secret("second")).unwrap();
    server.edit(Kind::Secret, "a", "second", |secret| secret["data"] = json!({ "k": "YQ==" })).unwrap();
    server.edit(Kind::Secret, "a", "second", |_| {}).unwrap();
    server
        .put(json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "namespace": "b", "name": "other" } }))
        .unwrap();
    assert!(server.delete(Kind::Secret, "a", "first"));
    assert!(!server.delete(Kind::Secret, "a", "first"));
    let secrets: Api<Secret> = Api::namespaced(server.kube_client(), "a");
    let params = WatchParams::default().timeout(1).disable_bookmarks();
    let events = secrets.watch(&params, version(&first)).await.unwrap();
    assert_eq!(rest(events).await, ["added second", "modified second", "deleted first"]);
    let events = secrets.watch(&params, "0").await.unwrap();
    assert_eq!(rest(events).await, ["added second"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_a_dropped_version_gets_410() {
    let server = ApiServer::new();
    let old = server.put(secret("s")).unwrap();
    server.put(secret("t")).unwrap();
    let secrets: Api<Secret> = Api::namespaced(server.kube_client(), "a");
    let page = secrets.list(&ListParams::default().limit(1)).await.unwrap();
    server.compact();
    let events = secrets.watch(&WatchParams::default(), version(&old)).await.unwrap();
    assert_eq!(rest(events).await, ["error 410 Expired"]);
    let next = ListParams::default().limit(1).continue_token(&page.metadata.continue_.unwrap());
    let kube::Error::Api(status) = secrets.list(&next).await.unwrap_err() else { panic!("no status") };
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
}

#[tokio::test(start_paused = true)]
async fn while_watches_are_delayed_a_new_one_starts_with_an_older_list() {
    let server = ApiServer::new();
    server.put(secret("deleted")).unwrap();
    server.put(secret("kept")).unwrap();
    server.delay_watches(Duration::from_secs(20));
    tokio::time::sleep(Duration::from_secs(30)).await;
    server.delete(Kind::Secret, "a", "deleted");
    server.put(secret("new")).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let secrets: Api<Secret> = Api::namespaced(server.kube_client(), "a");
    for (timeout, expected) in [
        (14, &["added deleted", "added kept"][..]),
        (2, &["added deleted", "added kept", "deleted deleted", "added new"]),
        (1, &["added kept", "added new"]),
    ] {
        let params = WatchParams::default().timeout(timeout).disable_bookmarks();
        assert_eq!(rest(secrets.watch(&params, "0").await.unwrap()).await, expected, "{timeout}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn end_watches_ends_every_watch() {
    let server = ApiServer::new();
    let secrets: Api<Secret> = Api::all(server.kube_client());
    let events = secrets.watch(&WatchParams::default().disable_bookmarks(), "0").await.unwrap();
    assert_eq!(server.watches(Kind::Secret), 1);
    let later = server.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(9)).await;
        later.end_watches();
    });
    let begin = Instant::now();
    assert_eq!(rest(events).await, Vec::<String>::new());
    assert_eq!(begin.elapsed().as_secs(), 9);
    assert_eq!(server.watches(Kind::Secret), 0);
}

#[tokio::test(start_paused = true)]
async fn a_list_is_streamed_in_order_and_continues_as_a_watch() {
    let server = ApiServer::new();
    server.put(secret("second")).unwrap();
    let last = server.put(secret("first")).unwrap();
    let secrets: Api<Secret> = Api::namespaced(server.kube_client(), "a");
    let events = secrets.watch(&WatchParams::streaming_lists().timeout(1), "0").await.unwrap();
    let later = server.clone();
    tokio::spawn(async move { later.delete(Kind::Secret, "a", "first") });
    let mark = format!("bookmark {}", version(&last));
    assert_eq!(rest(events).await, ["added first", "added second", mark.as_str(), "deleted first"]);

    server.set_watch_list(false);
    let refused = secrets.watch(&WatchParams::streaming_lists(), "0").await.err().unwrap();
    let kube::Error::Api(status) = refused else { panic!("no status") };
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
}
