//! A real HTTP client that calls the fake over the network.

use anyhow::{Context as _, Result};
use reqwest::redirect::Policy;
use reqwest::{Certificate, ClientBuilder, Response};
use serde_json::{Value, json};
use support::tenant::{Client, QlikCloud, Tenant};

pub const ID: &str = "f8b2d0c1";
pub const SECRET: &str = "s3cret";

/// A tenant with one client.
pub async fn tenant() -> Result<Tenant> {
    let tenant = Tenant::start().await?;
    tenant.add_client(Client::new(ID).secret(SECRET));
    Ok(tenant)
}

/// A client that trusts only the fake's CA and follows no redirects.
pub fn trusting(cloud: &QlikCloud) -> Result<ClientBuilder> {
    let ca = Certificate::from_pem(cloud.ca_pem().as_bytes())?;
    Ok(ClientBuilder::new().no_proxy().redirect(Policy::none()).tls_certs_only([ca]))
}

pub fn good_request() -> Value {
    json!({"grant_type": "client_credentials", "client_id": ID, "client_secret": SECRET})
}

pub async fn post(tenant: &Tenant, path: &str, body: &Value) -> Result<Response> {
    let client = trusting(tenant.cloud())?.build()?;
    let url = format!("{}{path}", tenant.url());
    Ok(client.post(url).json(body).send().await?)
}

pub async fn ask_for_token(tenant: &Tenant) -> Result<Response> {
    post(tenant, "/oauth/token", &good_request()).await
}

pub async fn get(tenant: &Tenant, path: &str, token: &str) -> Result<Response> {
    let client = trusting(tenant.cloud())?.build()?;
    let url = format!("{}{path}", tenant.url());
    Ok(client.get(url).bearer_auth(token).send().await?)
}

/// A valid token.
pub async fn token(tenant: &Tenant) -> Result<String> {
    let answer: Value = ask_for_token(tenant).await?.error_for_status()?.json().await?;
    text(&answer["access_token"])
}

pub fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().context("not a text")?.to_owned())
}

pub fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}
