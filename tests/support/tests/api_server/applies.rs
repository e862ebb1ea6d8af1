//! Server-side apply, sent to the fake and to a real 1.36 server. The responses must be equal.

use serde_json::json;

use crate::fixtures::{condition, context, token};
use crate::session::agree;

#[tokio::test]
async fn an_apply_with_version_1_can_only_create() {
    agree(async |session| {
        let first = json!({ "metadata": { "resourceVersion": "1" }, "data": { "token": "YQ==" } });
        assert_eq!(session.force("op", "secrets/a", first.clone()).await.code, 201);
        assert_eq!(session.force("op", "secrets/a", first.clone()).await.code, 409);
        assert_eq!(session.delete("secrets/a", json!({})).await.code, 200);
        assert_eq!(session.force("op", "secrets/a", first).await.code, 201);
        let zero = json!({ "metadata": { "resourceVersion": "0" }, "data": { "token": "Yg==" } });
        assert_eq!(session.force("op", "secrets/a", zero).await.code, 200);
    })
    .await;
}

#[tokio::test]
async fn an_apply_with_a_uid_or_version_changes_only_that_object() {
    agree(async |session| {
        let made = session.apply("op", "secrets/a", token("YQ==")).await.json;
        let wrong = json!({ "metadata": { "uid": "wrong" }, "data": { "token": "Yg==" } });
        let refused = session.force("op", "secrets/a", wrong.clone()).await;
        assert_eq!(refused.code, 422);
        assert_eq!(refused.json["details"]["causes"][0]["field"], "metadata.uid");
        assert_eq!(session.force("op", "secrets/absent", wrong).await.code, 409);
        let (uid, version) = (&made["metadata"]["uid"], &made["metadata"]["resourceVersion"]);
        let right = json!({ "metadata": { "uid": uid, "resourceVersion": version }, "data": { "token": "Yg==" } });
        assert_eq!(session.force("op", "secrets/a", right.clone()).await.code, 200);
        assert_eq!(session.force("op", "secrets/a", right).await.code, 409);
    })
    .await;
}

#[tokio::test]
async fn a_field_that_a_manager_no_longer_applies_is_removed_unless_another_owns_it() {
    agree(async |session| {
        let owner = context(session, "q").await;
        let owner =
            json!({ "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext", "name": "q", "uid": owner });
        let all = json!({
            "metadata": {
                "labels": { "a": "1", "b": "2" }, "annotations": { "x": "y" }, "ownerReferences": [owner],
            },
            "data": { "token": "YQ==", "host": "Yg==" },
        });
        session.apply("op", "secrets/a", all).await;
        session.apply("other", "secrets/a", json!({ "metadata": { "labels": { "b": "2" } } })).await;
        session
            .apply("other", "secrets/a", json!({ "metadata": { "labels": { "b": "2" } }, "data": { "mine": "YQ==" } }))
            .await;
        let left = session.apply("op", "secrets/a", token("YQ==")).await.json;
        assert_eq!(left["metadata"]["labels"], json!({ "b": "2" }));
        assert!(left["metadata"]["annotations"].is_null());
        assert!(left["metadata"]["ownerReferences"].is_null());
        assert_eq!(left["data"], json!({ "token": "YQ==", "mine": "YQ==" }));
        let none = session.apply("op", "secrets/a", json!({})).await.json;
        assert_eq!(none["data"], json!({ "mine": "YQ==" }));
        session.apply("other", "secrets/a", json!({})).await;
    })
    .await;
}

#[tokio::test]
async fn another_value_is_a_conflict_and_force_takes_the_field() {
    agree(async |session| {
        session.apply("op", "secrets/a", json!({ "data": { "token": "YQ==", "host": "YQ==" } })).await;
        assert_eq!(session.apply("thief", "secrets/a", token("Yg==")).await.code, 409);
        let both = json!({ "data": { "token": "Yg==", "host": "Yg==" } });
        assert_eq!(session.apply("thief", "secrets/a", both).await.code, 409);
        assert_eq!(session.force("thief", "secrets/a", token("Yg==")).await.code, 200);
        assert_eq!(
            session.apply("op", "secrets/a", json!({ "data": { "token": "YQ==", "host": "YQ==" } })).await.code,
            409
        );
        assert_eq!(
            session.force("op", "secrets/a", json!({ "data": { "token": "YQ==", "host": "YQ==" } })).await.code,
            200
        );
        session.get("secrets/a").await;
    })
    .await;
}

#[tokio::test]
async fn an_apply_that_changes_nothing_keeps_the_version() {
    agree(async |session| {
        let first = session.apply("op", "secrets/a", token("YQ==")).await.json;
        let second = session.apply("op", "secrets/a", token("YQ==")).await.json;
        assert_eq!(first["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"]);
        // Becoming a second owner of a field is a change of ownership.
        let third = session.apply("other", "secrets/a", token("YQ==")).await.json;
        assert_ne!(first["metadata"]["resourceVersion"], third["metadata"]["resourceVersion"]);
        session.apply("other", "secrets/a", token("YQ==")).await;
        session.merge("hand", "secrets/a", token("YQ==")).await;
    })
    .await;
}

#[tokio::test]
async fn other_writes_take_ownership_of_what_they_change() {
    agree(async |session| {
        session
            .apply("op", "secrets/a", json!({ "metadata": { "labels": { "a": "1" } }, "data": { "token": "YQ==" } }))
            .await;
        session.merge("hand", "secrets/a", json!({ "data": { "token": "Yg==", "mine": "YQ==" } })).await;
        session
            .merge("hand", "secrets/a", json!({ "metadata": { "labels": null, "annotations": { "x": "y" } } }))
            .await;
        session.merge("hand", "secrets/a", json!({ "stringData": { "text": "hello" } })).await;
        session.force("op", "secrets/a", token("YQ==")).await;
        session.merge("hand", "secrets/a", json!({ "data": { "mine": null } })).await;
        session.replace("cli", "secrets/a", json!({ "metadata": { "name": "a" }, "data": { "z": "YQ==" } })).await;
        session
            .create(
                "cli",
                "secrets",
                json!({ "metadata": { "name": "b", "labels": { "l": "m" } }, "stringData": { "x": "y" } }),
            )
            .await;
        assert_eq!(session.create("cli", "secrets", json!({ "metadata": { "name": "b" } })).await.code, 409);
        assert_eq!(session.replace("cli", "secrets/none", json!({ "metadata": { "name": "none" } })).await.code, 404);
        assert_eq!(session.replace("cli", "secrets/b", json!({ "metadata": { "name": "a" } })).await.code, 400);
        assert_eq!(session.create("cli", "secrets", json!({ "metadata": {} })).await.code, 422);
        let stale = json!({ "metadata": { "name": "b", "resourceVersion": "1" } });
        assert_eq!(session.replace("cli", "secrets/b", stale).await.code, 409);
        let swapped = json!({ "metadata": { "name": "b", "uid": "wrong" } });
        assert_eq!(session.replace("cli", "secrets/b", swapped).await.code, 409);
    })
    .await;
}

#[tokio::test]
async fn the_status_is_a_subresource_and_each_condition_has_its_own_owners() {
    agree(async |session| {
        context(session, "q").await;
        let status = json!({
            "observedGeneration": 1, "token": { "expiresAt": "2026-01-01T00:00:00Z" },
            "conditions": [condition("Ready", "A"), condition("Verified", "A")],
        });
        let path = "qlikcontexts/q/status";
        session.force("op", path, json!({ "status": status })).await;
        session.force("op", path, json!({ "status": status })).await;
        session.apply("other", path, json!({ "status": { "conditions": [condition("Other", "A")] } })).await;
        let fewer =
            json!({ "observedGeneration": 1, "conditions": [condition("Stalled", "B"), condition("Ready", "B")] });
        let after = session.force("op", path, json!({ "status": fewer })).await.json;
        let types: Vec<_> =
            after["status"]["conditions"].as_array().unwrap().iter().map(|held| &held["type"]).collect();
        assert_eq!(types, ["Stalled", "Ready", "Other"]);
        assert!(after["status"]["token"].is_null());
        assert_eq!(
            session.apply("other", path, json!({ "status": { "conditions": [condition("Ready", "C")] } })).await.code,
            409
        );
        session.force("op", path, json!({ "status": {} })).await;
        session.apply("other", path, json!({ "status": {} })).await;
        session
            .merge("hand", path, json!({ "spec": { "suspend": true }, "status": { "observedGeneration": 5 } }))
            .await;
        assert_eq!(session.force("op", "qlikcontexts/none/status", json!({ "status": {} })).await.code, 404);
        assert_eq!(
            session.force("op", path, json!({ "metadata": { "resourceVersion": "1" }, "status": {} })).await.code,
            409
        );
    })
    .await;
}

/// So an apply to /status needs the resource version, to not change another object of the same name.
#[tokio::test]
async fn a_wrong_uid_does_not_prevent_a_status_write() {
    agree(async |session| {
        context(session, "q").await;
        let status = json!({ "metadata": { "uid": "wrong" }, "status": { "observedGeneration": 1 } });
        let written = session.force("op", "qlikcontexts/q/status", status).await;
        assert_eq!(written.code, 200);
        assert_eq!(written.json["status"]["observedGeneration"], 1);
    })
    .await;
}
