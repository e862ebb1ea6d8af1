//! `/api/v1/oauth-clients` (<https://qlik.dev/apis/rest/oauth-clients>): permissions, and operations on clients.
//!
//! Strict like the rest of this fake: unknown members, parameters and paths are rejected, and so is an operation of a
//! patch on a missing member. The order of checks is: token, rate limit, permission, shape, client. A client that was
//! created here works like any other: once it is trusted, it gets tokens with each of its secrets and keys, until it is
//! deleted. Its bot stays.
//!
//! # Controls
//!
//! - **Permissions**: the user or bot of the token has to be an administrator ([`User::admin`](super::User::admin);
//!   bots are, people become one by `tenant.edit_user(subject, |user| user.admin = true)`), and the token of a client
//!   needs the scope `admin_classic` (`Client::new(..).scopes(&["admin_classic", ..])`); otherwise 403. A revoked or
//!   unknown token, or a user who is not active: 401. `tenant.api_key(subject, life)` creates an API key.
//! - **Undocumented behaviour**: [`Tenant::choose`](super::Tenant::choose) changes the [`ClientsApi`] of a tenant:
//!   consent at creation accepted, rejected or ignored; a secret for a client with a key absent, empty or created; keys
//!   in a PATCH as objects, texts or both; the delay until the token endpoint accepts a new secret or key; whether the
//!   response to a creation has the hint; the rate limits (100 writes and 1000 reads a minute and user; more get 429
//!   with `retry-after` until the first request is a minute old).
//! - **Limits**: five secrets of a client and 200 clients of a tenant, then 409. The 409 for clients is invented.
//! - **Faults**: [`Script::at`](super::Script::at) with a [`Route`] of this API. Rejected and not processed:
//!   `Fault::Answer { status, .. }`, `Fault::RateLimited`, `Fault::Says`. Processed, with the response lost:
//!   `Fault::Delivery(Pacing::Hangup)` (the connection closes), `Pacing::Silent` (no response until the caller times
//!   out) or `Pacing::Reset { after }` (truncated). Delayed: `Pacing::Late { millis }`. A fault is selected by route,
//!   by the client whose token is used, by host and by number of requests.
//! - **Changes by hand**: [`Tenant::edit_client`](super::Tenant::edit_client), `remove_client`, `add_client`, and
//!   [`Tenant::clients`](super::Tenant::clients) to read all. A secret is `client.secrets`; its hint is
//!   [`Client::hints`](super::Client::hints).
//! - **Ledger**: every request is in `records` and counted by route. [`Ledger::done`](super::Ledger::done) counts the
//!   processed ones, whether or not the response arrived.
//! - **Leaks**: every secret created here has the prefix [`MADE_SECRET`], for searches.

mod choices;
mod document;
mod jwk;
mod limits;
mod list;
mod members;
mod patch;

use std::time::SystemTime;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

pub use self::choices::{ClientsApi, ConsentAtCreation, KeysTaken, SecretBesideKey};
pub(super) use self::document::hint_of;
pub(super) use self::limits::{Calls, Tier};

use super::account::Account;
use super::client::{AuthMethod, Client, Consent};
use super::clock::Clock;
use super::fields::{Fields, one_header};
use super::mint::Mint;
use super::refusal::{Refusal, Refused};
use super::reply::Reply;
use super::routes::Route;
use super::users::UserStatus;

/// The prefix of every secret that the API creates.
pub const MADE_SECRET: &str = "planted-made-";

/// The maximum number of secrets of a client.
const SECRETS: usize = 5;
/// The maximum number of clients of a tenant.
const CLIENTS: usize = 200;

/// A request to this API.
pub(super) struct ClientsEndpoint<'a> {
    pub(super) mint: &'a Mint,
    pub(super) clock: &'a Clock,
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
}

fn malformed(detail: &'static str) -> Refused {
    Refusal::Malformed.because(detail)
}

impl ClientsEndpoint<'_> {
    pub(super) fn answer(&self, route: Route, account: &mut Account) -> Result<Reply, Refused> {
        self.authorize(route, account)?;
        if route != Route::ListClients && !self.query.is_empty() {
            return Err(malformed("there are no parameters here"));
        }
        let has_body = matches!(route, Route::CreateClient | Route::PatchClient | Route::SetConsent);
        if has_body == self.body.is_empty() {
            return Err(malformed("a body is missing, or there is one that is not wanted"));
        }
        match route {
            Route::ListClients => list::answer(account, self.host, self.query),
            Route::CreateClient => self.create(account),
            Route::GetClient => Ok(Reply::json(StatusCode::OK, &document::whole(self.client(account)?))),
            Route::PatchClient => self.patch(account),
            Route::DeleteClient => self.delete(account),
            Route::AddSecret => self.add_secret(account),
            Route::DeleteSecret => self.delete_secret(account),
            Route::GetConsent => {
                let consent = self.client(account)?.consent;
                Ok(Reply::json(StatusCode::OK, &json!({"consentMethod": consent, "status": "approved"})))
            }
            Route::SetConsent => {
                let client = self.client(account)?;
                self.is_json()?;
                client.consent = patch::consent(self.body)?;
                Ok(nothing())
            }
            Route::RemoveConsent => {
                self.client(account)?.consent = Consent::Required;
                Ok(nothing())
            }
            _ => Err(Refusal::NotFound.into()),
        }
    }

    /// Checks token, rate limit and permission.
    fn authorize(&self, route: Route, account: &mut Account) -> Result<(), Refused> {
        let issued = account.bearer(self.headers)?.clone();
        let user = account.users.get(&issued.user_id).cloned();
        let user = user.filter(|user| user.status == UserStatus::Active);
        let user = user.ok_or(Refusal::InvalidToken.because("the user is not active"))?;
        let is_read = matches!(route, Route::ListClients | Route::GetClient | Route::GetConsent);
        let (tier, limit) = if is_read {
            (Tier::Reads, account.clients_api.reads_per_minute)
        } else {
            (Tier::Writes, account.clients_api.writes_per_minute)
        };
        let admitted = account.calls.admit(&user.id, tier, limit, self.clock.unix());
        admitted.map_err(|seconds| Refused { wait: Some(seconds), ..Refusal::RateLimited.into() })?;
        let has_scope = issued.client_id.is_none() || issued.scope.split(' ').any(|scope| scope == "admin_classic");
        if user.admin && has_scope { Ok(()) } else { Err(Refusal::Forbidden.into()) }
    }

    /// The client of the path.
    fn client<'c>(&self, account: &'c mut Account) -> Result<&'c mut Client, Refused> {
        account.clients.get_mut(self.segment(3)).ok_or(Refusal::NotFound.into())
    }

    fn segment(&self, n: usize) -> &str {
        self.path.trim_start_matches('/').split('/').nth(n).unwrap_or_default()
    }

    fn is_json(&self) -> Result<(), Refused> {
        let given = one_header(self.headers, &CONTENT_TYPE)?.unwrap_or_default();
        let media_type = given.split(';').next().unwrap_or_default().trim();
        let known = ["application/json", "application/json-patch+json"];
        if known.contains(&media_type) { Ok(()) } else { Err(malformed("the content type is not JSON")) }
    }

    fn create(&self, account: &mut Account) -> Result<Reply, Refused> {
        self.is_json()?;
        let fields = Fields::read(self.headers, self.body)?;
        let choices = account.clients_api.clone();
        let mut client = Client {
            name: String::new(),
            allowed_scopes: Vec::new(),
            allowed_grants: Vec::new(),
            consent: Consent::Required,
            created: Some(self.clock.now()),
            ..Client::new(&self.mint.trace_id())
        };
        fields.required("appType")?.clone_into(&mut client.app_type);
        if !["web", "native", "spa", "anonymous-embed"].contains(&&*client.app_type) {
            return Err(malformed("appType is not one"));
        }
        fields.required("clientName")?;
        for (name, value) in fields.all().filter(|(name, _)| *name != "appType") {
            if name == "connectionConfig" {
                client.consent = consent_at_creation(value, choices.consent_at_creation)?;
            } else {
                // The schema has objects here. Only the format in a patch is unclear.
                members::set(&mut client, name, value, KeysTaken::AsObjects)?;
            }
        }
        members::check(&client)?;
        if account.clients.len() >= CLIENTS {
            return Err(Refusal::TooManyClients.because("max number of clients is 200"));
        }
        self.keys_become_good(&mut client, &[], &choices);
        let by_secret = client.auth_methods.contains(&AuthMethod::ClientSecret);
        let made = by_secret || choices.secret_beside_key == SecretBesideKey::Made;
        let secret = made.then(|| self.make_secret(&mut client, &choices));
        let mut answer = document::summary(&client);
        if let Some(secret) = secret {
            if choices.tells_hint_at_creation {
                answer["clientSecretHint"] = json!(hint_of(&secret));
            }
            answer["clientSecret"] = json!(secret);
        } else if choices.secret_beside_key == SecretBesideKey::Empty {
            answer["clientSecret"] = json!("");
        }
        account.clients.insert(client.client_id.clone(), client);
        Ok(Reply::json(StatusCode::CREATED, &answer))
    }

    fn patch(&self, account: &mut Account) -> Result<Reply, Refused> {
        let choices = account.clients_api.clone();
        let current = self.client(account)?;
        self.is_json()?;
        let mut client = patch::client(current, self.body, choices.keys_taken)?;
        self.keys_become_good(&mut client, &current.public_keys, &choices);
        let needs_secret = client.auth_methods.contains(&AuthMethod::ClientSecret)
            && !current.auth_methods.contains(&AuthMethod::ClientSecret)
            && client.secrets.is_empty();
        let secret = needs_secret.then(|| self.make_secret(&mut client, &choices));
        *current = client;
        Ok(match secret {
            Some(secret) => Reply::json(StatusCode::ACCEPTED, &json!({"clientSecret": secret})),
            None => nothing(),
        })
    }

    fn delete(&self, account: &mut Account) -> Result<Reply, Refused> {
        let client_id = self.client(account)?.client_id.clone();
        let name = http::HeaderName::from_static("qlik-confirm-delete");
        if one_header(self.headers, &name)? != Some(&client_id) {
            return Err(malformed("the header qlik-confirm-delete does not name the client"));
        }
        account.clients.remove(&client_id);
        Ok(nothing())
    }

    fn add_secret(&self, account: &mut Account) -> Result<Reply, Refused> {
        let choices = account.clients_api.clone();
        let client = self.client(account)?;
        if client.app_type != "web" {
            return Err(malformed("only web clients have secrets"));
        }
        if client.secrets.len() >= SECRETS {
            return Err(Refusal::TooManySecrets.because("max number of client secrets is 5"));
        }
        let secret = self.make_secret(client, &choices);
        let answer = json!({
            "clientId": client.client_id,
            "clientSecret": secret,
            "hint": hint_of(&secret),
            "createdAt": document::written(self.clock.now()),
        });
        Ok(Reply::json(StatusCode::CREATED, &answer))
    }

    fn delete_secret(&self, account: &mut Account) -> Result<Reply, Refused> {
        let client = self.client(account)?;
        let hint = self.segment(5);
        let named = client.secrets.iter().position(|secret| hint_of(secret) == hint);
        let secret = client.secrets.remove(named.ok_or(Refusal::NotFound)?);
        client.secrets_made.remove(&secret);
        Ok(nothing())
    }

    /// A secret whose hint differs from those of the client's other secrets.
    fn make_secret(&self, client: &mut Client, choices: &ClientsApi) -> String {
        let hints = client.hints();
        let secret = loop {
            let secret = format!("{MADE_SECRET}{}{}", self.mint.trace_id(), self.mint.trace_id());
            if !hints.contains(&hint_of(&secret)) {
                break secret;
            }
        };
        client.secrets.push(secret.clone());
        client.secrets_made.insert(secret.clone(), self.clock.now());
        client.good_from.insert(secret.clone(), self.good_from(choices));
        secret
    }

    /// The items that are not in the earlier list.
    fn keys_become_good(&self, client: &mut Client, before: &[super::client::PublicKey], choices: &ClientsApi) {
        for key in client.public_keys.iter().filter(|key| !before.contains(key)) {
            client.good_from.insert(key.kid.clone(), self.good_from(choices));
        }
    }

    fn good_from(&self, choices: &ClientsApi) -> SystemTime {
        self.clock.now() + choices.propagation
    }
}

fn nothing() -> Reply {
    Reply::new(StatusCode::NO_CONTENT, "application/json", "")
}

fn consent_at_creation(value: &Value, choice: ConsentAtCreation) -> Result<Consent, Refused> {
    if *value != json!({"consentMethod": "trusted"}) {
        return Err(malformed("connectionConfig takes the consentMethod trusted, and nothing else"));
    }
    match choice {
        ConsentAtCreation::Taken => Ok(Consent::Trusted),
        ConsentAtCreation::Refused => Err(malformed("connectionConfig is not taken here")),
        ConsentAtCreation::Ignored => Ok(Consent::Required),
    }
}
