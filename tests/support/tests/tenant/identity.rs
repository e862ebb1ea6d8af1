//! The user of a token, and whether the token is still valid.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use support::tenant::{Client, Fault, Hop, Pacing, QlikCloud, Route, Script, UserShape, UserStatus};

use super::caller::{ID, SECRET, get, good_request, header, post, tenant, token, trusting};

const ME: &str = "/api/v1/users/me";

#[tokio::test]
async fn users_me_redirects_to_the_bot() -> Result<()> {
    let tenant = tenant().await?;
    let token = token(&tenant).await?;
    let response = get(&tenant, ME, &token).await?;
    assert_eq!(response.status(), 301);
    assert!(header(&response, "content-type").is_some_and(|kind| kind.starts_with("text/html")));
    let location = header(&response, "location").unwrap_or_default().to_owned();
    let bot = tenant.bot(ID).context("no bot")?;
    assert_eq!(location, format!("/api/v1/users/{}", bot.id));
    let user: Value = get(&tenant, &location, &token).await?.json().await?;
    assert_eq!(user["subject"], r"qlikbot\f8b2d0c1");
    assert_eq!(user["clientId"], ID);
    assert_eq!(user["tenantId"], tenant.id());
    assert_eq!(user["status"], "active");
    assert!(user.get("email").is_none(), "bots have no email address");
    Ok(())
}

#[tokio::test]
async fn a_revoked_token_is_rejected() -> Result<()> {
    let tenant = tenant().await?;
    let first = token(&tenant).await?;
    let second = token(&tenant).await?;
    assert_eq!(post(&tenant, "/oauth/revoke", &json!({"token": first})).await?.status(), 200);
    assert_eq!(get(&tenant, ME, &first).await?.status(), 401);
    assert_eq!(get(&tenant, ME, &second).await?.status(), 301);
    tenant.revoke_all();
    assert_eq!(get(&tenant, ME, &second).await?.status(), 401);
    assert_eq!(post(&tenant, "/oauth/revoke", &json!({"token": "junk"})).await?.status(), 400);
    assert_eq!(post(&tenant, "/oauth/revoke", &json!({})).await?.status(), 400);
    Ok(())
}

#[tokio::test]
async fn no_resource_is_returned_without_a_valid_token() -> Result<()> {
    let tenant = tenant().await?;
    token(&tenant).await?;
    let bot = tenant.bot(ID).context("no bot")?;
    let client = trusting(tenant.cloud())?.build()?;
    for path in [ME.to_owned(), format!("/api/v1/users/{}", bot.id), "/api/v1/tenants/me".to_owned()] {
        let url = format!("{}{path}", tenant.url());
        assert_eq!(client.get(&url).send().await?.status(), 401, "{path}");
        assert_eq!(client.get(&url).basic_auth(ID, Some(SECRET)).send().await?.status(), 401, "{path}");
        let response = client.get(&url).bearer_auth("eyJ.junk").send().await?;
        assert_eq!(response.status(), 401, "{path}");
        let answer: Value = response.json().await?;
        assert_eq!(answer["errors"][0]["status"], "401");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_token_expires_in_virtual_time_without_a_socket() -> Result<()> {
    let cloud = QlikCloud::builder().without_sockets()?;
    let tenant = cloud.tenant("acme.eu.qlikcloud.com");
    tenant.add_client(Client::new(ID).secret(SECRET).lifetime(Duration::from_secs(10)));
    let ask = Request::post("https://acme.eu.qlikcloud.com/oauth/token")
        .header("content-type", "application/json")
        .body(Bytes::from(good_request().to_string()))?;
    let reply = cloud.handle(&ask);
    let answer: Value = serde_json::from_slice(&reply.body)?;
    assert_eq!(answer["expires_in"], 10);
    let me = Request::get("/api/v1/users/me")
        .header("host", "ACME.eu.qlikcloud.com:443")
        .header("authorization", format!("Bearer {}", answer["access_token"].as_str().unwrap_or_default()))
        .body(Bytes::new())?;
    let before = cloud.now();
    assert_eq!(cloud.handle(&me).status, 301);
    tokio::time::advance(Duration::from_secs(9)).await;
    assert_eq!(cloud.handle(&me).status, 301);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(cloud.handle(&me).status, 401);
    assert_eq!(cloud.now().duration_since(before)?, Duration::from_secs(10));
    Ok(())
}

#[tokio::test]
async fn an_expired_token_is_rejected_over_tls_too() -> Result<()> {
    let tenant = tenant().await?;
    tenant.edit_client(ID, |client| client.lifetime_seconds = 0);
    let expired = token(&tenant).await?;
    let response = get(&tenant, ME, &expired).await?;
    assert_eq!(response.status(), 401);
    let answer: Value = response.json().await?;
    assert_eq!(answer["errors"][0]["title"], "Unauthorized");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_late_response_takes_virtual_time() -> Result<()> {
    let cloud = QlikCloud::builder().without_sockets()?;
    cloud.tenant("acme.eu.qlikcloud.com").add_client(Client::new(ID).secret(SECRET));
    let hour = Pacing::Late { millis: 3_600_000 };
    cloud.script(Script::at(Route::Token, Fault::Delivery(hour)).once());
    let ask = Request::post("https://acme.eu.qlikcloud.com/oauth/token")
        .header("content-type", "application/json")
        .body(Bytes::from(good_request().to_string()))?;
    let before = cloud.now();
    let response = cloud.exchange(&ask).await?;
    assert_eq!(response.status(), 200);
    assert_eq!(cloud.now().duration_since(before)?.as_secs(), 3_600);
    assert_eq!(cloud.ledger(|ledger| ledger.in_flight), 1, "until its body is read or dropped");
    drop(response);
    assert_eq!(cloud.ledger(|ledger| ledger.in_flight), 0);
    Ok(())
}

#[tokio::test]
async fn an_api_key_is_a_bearer_token_of_its_user() -> Result<()> {
    let tenant = tenant().await?;
    let key = tenant.api_key("auth0|ada", Duration::from_mins(1));
    let ada = tenant.add_user("auth0|ada", "unchanged");
    let response = get(&tenant, ME, &key).await?;
    assert_eq!(header(&response, "location"), Some(&*format!("/api/v1/users/{}", ada.id)));
    assert!(tenant.revoke(&key) && !tenant.revoke("junk"));
    assert_eq!(get(&tenant, ME, &key).await?.status(), 401);
    assert_eq!(tenant.cloud().ledger(|ledger| ledger.clients.len()), 0);
    Ok(())
}

#[tokio::test]
async fn a_disabled_user_is_shown_as_such() -> Result<()> {
    let tenant = tenant().await?;
    let token = token(&tenant).await?;
    let bot = tenant.bot(ID).context("no bot")?;
    tenant.edit_user(&bot.id, |bot| bot.status = UserStatus::Disabled);
    let user: Value = get(&tenant, &format!("/api/v1/users/{}", bot.id), &token).await?.json().await?;
    assert_eq!(user["status"], "disabled");
    Ok(())
}

#[tokio::test]
async fn users_me_redirects_as_scripted() -> Result<()> {
    let tenant = tenant().await?;
    let token = token(&tenant).await?;
    let bot = tenant.bot(ID).context("no bot")?;
    let path = format!("/api/v1/users/{}", bot.id);
    let (url, plain) = (tenant.url(), tenant.url().replace("https:", "http:"));
    for (hop, expected) in [
        (Hop::Absolute, Some(format!("{url}{path}"))),
        (Hop::OtherHost("evil.example".to_owned()), Some(format!("https://evil.example{path}"))),
        (Hop::Downgrade, Some(format!("{plain}{path}"))),
        (Hop::Loop, Some(ME.to_owned())),
        (Hop::Nowhere, None),
    ] {
        tenant.cloud().script(Script::at(Route::UsersMe, Fault::Hop(hop)).client(ID).once());
        let response = get(&tenant, ME, &token).await?;
        assert_eq!(response.status(), 301);
        assert_eq!(header(&response, "location").map(str::to_owned), expected);
    }
    tenant.cloud().script(Script::at(Route::UsersMe, Fault::Hop(Hop::Direct)).once());
    let user: Value = get(&tenant, ME, &token).await?.json().await?;
    assert_eq!(user["id"], bot.id);
    Ok(())
}

#[tokio::test]
async fn the_user_is_returned_in_every_shape() -> Result<()> {
    let tenant = tenant().await?;
    let token = token(&tenant).await?;
    let bot = tenant.bot(ID).context("no bot")?;
    let shown = async |shape: UserShape| -> Result<Value> {
        tenant.cloud().script(Script::at(Route::User, Fault::User(shape)).once());
        Ok(get(&tenant, &format!("/api/v1/users/{}", bot.id), &token).await?.json().await?)
    };
    assert_eq!(shown(UserShape::ForeignTenant("other".to_owned())).await?["tenantId"], "other");
    assert_eq!(shown(UserShape::Status(UserStatus::Deleted)).await?["status"], "deleted");
    assert_eq!(shown(UserShape::Minimal).await?.as_object().map(serde_json::Map::len), Some(4));
    assert!(shown(UserShape::Extended).await?.get("notYetInvented").is_some());
    Ok(())
}

#[tokio::test]
async fn the_other_routes_respond_as_documented() -> Result<()> {
    let tenant = tenant().await?;
    let token = token(&tenant).await?;
    let me = get(&tenant, "/api/v1/tenants/me", &token).await?;
    assert_eq!(me.status(), 302);
    let location = header(&me, "location").unwrap_or_default();
    let shown: Value = get(&tenant, location, &token).await?.json().await?;
    assert_eq!(shown["id"], tenant.id());
    let client = trusting(tenant.cloud())?.build()?;
    let discovery = format!("{}/.well-known/oauth-authorization-server", tenant.url());
    let discovery: Value = client.get(discovery).send().await?.json().await?;
    assert_eq!(discovery["issuer"], tenant.url());
    assert_eq!(discovery["token_endpoint"], format!("{}/oauth/token", tenant.url()));
    let product = format!("{}/resources/autogenerated/product-info.json", tenant.url());
    let product: Value = client.get(product).send().await?.json().await?;
    assert_eq!(product["composition"]["deploymentType"], "qlikcloudservices");
    for path in ["/", "/oauth/token", "/oauth/token/", "/api/v1/users/nobody", "/api/v1/tenants/other"] {
        let response = get(&tenant, path, &token).await?;
        assert_eq!(response.status(), 404, "{path}");
        let answer: Value = response.json().await?;
        assert_eq!(answer["errors"][0]["code"], "HTTP-404");
    }
    Ok(())
}
