//! The JSON of a new client and of a patch (<https://qlik.dev/apis/rest/oauth-clients/>).
//!
//! It contains no secret, but has the same sealed type as every other body.

use std::collections::BTreeSet;

use secrecy::SecretString;
use serde::Serialize;
use serde_json::{Value, json};

use super::model::{Change, ClientAuth, Consent, GrantType, KeyEncoding, NewClient, OAuthClient};
use crate::oauth::key::PublicJwk;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Creation<'c> {
    app_type: &'static str,
    client_name: &'c str,
    description: &'c str,
    allowed_scopes: &'c BTreeSet<String>,
    allowed_grant_types: &'c BTreeSet<GrantType>,
    allowed_auth_methods: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    public_keys: Option<[&'c PublicJwk; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_config: Option<Value>,
}

/// Of `POST /api/v1/oauth-clients`.
pub(super) fn creation(client: &NewClient) -> SecretString {
    let (method, public_keys) = match &client.auth {
        ClientAuth::ClientSecret => ("client_secret", None),
        ClientAuth::PrivateKeyJwt(key) => ("private_key_jwt", Some([key])),
    };
    let creation = Creation {
        app_type: "web",
        client_name: &client.name,
        description: &client.description,
        allowed_scopes: &client.scopes,
        allowed_grant_types: &client.grants,
        allowed_auth_methods: [method],
        public_keys,
        connection_config: client.trusted.then(|| json!({"consentMethod": Consent::Trusted})),
    };
    json!(creation).to_string().into()
}

#[derive(Serialize)]
struct Operation {
    op: &'static str,
    path: &'static str,
    value: Value,
}

/// Of `PATCH /api/v1/oauth-clients/{id}`. A missing field is added, since replacing it would be an error (RFC 6902, section
/// 4.3). A present field is replaced, since adding to a list may append an item.
pub(super) fn patch(current: &OAuthClient, changes: &[Change], keys: KeyEncoding) -> SecretString {
    let operation = |change: &Change| {
        let (path, absent, value) = match change {
            Change::Name(name) => ("/clientName", false, json!(name)),
            Change::Description(text) => ("/description", current.description.is_none(), json!(text)),
            Change::Scopes(scopes) => ("/allowedScopes", current.scopes.is_empty(), json!(scopes)),
            Change::Grants(grants) => ("/allowedGrantTypes", current.grants.is_empty(), json!(grants)),
            Change::PublicKeys(all) => {
                let value = all.iter().map(|key| encoded(key, keys)).collect();
                ("/publicKeys", current.public_keys.is_empty(), Value::Array(value))
            }
        };
        Operation { op: if absent { "add" } else { "replace" }, path, value }
    };
    json!(changes.iter().map(operation).collect::<Vec<_>>()).to_string().into()
}

fn encoded(key: &PublicJwk, encoding: KeyEncoding) -> Value {
    match encoding {
        KeyEncoding::Object => json!(key),
        KeyEncoding::Text => json!(json!(key).to_string()),
    }
}

/// Of `PATCH /api/v1/oauth-clients/{id}/connection-configs/me`.
pub(super) fn consent(consent: Consent) -> SecretString {
    json!([{"op": "replace", "path": "/consentMethod", "value": consent}]).to_string().into()
}

#[cfg(test)]
mod tests;
