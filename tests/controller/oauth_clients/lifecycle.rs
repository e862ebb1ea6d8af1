//! The life of an object: its client is created, rotated and deleted.

use std::time::Duration;

use qlik_context_operator::clock::{Clock, SignedDuration};
use serde_json::{Value, json};
use support::api_server::{Kind, Verb};
use support::tenant::{Client, Consent, Route};

use super::{MINUTE, world};
use crate::world::{HOUR, World, pass};

#[tokio::test(start_paused = true)]
async fn two_new_objects_lead_to_a_token() {
    let world = world().await;
    world.declare("reporting", &json!({"description": "for reports"}));
    world.put_context("a", "reports", "reporting-oauth", &json!({}));
    pass(Duration::from_secs(20)).await;
    assert_eq!(world.client_ready("reporting"), "True/ClientReady");
    assert_eq!(world.ready("a", "reports"), "True/TokenValid");
    let client = world.only();
    assert_eq!(client.name, "a/reporting");
    let uid = world.declared("reporting")["metadata"]["uid"].as_str().unwrap().to_owned();
    assert_eq!(client.description.as_deref(), Some(&*format!("for reports [qlikcontext.dev uid={uid}]")));
    assert_eq!(
        (client.allowed_scopes.as_slice(), client.consent),
        (&["user_default".to_owned()][..], Consent::Trusted)
    );
    assert_eq!(world.credential("reporting", "client-id").as_ref(), Some(&client.client_id));
    assert_eq!(world.credential("reporting", "client-secret").as_ref(), client.secrets.first());
    let status = &world.declared("reporting")["status"];
    assert_eq!(status["clientId"], client.client_id.as_str());
    assert_eq!(client.hints(), [status["secret"]["hint"].as_str().unwrap().to_owned()].into());
    for condition in ["ClientSynced", "CredentialVerified", "SecretSynced"] {
        assert!(world.client_condition("reporting", condition).starts_with("True/"), "{condition}");
    }
    for field in ["failure", "creationStartedAt", "rotationTime", "previous"] {
        assert!(status[field].is_null(), "{field}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_client_causes_two_requests_in_15_minutes_and_no_write() {
    let world = world().await;
    world.declare("reporting", &json!({}));
    pass(MINUTE).await;
    world.cloud.clear_ledger();
    world.api.clear_log();
    pass(HOUR).await;
    let asked = world
        .cloud
        .ledger(|ledger| (ledger.at(Route::GetClient), ledger.at(Route::GetConsent), ledger.at(Route::ListClients)));
    assert_eq!(asked, (4, 4, 0));
    assert_eq!(world.api.log(|log| log.count(Verb::Patch, Kind::QlikOAuthClient)), 0);
    assert_eq!(world.secret_writes(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_the_feature_no_request_is_sent() {
    let mut world = world().await;
    world.oauth_clients = false;
    world.start();
    world.declare("reporting", &json!({}));
    world.api.clear_log();
    pass(HOUR).await;
    assert_eq!(world.made().len(), 0);
    assert_eq!(world.api.watches(Kind::QlikOAuthClient), 0);
    assert_eq!(world.api.log(|log| log.count(Verb::List, Kind::QlikOAuthClient)), 0);
}

#[tokio::test(start_paused = true)]
async fn a_credential_is_rotated_on_schedule_with_an_overlap_in_which_both_work() {
    let world = world().await;
    world.declare("reporting", &json!({"rotation": {"interval": "2h", "overlap": "10m"}}));
    world.put_context("a", "reports", "reporting-oauth", &json!({}));
    pass(MINUTE).await;
    for _ in 0..3 {
        let old = world.credential("reporting", "client-secret").unwrap();
        let mut minutes = 0;
        while world.credential("reporting", "client-secret").as_ref() == Some(&old) {
            pass(MINUTE).await;
            minutes += 1;
            assert!(minutes <= 121, "the rotation is due");
        }
        let new = world.credential("reporting", "client-secret").unwrap();
        let both = world.only().secrets;
        assert!(minutes >= 107 && both.contains(&old) && both.contains(&new) && both.len() == 2, "{minutes}");
        assert_eq!(world.reported_credentials("reporting"), World::credentials_of(&world.only()));
        pass(11 * MINUTE).await;
        assert_eq!(world.only().secrets, [new]);
        assert_eq!(world.client_ready("reporting"), "True/ClientReady");
        assert!(world.declared("reporting")["status"]["previous"].is_null());
        assert_eq!(world.ready("a", "reports"), "True/TokenValid");
    }
}

#[tokio::test(start_paused = true)]
async fn a_requested_rotation_is_acknowledged_once_the_new_credential_is_in_the_secret() {
    let world = world().await;
    world.declare("reporting", &json!({}));
    pass(MINUTE).await;
    let old = world.credential("reporting", "client-secret");
    for value in ["1", "2", "3"] {
        world.rotate("reporting", value);
        pass(Duration::from_secs(10)).await;
        assert_eq!(world.declared("reporting")["status"]["lastHandledRotateRequest"], value);
    }
    assert_ne!(world.credential("reporting", "client-secret"), old);
    assert_eq!(world.only().secrets.len(), 4, "the current one, and three that still work");
    world.rotate("reporting", "4");
    pass(MINUTE).await;
    assert_eq!(world.only().secrets.len(), 4, "one of the five is left for users");
    assert_eq!(world.declared("reporting")["status"]["lastHandledRotateRequest"], "3");
    assert_eq!(world.client_ready("reporting"), "True/ClientReady");
    pass(25 * HOUR).await;
    assert_eq!(world.declared("reporting")["status"]["lastHandledRotateRequest"], "4");
    pass(25 * HOUR).await;
    assert_eq!(world.only().secrets.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_echoed_is_ignored_and_reported() {
    let world = world().await;
    world.declare("reporting", &json!({}));
    pass(MINUTE).await;
    world.rotate("reporting", &"x".repeat(65));
    pass(MINUTE).await;
    assert_eq!(world.only().secrets.len(), 1);
    assert_eq!(world.notes("RotateRequestIgnored").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_by_hand_in_the_tenant_is_repaired() {
    let world = world().await;
    world.declare("reporting", &json!({"scopes": ["user_default", "spaces:read"]}));
    pass(MINUTE).await;
    let before = world.only();
    let edits: [fn(&mut Client); 4] = [
        |client| client.name = "renamed".into(),
        |client| client.description = None,
        |client| client.allowed_scopes = vec!["admin_classic".into()],
        |client| client.consent = Consent::Required,
    ];
    for edit in edits {
        world.tenant.edit_client(&before.client_id, edit);
        pass(16 * MINUTE).await;
        let after = world.only();
        assert_eq!(
            (&after.name, &after.description, after.consent),
            (&before.name, &before.description, before.consent)
        );
        assert_eq!(after.allowed_scopes, before.allowed_scopes);
    }
    assert_eq!(world.client_ready("reporting"), "True/ClientReady");
    assert_eq!(world.notes("ClientRepaired").len(), 3);
    // A secret that is not in the status is removed, and one that was removed is replaced.
    world.tenant.edit_client(&before.client_id, |client| client.secrets.push("planted-by-hand".into()));
    pass(16 * MINUTE).await;
    assert_eq!(world.only().secrets, before.secrets);
    world.tenant.edit_client(&before.client_id, |client| client.secrets.clear());
    pass(16 * MINUTE).await;
    assert_ne!(world.only().secrets, before.secrets);
    world.secret_works("reporting");
}

#[tokio::test(start_paused = true)]
async fn an_edit_of_the_spec_is_applied_at_once() {
    let world = world().await;
    world.declare("reporting", &json!({}));
    pass(MINUTE).await;
    let edit = |object: &mut Value| {
        object["spec"]["scopes"] = json!(["spaces:read"]);
        object["spec"]["clientName"] = "Reports".into();
        object["spec"]["impersonation"] = true.into();
    };
    world.api.edit(Kind::QlikOAuthClient, "a", "reporting", edit).unwrap();
    pass(Duration::from_secs(10)).await;
    let client = world.only();
    assert_eq!(
        (client.name.as_str(), client.allowed_scopes, client.allowed_grants.len()),
        ("Reports", vec!["spaces:read".to_owned()], 2)
    );
    assert_eq!(
        world.declared("reporting")["status"]["observedGeneration"],
        world.declared("reporting")["metadata"]["generation"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_deleted_in_the_tenant_is_created_again_only_on_request() {
    let world = world().await;
    world.declare("reporting", &json!({}));
    world.put_context("a", "reports", "reporting-oauth", &json!({}));
    pass(MINUTE).await;
    world.tenant.remove_client(&world.only().client_id);
    pass(HOUR).await;
    assert_eq!(world.client_ready("reporting"), "False/ClientGone");
    assert_eq!(world.client_condition("reporting", "Stalled"), "True/ClientGone");
    assert_eq!(world.made().len(), 0);
    world.rotate("reporting", "again");
    pass(MINUTE).await;
    assert_eq!(world.client_ready("reporting"), "True/ClientReady");
    world.secret_works("reporting");
    assert_eq!(world.declared("reporting")["status"]["clientId"], world.only().client_id.as_str());
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_was_deleted_or_changed_by_hand_gets_a_new_credential() {
    let world = world().await;
    world.declare("reporting", &json!({}));
    pass(MINUTE).await;
    let first = world.credential("reporting", "client-secret").unwrap();
    world.api.delete(Kind::Secret, "a", "reporting-oauth");
    pass(Duration::from_secs(10)).await;
    let second = world.credential("reporting", "client-secret").unwrap();
    assert_ne!(first, second);
    assert_eq!(world.only().secrets.len(), 2, "readers of the first can use it during the overlap");
    let tamper = |secret: &mut Value| secret["data"]["client-secret"] = "cGxhbnRlZC0=".into();
    world.api.edit(Kind::Secret, "a", "reporting-oauth", tamper).unwrap();
    pass(Duration::from_secs(10)).await;
    world.secret_works("reporting");
    assert_ne!(world.credential("reporting", "client-secret").unwrap(), second);
    let relabel = |secret: &mut Value| secret["metadata"]["labels"] = json!({});
    world.api.edit(Kind::Secret, "a", "reporting-oauth", relabel).unwrap();
    let third = world.credential("reporting", "client-secret");
    pass(Duration::from_secs(10)).await;
    let labels = world.api.get(Kind::Secret, "a", "reporting-oauth").unwrap()["metadata"]["labels"].clone();
    assert_eq!(labels["qlikcontext.dev/oauth-client"], "reporting");
    assert_eq!(world.credential("reporting", "client-secret"), third, "the credential stays");
}

#[tokio::test(start_paused = true)]
async fn an_existing_client_is_adopted_and_its_credentials_stay_until_the_rotation() {
    let world = world().await;
    world.tenant.add_client(Client::new("old").secret("planted-old-1").secret("planted-old-2").scopes(&["x"]));
    world.declare("reporting", &json!({"adopt": {"clientId": "old"}, "rotation": {"overlap": "1h"}}));
    pass(2 * HOUR).await;
    assert_eq!(world.client_ready("reporting"), "True/ClientReady");
    let client = world.only();
    assert_eq!((client.client_id.as_str(), client.secrets.len()), ("old", 3));
    assert_eq!(
        (client.name.as_str(), client.allowed_scopes.as_slice()),
        ("a/reporting", &["user_default".to_owned()][..])
    );
    world.secret_works("reporting");
    assert_eq!(world.notes("ClientAdopted").len(), 1);
    world.rotate("reporting", "1");
    pass(Duration::from_mins(59)).await;
    assert_eq!(world.only().secrets.len(), 4);
    pass(2 * MINUTE).await;
    assert_eq!(world.only().secrets.len(), 1);
    world.secret_works("reporting");
    // Two objects never manage the same client.
    world.declare("other", &json!({"adopt": {"clientId": "old"}}));
    pass(MINUTE).await;
    assert_eq!(world.client_ready("other"), "False/ClientNotOwned");
    world.declare("third", &json!({"adopt": {"clientId": "nothing"}}));
    pass(MINUTE).await;
    assert_eq!(world.client_ready("third"), "False/ClientGone");
    assert_eq!(world.client_ready("reporting"), "True/ClientReady");
}

#[tokio::test(start_paused = true)]
async fn a_client_is_deleted_with_its_object_only_if_the_policy_says_so() {
    let world = world().await;
    world.declare("kept", &json!({}));
    world.declare("deleted", &json!({"deletionPolicy": "Delete"}));
    pass(MINUTE).await;
    assert!(world.declared("kept")["metadata"]["finalizers"].is_null());
    assert_eq!(world.declared("deleted")["metadata"]["finalizers"], json!(["qlikcontext.dev/oauth-client"]));
    for name in ["kept", "deleted"] {
        world.api.delete(Kind::QlikOAuthClient, "a", name);
    }
    pass(MINUTE).await;
    assert_eq!(world.only().name, "a/kept");
    assert_eq!(world.api.list(Kind::QlikOAuthClient, None).len(), 0);
    assert_eq!(world.notes("ClientDeleted").len(), 1);
    // The current deletion policy applies.
    world.declare("changed", &json!({"deletionPolicy": "Delete"}));
    pass(MINUTE).await;
    let retain = |object: &mut Value| object["spec"]["deletionPolicy"] = "Retain".into();
    world.api.edit(Kind::QlikOAuthClient, "a", "changed", retain).unwrap();
    pass(MINUTE).await;
    assert_eq!(world.declared("changed")["metadata"]["finalizers"].as_array().map_or(0, Vec::len), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_is_deleted_with_its_object_by_a_process_that_starts_long_after_the_deletion() {
    let mut world = world().await;
    world.declare("deleted", &json!({"deletionPolicy": "Delete"}));
    pass(MINUTE).await;
    let before = world.clock.clone();
    world.clock = Clock::from_wall(move || before.now() + SignedDuration::from_hours(1));
    world.api.delete(Kind::QlikOAuthClient, "a", "deleted");
    world.start();
    pass(MINUTE).await;
    assert_eq!((world.made().len(), world.notes("ClientNotDeleted")), (0, Vec::new()));
    assert!(world.declared("deleted").is_null());
}

#[tokio::test(start_paused = true)]
async fn while_suspended_no_request_is_sent_and_nothing_is_written() {
    let world = world().await;
    world.declare("reporting", &json!({"rotation": {"interval": "1h", "overlap": "10m"}}));
    pass(MINUTE).await;
    let suspend = |value: bool| move |object: &mut Value| object["spec"]["suspend"] = value.into();
    world.api.edit(Kind::QlikOAuthClient, "a", "reporting", suspend(true)).unwrap();
    pass(MINUTE).await;
    assert_eq!(world.client_ready("reporting"), "True/Suspended");
    let before = world.credential("reporting", "client-secret");
    let asked = |world: &World| world.cloud.ledger(|ledger| ledger.at(Route::GetClient));
    let count = asked(&world);
    pass(5 * HOUR).await;
    assert_eq!((world.credential("reporting", "client-secret"), asked(&world)), (before.clone(), count));
    world.api.edit(Kind::QlikOAuthClient, "a", "reporting", suspend(false)).unwrap();
    pass(MINUTE).await;
    assert_eq!(world.client_ready("reporting"), "True/ClientReady");
    assert_ne!(world.credential("reporting", "client-secret"), before);
}

#[tokio::test(start_paused = true)]
async fn every_oauth_client_of_the_examples_becomes_ready_and_so_does_its_context() {
    let world = world().await;
    world.put_context("a", "tenant-admin", "admin", &json!({}));
    let mut names = Vec::new();
    for file in ["oauth-client.yaml", "oauth-client-with-key.yaml"] {
        let path = format!("{}/examples/{file}", env!("CARGO_MANIFEST_DIR"));
        let yaml = std::fs::read_to_string(path).unwrap();
        for mut object in serde_saphyr::from_multiple::<Value>(&yaml).unwrap() {
            object["metadata"]["namespace"] = "a".into();
            if object["kind"] == "QlikOAuthClient" {
                names.push(object["metadata"]["name"].as_str().unwrap().to_owned());
            }
            world.api.put(object).unwrap();
        }
    }
    pass(MINUTE).await;
    assert_eq!(names.len(), 2);
    for name in names {
        assert_eq!(
            (world.client_ready(&name), world.ready("a", &name)),
            ("True/ClientReady".into(), "True/TokenValid".into()),
            "{name}"
        );
    }
}
