//! `POST /oauth/token` (<https://qlik.dev/apis/rest/oauth>): authenticates the client and issues a
//! token.
//!
//! The order of checks: shape, client, credential, grant, consent, scope, user.

use std::time::Duration;

use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, StatusCode};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::account::{Account, Issued};
use super::assertion::{self, ASSERTION_TYPE};
use super::client::{AuthMethod, Client, Consent, ExpiryFields, Grant};
use super::clock::Clock;
use super::faults::Fault;
use super::fields::Fields;
use super::mint::Mint;
use super::refusal::{Refusal, Refused};
use super::reply::Reply;
use super::users::{User, UserStatus};

/// A token request: its fields, or the error in them.
pub(super) struct TokenRequest(Result<Fields, Refused>);

impl TokenRequest {
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Self {
        Self(Fields::read(headers, body).and_then(|fields| fields.with_basic(headers)))
    }

    /// The client id in the request.
    pub(super) fn client_id(&self) -> Option<&str> {
        self.field("client_id")
    }

    /// The secret or assertion in the request.
    pub(super) fn credential(&self) -> Option<&str> {
        self.field("client_secret").or_else(|| self.field("client_assertion"))
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.0.as_ref().ok()?.text(name).ok()?
    }
}

/// The state that the endpoint uses.
pub(super) struct Endpoint<'a> {
    pub(super) mint: &'a Mint,
    pub(super) clock: &'a Clock,
    /// The URL of the request, which has to be the audience of an assertion.
    pub(super) url: String,
    pub(super) fault: Option<&'a Fault>,
}

impl Endpoint<'_> {
    pub(super) fn answer(&self, account: &mut Account, request: &TokenRequest) -> Result<Reply, Refused> {
        let fields = request.0.as_ref().map_err(|refused| *refused)?;
        let grant = grant(fields)?;
        let asked = scopes(fields.text("scope")?.unwrap_or_default())?;
        let client = self.authenticated(account, fields)?;
        if !client.allowed_grants.contains(&grant) {
            return Err(Refusal::GrantNotAllowed.into());
        }
        if client.consent != Consent::Trusted {
            return Err(Refusal::NotTrusted.into());
        }
        let scope = client.grant(&asked).ok_or(Refusal::ScopeNotAllowed)?.join(" ");
        let user = match grant {
            Grant::ClientCredentials => account.bot(&client),
            Grant::UserImpersonation => looked_up(account, fields)?,
        };
        if user.status != UserStatus::Active {
            return Err(Refusal::UserDisabled.into());
        }
        let issued = Issued::new(&client, &user, scope);
        let (token, issued) = match self.fault {
            Some(Fault::SameToken) => {
                account.latest(&client.client_id).unwrap_or_else(|| account.keep(self.mint, issued))
            }
            Some(Fault::DeadToken) => account.keep(self.mint, Issued { revoked: true, ..issued }),
            _ => account.keep(self.mint, issued),
        };
        Ok(self.success(&client, &token, &issued))
    }

    /// The authenticated client.
    fn authenticated(&self, account: &mut Account, fields: &Fields) -> Result<Client, Refused> {
        let client_id = fields.required("client_id")?;
        let secret = fields.text("client_secret")?;
        let assertion = fields.text("client_assertion")?;
        let assertion_type = fields.text("client_assertion_type")?;
        if assertion.is_some() != assertion_type.is_some() {
            return Err(Refusal::Malformed.because("client_assertion and client_assertion_type go together"));
        }
        if assertion_type.is_some_and(|given| given != ASSERTION_TYPE) {
            return Err(Refusal::Malformed.because("unsupported_client_assertion_type"));
        }
        let method = match (secret, assertion) {
            (Some(_), Some(_)) => {
                return Err(Refusal::Malformed.because("more than one way of authentication"));
            }
            (None, None) => return Err(Refusal::Malformed.because("a required field is missing")),
            (Some(_), None) => AuthMethod::ClientSecret,
            (None, Some(_)) => AuthMethod::PrivateKeyJwt,
        };
        let mut client = account.clients.get(client_id).ok_or(Refusal::UnknownClient)?.clone();
        let keys = std::mem::take(&mut client.public_keys);
        client.public_keys = keys.into_iter().filter(|key| client.is_known(&key.kid, self.clock.now())).collect();
        if !client.auth_methods.contains(&method) {
            return Err(Refusal::MethodNotAllowed.into());
        }
        if let Some(secret) = secret
            && !(client.secrets.iter().any(|valid| valid == secret) && client.is_known(secret, self.clock.now()))
        {
            return Err(Refusal::WrongSecret.into());
        }
        if let Some(assertion) = assertion {
            let now = self.clock.unix();
            let once = assertion::check(assertion, &client, &self.url, now)?;
            if !account.first_use(&client.client_id, once, now) {
                return Err(Refusal::InvalidAssertion.because("the jti was used before"));
            }
        }
        if client.disabled {
            return Err(Refusal::ClientDisabled.into());
        }
        Ok(client)
    }

    fn success(&self, client: &Client, token: &str, issued: &Issued) -> Reply {
        let left = issued.left();
        let mut answer = json!({"access_token": token, "token_type": client.answer.token_type});
        if matches!(client.answer.expiry, ExpiryFields::Both | ExpiryFields::In) {
            // Rounded, so that a new token has its full lifetime.
            answer["expires_in"] = json!((left + HALF_A_SECOND).as_secs());
        }
        if matches!(client.answer.expiry, ExpiryFields::Both | ExpiryFields::At)
            && let Ok(at) = Timestamp::try_from(self.clock.now() + left)
        {
            answer["expires_at"] = json!(format!("{at:.3}"));
        }
        if client.answer.scope {
            answer["scope"] = json!(issued.scope);
        }
        match self.fault {
            Some(Fault::ExpiresIn(odd)) => {
                answer["expires_in"] = odd.clone();
                if let Some(fields) = answer.as_object_mut() {
                    fields.remove("expires_at");
                }
            }
            Some(Fault::TokenField { name, value }) => answer[name] = value.clone(),
            _ => {}
        }
        Reply::json(StatusCode::OK, &answer).with(CACHE_CONTROL, "no-store").with(PRAGMA, "no-cache")
    }
}

const HALF_A_SECOND: Duration = Duration::from_millis(500);

fn grant(fields: &Fields) -> Result<Grant, Refused> {
    let name = Value::String(fields.required("grant_type")?.to_owned());
    serde_json::from_value(name).map_err(|_| Refusal::UnsupportedGrant.into())
}

/// `scope-token *( SP scope-token )` of RFC 6749 section 3.3.
fn scopes(text: &str) -> Result<Vec<String>, Refused> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let is_scope_char = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    let scopes: Vec<String> = text.split(' ').map(str::to_owned).collect();
    let well_formed = |scope: &String| !scope.is_empty() && scope.bytes().all(is_scope_char);
    if scopes.iter().all(well_formed) {
        Ok(scopes)
    } else {
        Err(Refusal::Malformed.because("scope is not a list separated by single spaces"))
    }
}

/// The user in `user_lookup`, by `subject` or `userId`. There is no third field.
fn looked_up(account: &Account, fields: &Fields) -> Result<User, Refused> {
    let malformed = |detail| Refusal::Malformed.because(detail);
    let lookup = fields.value("user_lookup").ok_or(malformed("user_lookup is missing"))?;
    let lookup = lookup.as_object().ok_or(malformed("user_lookup is not an object"))?;
    let (Some(Value::String(field)), Some(Value::String(value)), 2) =
        (lookup.get("field"), lookup.get("value"), lookup.len())
    else {
        return Err(malformed("user_lookup takes field and value"));
    };
    let mut users = account.users.values();
    let found = match field.as_str() {
        "subject" => users.find(|user| user.subject == *value),
        "userId" => users.find(|user| user.id == *value),
        _ => return Err(malformed("user_lookup.field is subject or userId")),
    };
    Ok(found.ok_or(Refusal::UnknownUser)?.clone())
}
