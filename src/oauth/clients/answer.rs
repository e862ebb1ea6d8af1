//! The responses of a tenant. Fields that are used are parsed strictly; others are ignored, since new ones may appear any time.

use std::collections::BTreeSet;

use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use zeroize::Zeroizing;

use super::error::ClientsError;
use super::id::{ClientId, Hint};
use super::model::{ConnectionConfig, Consent, Created, NewSecret, OAuthClient, SecretEntry};
use crate::clock::Timestamp;
use crate::oauth::key::PublicJwk;
use crate::oauth::leak::Secrets;
use crate::oauth::transport::Answer;

/// Longest accepted secret, in bytes.
const LONGEST_SECRET: usize = 1024;
/// Longest accepted cursor of a page, in bytes.
const LONGEST_CURSOR: usize = 1024;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_field_names, reason = "the names are the API's")]
struct Client {
    client_id: String,
    client_name: String,
    description: Option<String>,
    app_type: String,
    #[serde(default, deserialize_with = "texts")]
    allowed_scopes: BTreeSet<String>,
    #[serde(default, deserialize_with = "texts")]
    allowed_grant_types: BTreeSet<String>,
    #[serde(default, deserialize_with = "texts")]
    allowed_auth_methods: BTreeSet<String>,
    #[serde(default, deserialize_with = "or_default")]
    public_keys: Vec<Value>,
    #[serde(default, deserialize_with = "or_default")]
    client_secrets: Vec<Secret>,
    created_at: Option<Value>,
    disable_tag: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Secret {
    hint: String,
    created_at: Option<Value>,
}

/// A secret that was just made, wherever its fields are.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MadeSecret {
    client_secret: Option<Zeroizing<String>>,
    #[serde(alias = "clientSecretHint")]
    hint: Option<String>,
    created_at: Option<Value>,
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Client>,
    links: Option<Links>,
}

#[derive(Deserialize)]
struct Links {
    next: Option<Value>,
}

/// Null counts as absent.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(value: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

fn texts<'de, D: Deserializer<'de>>(value: D) -> Result<BTreeSet<String>, D::Error> {
    or_default(value)
}

fn parsed<T: DeserializeOwned>(answer: &Answer, otherwise: &'static str) -> Result<T, ClientsError> {
    serde_json::from_slice(answer.object()).map_err(|_| ClientsError::NotTheContract(otherwise))
}

/// Ids and hints are shown, so they must not repeat the token: all of a response are checked at once.
fn checked(clients: &[OAuthClient], secrets: &Secrets) -> Result<(), ClientsError> {
    let hints = |client: &OAuthClient| client.secrets.iter().map(|secret| secret.hint.to_string()).collect::<Vec<_>>();
    let shown = clients.iter().flat_map(|client| [vec![client.id.to_string()], hints(client)].concat());
    if secrets.leak_in(&shown.collect::<Vec<_>>().join(" ")) {
        return Err(ClientsError::NotTheContract("an id in the answer repeats the token that asked"));
    }
    Ok(())
}

/// Of `GET /api/v1/oauth-clients/{id}`.
pub(super) fn client(answer: &Answer, secrets: &Secrets) -> Result<OAuthClient, ClientsError> {
    let client = convert(parsed(answer, "the tenant did not return an OAuth client")?)?;
    checked(std::slice::from_ref(&client), secrets)?;
    Ok(client)
}

/// Of `GET /api/v1/oauth-clients`: the clients, and the cursor of the next page, if any.
pub(super) fn page(answer: &Answer, secrets: &Secrets) -> Result<(Vec<OAuthClient>, Option<String>), ClientsError> {
    let page: Page = parsed(answer, "the tenant did not return a list of OAuth clients")?;
    let clients = page.data.into_iter().map(convert).collect::<Result<Vec<_>, _>>()?;
    checked(&clients, secrets)?;
    let next = page.links.and_then(|links| links.next).filter(|next| !next.is_null());
    Ok((clients, next.as_ref().map(cursor).transpose()?.flatten()))
}

/// Only the cursor is taken from the link: the request goes to the same host, whatever host the link names.
fn cursor(link: &Value) -> Result<Option<String>, ClientsError> {
    let href = link.as_str().or_else(|| link.get("href")?.as_str());
    let href = href.ok_or(ClientsError::NotTheContract("the link to the next page is not one"))?;
    if href.is_empty() {
        return Ok(None);
    }
    let query = href.split_once('?').map(|(_, query)| query.split('#').next().unwrap_or_default());
    let mut fields = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let mark = fields.find_map(|(name, value)| (name == "next").then(|| value.into_owned()));
    mark.filter(|mark| !mark.is_empty() && mark.len() <= LONGEST_CURSOR)
        .map(Some)
        .ok_or(ClientsError::NotTheContract("the link to the next page does not say where that begins"))
}

/// Of `POST /api/v1/oauth-clients`.
pub(super) fn created(answer: &Answer, secrets: &Secrets) -> Result<Created, ClientsError> {
    Ok(Created { client: client(answer, secrets)?, secret: made(answer, secrets)? })
}

/// Of `POST /api/v1/oauth-clients/{id}/client-secrets`.
pub(super) fn new_secret(answer: &Answer, secrets: &Secrets) -> Result<NewSecret, ClientsError> {
    made(answer, secrets)?.ok_or(ClientsError::NotTheContract("the tenant did not return the new client secret"))
}

/// Of a PATCH: a secret, if the tenant generated one because of the change.
pub(super) fn patched(answer: &Answer) -> Result<Option<SecretString>, ClientsError> {
    if answer.status == 204 || answer.body.expose_secret().trim_ascii().is_empty() {
        return Ok(None);
    }
    let made: MadeSecret = parsed(answer, "the tenant's answer to the change is not JSON")?;
    made.client_secret.as_deref().map_or(Ok(None), |text| value(text))
}

fn made(answer: &Answer, secrets: &Secrets) -> Result<Option<NewSecret>, ClientsError> {
    let made: MadeSecret = parsed(answer, "the tenant did not return a client secret in the form of the contract")?;
    let Some(secret) = made.client_secret.as_deref().map_or(Ok(None), |text| value(text))? else { return Ok(None) };
    let secrets = secrets.clone().and(secret.expose_secret());
    let hint = made.hint.filter(|hint| !secrets.leak_in(hint)).and_then(|hint| hint.parse().ok());
    Ok(Some(NewSecret { value: secret, hint, created_at: time(made.created_at.as_ref()) }))
}

/// A secret is visible ASCII. An empty one counts as absent.
fn value(text: &str) -> Result<Option<SecretString>, ClientsError> {
    if text.len() > LONGEST_SECRET || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ClientsError::NotTheContract("the client secret is too long or not plain text"));
    }
    Ok(Some(text).filter(|text| !text.is_empty()).map(SecretString::from))
}

/// Of `GET /api/v1/oauth-clients/{id}/connection-configs/me`.
pub(super) fn consent(answer: &Answer) -> Result<Consent, ClientsError> {
    let config: ConnectionConfig = parsed(answer, "the tenant did not return a connection config")?;
    Ok(if config.consent_method == "trusted" { Consent::Trusted } else { Consent::Required })
}

fn convert(client: Client) -> Result<OAuthClient, ClientsError> {
    let bad_id = |_| ClientsError::NotTheContract("the id of an OAuth client is not plain text");
    let bad_hint = |_| ClientsError::NotTheContract("the hint of a client secret is not plain text");
    let entry = |secret: Secret| {
        let hint: Hint = secret.hint.parse().map_err(bad_hint)?;
        Ok(SecretEntry { hint, created_at: time(secret.created_at.as_ref()) })
    };
    let id: ClientId = client.client_id.parse().map_err(bad_id)?;
    let is_set = |tag: &Value| !matches!(tag, Value::Null | Value::Bool(false)) && tag.as_str() != Some("");
    Ok(OAuthClient {
        id,
        name: client.client_name,
        description: client.description,
        app_type: client.app_type,
        scopes: client.allowed_scopes,
        grants: client.allowed_grant_types,
        auth_methods: client.allowed_auth_methods,
        public_keys: client.public_keys.into_iter().filter_map(key).collect(),
        secrets: client.client_secrets.into_iter().map(entry).collect::<Result<_, _>>()?,
        created_at: time(client.created_at.as_ref()),
        disabled: client.disable_tag.as_ref().is_some_and(is_set),
    })
}

/// A key as an object, or as a text that holds one; anything else is not a usable key.
fn key(value: Value) -> Option<PublicJwk> {
    match value {
        Value::String(text) => serde_json::from_str(&text).ok(),
        object => serde_json::from_value(object).ok(),
    }
}

fn time(value: Option<&Value>) -> Option<Timestamp> {
    value?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests;
