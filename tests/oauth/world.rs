//! A fake cloud over TLS, a transport to it, and a tenant for every row of a table, so that rows can run concurrently.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use hyper_util::client::proxy::matcher::Matcher;
use qlik_context_operator::api::{ConditionType, Reason};
use qlik_context_operator::clock::{Clock, Timestamp};
use qlik_context_operator::error::Failure;
use qlik_context_operator::oauth::address::AddressPolicy;
use qlik_context_operator::oauth::https::{Https, Resolver};
use qlik_context_operator::oauth::identity::{self, Identity, Subject};
use qlik_context_operator::oauth::request::{Credential, Grant, TokenRequest};
use qlik_context_operator::oauth::tenant::TenantUrl;
use qlik_context_operator::oauth::token::{AccessToken, Token};
use qlik_context_operator::oauth::token_endpoint;
use qlik_context_operator::oauth::transport::Transport;
use qlik_context_operator::tenant_failure;
use support::planted::Planted;
use support::tenant::{Client, Fault, Handshake, MADE_SECRET, QlikCloud, Route, Script, Tenant};

use crate::log;

/// Texts that must not occur in a message or in the log. The last one is the prefix of every token of the fake tenant,
/// and one of them the prefix of every secret that it creates.
pub static PLANTED: LazyLock<Planted> = LazyLock::new(|| {
    let token = "eyJhbGciOiJFUzM4NCIsImtpZCI6";
    Planted::new(&[CLIENT_ID, CLIENT_SECRET, MADE_SECRET, "planted-token", "planted-proxy", token]).unwrap()
});
/// Has no eight characters in common with the secret, because the tenant uses it as the name of the client.
pub const CLIENT_ID: &str = "82e0planted7f";
pub const CLIENT_SECRET: &str = "planted-client-secret-0123456789abcdef";

/// Resolves every name to the same lists of addresses, one after the other, and counts the requests.
#[derive(Clone)]
pub struct Names {
    answers: Arc<Vec<Vec<IpAddr>>>,
    asked: Arc<AtomicUsize>,
}

impl Names {
    pub fn at(answers: &[&[&str]]) -> Self {
        let parse = |list: &&[&str]| list.iter().map(|address| address.parse().unwrap()).collect();
        Self { answers: Arc::new(answers.iter().map(parse).collect()), asked: Arc::default() }
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Resolver for Names {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, std::io::Result<Vec<IpAddr>>> {
        let turn = self.asked.fetch_add(1, Ordering::SeqCst).min(self.answers.len() - 1);
        let answer = self.answers[turn].clone();
        Box::pin(async move { Ok(answer) })
    }
}

/// One cloud, and the operator's transport to it.
pub struct World {
    pub cloud: QlikCloud,
    pub https: Https,
    rows: Mutex<usize>,
}

impl World {
    /// Every name resolves to the cloud. Its address is private, and private addresses are allowed.
    pub async fn new() -> Self {
        Self::with(|_| Matcher::builder().build(), Names::at(&[&["127.0.0.1"]])).await
    }

    pub async fn meeting(handshake: Handshake) -> Self {
        let world = Self::new().await;
        world.cloud.show(handshake);
        world
    }

    pub async fn with(proxies: impl FnOnce(&QlikCloud) -> Matcher, names: impl Resolver) -> Self {
        log::listen();
        let cloud = QlikCloud::start().await.unwrap();
        let proxies = proxies(&cloud);
        Self::of(cloud, proxies, names)
    }

    /// A world with a running cloud.
    pub fn of(cloud: QlikCloud, proxies: Matcher, names: impl Resolver) -> Self {
        let https = https(proxies, names, AddressPolicy::PrivateToo, Some(&cloud));
        Self { cloud, https, rows: Mutex::default() }
    }

    /// A new tenant, with the client that sends every request.
    pub fn row(&self) -> Row<'_> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        *rows += 1;
        self.named(&format!("row{rows}.eu.qlikcloud.com"))
    }

    pub fn named(&self, host: &str) -> Row<'_> {
        let tenant = self.cloud.tenant(host);
        tenant.add_client(Client::new(CLIENT_ID).secret(CLIENT_SECRET));
        Row { world: self, tenant, port: self.cloud.address().port() }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            log::nothing_leaked();
        }
    }
}

/// A transport over TLS that trusts the cloud, if there is one.
pub fn https(proxies: Matcher, names: impl Resolver, policy: AddressPolicy, cloud: Option<&QlikCloud>) -> Https {
    log::listen();
    // The provider that the program installs at its start.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let authority = cloud.map(QlikCloud::ca_pem);
    Https::through(proxies, names, policy, authority.as_ref().map(String::as_bytes)).unwrap()
}

/// Requests a token. A failure has the text that users see.
pub async fn request_token(
    transport: &dyn Transport,
    request: &TokenRequest,
    now: Timestamp,
) -> Result<Token, Failure> {
    let token = token_endpoint::request_token(transport, request, now, || true).await;
    token.map_err(|error| tenant_failure::of_token_request(request, error))
}

/// Verifies a token. A failure has the text that users see.
pub async fn who_is(transport: &dyn Transport, subject: Subject<'_>, token: &AccessToken) -> Result<Identity, Failure> {
    let identity = identity::who_is(transport, subject, token).await;
    identity.map_err(|error| tenant_failure::of_verification(subject, error))
}

/// One line of a table: its tenant.
pub struct Row<'w> {
    pub world: &'w World,
    pub tenant: Tenant,
    pub port: u16,
}

impl Row<'_> {
    /// Adds a fault for this tenant only.
    pub fn script(&self, route: Route, fault: Fault) -> &Self {
        self.world.cloud.script(Script::at(route, fault).host(self.tenant.host()));
        self
    }

    pub fn request(&self) -> TokenRequest {
        let port = if self.port == 443 { String::new() } else { format!(":{}", self.port) };
        request(&format!("https://{}{port}", self.tenant.host()))
    }

    /// The tenant's URL in the operator's type.
    pub fn url(&self) -> TenantUrl {
        self.request().tenant
    }

    /// An API key of an administrator.
    pub fn admin(&self) -> AccessToken {
        let key = self.tenant.api_key("auth0|admin", Duration::from_hours(1));
        self.tenant.edit_user("auth0|admin", |user| user.admin = true);
        AccessToken::parse(&key).unwrap()
    }

    pub async fn issue(&self) -> Result<Token, Failure> {
        request_token(&self.world.https, &self.request(), Clock::system().now()).await
    }

    pub async fn verify(&self, token: &AccessToken) -> Result<Identity, Failure> {
        who_is(&self.world.https, Subject::Request(&self.request()), token).await
    }

    /// Requests a token and verifies it.
    pub async fn ask(&self) -> Result<Identity, Failure> {
        let token = self.issue().await?;
        self.verify(&token.access_token).await
    }

    /// The number of requests to a route of this tenant.
    pub fn asked(&self, route: Route) -> usize {
        let host = self.tenant.host();
        let here = |ledger: &support::tenant::Ledger| {
            ledger.records.iter().filter(|record| record.host == host && record.route == route).count()
        };
        self.world.cloud.ledger(here)
    }
}

pub fn request(url: &str) -> TokenRequest {
    TokenRequest {
        tenant: url.parse().unwrap(),
        grant: Grant::ClientCredentials,
        scopes: BTreeSet::from(["user_default".to_owned()]),
        credential: Credential::ClientSecret { client_id: CLIENT_ID.into(), client_secret: CLIENT_SECRET.into() },
    }
}

/// The failure that a row expects.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    reason: Reason,
    /// Whether a person has to act.
    stalled: bool,
    /// A word of the message.
    says: &'static str,
}

/// A retry does not help.
pub fn stalls(reason: Reason, says: &'static str) -> Expected {
    Expected { reason, stalled: true, says }
}

/// The operator retries automatically.
pub fn waits(reason: Reason, says: &'static str) -> Expected {
    Expected { reason, stalled: false, says }
}

impl Expected {
    /// Compares the failure, and checks that it contains no secret.
    pub fn check(self, row: &str, condition: ConditionType, failure: &Failure) {
        let Failure { reason, stalled, message, trace_id, .. } = failure;
        assert_eq!((failure.condition, *reason, *stalled), (condition, self.reason, self.stalled), "{row}: {message}");
        assert!(message.contains(self.says), "{row}: no {:?} in: {message}", self.says);
        assert!(message.ends_with('.') && message.len() <= 512, "{row}: {message}");
        assert!(message.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{row}: {message}");
        assert!(!message.contains(".eu.qlikcloud.com"), "{row}: {message}");
        for text in [Some(message), trace_id.as_ref()].into_iter().flatten() {
            assert_eq!(PLANTED.found(text), None, "{row}: {text}");
        }
        log::nothing_leaked();
    }
}
