//! The steps of docs/operations.md for restoring a backup in another cluster, and for moving contexts there.

use std::time::Duration;

use serde_json::{Value, json};
use support::api_server::Kind;
use support::tenant::Route;

use crate::world::{LIFE, World, pass};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const NAMES: [&str; 3] = ["one", "two", "three"];

/// Contexts that are ready, in their own cluster.
async fn fleet() -> World {
    let mut world = World::new();
    for name in NAMES {
        world.add("a", name, LIFE, &json!({}));
    }
    world.start();
    pass(10 * SECOND).await;
    for name in NAMES {
        assert_eq!(world.ready("a", name), "True/TokenValid", "{name}");
    }
    world
}

/// Another, empty cluster with the same tenants at the same time.
fn another_cluster(world: &World) -> World {
    let mut other = World::new();
    (other.cloud, other.tenant, other.clock) = (world.cloud.clone(), world.tenant.clone(), world.clock.clone());
    other
}

/// An object as Velero restores it: without status, with only its name, namespace, labels and annotations as metadata,
/// and with the labels of the restore (`resetMetadataAndStatus` and `addRestoreLabels` of velero/pkg/restore).
fn by_velero(object: &Value) -> Value {
    let mut object = object.clone();
    object.as_object_mut().unwrap().remove("status");
    let metadata = object["metadata"].as_object_mut().unwrap();
    for dropped in ["uid", "resourceVersion", "generation", "creationTimestamp", "ownerReferences"] {
        metadata.remove(dropped);
    }
    if !metadata.contains_key("labels") {
        metadata.insert("labels".into(), json!({}));
    }
    metadata["labels"]["velero.io/backup-name"] = "nightly".into();
    metadata["labels"]["velero.io/restore-name"] = "nightly-20261122".into();
    object
}

fn backup(world: &World, kind: Kind) -> Vec<Value> {
    world.api.list(kind, Some("a")).iter().map(by_velero).collect()
}

fn owner(world: &World, name: &str) -> Value {
    world.api.get(Kind::Secret, "a", &format!("{name}-token")).unwrap()["metadata"]["ownerReferences"][0].clone()
}

fn uid(world: &World, name: &str) -> Value {
    world.api.get(Kind::QlikContext, "a", name).unwrap()["metadata"]["uid"].clone()
}

#[tokio::test(start_paused = true)]
async fn secrets_that_velero_restores_in_a_new_cluster_are_adopted_without_a_token_request() {
    for running in [true, false] {
        let old = fleet().await;
        let (secrets, contexts) = (backup(&old, Kind::Secret), backup(&old, Kind::QlikContext));
        assert_eq!((secrets.len(), contexts.len()), (6, 3));
        let mut new = another_cluster(&old);
        if running {
            new.start();
            pass(MINUTE).await;
        }
        let before = (old.issued(), old.cloud.ledger(|ledger| ledger.at(Route::UsersMe)));
        // Velero restores Secrets before custom resources.
        for object in secrets.into_iter().chain(contexts) {
            new.api.put(object).unwrap();
            pass(SECOND).await;
        }
        if !running {
            new.start();
        }
        pass(30 * SECOND).await;
        for name in NAMES {
            assert_eq!(new.ready("a", name), "True/TokenValid", "{name}");
            assert_eq!(new.token("a", name), old.token("a", name), "{name}");
            assert_eq!(owner(&new, name)["uid"], uid(&new, name), "{name}");
            assert_ne!(uid(&new, name), uid(&old, name), "{name}");
        }
        let checks = new.cloud.ledger(|ledger| ledger.at(Route::UsersMe)) - before.1;
        assert_eq!((new.issued(), checks), (before.0, 3), "running: {running}: each token is verified once");
        // The labels that Velero added stay. The renewal happens at the time planned before the backup.
        let labels = &new.api.get(Kind::Secret, "a", "one-token").unwrap()["metadata"]["labels"];
        assert_eq!(labels["velero.io/restore-name"], "nightly-20261122");
        pass(LIFE / 2).await;
        assert_eq!(new.issued(), before.0, "no renewal is due yet");
        new.api.delete(Kind::QlikContext, "a", "one");
        new.api.collect_garbage();
        assert!(new.api.get(Kind::Secret, "a", "one-token").is_none(), "the restored Secret is garbage-collected");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restore_without_token_secrets_requests_one_token_for_each_context() {
    let old = fleet().await;
    let before = old.issued();
    let mut new = another_cluster(&old);
    new.start();
    for object in backup(&old, Kind::Secret).into_iter().chain(backup(&old, Kind::QlikContext)) {
        if !object["metadata"]["name"].as_str().unwrap().ends_with("-token") {
            new.api.put(object).unwrap();
        }
    }
    pass(MINUTE).await;
    for name in NAMES {
        assert_eq!(new.ready("a", name), "True/TokenValid", "{name}");
    }
    assert_eq!(new.issued(), before + 3);
}

#[tokio::test(start_paused = true)]
async fn a_context_that_moves_to_another_cluster_is_served_in_both_until_it_is_deleted_in_the_old_one() {
    let old = fleet().await;
    let before = old.issued();
    let mut new = another_cluster(&old);
    new.start();
    // Step 2: the credential Secret, the token Secret, then the context.
    for (kind, name) in [(Kind::Secret, "one"), (Kind::Secret, "one-token"), (Kind::QlikContext, "one")] {
        let mut object = by_velero(&old.api.get(kind, "a", name).unwrap());
        object["metadata"]["labels"].as_object_mut().unwrap().retain(|label, _| !label.starts_with("velero.io/"));
        new.api.put(object).unwrap();
    }
    pass(30 * SECOND).await;
    assert_eq!((new.ready("a", "one"), new.issued()), ("True/TokenValid".into(), before), "step 3");
    assert_eq!(new.token("a", "one"), old.token("a", "one"));
    // Step 4: the old context sends no more requests, and its Secret stays.
    old.api.edit(Kind::QlikContext, "a", "one", |context| context["spec"]["suspend"] = true.into()).unwrap();
    pass(30 * SECOND).await;
    assert_eq!(old.ready("a", "one"), "True/Suspended");
    pass(LIFE).await;
    let requests = old.cloud.ledger(|ledger| ledger.issued_to("one"));
    assert_eq!(requests, 2, "the first token, and its renewal in the new cluster");
    assert_eq!(new.ready("a", "one"), "True/TokenValid");
    // Step 6.
    let token = new.token("a", "one");
    old.api.delete(Kind::QlikContext, "a", "one");
    old.api.collect_garbage();
    pass(MINUTE).await;
    assert!(old.api.get(Kind::Secret, "a", "one-token").is_none());
    assert_eq!((new.ready("a", "one"), new.token("a", "one")), ("True/TokenValid".into(), token));
}
