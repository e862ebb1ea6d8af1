//! A fake of Qlik Cloud: tenants that follow the documented API exactly, and reject what the real
//! ones reject.
//!
//! It gives the responses that <https://qlik.dev/apis/rest/oauth>,
//! <https://qlik.dev/apis/rest/users>, <https://qlik.dev/apis/rest/tenants> and
//! <https://qlik.dev/apis/rest/rate-limiting> document: status, headers and shape. Where they allow
//! several interpretations, it is strict: a client that works here sends nothing that the
//! documentation does not allow. What they do not specify is invented, and no code should depend on
//! it: the codes and titles of errors for a wrong id, secret, scope or consent (see [`Refusal`]), the
//! order of checks, and the tolerance for the times of an assertion.
//!
//! Faults can be set before HTTP ([`Handshake`]) and in HTTP ([`Script`]), and every request is
//! recorded ([`Ledger`]). It listens only on loopback, limits rates without a fault only in the OAuth
//! clients API, and never logs what it receives. The module `tenant/oauth_clients.rs` describes the
//! options of that API.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use support::tenant::{Client, Fault, RetryAfter, Route, Script, Tenant};
//!
//! let tenant = Tenant::start().await?;
//! tenant.add_client(Client::new("abc").secret("s3cret"));
//! let cloud = tenant.cloud();
//! cloud.script(Script::at(Route::Token, Fault::RateLimited(RetryAfter::Seconds(13))).once());
//! // … point a client at `tenant.url()` with `cloud.ca_pem()` as its only CA certificate …
//! assert_eq!(cloud.ledger(|ledger| ledger.by("abc", Route::Token)), 2);
//! # Ok(())
//! # }
//! ```

mod account;
mod assertion;
mod authority;
mod client;
mod clock;
mod cloud;
mod control;
mod delivery;
mod faults;
mod fields;
mod ledger;
mod mint;
mod oauth_clients;
mod origin;
mod proxy;
mod refusal;
mod reply;
mod routes;
mod server;
mod token_endpoint;
mod users;

use std::time::Duration;

use anyhow::Result;

pub use self::authority::Handshake;
pub use self::client::{Algorithm, AnswerShape, AuthMethod, Client, Consent, ExpiryFields, Grant, PublicKey};
pub use self::clock::Clock;
pub use self::cloud::{Builder, QlikCloud};
pub use self::delivery::ReplyBody;
pub use self::faults::{Fault, FaultBody, Hop, RetryAfter, Script};
pub use self::ledger::{Ledger, Record};
pub use self::oauth_clients::{ClientsApi, ConsentAtCreation, KeysTaken, MADE_SECRET, SecretBesideKey};
pub use self::refusal::Refusal;
pub use self::reply::{Pacing, Reply, StatusForm};
pub use self::routes::Route;
pub use self::users::{User, UserShape, UserStatus};

use self::account::{Account, Issued};

/// A handle to one tenant. It keeps its cloud running.
#[derive(Clone, Debug)]
pub struct Tenant {
    host: String,
    cloud: QlikCloud,
}

impl Tenant {
    /// A tenant alone on a new cloud, reached by its IP address.
    pub async fn start() -> Result<Self> {
        let cloud = QlikCloud::start().await?;
        Ok(cloud.tenant(&cloud.address().to_string()))
    }

    /// The cloud of the tenant.
    pub fn cloud(&self) -> &QlikCloud {
        &self.cloud
    }

    /// The host name, without a default port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The tenant's URL. An address is reached directly, a name through the proxy.
    pub fn url(&self) -> String {
        let address = self.cloud.address();
        let by_address = self.cloud.origin().name_of(&address.to_string()) == self.host;
        if by_address && address.port() != 443 {
            format!("https://{address}")
        } else {
            format!("https://{}", self.host)
        }
    }

    /// The tenant's id, which is always the same for a host name.
    pub fn id(&self) -> String {
        self.with(|account| account.id.clone())
    }

    /// Adds a client, or replaces the one with the same id.
    pub fn add_client(&self, client: Client) {
        self.with(|account| account.clients.insert(client.client_id.clone(), client));
    }

    /// Changes a client. False if there is none with this id.
    pub fn edit_client(&self, client_id: &str, edit: impl FnOnce(&mut Client)) -> bool {
        self.with(|account| account.clients.get_mut(client_id).map(edit).is_some())
    }

    /// The current clients, ordered by id.
    pub fn clients(&self) -> Vec<Client> {
        self.with(|account| account.clients.values().cloned().collect())
    }

    /// Sets the behaviour of the OAuth clients API where that is not documented.
    pub fn choose(&self, choose: impl FnOnce(&mut ClientsApi)) {
        self.with(|account| choose(&mut account.clients_api));
    }

    /// Removes a client. Its tokens stay valid.
    pub fn remove_client(&self, client_id: &str) {
        self.with(|account| account.clients.remove(client_id));
    }

    /// Adds an active user, or finds the one with this subject.
    pub fn add_user(&self, subject: &str, name: &str) -> User {
        self.with(|account| account.user(subject, name, None).clone())
    }

    /// The bot of a client, once its first token request has created it.
    pub fn bot(&self, client_id: &str) -> Option<User> {
        let is_bot = |user: &&User| user.client_id.as_deref() == Some(client_id);
        self.with(|account| account.users.values().find(is_bot).cloned())
    }

    /// Changes a user, found by id or subject. False if there is none.
    pub fn edit_user(&self, named: &str, edit: impl FnOnce(&mut User)) -> bool {
        let is_named = |user: &&mut User| user.id == named || user.subject == named;
        self.with(|account| account.users.values_mut().find(is_named).map(edit).is_some())
    }

    /// Adds an alias: one more host name of the same tenant.
    pub fn add_alias(&self, host: &str) {
        let alias = self.cloud.origin().name_of(host);
        self.with(|account| account.hostnames.push(alias));
    }

    /// Sets the format of the status in errors.
    pub fn write_status_as(&self, form: StatusForm) {
        self.with(|account| account.status_form = form);
    }

    /// A new API key of the user with this subject. The user is added if it does not exist.
    pub fn api_key(&self, subject: &str, lifetime: Duration) -> String {
        let mint = &self.cloud.origin().mint;
        self.with(|account| {
            let user = account.user(subject, subject, None).clone();
            account.keep(mint, Issued::api_key(&user, lifetime)).0
        })
    }

    /// Revokes a token or API key. False if this tenant did not issue it.
    pub fn revoke(&self, token: &str) -> bool {
        self.with(|account| account.revoke(token))
    }

    /// Revokes every token of this tenant.
    pub fn revoke_all(&self) {
        self.with(Account::revoke_all);
    }

    fn with<T>(&self, work: impl FnOnce(&mut Account) -> T) -> T {
        self.cloud.origin().with_account(&self.host, work)
    }
}
