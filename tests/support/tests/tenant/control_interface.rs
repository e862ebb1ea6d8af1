//! The control interface, used as with curl.

use anyhow::Result;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use support::tenant::Tenant;

use super::caller::{ID, ask_for_token, get, tenant, token};

async fn curl(tenant: &Tenant, method: Method, path: &str, body: &str) -> Result<(u16, String)> {
    let url = format!("{}{path}", tenant.cloud().control_url());
    let client = Client::builder().no_proxy().build()?;
    // The content type that `curl -d` sends for any body.
    let request = client.request(method, url).header("content-type", "application/x-www-form-urlencoded");
    let response = request.body(body.to_owned()).send().await?;
    Ok((response.status().as_u16(), response.text().await?))
}

#[tokio::test]
async fn the_first_page_lists_the_commands() -> Result<()> {
    let tenant = tenant().await?;
    let (status, text) = curl(&tenant, Method::GET, "/", "").await?;
    assert_eq!(status, 200);
    assert!(text.contains(&format!("{}/ledger", tenant.cloud().control_url())));
    let (_, pem) = curl(&tenant, Method::GET, "/ca.pem", "").await?;
    assert_eq!(pem, tenant.cloud().ca_pem());
    Ok(())
}

#[tokio::test]
async fn every_fault_on_the_first_page_is_accepted() -> Result<()> {
    let tenant = tenant().await?;
    let (_, text) = curl(&tenant, Method::GET, "/", "").await?;
    let shown: Vec<&str> =
        text.lines().filter(|line| line.contains("/faults -d")).filter_map(|line| line.split('\'').nth(1)).collect();
    assert!(shown.len() >= 3, "{text}");
    for fault in shown {
        assert_eq!(curl(&tenant, Method::POST, "/faults", fault).await?.0, 201, "{fault}");
    }
    Ok(())
}

#[tokio::test]
async fn secrets_are_added_replaced_and_removed() -> Result<()> {
    let tenant = tenant().await?;
    let secrets = format!("/clients/{ID}/secrets");
    assert_eq!(curl(&tenant, Method::PUT, &secrets, "n3w").await?.0, 204);
    assert_eq!(ask_for_token(&tenant).await?.status(), 401);
    assert_eq!(curl(&tenant, Method::POST, &secrets, "s3cret\n").await?.0, 204);
    assert_eq!(ask_for_token(&tenant).await?.status(), 200);
    assert_eq!(curl(&tenant, Method::DELETE, &format!("{secrets}/s3cret"), "").await?.0, 204);
    assert_eq!(ask_for_token(&tenant).await?.status(), 401);
    assert_eq!(curl(&tenant, Method::POST, &secrets, "").await?.0, 400);
    assert_eq!(curl(&tenant, Method::POST, "/clients/nobody/secrets", "x").await?.0, 404);
    Ok(())
}

#[tokio::test]
async fn a_client_is_created_changed_and_disabled() -> Result<()> {
    let tenant = tenant().await?;
    let clients = format!("/tenants/{}/clients", tenant.host());
    let made = json!({"clientId": "made", "secrets": ["x"], "allowedScopes": ["apps"]}).to_string();
    assert_eq!(curl(&tenant, Method::POST, &clients, &made).await?.0, 201);
    assert_eq!(curl(&tenant, Method::POST, &clients, "{}").await?.0, 400);
    assert_eq!(curl(&tenant, Method::POST, &clients, r#"{"clientId":"y","secret":"x"}"#).await?.0, 400);
    let keys = format!("/tenants/{}/api-keys", tenant.host());
    let (_, key) = curl(&tenant, Method::POST, &keys, "auth0|ada").await?;
    assert_eq!(get(&tenant, "/api/v1/users/me", key.trim()).await?.status(), 301);
    let (_, shown) = curl(&tenant, Method::GET, "/clients/made", "").await?;
    assert_eq!(serde_json::from_str::<Value>(&shown)?["allowedScopes"], json!(["apps"]));
    for (path, good, bad) in [
        ("lifetime", "30", "soon"),
        ("disabled", "true", "maybe"),
        ("consent", "required", "later"),
        ("scopes", "user_default apps", " "),
    ] {
        let path = format!("/clients/{ID}/{path}");
        assert_eq!(curl(&tenant, Method::PUT, &path, good).await?.0, 204, "{path}");
        assert_eq!(curl(&tenant, Method::PUT, &path, bad).await?.0, 400, "{path}");
    }
    let (_, shown) = curl(&tenant, Method::GET, &format!("/clients/{ID}"), "").await?;
    let shown: Value = serde_json::from_str(&shown)?;
    assert_eq!((&shown["lifetimeSeconds"], &shown["disabled"]), (&json!(30), &json!(true)));
    assert_eq!(ask_for_token(&tenant).await?.status(), 401);
    assert_eq!(curl(&tenant, Method::DELETE, "/clients/made", "").await?.0, 204);
    assert_eq!(curl(&tenant, Method::GET, "/clients/made", "").await?.0, 404);
    Ok(())
}

#[tokio::test]
async fn a_fault_is_added_observed_and_cleared() -> Result<()> {
    let tenant = tenant().await?;
    let good = token(&tenant).await?;
    assert_eq!(curl(&tenant, Method::POST, "/revoke-all", "").await?.0, 204);
    assert_eq!(get(&tenant, "/api/v1/users/me", &good).await?.status(), 401);
    let fault = json!({"at": "token", "client": ID, "fault": {"answer": {"status": 503, "body": "html"}}});
    assert_eq!(curl(&tenant, Method::POST, "/faults", &fault.to_string()).await?.0, 201);
    assert_eq!(curl(&tenant, Method::POST, "/faults", r#"{"at":"token","fault":"nonsense"}"#).await?.0, 400);
    assert_eq!(ask_for_token(&tenant).await?.status(), 503);
    let (_, faults) = curl(&tenant, Method::GET, "/faults", "").await?;
    assert_eq!(serde_json::from_str::<Value>(&faults)?, json!([fault]));
    assert_eq!(curl(&tenant, Method::DELETE, "/faults", "").await?.0, 204);
    assert_eq!(curl(&tenant, Method::PUT, "/handshake", "expired").await?.0, 204);
    assert!(ask_for_token(&tenant).await.is_err());
    assert_eq!(curl(&tenant, Method::PUT, "/handshake", "valid").await?.0, 204);
    assert_eq!(curl(&tenant, Method::PUT, r"/users/qlikbot%5Cf8b2d0c1/status", "disabled").await?.0, 204);
    assert_eq!(ask_for_token(&tenant).await?.status(), 403);

    let (_, ledger) = curl(&tenant, Method::GET, "/ledger", "").await?;
    let ledger: Value = serde_json::from_str(&ledger)?;
    assert_eq!((&ledger["issued"], &ledger["faulted"]), (&json!(1), &json!(1)));
    assert_eq!(ledger["clients"][ID]["usersMe"], 1);
    assert_eq!(ledger["refused"]["userDisabled"], 1);
    let (_, requests) = curl(&tenant, Method::GET, "/requests", "").await?;
    assert_eq!(requests.lines().count(), 4, "{requests}");
    assert_eq!(curl(&tenant, Method::DELETE, "/ledger", "").await?.0, 204);
    assert_eq!(tenant.cloud().ledger(|ledger| ledger.requests), 0);
    let (_, tenants) = curl(&tenant, Method::GET, "/tenants", "").await?;
    assert_eq!(serde_json::from_str::<Value>(&tenants)?[0]["id"], tenant.id());
    Ok(())
}

#[tokio::test]
async fn the_clients_api_is_configured_and_administrators_are_set() -> Result<()> {
    let tenant = tenant().await?;
    let host = tenant.host().to_owned();
    let (_, key) = curl(&tenant, Method::POST, &format!("/tenants/{host}/api-keys"), "person").await?;
    let clients = "/api/v1/oauth-clients";
    assert_eq!(get(&tenant, clients, key.trim()).await?.status(), 403);
    assert_eq!(curl(&tenant, Method::PUT, "/users/person/admin", "true").await?.0, 204);
    assert_eq!(curl(&tenant, Method::PUT, "/users/nobody/admin", "true").await?.0, 404);
    assert_eq!(get(&tenant, clients, key.trim()).await?.status(), 200);
    let path = format!("/tenants/{host}/clients-api");
    assert_eq!(curl(&tenant, Method::PUT, &path, r#"{"readsPerMinute":0}"#).await?.0, 204);
    assert_eq!(curl(&tenant, Method::PUT, &path, r#"{"unknown":0}"#).await?.0, 400);
    assert_eq!(get(&tenant, clients, key.trim()).await?.status(), 429);
    let (_, text) = curl(&tenant, Method::GET, "/", "").await?;
    let shown = text.lines().find(|line| line.contains("/clients-api -d")).and_then(|line| line.split('\'').nth(1));
    assert_eq!(curl(&tenant, Method::PUT, &path, shown.unwrap_or_default()).await?.0, 204);
    Ok(())
}
