//! Every authentication method, against a tenant that checks each of them.

use std::time::Duration;

use serde_json::json;
use support::tenant::{Algorithm, Client, PublicKey};

use crate::world::{CLIENT_ID, CLIENT_SECRET, Case, conditions, message};

fn key(name: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

impl Case {
    /// A client that authenticates with a key registered as `my-key`.
    fn client_with_key(&self, algorithm: Algorithm, public: &str) {
        self.tenant.add_client(Client::new(CLIENT_ID).key(PublicKey::new("my-key", algorithm, &key(public))));
    }

    async fn apply_key(&self, changes: &serde_json::Value) {
        let mut method = json!({"clientId": CLIENT_ID, "secretRef": {"name": "acme-key"}});
        for (field, value) in changes.as_object().unwrap() {
            method[field] = value.clone();
        }
        self.apply("acme", &json!({"auth": {"privateKeyJwt": method}})).await;
    }
}

#[tokio::test]
async fn a_private_key_in_any_form_and_algorithm_gets_a_token() {
    for (name, public, algorithm, changes) in [
        ("rsa-pkcs8.pem", "rsa-public.pem", Algorithm::RS256, json!({})),
        ("rsa-pkcs1.pem", "rsa-public.pem", Algorithm::RS512, json!({"algorithm": "RS512"})),
        ("p384-sec1.pem", "p384-public.pem", Algorithm::ES384, json!({"algorithm": "ES384"})),
    ] {
        let case = Case::new("pkj").await;
        case.client_with_key(algorithm, public);
        case.put_secret("acme-key", &[("private-key", &key(name)), ("key-id", "my-key")]).await;
        case.apply_key(&changes).await;
        case.wait_for("acme", "Ready=True/TokenValid").await;
    }
}

#[tokio::test]
async fn the_key_id_of_a_jwk_is_used_and_a_different_one_is_an_error() {
    let case = Case::new("jwk").await;
    case.tenant.add_client(Client::new(CLIENT_ID).key(PublicKey::new(
        "jwk-ec",
        Algorithm::ES384,
        &key("p384-public.pem"),
    )));
    case.put_secret("acme-key", &[("private-key", &key("p384.jwk"))]).await;
    case.apply_key(&json!({})).await;
    case.wait_for("acme", "Ready=True/TokenValid").await;
    case.apply_key(&json!({"keyId": "another"})).await;
    let context = case.wait_for("acme", "CredentialsAvailable=False/PrivateKeyInvalid").await;
    assert!(message(&context, "CredentialsAvailable").contains("kid"), "{}", message(&context, "CredentialsAvailable"));
}

#[tokio::test]
async fn for_an_unusable_key_the_status_says_why() {
    let case = Case::new("badkey").await;
    for (name, says) in [
        ("rsa-encrypted.pem", "passphrase"),
        ("rsa-public.pem", "public key"),
        ("rsa-1024.pem", "2048"),
        ("p256-pkcs8.pem", "P-384"),
        ("certificate.pem", "certificate"),
    ] {
        case.put_secret("acme-key", &[("private-key", &key(name))]).await;
        case.apply_key(&json!({})).await;
        let reported = |context: &qlik_context_operator::api::QlikContext| {
            conditions(context).contains(&"CredentialsAvailable=False/PrivateKeyInvalid".into())
                && message(context, "Ready").contains(says)
        };
        let context = case.wait_until("acme", reported).await;
        assert!(conditions(&context).contains(&"Stalled=True/PrivateKeyInvalid".into()));
    }
}

#[tokio::test]
async fn a_key_that_is_not_registered_is_reported_as_an_invalid_client() {
    let case = Case::new("otherkey").await;
    case.client_with_key(Algorithm::ES384, "p384-public.pem");
    case.put_secret("acme-key", &[("private-key", &key("rsa-pkcs8.pem")), ("key-id", "my-key")]).await;
    case.apply_key(&json!({})).await;
    case.wait_for("acme", "TokenIssued=False/InvalidClient").await;
}

#[tokio::test]
async fn an_api_key_is_verified_published_and_rechecked_and_no_expiry_is_assumed() {
    let case = Case::new("apikey").await;
    let api_key = case.tenant.api_key("auth0|somebody", Duration::from_hours(24));
    case.put_secret("acme-api-key", &[("api-key", &format!("{api_key}\n"))]).await;
    case.apply("acme", &json!({"auth": {"apiKey": {"secretRef": {"name": "acme-api-key"}}}, "verifyInterval": "10s"}))
        .await;
    let context = case.wait_for("acme", "Ready=True/TokenValid").await;
    assert!(conditions(&context).contains(&"TokenIssued=True/ApiKeyProvided".into()));
    let status = context.status.unwrap();
    assert_eq!(status.identity.unwrap().subject, "auth0|somebody");
    assert_eq!(status.token.unwrap().expires_at, None);
    let data = case.data("acme-token").await;
    assert_eq!((data["token"].as_str(), data["expires-at"].as_str()), (api_key.as_str(), ""));
    case.tenant.revoke(&api_key);
    let context = case.wait_for("acme", "Verified=False/TokenRejected").await;
    assert!(conditions(&context).contains(&"Ready=False/TokenRejected".into()));
    assert_eq!(case.data("acme-token").await["token"], api_key, "the Secret keeps the API key");
    let second = case.tenant.api_key("auth0|somebody", Duration::from_hours(24));
    case.put_secret("acme-api-key", &[("api-key", &second)]).await;
    case.wait_for("acme", "Ready=True/TokenValid").await;
    assert_eq!(case.data("acme-token").await["token"], second);
}

#[tokio::test]
async fn a_user_is_impersonated_by_id_or_subject_with_either_method() {
    let case = Case::new("impersonate").await;
    let user = case.tenant.add_user("auth0|jane", "Jane");
    let public = PublicKey::new("my-key", Algorithm::RS256, &key("rsa-public.pem"));
    case.tenant.add_client(Client::new(CLIENT_ID).secret(CLIENT_SECRET).key(public).impersonating());
    case.put_credential().await;
    case.put_secret("acme-key", &[("private-key", &key("rsa-pkcs8.pem")), ("key-id", "my-key")]).await;
    case.apply("by-id", &json!({"impersonate": {"userId": user.id}})).await;
    case.apply("by-subject", &json!({"impersonate": {"subject": "auth0|jane"}})).await;
    let auth = json!({"privateKeyJwt": {"clientId": CLIENT_ID, "secretRef": {"name": "acme-key"}}});
    case.apply("by-key", &json!({"auth": auth, "impersonate": {"subject": "auth0|jane"}})).await;
    for name in ["by-id", "by-subject", "by-key"] {
        let context = case.wait_for(name, "Ready=True/TokenValid").await;
        assert_eq!(context.status.unwrap().identity.unwrap().name, "Jane");
    }
    case.apply("nobody", &json!({"impersonate": {"userId": "nobody"}})).await;
    case.wait_for("nobody", "Ready=False/AccessDenied").await;
}
