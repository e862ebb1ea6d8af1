//! The credential Secret: the status names what is wrong with it, and the context recovers as soon as it is fixed.

use serde_json::json;

use crate::world::{CLIENT_ID, CLIENT_SECRET, Case, conditions, message};

#[tokio::test]
async fn a_wrong_client_secret_is_reported_and_a_fix_takes_effect_at_once() {
    let case = Case::new("wrong").await;
    case.put_secret("acme-oauth", &[("client-id", CLIENT_ID), ("client-secret", "planted-wrong-secret")]).await;
    case.apply("acme", &json!({})).await;
    let context = case.wait_for("acme", "Ready=False/InvalidClient").await;
    assert_eq!(
        conditions(&context),
        [
            "CredentialsAvailable=True/CredentialsFound",
            "TokenIssued=False/InvalidClient",
            "Ready=False/InvalidClient",
            // The client may have been created a moment ago.
            "Reconciling=True/InvalidClient",
        ]
    );
    let failure = context.status.as_ref().unwrap().failure.clone().unwrap();
    assert_eq!((failure.count, failure.reason.as_str()), (1, "InvalidClient"));
    assert!(failure.trace_id.is_some());
    assert!(!message(&context, "Ready").contains("planted"));
    case.put_credential().await;
    let context = case.wait_for("acme", "Ready=True/TokenValid").await;
    assert!(context.status.unwrap().failure.is_none());
}

#[tokio::test]
async fn a_missing_secret_is_waited_for() {
    let case = Case::new("missing").await;
    case.apply("acme", &json!({})).await;
    let context = case.wait_for("acme", "Ready=False/SecretNotFound").await;
    assert!(conditions(&context).contains(&"Reconciling=True/SecretNotFound".into()), "the Secret may be created soon");
    assert!(message(&context, "Ready").contains("acme-oauth"));
    case.put_credential().await;
    case.wait_for("acme", "Ready=True/TokenValid").await;
}

#[tokio::test]
async fn a_missing_key_is_reported_without_listing_the_other_keys() {
    let case = Case::new("key").await;
    case.put_secret("acme-oauth", &[("client-id", CLIENT_ID), ("planted-other-key", CLIENT_SECRET)]).await;
    case.apply("acme", &json!({})).await;
    let context = case.wait_for("acme", "CredentialsAvailable=False/KeyNotFound").await;
    let said = message(&context, "Ready");
    assert!(said.contains("client-secret") && !said.contains("planted"), "{said}");
    case.put_credential().await;
    case.wait_for("acme", "Ready=True/TokenValid").await;
}

#[tokio::test]
async fn inline_ids_and_other_key_names_are_read() {
    let case = Case::new("inline").await;
    case.put_secret("mine", &[("password", &format!("{CLIENT_SECRET}\n"))]).await;
    let secret_ref = json!({"name": "mine", "keys": {"clientSecret": "password"}});
    case.apply("acme", &json!({"auth": {"clientSecret": {"clientId": CLIENT_ID, "secretRef": secret_ref}}})).await;
    case.wait_for("acme", "Ready=True/TokenValid").await;
}

#[tokio::test]
async fn a_credential_with_allowed_hosts_is_sent_to_no_other_host() {
    let case = Case::new("bound").await;
    case.put_credential().await;
    case.kubectl(&["annotate", "secret", "acme-oauth", "qlikcontext.dev/allowed-hosts=other.eu.qlikcloud.com"]).await;
    case.apply("acme", &json!({})).await;
    case.wait_for("acme", "CredentialsAvailable=False/HostNotAllowedBySecret").await;
    assert_eq!(case.world.cloud.ledger(|ledger| ledger.hosts.get(case.tenant.host()).copied()), None);
    let allowed = format!("qlikcontext.dev/allowed-hosts={}", case.tenant.host());
    case.kubectl(&["annotate", "--overwrite", "secret", "acme-oauth", &allowed]).await;
    case.wait_for("acme", "Ready=True/TokenValid").await;
}
