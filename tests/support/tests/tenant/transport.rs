//! Host names, certificates, connections and the proxy.

use std::time::{Duration, Instant};

use anyhow::Result;
use reqwest::Proxy;
use serde_json::Value;
use support::tenant::{Client, Handshake, QlikCloud, Tenant};

use super::caller::{ID, SECRET, ask_for_token, good_request, tenant, trusting};

#[tokio::test]
async fn the_fake_starts_fast_and_stops_with_its_last_handle() -> Result<()> {
    let began = Instant::now();
    let tenant = Tenant::start().await?;
    let took = began.elapsed();
    assert!(took < Duration::from_millis(500), "{took:?}");
    let address = tenant.cloud().address();
    let another = tenant.clone();
    drop(tenant);
    assert!(tokio::net::TcpStream::connect(address).await.is_ok());
    drop(another);
    // The listener closes when its task is next polled.
    for _ in 0..100 {
        if tokio::net::TcpStream::connect(address).await.is_err() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    anyhow::bail!("still listening")
}

#[tokio::test]
async fn the_fake_listens_on_loopback_only() {
    let address = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
    assert!(QlikCloud::builder().tls(address).start().await.is_err());
    let other = std::net::SocketAddr::from(([127, 0, 0, 9], 0));
    let cloud = QlikCloud::builder().tls(other).start().await.expect("all of 127.0.0.0/8 is loopback");
    assert_eq!(cloud.address().ip().to_string(), "127.0.0.9");
}

#[tokio::test]
async fn tenants_share_only_a_server() -> Result<()> {
    let cloud = QlikCloud::start().await?;
    let acme = cloud.tenant("acme.eu.qlikcloud.com");
    let beta = cloud.tenant("beta.us.qlikcloud.com");
    acme.add_client(Client::new(ID).secret(SECRET));
    acme.add_alias("alias.eu.qlikcloud.com");
    assert_ne!(acme.id(), beta.id());
    let port = cloud.address().port();
    let hosts = ["acme.eu.qlikcloud.com", "alias.eu.qlikcloud.com", "beta.us.qlikcloud.com", "gone.eu.qlikcloud.com"];
    let client = hosts.iter().fold(trusting(&cloud)?, |client, host| client.resolve(host, cloud.address())).build()?;
    for (host, status) in hosts.iter().zip([200, 200, 401, 401]) {
        let url = format!("https://{host}:{port}/oauth/token");
        assert_eq!(client.post(url).json(&good_request()).send().await?.status(), status, "{host}");
    }
    let unknown = client.get(format!("https://gone.eu.qlikcloud.com:{port}/api/v1/users/me")).send().await?;
    assert_eq!(unknown.status(), 401);
    let answer: Value = unknown.json().await?;
    assert_eq!(answer["errors"][0]["code"], "LOGIN-2");
    assert_eq!(answer["errors"][0]["title"], "No authentication configured for this hostname");
    Ok(())
}

#[tokio::test]
async fn the_proxy_connects_realistic_names_to_the_fake_and_nothing_else() -> Result<()> {
    let cloud = QlikCloud::start().await?;
    let acme = cloud.tenant("acme.eu.qlikcloud.com");
    acme.add_client(Client::new(ID).secret(SECRET));
    assert_eq!(acme.url(), "https://acme.eu.qlikcloud.com");
    let client = trusting(&cloud)?.proxy(Proxy::all(cloud.proxy_url())?).build()?;
    let url = format!("{}/oauth/token", acme.url());
    for _ in 0..2 {
        assert_eq!(client.post(&url).json(&good_request()).send().await?.status(), 200);
    }
    for elsewhere in ["https://example.com/", "https://acme.eu.qlikcloud.com:8443/", "http://acme.eu.qlikcloud.com/"] {
        match client.get(elsewhere).send().await {
            Ok(response) => assert_eq!(response.status(), 502, "{elsewhere}"),
            Err(error) => assert!(error.is_connect(), "{elsewhere}: {error:?}"),
        }
    }
    let counted = cloud.ledger(|ledger| (ledger.tunnels, ledger.refused_tunnels, ledger.handshakes));
    assert_eq!(counted, (1, 3, 1));
    Ok(())
}

#[tokio::test]
async fn a_client_rejects_every_certificate_except_the_valid_one() -> Result<()> {
    let tenant = tenant().await?;
    for handshake in
        [Handshake::Expired, Handshake::WrongName, Handshake::UnknownAuthority, Handshake::Garbage, Handshake::Hangup]
    {
        tenant.cloud().show(handshake);
        assert!(ask_for_token(&tenant).await.is_err(), "{handshake:?}");
    }
    tenant.cloud().show(Handshake::Silent);
    let patience = tokio::time::timeout(Duration::from_millis(100), ask_for_token(&tenant));
    assert!(patience.await.is_err());
    assert_eq!(tenant.cloud().ledger(|ledger| ledger.requests), 0);
    tenant.cloud().show(Handshake::Valid);
    assert_eq!(ask_for_token(&tenant).await?.status(), 200);
    Ok(())
}

#[tokio::test]
async fn one_connection_serves_many_requests_until_it_is_closed() -> Result<()> {
    let tenant = tenant().await?;
    let client = trusting(tenant.cloud())?.build()?;
    let url = format!("{}/oauth/token", tenant.url());
    for _ in 0..3 {
        let response = client.post(&url).json(&good_request()).send().await?;
        response.bytes().await?;
    }
    assert_eq!(tenant.cloud().ledger(|ledger| (ledger.connections, ledger.requests)), (1, 3));
    tenant.cloud().cut_connections();
    tenant.cloud().wait_for(|ledger| ledger.open_connections == 0, Duration::from_secs(5)).await?;
    tenant.cloud().clear_ledger();
    client.post(&url).json(&good_request()).send().await?;
    assert_eq!(tenant.cloud().ledger(|ledger| (ledger.connections, ledger.requests)), (1, 1));
    Ok(())
}
