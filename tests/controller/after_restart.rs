//! After a restart: what the operator learns from a Secret and a status, and what it has to verify.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::jiff::Timestamp;
use qlik_context_operator::binding::{SpecInputs, bind};
use qlik_context_operator::oauth::token::{AccessToken, Token};
use serde_json::json;
use support::api_server::Kind;
use support::tenant::{Client, UserStatus};

use crate::world::{CLIENT_SECRET, HOUR, LIFE, World, pass};

#[tokio::test(start_paused = true)]
async fn a_rejected_token_is_not_used_again_after_a_restart() {
    let mut world = World::new();
    world.add("a", "acme", LIFE, &json!({}));
    world.start();
    pass(Duration::from_mins(1)).await;
    world.tenant.revoke_all();
    world.tenant.edit_client("acme", |client| client.secrets = vec!["another".into()]);
    pass(Duration::from_mins(20)).await;
    assert_eq!(world.ready("a", "acme"), "False/InvalidClient");
    world.start();
    for _ in 0..60 {
        pass(Duration::from_secs(20)).await;
        assert!(world.ready("a", "acme").starts_with("False/"), "{}", world.ready("a", "acme"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejected_token_stays_rejected_when_the_credential_changes() {
    let mut world = World::new();
    world.add("a", "acme", LIFE, &json!({}));
    world.start();
    pass(Duration::from_mins(1)).await;
    world.tenant.edit_user("qlikbot\\acme", |user| user.status = UserStatus::Disabled);
    pass(Duration::from_mins(20)).await;
    assert!(world.ready("a", "acme").starts_with("False/"), "{}", world.ready("a", "acme"));
    world.put_credential("a", "acme", "acme", "planted-wrong-secret");
    pass(Duration::from_mins(1)).await;
    assert!(world.ready("a", "acme").starts_with("False/"), "{}", world.ready("a", "acme"));
    world.api.delete(Kind::Secret, "a", "acme");
    pass(Duration::from_mins(1)).await;
    assert_eq!(world.ready("a", "acme"), "False/SecretNotFound");
}

/// A Secret of someone who can write Secrets in one namespace, with any token and a valid binding.
fn forge(world: &World, namespace: &str, token: &str) {
    let secret = world.api.get(Kind::Secret, namespace, "acme-token").unwrap();
    let time = |name: &str| -> Timestamp {
        secret["metadata"]["annotations"][format!("qlikcontext.dev/{name}")].as_str().unwrap().parse().unwrap()
    };
    let forged = Token {
        access_token: AccessToken::parse(token).unwrap(),
        issued_at: time("issued-at"),
        expires_at: Some(time("expires-at")),
        scopes: None,
    };
    let inputs = SpecInputs {
        authority: "acme.eu.qlikcloud.com".into(),
        method: "client_secret",
        grant_type: "client_credentials",
        ..SpecInputs::default()
    };
    let binding = bind(&forged, &inputs, &["shared".into(), CLIENT_SECRET.into()]);
    world
        .api
        .edit(Kind::Secret, namespace, "acme-token", |secret| {
            secret["data"]["token"] = STANDARD.encode(token).into();
            secret["metadata"]["annotations"]["qlikcontext.dev/token-binding"] = binding.as_str().into();
        })
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_token_found_in_one_secret_is_never_published_in_another() {
    let mut world = World::new();
    world.tenant.add_client(Client::new("shared").secret(CLIENT_SECRET).lifetime(LIFE));
    for namespace in ["evil", "good"] {
        world.put_credential(namespace, "oauth", "shared", CLIENT_SECRET);
    }
    world.put_context("evil", "acme", "oauth", &json!({}));
    world.start();
    pass(Duration::from_mins(1)).await;
    world.api.edit(Kind::QlikContext, "evil", "acme", |context| context["spec"]["suspend"] = true.into()).unwrap();
    pass(Duration::from_secs(5)).await;
    forge(&world, "evil", "forged-token-of-somebody-else");
    world.start();
    pass(Duration::from_secs(5)).await;
    world.put_context("good", "acme", "oauth", &json!({}));
    pass(Duration::from_mins(1)).await;
    assert_eq!(world.ready("good", "acme"), "True/TokenValid");
    assert_ne!(world.token("good", "acme").unwrap(), "forged-token-of-somebody-else");
}

#[tokio::test(start_paused = true)]
async fn without_a_status_the_token_in_the_secret_is_verified_before_ready_and_not_replaced() {
    let mut world = World::new();
    world.add("a", "acme", LIFE, &json!({}));
    world.start();
    pass(HOUR).await;
    let token = world.token("a", "acme");
    world.api.edit(Kind::QlikContext, "a", "acme", |context| context["status"] = json!({})).unwrap();
    world.cloud.clear_ledger();
    world.start();
    pass(Duration::from_secs(5)).await;
    assert_eq!((world.ready("a", "acme").as_str(), world.token("a", "acme")), ("True/TokenValid", token));
    assert_eq!(world.cloud.ledger(|ledger| (ledger.issued, ledger.at(support::tenant::Route::UsersMe))), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_whose_first_list_of_secrets_is_older_than_the_token_requests_none() {
    let mut world = World::new();
    world.start();
    pass(Duration::from_secs(30)).await;
    world.add("a", "acme", LIFE, &json!({}));
    world.api.delay_watches(Duration::from_millis(100));
    pass(Duration::from_secs(5)).await;
    let token = world.token("a", "acme");
    world.api.delay_watches(Duration::from_secs(20));
    world.start();
    pass(Duration::from_mins(1)).await;
    assert_eq!((world.issued(), world.token("a", "acme")), (1, token));
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
}
