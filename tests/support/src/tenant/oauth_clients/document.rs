//! The JSON of a client in the API.

use std::time::SystemTime;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::jwk;
use crate::tenant::client::Client;
use crate::tenant::mint::id_of;

/// The hint of a secret. It identifies the secret within its client and reveals nothing of it.
pub(in crate::tenant) fn hint_of(secret: &str) -> String {
    id_of(secret)[..5].to_owned()
}

/// A time in the format of the API.
pub(super) fn written(at: SystemTime) -> Value {
    Timestamp::try_from(at).map_or(Value::Null, |at| json!(format!("{at:.3}")))
}

/// A client without its secrets, as in the list.
pub(super) fn summary(client: &Client) -> Value {
    let created = written(client.created.unwrap_or(LONG_AGO));
    let mut shown = json!({
        "clientId": client.client_id,
        "clientName": client.name,
        "appType": client.app_type,
        "allowedScopes": client.allowed_scopes,
        "allowedGrantTypes": client.allowed_grants,
        "allowedAuthMethods": client.auth_methods,
        "redirectUris": [],
        "allowedOrigins": [],
        "createdAt": created,
        "updatedAt": created,
        "createdByType": "service",
        "ownerId": id_of(&client.client_id),
    });
    if let Some(description) = &client.description {
        shown["description"] = json!(description);
    }
    if !client.public_keys.is_empty() {
        shown["publicKeys"] = client.public_keys.iter().map(jwk::write).collect();
    }
    if client.disabled {
        shown["disableTag"] = json!("disabled-by-administrator");
    }
    shown
}

/// A client as in the response to `GET`.
pub(super) fn whole(client: &Client) -> Value {
    let mut shown = summary(client);
    let secret = |secret: &String| {
        let made = client.secrets_made.get(secret).copied().unwrap_or(LONG_AGO);
        json!({"hint": hint_of(secret), "createdAt": written(made), "createdBy": id_of(&client.client_id)})
    };
    shown["clientSecrets"] = client.secrets.iter().map(secret).collect();
    shown
}

/// Stands for a time before the test.
const LONG_AGO: SystemTime = SystemTime::UNIX_EPOCH;
