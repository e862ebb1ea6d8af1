//! The life of a context: its first token, the renewals, and its deletion.

use std::time::{Duration, Instant};

use kube::api::DeleteParams;
use serde_json::json;
use support::tenant::{Client, Route, UserStatus};

use crate::world::{CLIENT_ID, CLIENT_SECRET, Case, TOKEN_BEGINNING, conditions, message};

#[tokio::test]
async fn a_context_becomes_a_verified_token_in_a_secret() {
    let case = Case::new("create").await;
    case.put_credential().await;
    case.apply("acme", &json!({})).await;
    let context = case.wait_for("acme", "Ready=True/TokenValid").await;
    assert_eq!(
        conditions(&context),
        [
            "CredentialsAvailable=True/CredentialsFound",
            "TokenIssued=True/TokenIssued",
            "Verified=True/IdentityConfirmed",
            "SecretSynced=True/SecretPublished",
            "Ready=True/TokenValid",
        ]
    );
    let status = context.status.clone().unwrap();
    let bot = case.tenant.bot(CLIENT_ID).unwrap();
    let identity = status.identity.unwrap();
    assert_eq!((identity.user_id, identity.tenant_id), (bot.id, case.tenant.id()));
    assert_eq!(status.observed_generation, context.metadata.generation);
    assert_eq!(status.target.unwrap().name, "acme-token");

    let data = case.data("acme-token").await;
    let expires_at = status.token.unwrap().expires_at.unwrap().0.to_string();
    assert_eq!(
        data.keys().collect::<Vec<_>>(),
        ["authorization", "contexts.yml", "expires-at", "host", "tenant-url", "token"]
    );
    assert!(data["token"].starts_with(TOKEN_BEGINNING), "the search for leaks looks for this prefix");
    assert_eq!(data["authorization"], format!("Bearer {}", data["token"]));
    assert_eq!(data["tenant-url"], case.tenant.url());
    assert_eq!(data["host"], case.tenant.host());
    assert_eq!(data["expires-at"], expires_at);
    assert!(data["contexts.yml"].contains(&data["token"]) && !data["contexts.yml"].contains(CLIENT_SECRET));
    assert!(data.values().all(|value| !value.ends_with('\n')));

    let metadata = case.metadata("acme-token").await;
    let owner = &metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.controller, owner.block_owner_deletion), (Some(true), None));
    assert_eq!(Some(&owner.uid), context.metadata.uid.as_ref());
    let labels = metadata.labels.unwrap();
    assert_eq!(labels["app.kubernetes.io/managed-by"], "qlik-context-operator");
    assert_eq!(labels["qlikcontext.dev/context"], "acme");
    let annotations = metadata.annotations.unwrap();
    assert_eq!(annotations["qlikcontext.dev/expires-at"], expires_at);
    assert!(annotations["qlikcontext.dev/token-binding"].starts_with("v1."));
}

#[tokio::test]
async fn a_tenant_with_an_ip_address_as_its_url_works_without_a_proxy() {
    let case = Case::new("direct").await;
    let address = case.world.cloud.tenant(&case.world.cloud.address().to_string());
    address.add_client(Client::new("direct-client").secret(CLIENT_SECRET));
    case.put_secret("acme-oauth", &[("client-id", "direct-client"), ("client-secret", CLIENT_SECRET)]).await;
    case.apply("acme", &json!({"tenantUrl": address.url()})).await;
    case.wait_for("acme", "Ready=True/TokenValid").await;
    assert_eq!(case.data("acme-token").await["host"], case.world.cloud.address().to_string());
}

#[tokio::test]
async fn a_short_lived_token_is_renewed_again_and_again_and_never_expires_in_the_secret() {
    let case = Case::new("renew").await;
    let client = Client::new(CLIENT_ID).secret(CLIENT_SECRET).lifetime(Duration::from_secs(20));
    case.tenant.add_client(client);
    case.put_credential().await;
    case.apply("acme", &json!({"renewBeforePercentage": 50})).await;
    case.wait_for("acme", "Ready=True/TokenValid").await;
    let (begin, mut tokens) = (Instant::now(), std::collections::BTreeSet::new());
    while tokens.len() < 4 {
        let data = case.data("acme-token").await;
        let expires_at: k8s_openapi::jiff::Timestamp = data["expires-at"].parse().unwrap();
        assert!(expires_at > k8s_openapi::jiff::Timestamp::now(), "expired in the Secret\n{}", case.log());
        tokens.insert(data["token"].clone());
        assert!(begin.elapsed() < Duration::from_mins(1), "not renewed\n{}", case.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let (issued, asked) =
        case.world.cloud.ledger(|ledger| (tokens.len() as u64, ledger.hosts.get(case.tenant.host()).copied()));
    // For each token: the token request, users/me and the user that it redirects to. No other request.
    assert_eq!(asked, Some(issued * 3));
}

#[tokio::test]
async fn the_secret_of_a_deleted_context_is_garbage_collected() {
    let case = Case::new("delete").await;
    case.put_credential().await;
    case.apply("acme", &json!({})).await;
    case.wait_for("acme", "Ready=True/TokenValid").await;
    case.contexts().delete("acme", &DeleteParams::default()).await.unwrap();
    let begin = Instant::now();
    while case.secrets().get_opt("acme-token").await.unwrap().is_some() {
        assert!(begin.elapsed() < Duration::from_mins(1), "not collected");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(case.secrets().get_opt("acme-oauth").await.unwrap().is_some(), "the credential is the user's");
}

#[tokio::test]
async fn a_disabled_users_token_is_never_published() {
    let case = Case::new("disabled").await;
    case.put_credential().await;
    case.apply("acme", &json!({})).await;
    case.wait_for("acme", "Ready=True/TokenValid").await;
    case.tenant.edit_user(&format!("qlikbot\\{CLIENT_ID}"), |user| user.status = UserStatus::Disabled);
    case.apply("second", &json!({"scopes": ["user_default"]})).await;
    let context = case.wait_for("second", "Ready=False/AccessDenied").await;
    assert!(conditions(&context).contains(&"Stalled=True/AccessDenied".into()));
    assert!(case.secrets().get_opt("second-token").await.unwrap().is_none());
}

#[tokio::test]
async fn a_scope_that_the_client_lacks_is_reported_as_the_cause() {
    let case = Case::new("scope").await;
    case.put_credential().await;
    case.apply("acme", &json!({"scopes": ["admin.apps"]})).await;
    let context = case.wait_for("acme", "Ready=False/InvalidScope").await;
    assert!(message(&context, "Ready").contains("spec.scopes"), "{}", message(&context, "Ready"));
    case.apply("acme", &json!({"scopes": ["user_default"]})).await;
    let context = case.wait_for("acme", "Ready=True/TokenValid").await;
    assert_eq!(context.status.unwrap().token.unwrap().scopes.unwrap(), ["user_default"]);
    assert_eq!(
        case.world.cloud.ledger(|ledger| ledger
            .records
            .iter()
            .filter(|record| record.host == case.tenant.host() && record.route == Route::Token)
            .count()),
        2
    );
}

#[tokio::test]
async fn a_context_whose_pin_does_not_match_publishes_no_token() {
    let case = Case::new("pin").await;
    case.put_credential().await;
    case.apply("acme", &json!({"expectedIdentity": {"tenantId": "somebody-elses"}})).await;
    case.wait_for("acme", "Verified=False/IdentityMismatch").await;
    assert!(case.secrets().get_opt("acme-token").await.unwrap().is_none());
    case.apply("acme", &json!({"expectedIdentity": {"tenantId": case.tenant.id()}})).await;
    case.wait_for("acme", "Ready=True/TokenValid").await;
}
