//! Every failure without a response, on both routes.

use std::io::ErrorKind;

use futures::future::{BoxFuture, join_all};
use hyper_util::client::proxy::matcher::Matcher;
use qlik_context_operator::api::ConditionType::{self, TokenIssued, Verified};
use qlik_context_operator::api::Reason::{TenantUnreachable, UnexpectedResponse};
use qlik_context_operator::error::Failure;
use qlik_context_operator::oauth::https::Resolver;
use qlik_context_operator::oauth::token::AccessToken;
use support::tenant::{Fault, Handshake, Pacing, Route};
use tokio::time::Instant;

use crate::world::{Expected, Row, World, waits};

const ROUTES: [Route; 3] = [Route::Token, Route::UsersMe, Route::User];

fn condition(route: Route) -> ConditionType {
    if route == Route::Token { TokenIssued } else { Verified }
}

/// Both calls to a tenant that cannot be reached.
async fn both(name: &str, row: &Row<'_>, expected: Expected) {
    let token = AccessToken::parse("planted-token").unwrap();
    let (issue, verify) = tokio::join!(row.issue(), row.verify(&token));
    expected.check(name, TokenIssued, &issue.err().unwrap());
    expected.check(name, Verified, &verify.unwrap_err());
}

#[tokio::test]
async fn a_failed_tls_handshake_says_what_to_do() {
    let rows = [
        (Handshake::UnknownAuthority, "--tenant-ca-file"),
        (Handshake::Expired, "expired or not yet valid"),
        (Handshake::WrongName, "another host name"),
        (Handshake::Garbage, "the TLS handshake failed"),
        (Handshake::Hangup, "NetworkPolicy, firewall, proxy"),
    ];
    join_all(rows.map(async |(handshake, says)| {
        let world = World::meeting(handshake).await;
        both(&format!("{handshake:?}"), &world.row(), waits(TenantUnreachable, says)).await;
        assert_eq!(world.cloud.ledger(|ledger| ledger.requests), 0, "{handshake:?}: no request before the handshake");
        world.cloud.show(Handshake::Valid);
        assert!(world.row().ask().await.is_ok(), "{handshake:?}: works with a valid certificate");
    }))
    .await;
}

#[tokio::test]
async fn a_truncated_or_endless_response_is_a_failure() {
    let world = World::new().await;
    let broke = waits(TenantUnreachable, "broke off");
    let rows = [
        (Fault::Delivery(Pacing::Hangup), broke),
        (Fault::Delivery(Pacing::Reset { after: 0 }), broke),
        (Fault::Delivery(Pacing::Reset { after: 20 }), broke),
        (Fault::Delivery(Pacing::Endless), waits(UnexpectedResponse, "too large")),
        (Fault::ManyHeaders(100), waits(UnexpectedResponse, "not HTTP")),
    ];
    let world = &world;
    join_all(rows.into_iter().flat_map(|row| ROUTES.map(|route| (route, row.clone()))).map(
        async |(route, (fault, expected))| {
            let row = world.row();
            // The body of a redirect is not read.
            let bodiless =
                route == Route::UsersMe && matches!(fault, Fault::Delivery(Pacing::Reset { .. } | Pacing::Endless));
            match row.script(route, fault.clone()).ask().await {
                Err(failure) => expected.check(&format!("{route:?} {fault:?}"), condition(route), &failure),
                Ok(_) => assert!(bodiless, "{route:?} {fault:?}: a token"),
            }
        },
    ))
    .await;
}

#[tokio::test]
async fn consecutive_requests_reuse_connections_with_any_number_in_flight() {
    let world = World::new().await;
    let row = world.row();
    for _ in 0..4 {
        join_all((0..32).map(async |_| assert!(row.issue().await.is_ok()))).await;
    }
    let (requests, handshakes) = world.cloud.ledger(|ledger| (ledger.requests, ledger.handshakes));
    assert!(requests == 128 && handshakes <= 32, "{handshakes} handshakes for {requests} requests");
}

#[tokio::test]
async fn a_request_times_out_after_fifteen_seconds_and_a_handshake_after_five() {
    let (world, silent) = (World::new().await, World::meeting(Handshake::Silent).await);
    let deaf = World::with(|_| Matcher::builder().build(), Deaf).await;
    let late = waits(TenantUnreachable, "no answer in time");
    let answers = [
        Fault::Delivery(Pacing::Silent),
        Fault::Delivery(Pacing::Late { millis: 20_000 }),
        Fault::Delivery(Pacing::Trickle { bytes: 1, millis: 1000 }),
    ];
    let begun = Instant::now();
    let slow = answers.iter().flat_map(|fault| ROUTES.map(|route| (route, fault))).map(async |(route, fault)| {
        let row = world.row();
        let bodiless = route == Route::UsersMe && matches!(fault, Fault::Delivery(Pacing::Trickle { .. }));
        match row.script(route, fault.clone()).ask().await {
            Err(failure) => {
                late.check(&format!("{route:?} {fault:?}"), condition(route), &failure);
                let took = begun.elapsed();
                assert!((15..40).contains(&took.as_secs()), "{route:?} {fault:?}: {took:?}");
            }
            Ok(_) => assert!(bodiless, "{route:?} {fault:?}: a token"),
        }
    });
    let no_dns = waits(TenantUnreachable, "DNS gave an error, or no answer in time");
    let unconnected = [("a silent handshake", &silent, late, 5), ("a silent resolver", &deaf, no_dns, 4)];
    let unconnected = unconnected.map(async |(name, world, expected, least)| {
        both(name, &world.row(), expected).await;
        let took = begun.elapsed();
        assert!((least..15).contains(&took.as_secs()), "{name}: {took:?}");
    });
    tokio::join!(join_all(slow), join_all(unconnected));
}

#[tokio::test]
async fn a_tenant_that_does_not_exist_is_distinguished_from_an_invalid_name() {
    let world = World::new().await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let row = Row { port: closed, ..world.row() };
    both("no listener", &row, waits(TenantUnreachable, "refused")).await;
    let spelling = waits(TenantUnreachable, "does not resolve. Check the spelling of spec.tenantUrl");
    let dns = waits(TenantUnreachable, "DNS gave an error, or no answer in time. The operator retries");
    for (name, resolver, expected) in [
        ("no such name", Failing(Some(ErrorKind::NotFound)), spelling),
        ("no address", Failing(None), spelling),
        ("a server that fails", Failing(Some(ErrorKind::Other)), dns),
        ("a server that refuses", Failing(Some(ErrorKind::ConnectionRefused)), dns),
    ] {
        let world = World::with(|_| Matcher::builder().build(), resolver).await;
        both(name, &world.row(), expected).await;
        assert_eq!(world.cloud.ledger(|ledger| ledger.connections), 0);
    }
}

#[tokio::test]
async fn a_failure_affects_only_one_call() {
    let world = World::new().await;
    let row = world.row();
    for fault in [Fault::Delivery(Pacing::Hangup), Fault::Delivery(Pacing::Reset { after: 5 }), Fault::ManyHeaders(100)]
    {
        world.cloud.script(support::tenant::Script::at(Route::Token, fault).host(row.tenant.host()).once());
        let failure: Failure = row.issue().await.err().unwrap();
        assert!(!failure.stalled);
        assert!(row.ask().await.is_ok(), "{}", failure.message);
    }
    assert_eq!(row.asked(Route::Token), 6, "the client does not retry");
}

/// Resolves no name: returns no address, or this error.
struct Failing(Option<ErrorKind>);

impl Resolver for Failing {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, std::io::Result<Vec<std::net::IpAddr>>> {
        let answer = self.0.map_or(Ok(Vec::new()), |kind| Err(std::io::Error::new(kind, "planted-token")));
        Box::pin(async { answer })
    }
}

/// Never responds.
struct Deaf;

impl Resolver for Deaf {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, std::io::Result<Vec<std::net::IpAddr>>> {
        Box::pin(std::future::pending())
    }
}
