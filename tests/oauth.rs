//! The way to a tenant over real TLS: what arrives, what is refused, and what never gets a connection.

#![expect(clippy::unwrap_used, reason = "a test says no by panicking")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use qlik_context_operator::api::Reason;
use qlik_context_operator::clock::{Clock, Jitter};
use qlik_context_operator::error::Failure;
use qlik_context_operator::metrics::Metrics;
use qlik_context_operator::oauth::address::AddressPolicy;
use qlik_context_operator::oauth::cache::{Asker, NotYet, TokenCache};
use qlik_context_operator::oauth::https::{Https, Resolver};
use qlik_context_operator::oauth::request::{Credential, Grant, TokenRequest};
use qlik_context_operator::oauth::token::VerifiedToken;
use qlik_context_operator::oauth::traffic::{Limits, Traffic};
use support::tenant::{Client, Fault, FaultBody, Handshake, Hop, Pacing, QlikCloud, Route, Script, Tenant, UserShape};

const NAME: &str = "acme.eu.qlikcloud.com";

/// Answers every name with the same addresses, one list after the other, and counts.
#[derive(Clone)]
struct Fixed {
    answers: Arc<Vec<Vec<IpAddr>>>,
    asked: Arc<AtomicUsize>,
}

impl Fixed {
    fn answers(answers: &[&[&str]]) -> Self {
        let parse = |list: &&[&str]| list.iter().map(|address| address.parse().unwrap()).collect();
        Self { answers: Arc::new(answers.iter().map(parse).collect()), asked: Arc::default() }
    }
}

impl Resolver for Fixed {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, std::io::Result<Vec<IpAddr>>> {
        let turn = self.asked.fetch_add(1, Ordering::SeqCst).min(self.answers.len() - 1);
        let answer = self.answers[turn].clone();
        Box::pin(async move { Ok(answer) })
    }
}

struct Case {
    cloud: QlikCloud,
    tenant: Tenant,
    resolver: Fixed,
    policy: AddressPolicy,
}

impl Case {
    async fn new() -> Self {
        // The provider that the program installs first thing.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let cloud = QlikCloud::start().await.unwrap();
        let tenant = cloud.tenant(NAME);
        tenant.add_client(Client::new("id").secret("s3cret-of-the-client"));
        Self { cloud, tenant, resolver: Fixed::answers(&[&["127.0.0.1"]]), policy: AddressPolicy::PrivateToo }
    }

    fn url(&self) -> String {
        format!("https://{NAME}:{}", self.cloud.address().port())
    }

    async fn ask(&self) -> Result<Arc<VerifiedToken>, Failure> {
        self.ask_at(&self.url()).await
    }

    async fn ask_at(&self, url: &str) -> Result<Arc<VerifiedToken>, Failure> {
        let transport = Https::new(self.resolver.clone(), self.policy, Some(self.cloud.ca_pem().as_bytes())).unwrap();
        let metrics = Arc::new(Metrics::new());
        let traffic = Traffic::new(Limits::default(), metrics.clone());
        let wake = Box::new(|_| ());
        let tokens = TokenCache::new(Arc::new(transport), traffic, wake, Clock::system(), Jitter::fixed(0.0), metrics);
        let request = TokenRequest {
            tenant: url.parse().unwrap(),
            grant: Grant::ClientCredentials,
            scopes: ["user_default".to_owned()].into(),
            credential: Credential::ClientSecret {
                client_id: "id".into(),
                client_secret: "s3cret-of-the-client".into(),
            },
        };
        match tokens.obtain(&request, Asker::default(), None, |_, _| true).await {
            Ok(token) => Ok(token),
            Err(NotYet::Failed(setback)) => Err(setback.failure),
            Err(NotYet::Waits(wait)) => unreachable!("nobody else asks: {wait:?}"),
        }
    }

    fn connections(&self) -> u64 {
        self.cloud.ledger(|ledger| ledger.connections)
    }
}

#[tokio::test]
async fn a_token_is_issued_and_its_bot_confirmed() {
    let case = Case::new().await;
    let token = case.ask().await.unwrap();
    assert_eq!(token.identity.tenant_id, case.tenant.id());
    assert_eq!(token.identity.subject, "qlikbot\\id");
    assert_eq!(token.token.scopes.as_deref(), Some(&["user_default".to_owned()][..]));
    let life = token.token.expires_at.unwrap().duration_since(token.token.issued_at);
    assert_eq!(life.as_secs(), 21600);
}

#[tokio::test]
async fn what_goes_wrong_on_the_way_has_its_reason_and_its_cure() {
    for (handshake, reason, says) in [
        (Handshake::UnknownAuthority, Reason::TenantUnreachable, "--tenant-ca-file"),
        (Handshake::Expired, Reason::TenantUnreachable, "expired"),
        (Handshake::WrongName, Reason::TenantUnreachable, "another host name"),
        (Handshake::Garbage, Reason::TenantUnreachable, "TLS"),
        (Handshake::Hangup, Reason::TenantUnreachable, "connection"),
    ] {
        let case = Case::new().await;
        case.cloud.show(handshake);
        let failure = case.ask().await.err().unwrap();
        assert_eq!(failure.reason, reason, "{handshake:?}: {}", failure.message);
        assert!(failure.message.contains(says), "{handshake:?}: {}", failure.message);
        assert!(!failure.message.contains(NAME), "no address in a message of the transport");
    }
}

#[tokio::test]
async fn what_a_tenant_answers_instead_of_a_token_has_its_reason() {
    for (route, fault, reason) in [
        (Route::Token, Fault::Answer { status: 200, body: FaultBody::Html }, Reason::UnexpectedResponse),
        (Route::Token, Fault::Answer { status: 200, body: FaultBody::Huge }, Reason::UnexpectedResponse),
        (Route::Token, Fault::Answer { status: 200, body: FaultBody::Truncated }, Reason::UnexpectedResponse),
        (Route::Token, Fault::Answer { status: 503, body: FaultBody::Html }, Reason::TenantUnavailable),
        (Route::Token, Fault::Answer { status: 401, body: FaultBody::Echo }, Reason::InvalidClient),
        (
            Route::Token,
            Fault::Redirect { status: 307, location: format!("https://{NAME}/elsewhere") },
            Reason::UnexpectedResponse,
        ),
        (Route::Token, Fault::Delivery(Pacing::Endless), Reason::UnexpectedResponse),
        (Route::Token, Fault::Delivery(Pacing::Reset { after: 20 }), Reason::TenantUnreachable),
        (Route::Token, Fault::ExpiresIn(5.into()), Reason::LifetimeTooShort),
        (Route::Token, Fault::DeadToken, Reason::TokenRejected),
        (Route::UsersMe, Fault::Hop(Hop::OtherHost("evil.example".into())), Reason::UnexpectedResponse),
        (Route::UsersMe, Fault::Hop(Hop::Downgrade), Reason::UnexpectedResponse),
        (Route::UsersMe, Fault::Hop(Hop::Loop), Reason::UnexpectedResponse),
        (Route::UsersMe, Fault::Hop(Hop::Nowhere), Reason::UnexpectedResponse),
        (Route::User, Fault::Answer { status: 403, body: FaultBody::Qlik }, Reason::AccessDenied),
    ] {
        let case = Case::new().await;
        let described = format!("{route:?} {fault:?}");
        case.cloud.script(Script::at(route, fault));
        let Err(failure) = case.ask().await else { panic!("{described}: a token") };
        assert_eq!(failure.reason, reason, "{described}: {}", failure.message);
        assert!(!failure.message.contains("s3cret-of"), "{described}: {}", failure.message);
    }
}

#[tokio::test]
async fn users_me_is_followed_where_the_contract_leads() {
    for fault in [
        Fault::Hop(Hop::Direct),
        Fault::Hop(Hop::Absolute),
        Fault::User(UserShape::Minimal),
        Fault::User(UserShape::Extended),
    ] {
        let case = Case::new().await;
        let route = if matches!(fault, Fault::User(_)) { Route::User } else { Route::UsersMe };
        case.cloud.script(Script::at(route, fault.clone()));
        assert!(case.ask().await.is_ok(), "{fault:?}");
    }
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_gets_no_connection() {
    for answers in [&["127.0.0.1"][..], &["18.200.1.1", "127.0.0.1"], &["::ffff:127.0.0.1"]] {
        let mut case = Case::new().await;
        case.policy = AddressPolicy::PublicOnly;
        case.resolver = Fixed::answers(&[answers]);
        let failure = case.ask().await.err().unwrap();
        assert_eq!(failure.reason, Reason::AddressNotPublic, "{}", failure.message);
        assert_eq!(case.connections(), 0);
    }
}

#[tokio::test]
async fn a_name_is_resolved_once_for_the_address_that_is_connected_to() {
    let mut case = Case::new().await;
    // Were it asked again between the check and the connection, the second answer would be used unchecked.
    case.resolver = Fixed::answers(&[&["127.0.0.1"], &["169.254.169.254"]]);
    case.ask().await.unwrap();
    assert_eq!(case.resolver.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_address_written_out_is_judged_too() {
    let mut case = Case::new().await;
    case.policy = AddressPolicy::PublicOnly;
    let url = format!("https://{}:{}", Ipv4Addr::LOCALHOST, case.cloud.address().port());
    let failure = case.ask_at(&url).await.err().unwrap();
    assert_eq!(failure.reason, Reason::AddressNotPublic, "{}", failure.message);
    assert_eq!(case.connections(), 0);
}
