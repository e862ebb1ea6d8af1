//! The members of a client, each parsed strictly, in the request for a new one and in a patch.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::choices::KeysTaken;
use super::jwk;
use crate::tenant::client::{AuthMethod, Client, Grant, PublicKey};
use crate::tenant::refusal::{Refusal, Refused};

/// The maximum number of URLs of each kind.
const URLS: usize = 5;

fn malformed(detail: &'static str) -> Refused {
    Refusal::Malformed.because(detail)
}

/// Sets one member to a value. Members that machine clients do not use are checked and dropped.
pub(super) fn set(client: &mut Client, name: &str, value: &Value, keys: KeysTaken) -> Result<(), Refused> {
    match name {
        "clientName" => client.name = text(value)?,
        "description" => {
            client.description = Some(value.as_str().ok_or(malformed("description is no text"))?.to_owned());
        }
        "allowedScopes" => client.allowed_scopes = scopes(value)?,
        "allowedGrantTypes" => client.allowed_grants = words::<Grant>(value, "a grant is not one for clients")?,
        "allowedAuthMethods" => {
            client.auth_methods = words::<AuthMethod>(value, "an authentication method is not known")?;
        }
        "publicKeys" => client.public_keys = public_keys(value, keys)?,
        "redirectUris" | "allowedOrigins" => urls(value)?,
        "clientUri" | "logoUri" | "jwksUri" => url(value)?,
        _ => return Err(malformed("there is no such member to be set")),
    }
    Ok(())
}

/// Checks a client as a whole.
pub(super) fn check(client: &Client) -> Result<(), Refused> {
    if client.app_type != "web" && !client.allowed_grants.is_empty() {
        return Err(malformed("grants of machines are for web clients only"));
    }
    if client.auth_methods.is_empty() {
        return Err(malformed("allowedAuthMethods is empty"));
    }
    if client.auth_methods.contains(&AuthMethod::PrivateKeyJwt) && client.public_keys.is_empty() {
        return Err(malformed("private_key_jwt needs publicKeys"));
    }
    Ok(())
}

fn text(value: &Value) -> Result<String, Refused> {
    let text = value.as_str().filter(|text| !text.trim().is_empty());
    text.map(str::to_owned).ok_or(malformed("a text is missing or empty"))
}

fn list(value: &Value) -> Result<&Vec<Value>, Refused> {
    let list = value.as_array().ok_or(malformed("a list is not one"))?;
    let repeated = list.iter().enumerate().any(|(at, item)| list[..at].contains(item));
    if repeated { Err(malformed("an item is repeated")) } else { Ok(list) }
}

fn scopes(value: &Value) -> Result<Vec<String>, Refused> {
    let scope = |item: &Value| {
        let graphic = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        item.as_str().filter(graphic).map(str::to_owned).ok_or(malformed("a scope is not one"))
    };
    list(value)?.iter().map(scope).collect()
}

fn words<T: DeserializeOwned>(value: &Value, otherwise: &'static str) -> Result<Vec<T>, Refused> {
    let word = |item: &Value| serde_json::from_value(item.clone()).map_err(|_| malformed(otherwise));
    list(value)?.iter().map(word).collect()
}

fn public_keys(value: &Value, taken: KeysTaken) -> Result<Vec<PublicKey>, Refused> {
    let key = |item: &Value| {
        let object = match (item, taken) {
            (Value::String(text), KeysTaken::AsTexts | KeysTaken::AsBoth) => {
                &serde_json::from_str(text).map_err(|_| malformed("the text of a public key is not JSON"))?
            }
            (Value::Object(_), KeysTaken::AsObjects | KeysTaken::AsBoth) => item,
            _ => return Err(malformed("a public key is not written as it is taken")),
        };
        jwk::read(object).map_err(malformed)
    };
    let keys = list(value)?.iter().map(key).collect::<Result<Vec<_>, _>>()?;
    let repeated = keys.iter().enumerate().any(|(at, key)| keys[..at].iter().any(|other| other.kid == key.kid));
    if repeated { Err(malformed("a kid is repeated")) } else { Ok(keys) }
}

fn urls(value: &Value) -> Result<(), Refused> {
    let list = list(value)?;
    if list.len() > URLS {
        return Err(malformed("there are more than five URLs"));
    }
    list.iter().try_for_each(url)
}

fn url(value: &Value) -> Result<(), Refused> {
    let url = value.as_str().filter(|text| text.starts_with("https://"));
    url.map(drop).ok_or(malformed("a URL is not one of https"))
}
