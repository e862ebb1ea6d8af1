//! The supported part of JSON Patch (RFC 6902): only whole members, and all operations or none.

use serde::Deserialize;
use serde_json::Value;

use super::choices::KeysTaken;
use super::members;
use crate::tenant::client::{Client, Consent};
use crate::tenant::refusal::{Refusal, Refused};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Operation {
    op: Op,
    path: String,
    value: Option<Value>,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Op {
    Add,
    Remove,
    Replace,
}

fn malformed(detail: &'static str) -> Refused {
    Refusal::Malformed.because(detail)
}

fn operations(body: &[u8]) -> Result<Vec<Operation>, Refused> {
    let operations: Vec<Operation> =
        serde_json::from_slice(body).map_err(|_| malformed("the body is no JSON Patch of add, remove and replace"))?;
    if operations.is_empty() { Err(malformed("the patch is empty")) } else { Ok(operations) }
}

/// The members that a patch can change.
const PATHS: [&str; 11] = [
    "/allowedOrigins",
    "/clientName",
    "/clientUri",
    "/description",
    "/logoUri",
    "/redirectUris",
    "/allowedScopes",
    "/allowedGrantTypes",
    "/publicKeys",
    "/allowedAuthMethods",
    "/jwksUri",
];

/// The client after the patch.
pub(super) fn client(current: &Client, body: &[u8], keys: KeysTaken) -> Result<Client, Refused> {
    let mut client = current.clone();
    for Operation { op, path, value } in operations(body)? {
        let name = PATHS.iter().find(|known| **known == path).ok_or(malformed("the path is not one to be changed"))?;
        let name = name.trim_start_matches('/');
        // RFC 6902, sections 4.2 and 4.3.
        if op != Op::Add && !is_there(&client, name) {
            return Err(malformed("there is nothing at the path"));
        }
        match (op, value) {
            (Op::Remove, None) => remove(&mut client, name)?,
            (Op::Add | Op::Replace, Some(value)) => members::set(&mut client, name, &value, keys)?,
            _ => return Err(malformed("add and replace have a value, remove has none")),
        }
    }
    members::check(&client)?;
    Ok(client)
}

/// Members without a value do not exist. Required lists exist even if they are empty.
fn is_there(client: &Client, name: &str) -> bool {
    match name {
        "description" => client.description.is_some(),
        "publicKeys" => !client.public_keys.is_empty(),
        "clientUri" | "logoUri" | "jwksUri" => false,
        _ => true,
    }
}

fn remove(client: &mut Client, name: &str) -> Result<(), Refused> {
    match name {
        "description" => client.description = None,
        "allowedScopes" => client.allowed_scopes.clear(),
        "allowedGrantTypes" => client.allowed_grants.clear(),
        "publicKeys" => client.public_keys.clear(),
        "redirectUris" | "allowedOrigins" => {}
        _ => return Err(malformed("a required member cannot be removed")),
    }
    Ok(())
}

/// The consent that a patch of `connection-configs/me` sets.
pub(super) fn consent(body: &[u8]) -> Result<Consent, Refused> {
    let operations = operations(body)?;
    let [Operation { op: Op::Replace, path, value: Some(value) }] = &operations[..] else {
        return Err(malformed("the patch is not one replace"));
    };
    if path != "/consentMethod" {
        return Err(malformed("the path is not /consentMethod"));
    }
    serde_json::from_value(value.clone()).map_err(|_| malformed("consentMethod is trusted or required"))
}
