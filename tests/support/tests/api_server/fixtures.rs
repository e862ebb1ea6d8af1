//! Objects that the scenarios write.

use serde_json::{Value, json};

use crate::session::Session;

pub fn token(value: &str) -> Value {
    json!({ "data": { "token": value } })
}

pub fn condition(name: &str, reason: &str) -> Value {
    json!({
        "type": name, "status": "True", "reason": reason, "message": "m", "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

pub fn spec() -> Value {
    json!({ "tenantUrl": "https://a.eu.qlikcloud.com", "auth": { "apiKey": { "secretRef": { "name": "k" } } } })
}

pub async fn context(session: &mut Session, name: &str) -> String {
    let context = session.apply("user", &format!("qlikcontexts/{name}"), json!({ "spec": spec() })).await;
    assert_eq!(context.code, 201, "{}", context.json);
    context.json["metadata"]["uid"].as_str().unwrap().to_owned()
}
