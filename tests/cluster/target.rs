//! The token Secret: the operator writes only its own, and restores it after a change.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use crate::world::{Case, conditions};

#[tokio::test]
async fn a_foreign_secret_of_the_same_name_is_not_changed() {
    let case = Case::new("foreign").await;
    case.put_credential().await;
    case.put_secret("acme-token", &[("password", "somebody-elses")]).await;
    let before = case.secrets().get("acme-token").await.unwrap();
    case.apply("acme", &json!({})).await;
    let context = case.wait_for("acme", "SecretSynced=False/SecretNotOwned").await;
    assert!(conditions(&context).contains(&"Stalled=True/SecretNotOwned".into()));
    assert_eq!(case.secrets().get("acme-token").await.unwrap(), before);
    assert_eq!(
        case.world.cloud.ledger(|ledger| ledger.hosts.get(case.tenant.host()).copied()),
        None,
        "no token can be published, so none is requested"
    );
    case.delete_secret("acme-token").await;
    case.wait_for("acme", "Ready=True/TokenValid").await;
}

#[tokio::test]
async fn a_deleted_or_tampered_secret_is_restored_without_a_new_token() {
    let case = Case::new("drift").await;
    case.put_credential().await;
    case.apply("acme", &json!({"target": {"labels": {"team": "bi"}, "annotations": {"note": "kept"}}})).await;
    case.wait_for("acme", "Ready=True/TokenValid").await;
    let good = case.data("acme-token").await;
    let asked = || case.world.cloud.ledger(|ledger| ledger.hosts.get(case.tenant.host()).copied());
    let before = asked();
    let restored = async || {
        let begin = std::time::Instant::now();
        loop {
            if let Some(secret) = case.secrets().get_opt("acme-token").await.unwrap()
                && as_text(&secret).is_superset(&good.clone().into_iter().collect())
                && secret.metadata.labels.as_ref().unwrap().get("team").is_some_and(|team| team == "bi")
            {
                return secret;
            }
            assert!(begin.elapsed() < std::time::Duration::from_secs(5), "not restored\n{}", case.log());
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    case.delete_secret("acme-token").await;
    restored().await;
    case.kubectl(&["patch", "secret", "acme-token", "-p", r#"{"stringData":{"token":"tampered","theirs":"kept"}}"#])
        .await;
    let secret = restored().await;
    assert_eq!(secret.data.unwrap()["theirs"], ByteString(b"kept".to_vec()), "keys of other managers are kept");
    case.kubectl(&["label", "secret", "acme-token", "team-"]).await;
    restored().await;
    assert_eq!(asked(), before, "the token comes from memory");
}

#[tokio::test]
async fn keys_of_the_spec_replace_the_default_ones_except_the_token() {
    let case = Case::new("data").await;
    case.put_credential().await;
    let data = json!({"QLIK_API_KEY": "$(token)", "QLIK_TENANT_URL": "$(tenantUrl)", "who": "$(contextName) $$(token) $(userId)"});
    case.apply("acme", &json!({"target": {"name": "mine", "data": data}})).await;
    let context = case.wait_for("acme", "Ready=True/TokenValid").await;
    let data = case.data("mine").await;
    assert_eq!(data.keys().collect::<Vec<_>>(), ["QLIK_API_KEY", "QLIK_TENANT_URL", "token", "who"]);
    assert_eq!(data["QLIK_API_KEY"], data["token"]);
    assert_eq!(data["who"], format!("acme $(token) {}", context.status.unwrap().identity.unwrap().user_id));
    // A key that was removed from the spec is deleted, without a new token.
    case.apply("acme", &json!({"target": {"name": "mine", "data": {"QLIK_API_KEY": "$(token)"}}})).await;
    case.wait_until("acme", |context| {
        context.status.as_ref().unwrap().observed_generation == context.metadata.generation
    })
    .await;
    let after = case.data("mine").await;
    assert_eq!(after.keys().collect::<Vec<_>>(), ["QLIK_API_KEY", "token"]);
    assert_eq!(after["token"], data["token"]);
}

fn as_text(secret: &Secret) -> std::collections::BTreeSet<(String, String)> {
    let data = secret.data.clone().unwrap_or_default();
    data.into_iter().map(|(key, value)| (key, String::from_utf8(value.0).unwrap())).collect()
}
