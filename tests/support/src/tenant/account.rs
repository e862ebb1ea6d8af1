//! The state of one tenant: its names, clients, users, and issued tokens.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use tokio::time::Instant;

use super::assertion::OneUse;
use super::client::Client;
use super::fields::one_header;
use super::mint::{Mint, id_of};
use super::oauth_clients::{Calls, ClientsApi};
use super::refusal::{Refusal, Refused};
use super::reply::StatusForm;
use super::users::{User, UserStatus};

/// A tenant.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) id: String,
    /// The original host name first, then aliases.
    pub(super) hostnames: Vec<String>,
    pub(super) status_form: StatusForm,
    pub(super) clients: BTreeMap<String, Client>,
    pub(super) users: BTreeMap<String, User>,
    pub(super) clients_api: ClientsApi,
    /// Requests that count against rate limits.
    pub(super) calls: Calls,
    tokens: HashMap<String, Issued>,
    latest: HashMap<String, String>,
    /// Used assertions, by client id and `jti`, until they are too old to be accepted again.
    used: HashMap<(String, String), u64>,
}

/// An issued token.
#[derive(Clone, Debug)]
pub(super) struct Issued {
    /// The client that requested it. A user's API key has none.
    pub(super) client_id: Option<String>,
    pub(super) user_id: String,
    pub(super) scope: String,
    pub(super) expires: Instant,
    pub(super) revoked: bool,
}

impl Issued {
    pub(super) fn new(client: &Client, user: &User, scope: String) -> Self {
        Self {
            client_id: Some(client.client_id.clone()),
            scope,
            ..Self::api_key(user, Duration::from_secs(client.lifetime_seconds))
        }
    }

    /// An API key of a user: no client, no scopes, all permissions of the user
    /// (<https://qlik.dev/apis/rest/api-keys>).
    pub(super) fn api_key(user: &User, lifetime: Duration) -> Self {
        Self {
            client_id: None,
            user_id: user.id.clone(),
            scope: String::new(),
            expires: Instant::now() + lifetime.min(LONGEST_LIFE),
            revoked: false,
        }
    }

    /// The remaining lifetime.
    pub(super) fn left(&self) -> Duration {
        self.expires.saturating_duration_since(Instant::now())
    }
}

impl Account {
    pub(super) fn new(hostname: &str) -> Self {
        Self {
            id: id_of(hostname),
            hostnames: vec![hostname.to_owned()],
            status_form: StatusForm::default(),
            clients: BTreeMap::new(),
            users: BTreeMap::new(),
            clients_api: ClientsApi::default(),
            calls: Calls::default(),
            tokens: HashMap::new(),
            latest: HashMap::new(),
            used: HashMap::new(),
        }
    }

    /// Adds a user, or finds the one with this subject.
    pub(super) fn user(&mut self, subject: &str, name: &str, client_id: Option<&str>) -> &mut User {
        let id = id_of(&format!("{} {subject}", self.id));
        self.users.entry(id.clone()).or_insert_with(|| User {
            id,
            name: name.to_owned(),
            subject: subject.to_owned(),
            tenant_id: self.id.clone(),
            client_id: client_id.map(str::to_owned),
            status: UserStatus::Active,
            admin: client_id.is_some(),
        })
    }

    /// The bot of a client, which its first token request creates.
    pub(super) fn bot(&mut self, client: &Client) -> User {
        let subject = format!(r"qlikbot\{}", client.client_id);
        self.user(&subject, &client.name, Some(&client.client_id)).clone()
    }

    /// Creates and stores a token.
    pub(super) fn keep(&mut self, mint: &Mint, issued: Issued) -> (String, Issued) {
        let token = mint.access_token();
        if let Some(client_id) = issued.client_id.clone() {
            self.latest.insert(client_id, token.clone());
        }
        self.tokens.insert(token.clone(), issued.clone());
        (token, issued)
    }

    /// The latest token of this client.
    pub(super) fn latest(&self, client_id: &str) -> Option<(String, Issued)> {
        let token = self.latest.get(client_id)?;
        Some((token.clone(), self.tokens.get(token)?.clone()))
    }

    /// The token, if this tenant issued it.
    pub(super) fn token(&self, token: &str) -> Option<&Issued> {
        self.tokens.get(token)
    }

    /// The token of the `authorization` header, if it is valid now (RFC 6750 section 2.1).
    pub(super) fn bearer(&self, headers: &HeaderMap) -> Result<&Issued, Refused> {
        let invalid = |detail| Refusal::InvalidToken.because(detail);
        let token = bearer_of(headers).ok_or(invalid("JWT invalid or not provided"))?;
        let issued = self.tokens.get(token).ok_or(invalid("the token is not one of this tenant"))?;
        if issued.revoked {
            return Err(invalid("the token was revoked"));
        }
        if issued.left().is_zero() {
            return Err(invalid("the token expired"));
        }
        Ok(issued)
    }

    /// Revokes a token. False if this tenant did not issue it.
    pub(super) fn revoke(&mut self, token: &str) -> bool {
        let issued = self.tokens.get_mut(token);
        issued.map(|issued| issued.revoked = true).is_some()
    }

    /// Revokes every token.
    pub(super) fn revoke_all(&mut self) {
        for issued in self.tokens.values_mut() {
            issued.revoked = true;
        }
    }

    /// Records an assertion. False if it was used before.
    pub(super) fn first_use(&mut self, client_id: &str, once: OneUse, now: u64) -> bool {
        self.used.retain(|_, until| *until > now);
        self.used.insert((client_id.to_owned(), once.jti), once.until).is_none()
    }
}

/// A century, so that no clock overflows.
const LONGEST_LIFE: Duration = Duration::from_hours(100 * 365 * 24);

/// The token of a request, valid or not.
pub(super) fn bearer_of(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = one_header(headers, &AUTHORIZATION).ok()??.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}
