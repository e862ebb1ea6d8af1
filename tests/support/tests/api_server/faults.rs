//! Scripted faults, and the log.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use support::api_server::{ApiServer, Fault, Kind, Log, Script, Verb};
use tokio::time::{Instant, timeout};

fn applied(value: &str) -> Patch<Value> {
    Patch::Apply(json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" }, "data": { "k": value } }))
}

fn as_op() -> PatchParams {
    PatchParams::apply("op").force()
}

fn secrets(server: &ApiServer) -> Api<Secret> {
    Api::default_namespaced(server.kube_client())
}

#[tokio::test(start_paused = true)]
async fn a_script_applies_to_matching_requests_and_to_the_given_number() {
    let server = ApiServer::new();
    let secrets = secrets(&server);
    server.script(Script::on(Verb::Get, Kind::Secret, Fault::Forbidden).name("s").times(2));
    server.script(Script::on(Verb::Get, Kind::Secret, Fault::internal_error()).once());
    for code in [403, 403, 500, 404] {
        let kube::Error::Api(status) = secrets.get("s").await.unwrap_err() else { panic!("no status") };
        assert_eq!(status.code, code);
    }
    assert!(secrets.list(&ListParams::default()).await.is_ok());
    server.script(Script::new(Fault::Malformed).verb(Verb::List));
    assert!(matches!(secrets.list(&ListParams::default()).await, Err(kube::Error::SerdeError(_))));
    server.clear_scripts();
    assert!(secrets.list(&ListParams::default()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_client_obeys_retry_after_and_retries() {
    let server = ApiServer::new();
    let begin = Instant::now();
    server.script(Script::on(Verb::Get, Kind::Secret, Fault::too_many_requests(7)).once());
    let secrets: Api<Secret> = Api::default_namespaced(server.retrying_kube_client());
    assert_eq!(secrets.get_opt("s").await.unwrap(), None);
    assert_eq!(begin.elapsed().as_secs(), 7);
    assert_eq!(server.log(|log| log.count(Verb::Get, Kind::Secret)), 2);
}

#[tokio::test(start_paused = true)]
async fn responses_can_be_late_or_lost_and_a_lost_response_does_not_undo_the_write() {
    let server = ApiServer::new();
    let secrets = secrets(&server);
    let begin = Instant::now();
    server.script(Script::on(Verb::Patch, Kind::Secret, Fault::Delay(Duration::from_secs(3))).once());
    secrets.patch("s", &as_op(), &applied("YQ==")).await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), 3);
    let stored = || server.get(Kind::Secret, "default", "s").unwrap()["data"]["k"].clone();
    for (fault, written) in [
        (Fault::Broken, "YQ=="),
        (Fault::Silence, "YQ=="),
        (Fault::DoneThenBroken, "Yg=="),
        (Fault::DoneThenSilence, "Yg=="),
    ] {
        server.edit(Kind::Secret, "default", "s", |secret| secret["data"]["k"] = json!("YQ==")).unwrap();
        server.script(Script::new(fault.clone()).once());
        let patch = applied("Yg==");
        let params = as_op();
        let write = timeout(Duration::from_secs(4), secrets.patch("s", &params, &patch)).await;
        assert!(write.is_err() || write.is_ok_and(|write| write.is_err()), "{fault:?}");
        assert_eq!(stored(), written, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_has_every_request_and_the_permissions_that_it_needs() {
    let server = ApiServer::new();
    let secrets = secrets(&server);
    secrets.patch("s", &as_op(), &applied("YQ==")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    server.clear_log();
    secrets.patch("s", &as_op(), &applied("Yg==")).await.unwrap();
    assert_eq!(server.log(Log::rights), [("", "secrets".to_owned(), Verb::Patch)].into());
    secrets.patch("s2", &as_op(), &Patch::Apply(json!({ "apiVersion": "v1", "kind": "Secret" }))).await.unwrap();
    let both = [("", "secrets".to_owned(), Verb::Patch), ("", "secrets".to_owned(), Verb::Create)];
    assert_eq!(server.log(Log::rights), both.into());
    server.log(|log| {
        let call = &log.records[0].call;
        assert_eq!((call.namespace.as_deref(), call.name.as_deref()), (Some("default"), Some("s")));
        assert_eq!((call.field_manager.as_str(), log.records[0].code), ("op", Some(200)));
        assert_eq!(call.json().unwrap()["data"]["k"], "Yg==");
        assert_eq!((log.writes(), log.status_writes()), (2, 0));
    });
}

#[tokio::test(start_paused = true)]
async fn of_two_writers_of_a_lease_one_gets_409() {
    let server = ApiServer::new();
    let leases: Api<Lease> = Api::default_namespaced(server.kube_client());
    let lease: Lease = serde_json::from_value(json!({
        "metadata": { "name": "l" }, "spec": { "holderIdentity": "a", "renewTime": "2026-01-01T00:00:00.000000Z" },
    }))
    .unwrap();
    let seen = leases.create(&PostParams::default(), &lease).await.unwrap();
    leases.create(&PostParams::default(), &lease).await.unwrap_err();
    let mut mine = seen.clone();
    mine.spec.as_mut().unwrap().holder_identity = Some("b".into());
    leases.replace("l", &PostParams::default(), &mine).await.unwrap();
    let kube::Error::Api(status) = leases.replace("l", &PostParams::default(), &seen).await.unwrap_err() else {
        panic!("no status")
    };
    assert!(status.is_conflict());
}

#[tokio::test(start_paused = true)]
async fn objects_without_owner_or_namespace_are_garbage_collected() {
    let server = ApiServer::new();
    let context = |name: &str| {
        json!({
            "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext",
            "metadata": { "namespace": "a", "name": name }, "spec": {},
        })
    };
    let owner = server.put(context("q")).unwrap();
    let reference = json!([{
        "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext", "name": "q", "uid": owner["metadata"]["uid"],
    }]);
    for (name, owners) in [("owned", reference), ("free", json!([]))] {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "namespace": "a", "name": name, "ownerReferences": owners },
        });
        server.put(secret).unwrap();
    }
    assert_eq!(server.collect_garbage(), 0);
    server.delete(Kind::QlikContext, "a", "q");
    // A new object of the same name is not the owner.
    server.put(context("q")).unwrap();
    assert_eq!(server.collect_garbage(), 1);
    assert!(server.get(Kind::Secret, "a", "owned").is_none());
    server.delete(Kind::Namespace, "", "a");
    let secrets: Api<Secret> = Api::namespaced(server.kube_client(), "a");
    let kube::Error::Api(status) = secrets.patch("s", &as_op(), &applied("YQ==")).await.unwrap_err() else {
        panic!("no status")
    };
    assert_eq!(status.details.unwrap().causes[0].reason, "NamespaceTerminating");
    assert_eq!(server.collect_garbage(), 3);
    assert!(server.get(Kind::Namespace, "", "a").is_none());
    let kube::Error::Api(status) = secrets.patch("s", &as_op(), &applied("YQ==")).await.unwrap_err() else {
        panic!("no status")
    };
    assert_eq!((status.code, status.details.unwrap().kind.as_str()), (404, "namespaces"));
}
