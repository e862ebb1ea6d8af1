//! OAuth clients of a tenant as objects: created, kept as declared, rotated and deleted, on virtual time.

mod crash;
mod interference;
mod lifecycle;
mod tenant_ways;
mod trouble;

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use support::api_server::Kind;
use support::tenant::Client;

use crate::world::{CLIENT_SECRET, LIFE, World, pass};

pub const MINUTE: Duration = Duration::from_mins(1);

/// A world in which the context `admin` in namespace `a` can manage OAuth clients.
pub async fn world() -> World {
    let mut world = World::new();
    world.oauth_clients = true;
    let admin = Client::new("admin").secret(CLIENT_SECRET).lifetime(LIFE).scopes(&["admin_classic", "user_default"]);
    world.tenant.add_client(admin);
    world.put_credential("a", "admin", "admin", CLIENT_SECRET);
    world.put_context("a", "admin", "admin", &json!({}));
    world.start();
    pass(Duration::from_secs(10)).await;
    assert_eq!(world.ready("a", "admin"), "True/TokenValid");
    world
}

impl World {
    /// Declares an OAuth client in namespace `a`.
    pub fn declare(&self, name: &str, changes: &Value) {
        let mut spec = json!({"adminContextRef": {"name": "admin"}, "scopes": ["user_default"]});
        spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let object = json!({
            "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikOAuthClient",
            "metadata": {"name": name, "namespace": "a"}, "spec": spec,
        });
        self.api.put(object).unwrap();
    }

    /// The object, or `null`.
    pub fn declared(&self, name: &str) -> Value {
        self.api.get(Kind::QlikOAuthClient, "a", name).unwrap_or_default()
    }

    /// Requests a new credential.
    pub fn rotate(&self, name: &str, value: &str) {
        let annotate = |object: &mut Value| {
            object["metadata"]["annotations"]["qlikcontext.dev/rotate-requested-at"] = value.into();
        };
        self.api.edit(Kind::QlikOAuthClient, "a", name, annotate).unwrap();
    }

    /// Status and reason of the condition, for example `True/ClientReady`.
    pub fn client_ready(&self, name: &str) -> String {
        self.client_condition(name, "Ready")
    }

    pub fn client_condition(&self, name: &str, condition: &str) -> String {
        let conditions = self.declared(name)["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.into_iter().find(|reported| reported["type"] == condition).unwrap_or_default();
        format!("{}/{}", found["status"].as_str().unwrap_or("-"), found["reason"].as_str().unwrap_or("-"))
    }

    /// A value of the credential's Secret.
    pub fn credential(&self, name: &str, key: &str) -> Option<String> {
        let secret = self.api.get(Kind::Secret, "a", &format!("{name}-oauth"))?;
        let bytes = STANDARD.decode(secret["data"][key].as_str()?).unwrap();
        Some(String::from_utf8(bytes).unwrap())
    }

    /// The clients in the tenant, without the admin's.
    pub fn made(&self) -> Vec<Client> {
        self.tenant.clients().into_iter().filter(|client| client.client_id != "admin").collect()
    }

    /// The only client that was created.
    pub fn only(&self) -> Client {
        let mut made = self.made();
        assert_eq!(made.len(), 1, "one client for one object");
        made.remove(0)
    }

    /// The tenant's id of each credential of a client.
    pub fn credentials_of(client: &Client) -> BTreeSet<String> {
        let mut all = client.hints();
        all.extend(client.public_keys.iter().map(|key| key.kid.clone()));
        all
    }

    /// The credentials in the status: the one in the Secret, and those that it replaced.
    pub fn reported_credentials(&self, name: &str) -> BTreeSet<String> {
        let status = &self.declared(name)["status"];
        let previous = status["previous"].as_array().cloned().unwrap_or_default();
        let all = previous.into_iter().chain([status["secret"].clone()]);
        all.filter_map(|reported| reported["hint"].as_str().map(str::to_owned)).collect()
    }

    /// If the Secret exists, the tenant accepts the credential in it.
    pub fn secret_works(&self, name: &str) {
        let Some(id) = self.credential(name, "client-id") else { return };
        let client = self.made().into_iter().find(|client| client.client_id == id).unwrap();
        let works = match (self.credential(name, "client-secret"), self.credential(name, "key-id")) {
            (Some(secret), None) => client.secrets.contains(&secret),
            (None, Some(kid)) => client.public_keys.iter().any(|key| key.kid == kid),
            (Some(_), Some(_)) | (None, None) => false,
        };
        assert!(works, "the Secret has no credential, two, or one that does not exist in the tenant");
    }
}
