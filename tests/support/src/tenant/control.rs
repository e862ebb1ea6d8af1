//! The HTTP control interface, for use from a terminal and from a demo in another process.
//!
//! Plain HTTP on loopback without authentication. It changes every tenant that has the client.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::account::{Account, Issued};
use super::authority::{Authority, Handshake};
use super::client::{Client, Consent};
use super::faults::Script;
use super::oauth_clients::ClientsApi;
use super::origin::Origin;
use super::users::{User, UserStatus};

/// The response to `GET /`.
const WELCOME: &str = include_str!("control/welcome.txt");

/// The default of a tenant.
const API_KEY_LIFE: Duration = Duration::from_hours(24);

#[derive(Clone)]
struct Controls {
    origin: Arc<Origin>,
    authority: Arc<Authority>,
    here: String,
}

/// The routes of the control interface at the address `here`.
pub(super) fn router(origin: Arc<Origin>, authority: Arc<Authority>, here: String) -> Router {
    Router::new()
        .route("/", get(welcome))
        .route("/ca.pem", get(async |State(controls): State<Controls>| controls.authority.pem()))
        .route("/ledger", get(ledger).delete(clear_ledger))
        .route("/requests", get(requests))
        .route("/tenants", get(tenants))
        .route("/tenants/{host}/clients", post(add_client))
        .route("/tenants/{host}/api-keys", post(add_api_key))
        .route("/clients/{id}", get(show_client).delete(remove_client))
        .route("/clients/{id}/secrets", post(add_secret).put(replace_secrets))
        .route("/clients/{id}/secrets/{secret}", delete(remove_secret))
        .route("/clients/{id}/disabled", put(disable))
        .route("/clients/{id}/lifetime", put(lifetime))
        .route("/clients/{id}/scopes", put(scopes))
        .route("/clients/{id}/consent", put(consent))
        .route("/users/{id}/status", put(user_status))
        .route("/users/{id}/admin", put(user_admin))
        .route("/tenants/{host}/clients-api", put(choose))
        .route("/revoke-all", post(revoke_all))
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/handshake", put(handshake))
        .with_state(Controls { origin, authority, here })
}

/// Success, or the error in the request.
type Outcome = Result<StatusCode, (StatusCode, String)>;

const DONE: Outcome = Ok(StatusCode::NO_CONTENT);

async fn welcome(State(controls): State<Controls>) -> String {
    WELCOME.replace("HERE", &controls.here)
}

async fn ledger(State(controls): State<Controls>) -> Response {
    controls.origin.books.read(pretty)
}

async fn clear_ledger(State(controls): State<Controls>) -> StatusCode {
    controls.origin.books.clear();
    StatusCode::NO_CONTENT
}

async fn requests(State(controls): State<Controls>) -> String {
    controls.origin.books.read(|ledger| {
        ledger.records.iter().fold(String::new(), |mut lines, record| {
            let at = httpdate::fmt_http_date(record.at);
            let client = record.client_id.as_deref().unwrap_or("-");
            let (host, method, path) = (&record.host, &record.method, &record.path);
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{at}  {host}  {client}  {method} {path}  {}", record.status.as_u16());
            lines
        })
    })
}

async fn tenants(State(controls): State<Controls>) -> Response {
    let accounts = controls.origin.accounts();
    let shown = accounts.iter().map(|account| {
        json!({
            "id": account.id,
            "hostnames": account.hostnames,
            "clients": account.clients,
            "users": account.users.values().collect::<Vec<_>>(),
        })
    });
    pretty(&shown.collect::<Vec<_>>())
}

async fn add_client(State(controls): State<Controls>, Path(host): Path<String>, body: Bytes) -> Outcome {
    let mut client: Client = json_of(&body)?;
    if client.client_id.is_empty() {
        return Err((StatusCode::BAD_REQUEST, "clientId is missing\n".to_owned()));
    }
    if client.name == Client::default().name {
        client.name = Client::new(&client.client_id).name;
    }
    let add = |account: &mut Account| {
        account.clients.insert(client.client_id.clone(), client);
    };
    controls.origin.with_account(&host, add);
    Ok(StatusCode::CREATED)
}

async fn add_api_key(
    State(controls): State<Controls>,
    Path(host): Path<String>,
    body: Bytes,
) -> Result<String, (StatusCode, String)> {
    let subject = text_of(&body)?;
    let keep = |account: &mut Account| {
        let user = account.user(&subject, &subject, None).clone();
        let issued = Issued::api_key(&user, API_KEY_LIFE);
        account.keep(&controls.origin.mint, issued).0
    };
    Ok(controls.origin.with_account(&host, keep) + "\n")
}

async fn show_client(State(controls): State<Controls>, Path(id): Path<String>) -> Response {
    let accounts = controls.origin.accounts();
    match accounts.iter().find_map(|account| account.clients.get(&id)) {
        Some(client) => pretty(client),
        None => no_such("client").into_response(),
    }
}

async fn remove_client(State(controls): State<Controls>, Path(id): Path<String>) -> Outcome {
    let mut removed = false;
    for account in controls.origin.accounts().iter_mut() {
        removed |= account.clients.remove(&id).is_some();
    }
    if removed { DONE } else { Err(no_such("client")) }
}

async fn add_secret(State(controls): State<Controls>, Path(id): Path<String>, body: Bytes) -> Outcome {
    let secret = text_of(&body)?;
    controls.edit_client(&id, |client| client.secrets.push(secret.clone()))
}

async fn replace_secrets(State(controls): State<Controls>, Path(id): Path<String>, body: Bytes) -> Outcome {
    let secret = text_of(&body)?;
    controls.edit_client(&id, |client| client.secrets = vec![secret.clone()])
}

async fn remove_secret(State(controls): State<Controls>, Path((id, secret)): Path<(String, String)>) -> Outcome {
    controls.edit_client(&id, |client| client.secrets.retain(|kept| *kept != secret))
}

async fn disable(State(controls): State<Controls>, Path(id): Path<String>, body: Bytes) -> Outcome {
    let disabled: bool = json_of(&body)?;
    controls.edit_client(&id, |client| client.disabled = disabled)
}

async fn lifetime(State(controls): State<Controls>, Path(id): Path<String>, body: Bytes) -> Outcome {
    let seconds: u64 = json_of(&body)?;
    controls.edit_client(&id, |client| client.lifetime_seconds = seconds)
}

async fn scopes(State(controls): State<Controls>, Path(id): Path<String>, body: Bytes) -> Outcome {
    let text = text_of(&body)?;
    let scopes: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    controls.edit_client(&id, |client| client.allowed_scopes.clone_from(&scopes))
}

async fn consent(State(controls): State<Controls>, Path(id): Path<String>, body: Bytes) -> Outcome {
    let consent: Consent = word_of(&body)?;
    controls.edit_client(&id, |client| client.consent = consent)
}

async fn user_status(State(controls): State<Controls>, Path(id): Path<String>, body: Bytes) -> Outcome {
    let status: UserStatus = word_of(&body)?;
    controls.edit_user(&id, |user| user.status = status)
}

async fn user_admin(State(controls): State<Controls>, Path(id): Path<String>, body: Bytes) -> Outcome {
    let admin: bool = json_of(&body)?;
    controls.edit_user(&id, |user| user.admin = admin)
}

async fn choose(State(controls): State<Controls>, Path(host): Path<String>, body: Bytes) -> Outcome {
    let choices: ClientsApi = json_of(&body)?;
    controls.origin.with_account(&host, |account| account.clients_api = choices);
    DONE
}

async fn revoke_all(State(controls): State<Controls>) -> StatusCode {
    for account in controls.origin.accounts().iter_mut() {
        account.revoke_all();
    }
    StatusCode::NO_CONTENT
}

async fn faults(State(controls): State<Controls>) -> Response {
    pretty(&*controls.origin.scripts())
}

async fn add_fault(State(controls): State<Controls>, body: Bytes) -> Outcome {
    let script: Script = json_of(&body)?;
    controls.origin.scripts().push(script);
    Ok(StatusCode::CREATED)
}

async fn clear_faults(State(controls): State<Controls>) -> StatusCode {
    controls.origin.scripts().clear();
    StatusCode::NO_CONTENT
}

async fn handshake(State(controls): State<Controls>, body: Bytes) -> Outcome {
    let handshake: Handshake = word_of(&body)?;
    controls.authority.show(handshake);
    controls.origin.cut.send_replace(());
    DONE
}

impl Controls {
    fn edit_client(&self, id: &str, edit: impl Fn(&mut Client)) -> Outcome {
        let mut known = false;
        for account in self.origin.accounts().iter_mut() {
            if let Some(client) = account.clients.get_mut(id) {
                edit(client);
                known = true;
            }
        }
        if known { DONE } else { Err(no_such("client")) }
    }

    fn edit_user(&self, id: &str, edit: impl Fn(&mut User)) -> Outcome {
        let mut accounts = self.origin.accounts();
        let users = accounts.iter_mut().flat_map(|account| account.users.values_mut());
        let named: Vec<&mut User> = users.filter(|user| user.id == id || user.subject == id).collect();
        if named.is_empty() {
            return Err(no_such("user"));
        }
        named.into_iter().for_each(edit);
        DONE
    }
}

fn no_such(thing: &str) -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, format!("no such {thing}\n"))
}

fn bad(error: impl std::fmt::Display) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, format!("{error}\n"))
}

fn text_of(body: &[u8]) -> Result<String, (StatusCode, String)> {
    match str::from_utf8(body).map_err(bad)?.trim() {
        "" => Err(bad("the body is empty")),
        text => Ok(text.to_owned()),
    }
}

fn word_of<T: DeserializeOwned>(body: &[u8]) -> Result<T, (StatusCode, String)> {
    serde_json::from_value(Value::String(text_of(body)?)).map_err(bad)
}

fn json_of<T: DeserializeOwned>(body: &[u8]) -> Result<T, (StatusCode, String)> {
    serde_json::from_slice(body).map_err(bad)
}

fn pretty(shown: &(impl Serialize + ?Sized)) -> Response {
    match serde_json::to_string_pretty(shown) {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text + "\n").into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
