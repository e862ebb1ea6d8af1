//! Requests through a proxy: what it receives, how its rejections are reported, and that its credentials are sent only
//! to it.

use std::sync::Arc;

use hyper_util::client::proxy::matcher::Matcher;
use qlik_context_operator::api::ConditionType::TokenIssued;
use qlik_context_operator::api::Reason::{AddressNotPublic, TenantUnreachable};
use qlik_context_operator::oauth::address::AddressPolicy;
use qlik_context_operator::oauth::https::{Https, Resolver};
use qlik_context_operator::oauth::identity::Subject;
use support::tenant::{QlikCloud, Route};

use crate::door::Door;
use crate::log;
use crate::world::{Names, Row, World, https, request, request_token, stalls, waits, who_is};

const HOST: &str = "acme.eu.qlikcloud.com";

fn by(proxy: &str) -> Matcher {
    Matcher::builder().https(proxy.to_owned()).build()
}

/// The world behind the fake's proxy, at the default port.
async fn proxied(names: impl Resolver) -> World {
    World::with(|cloud| by(&cloud.proxy_url()), names).await
}

fn tunnels(cloud: &QlikCloud) -> (u64, u64) {
    cloud.ledger(|ledger| (ledger.tunnels, ledger.refused_tunnels))
}

#[tokio::test]
async fn a_tenant_is_reached_by_name_through_a_proxy_with_a_private_address() {
    let names = Names::at(&[&["10.0.0.1"]]);
    let world = proxied(names.clone()).await;
    let row = Row { port: 443, ..world.named(HOST) };
    let public_only = https(by(&world.cloud.proxy_url()), names.clone(), AddressPolicy::PublicOnly, Some(&world.cloud));
    let now = qlik_context_operator::clock::Clock::system().now();
    let token = request_token(&public_only, &row.request(), now).await.unwrap();
    let identity = who_is(&public_only, Subject::Request(&row.request()), &token.access_token).await.unwrap();
    assert_eq!(identity.tenant_id, row.tenant.id());
    assert_eq!(tunnels(&world.cloud), (1, 0), "both calls use one connection");
    assert_eq!(names.asked(), 0, "the proxy resolves names, not the operator");
}

#[tokio::test]
async fn a_proxy_that_rejects_or_is_unreachable_is_reported_as_such() {
    let spelling = waits(TenantUnreachable, "the operator's HTTPS_PROXY and what that proxy allows");
    for (answer, expected) in [
        ("HTTP/1.1 403 Forbidden\r\n\r\nplanted-proxy", spelling),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", spelling),
        ("HTTP/1.1 503 planted-proxy\r\n\r\n", spelling),
        ("HTTP/1.1 302 Found\r\nlocation: https://evil.example/\r\n\r\n", spelling),
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            waits(TenantUnreachable, "Set valid proxy credentials in the operator's HTTPS_PROXY"),
        ),
        ("SSH-2.0-OpenSSH\r\n", spelling),
    ] {
        let door = Door::saying(answer).await;
        let world = World::with(|_| by(&door.url()), Names::at(&[&["127.0.0.1"]])).await;
        let row = Row { port: 443, ..world.named(HOST) };
        expected.check(answer, TokenIssued, &row.issue().await.err().unwrap());
        assert_eq!(
            (door.knocks().await, world.cloud.ledger(|ledger| ledger.connections)),
            (1, 0),
            "no connection bypasses the proxy"
        );
        assert!(door.heard().starts_with(&format!("CONNECT {HOST}:443 HTTP/1.1\r\n")), "{}", door.heard());
    }
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let world = World::with(|_| by(&format!("http://{closed}")), Names::at(&[&["127.0.0.1"]])).await;
    spelling.check("not there", TokenIssued, &world.row().issue().await.err().unwrap());
    // The fake's proxy connects only to its own tenants.
    let world = proxied(Names::at(&[&["127.0.0.1"]])).await;
    let nobody = request_token(&world.https, &request("https://nobody.eu.qlikcloud.com"), clock()).await;
    spelling.check("an unknown name", TokenIssued, &nobody.err().unwrap());
    assert_eq!(tunnels(&world.cloud), (0, 1));
}

#[tokio::test]
async fn the_proxys_credentials_are_sent_only_to_the_proxy() {
    let door = Door::saying("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
    let url = door.url().replace("http://", "http://planted-proxy-user:planted-proxy-p%40ss@");
    let world = World::with(|_| by(&url), Names::at(&[&["127.0.0.1"]])).await;
    let row = Row { port: 443, ..world.named(HOST) };
    let failure = row.issue().await.err().unwrap();
    waits(TenantUnreachable, "Set valid proxy credentials in the operator's HTTPS_PROXY").check(
        "wrong credentials",
        TokenIssued,
        &failure,
    );
    // Base64 of `planted-proxy-user:planted-proxy-p@ss`.
    let expected = "proxy-authorization: Basic cGxhbnRlZC1wcm94eS11c2VyOnBsYW50ZWQtcHJveHktcEBzcw==";
    assert!(door.heard().to_ascii_lowercase().contains(&expected.to_ascii_lowercase()), "{}", door.heard());
    assert!(!door.heard().contains("planted-client"), "the credential is sent only through the tunnel");
    // With a proxy that accepts the credentials, the tenant does not receive them.
    let world = World::with(
        |cloud| by(&cloud.proxy_url().replace("http://", "http://planted-proxy-user:planted-proxy-pass@")),
        Names::at(&[&["127.0.0.1"]]),
    )
    .await;
    let row = Row { port: 443, ..world.named(HOST) };
    row.ask().await.unwrap();
    world.cloud.ledger(|ledger| {
        assert_eq!(ledger.at(Route::Token), 1);
        assert!(ledger.records.iter().all(|record| !record.headers.contains_key("proxy-authorization")));
        assert!(ledger.records.iter().all(|record| !format!("{:?}", record.headers).contains("planted-proxy")));
    });
}

#[tokio::test]
async fn a_host_in_no_proxy_is_reached_directly_and_its_address_is_checked() {
    let door = Door::open().await;
    let names = Names::at(&[&["127.0.0.1"]]);
    for (except, by_proxy) in [
        ("qlikcloud.com", false),
        (".eu.qlikcloud.com", false),
        (HOST, false),
        ("*", false),
        ("example.com, qlikcloud.com", false),
        ("cloud.com", true),
        ("acme.eu.qlikcloud.com.evil", true),
        ("127.0.0.0/8", true),
    ] {
        let proxies = || Matcher::builder().https(door.url()).no(except.to_owned()).build();
        let world = World::with(|_| proxies(), names.clone()).await;
        let row = world.named(HOST);
        let before = door.knocks().await;
        assert_eq!(row.issue().await.is_err(), by_proxy, "{except}");
        assert_eq!(door.knocks().await > before, by_proxy, "{except}");
        if !by_proxy {
            let guarded = https(proxies(), names.clone(), AddressPolicy::PublicOnly, Some(&world.cloud));
            let failure = request_token(&guarded, &row.request(), clock()).await.err().unwrap();
            stalls(AddressNotPublic, "not public").check(except, TokenIssued, &failure);
        }
    }
}

#[tokio::test]
async fn a_proxy_for_plain_http_only_is_not_used() {
    let door = Arc::new(Door::open().await);
    let at = door.clone();
    let world = World::with(move |_| Matcher::builder().http(at.url()).build(), Names::at(&[&["127.0.0.1"]])).await;
    world.row().ask().await.unwrap();
    assert_eq!(door.knocks().await, 0);
}

/// Marks this process as the child of the test below.
const CHILD: &str = "QLIK_CONTEXT_TEST_CHILD";

#[tokio::test]
async fn the_environment_sets_the_proxy_and_its_exceptions() {
    let names = Names::at(&[&["127.0.0.1"]]);
    if std::env::var_os(CHILD).is_some() {
        // Built as in the operator, in a process whose environment the test sets.
        log::listen();
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let transport = Https::new(names, AddressPolicy::PrivateToo, None).unwrap();
        let failure =
            request_token(&transport, &request("https://acme.eu.qlikcloud.com"), clock()).await.err().unwrap();
        assert_eq!(failure.reason, TenantUnreachable);
        return log::nothing_leaked();
    }
    let past = "example.com,.qlikcloud.com";
    for (variables, by_proxy) in [
        (&[("HTTPS_PROXY", "DOOR")][..], true),
        (&[("https_proxy", "DOOR")], true),
        (&[("ALL_PROXY", "DOOR")], true),
        (&[("HTTP_PROXY", "DOOR")], false),
        (&[("HTTPS_PROXY", "DOOR"), ("NO_PROXY", past)], false),
        (&[("HTTPS_PROXY", "DOOR"), ("no_proxy", past)], false),
        (&[], false),
    ] {
        let door = Door::saying("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
        let url = door.url().replace("http://", "http://planted-proxy-user:planted-proxy-pass@");
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "proxy::the_environment_sets_the_proxy_and_its_exceptions"]).env_clear().env(CHILD, "1");
        child.envs(variables.iter().map(|(name, value)| (*name, value.replace("DOOR", &url))));
        let ended = tokio::task::spawn_blocking(move || child.output()).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success() && said.contains("1 passed"), "{variables:?}: {said}");
        assert_eq!(door.knocks().await > 0, by_proxy, "{variables:?}");
    }
}

fn clock() -> qlik_context_operator::clock::Timestamp {
    qlik_context_operator::clock::Clock::system().now()
}
