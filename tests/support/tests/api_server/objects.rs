//! Everything except server-side apply, sent to the fake and to a real 1.36 server. The responses must be equal.

use kube::api::WatchParams;
use serde_json::json;
use support::control_plane::{ControlPlane, Options};

use crate::fixtures::{context, spec, token};
use crate::session::{agree, agree_without_watch_list};

#[tokio::test]
async fn the_generation_increases_only_with_the_spec() {
    agree(async |session| {
        let manifest = json!({
            "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext", "metadata": { "name": "q" },
            "spec": spec(), "status": { "observedGeneration": 7 },
        });
        let made = session.create("cli", "qlikcontexts", manifest).await.json;
        assert_eq!(made["status"], json!({ "observedGeneration": -1 }));
        let edits = [
            (json!({ "metadata": { "annotations": { "a": "b" } } }), 1),
            (json!({ "status": { "observedGeneration": 9 } }), 1),
            (json!({ "spec": { "suspend": true } }), 2),
            (json!({ "spec": { "suspend": true } }), 2),
            (json!({ "metadata": { "finalizers": ["a.b/c"] } }), 2),
        ];
        for (patch, generation) in edits {
            let object = session.merge("hand", "qlikcontexts/q", patch).await.json;
            assert_eq!(object["metadata"]["generation"], generation);
        }
        let scopes = json!({ "spec": { "target": { "name": "x", "labels": { "a": "b" } } } });
        session.apply("user", "qlikcontexts/r", json!({ "spec": spec() })).await;
        let mut more = json!({ "spec": spec() });
        more["spec"]["target"] = scopes["spec"]["target"].clone();
        more["spec"]["target"]["name"] = json!("r-token");
        session.apply("user", "qlikcontexts/r", more).await;
        session.apply("user", "qlikcontexts/r", json!({ "spec": spec() })).await;
    })
    .await;
}

#[tokio::test]
async fn a_deletion_checks_its_preconditions_and_waits_for_finalizers() {
    agree(async |session| {
        session
            .apply("user", "qlikcontexts/q", json!({ "metadata": { "finalizers": ["a.b/c"] }, "spec": spec() }))
            .await;
        assert_eq!(session.delete("qlikcontexts/q", json!({ "uid": "wrong" })).await.code, 409);
        assert_eq!(session.delete("qlikcontexts/q", json!({ "resourceVersion": "3" })).await.code, 409);
        let leaving = session.delete("qlikcontexts/q", json!({})).await.json;
        assert!(!leaving["metadata"]["deletionTimestamp"].is_null());
        session.get("qlikcontexts/q").await;
        session.merge("hand", "qlikcontexts/q", json!({ "metadata": { "finalizers": null } })).await;
        assert_eq!(session.get("qlikcontexts/q").await.code, 404);
        session.apply("op", "secrets/a", token("YQ==")).await;
        assert_eq!(session.delete("secrets/a", json!({ "uid": "wrong" })).await.code, 409);
        session.delete("secrets/a", json!({})).await;
        assert_eq!(session.delete("secrets/a", json!({})).await.code, 404);
    })
    .await;
}

#[tokio::test]
async fn an_immutable_secret_cannot_be_changed() {
    agree(async |session| {
        session.apply("op", "secrets/a", token("YQ==")).await;
        assert_eq!(session.merge("hand", "secrets/a", json!({ "type": "a/b" })).await.code, 422);
        session.merge("hand", "secrets/a", json!({ "immutable": true })).await;
        assert_eq!(session.force("op", "secrets/a", token("Yg==")).await.code, 422);
        assert_eq!(session.merge("hand", "secrets/a", json!({ "immutable": false })).await.code, 422);
        assert_eq!(session.force("op", "secrets/a", token("YQ==")).await.code, 200);
        session.merge("hand", "secrets/a", json!({ "metadata": { "labels": { "still": "possible" } } })).await;
    })
    .await;
}

#[tokio::test]
async fn metadata_and_pages_have_the_real_format() {
    agree(async |session| {
        for name in ["a", "b", "c"] {
            let secret = json!({ "metadata": { "labels": { "own": if name == "b" { "no" } else { "yes" } } } });
            session.apply("op", &format!("secrets/{name}"), secret).await;
        }
        session.get_metadata("secrets/a").await;
        session.get_metadata("secrets/none").await;
        session.get_metadata("secrets").await;
        session.get("secrets?labelSelector=own%3Dyes").await;
        session.get("secrets?labelSelector=own!%3Dyes").await;
        session.get("secrets?fieldSelector=metadata.name%3Dc").await;
        let first = session.get("secrets?limit=2").await.json;
        assert_eq!(first["metadata"]["remainingItemCount"], 1);
        let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
        session.delete("secrets/c", json!({})).await;
        session.get_metadata("secrets?limit=2&labelSelector=own%3Dyes").await;
        context(session, "q").await;
        session.get("qlikcontexts").await;
        session.get_metadata("qlikcontexts").await;
        // The page of the snapshot from the start of the list.
        let rest = session.page(&token).await;
        assert_eq!(rest, ["c"]);
    })
    .await;
}

#[tokio::test]
async fn a_watch_with_a_selector_sees_objects_come_and_go() {
    agree(async |session| {
        let begin = session.get("secrets").await.json["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        let labelled = |value: &str| json!({ "metadata": { "labels": { "own": value } }, "data": { "token": "YQ==" } });
        session.apply("op", "secrets/a", labelled("yes")).await;
        session.apply("op", "secrets/b", labelled("no")).await;
        session.merge("hand", "secrets/a", json!({ "data": { "token": "Yg==" } })).await;
        session.apply("op", "secrets/a", labelled("no")).await;
        session.force("op", "secrets/a", labelled("no")).await;
        session.force("op", "secrets/a", labelled("yes")).await;
        session.delete("secrets/a", json!({})).await;
        session.delete("secrets/b", json!({})).await;
        let params = WatchParams::default().labels("own=yes").timeout(20);
        let seen = session.watch(&params, &begin, 5).await;
        let expected = [
            r#"added a {"own":"yes"}"#,
            r#"modified a {"own":"yes"}"#,
            r#"deleted a {"own":"yes"}"#,
            r#"added a {"own":"yes"}"#,
            r#"deleted a {"own":"yes"}"#,
        ];
        assert_eq!(seen, expected);
    })
    .await;
}

/// The reason why [`support::api_server::Record::verbs`] has both.
#[tokio::test]
async fn an_apply_that_creates_needs_the_create_permission_as_well() {
    let cluster = ControlPlane::shared(&Options::default()).await.unwrap();
    let namespace = cluster.namespace("rights").await.unwrap();
    let named = |what: &str| what.replace("NS", &namespace);
    let verbs = async |name: &str, verbs: &str| {
        cluster.kubectl(&["-n", &namespace, "create", "role", name, verbs, "--resource=secrets"]).await.unwrap();
        let (role, account) = (format!("--role={name}"), named("--serviceaccount=NS:default"));
        cluster.kubectl(&["-n", &namespace, "create", "rolebinding", name, &role, &account]).await.unwrap();
    };
    let kubeconfig = cluster.kubeconfig_for_service_account(&namespace, "default").await.unwrap();
    let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
    let apply = async |name: &str| {
        let secret = format!("{{apiVersion: v1, kind: Secret, metadata: {{name: {name}, labels: {{a: b}}}}}}");
        let args = [&kubeconfig, "-n", &namespace, "apply", "--server-side", "--validate=false", "-f", "-"];
        cluster.kubectl_with_input(&args, &secret).await
    };
    verbs("patch", "--verb=get,patch").await;
    cluster.kubectl(&["-n", &namespace, "create", "secret", "generic", "there"]).await.unwrap();
    apply("there").await.unwrap();
    let refused = apply("absent").await.unwrap_err().to_string();
    assert!(refused.contains("cannot create resource"), "{refused}");
    verbs("create", "--verb=create").await;
    apply("absent").await.unwrap();
}

const STREAMED: &str = "allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";

#[tokio::test]
async fn a_watch_can_start_with_a_list() {
    agree(async |session| {
        for (name, own) in [("b", "yes"), ("a", "yes"), ("c", "no")] {
            let labelled = json!({ "metadata": { "labels": { "own": own } }, "data": { "token": "YQ==" } });
            session.apply("op", &format!("secrets/{name}"), labelled).await;
        }
        let events = session.watch_list(&format!("{STREAMED}&labelSelector=own%3Dyes&resourceVersion=0")).await;
        let seen: Vec<_> =
            events.iter().map(|event| (event["type"].as_str(), event["object"]["metadata"]["name"].as_str())).collect();
        assert_eq!(seen, [(Some("ADDED"), Some("a")), (Some("ADDED"), Some("b")), (Some("BOOKMARK"), None)]);
    })
    .await;
}

#[tokio::test]
async fn a_watch_with_wrong_parameters_for_a_list_is_rejected() {
    agree(async |session| {
        for parameters in ["sendInitialEvents=true", "resourceVersionMatch=NotOlderThan"] {
            let answer = session.get(&format!("secrets?watch=true&allowWatchBookmarks=true&{parameters}")).await;
            assert_eq!(answer.code, 422, "{}", answer.json);
        }
    })
    .await;
}

#[tokio::test]
async fn without_streaming_lists_the_server_rejects_such_a_watch() {
    agree_without_watch_list(async |session| {
        for parameters in [STREAMED, "sendInitialEvents=true"] {
            let answer = session.get_metadata(&format!("secrets?watch=true&{parameters}&resourceVersion=0")).await;
            assert_eq!(answer.code, 422, "{}", answer.json);
        }
    })
    .await;
}
