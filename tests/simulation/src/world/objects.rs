//! The objects and their names.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use support::api_server::Kind;
use support::tenant::{Algorithm, Client, PublicKey};

use super::{PLANTED, World};
use crate::history::Auth;

/// The namespace of users' objects.
pub const USERS: &str = "analytics";
/// The admin context.
pub const ADMIN: &str = "admin";
/// The user of API keys and of impersonation.
pub const USER: &str = "auth0|ada";
const PRIVATE_KEY: &str = include_str!("../../../keys/p384-pkcs8.pem");
const PUBLIC_KEY: &str = include_str!("../../../keys/p384-public.pem");
/// The lifetime of an API key: longer than a history.
const API_KEY_LIFETIME: Duration = Duration::from_hours(24);

impl World {
    pub(super) fn create(&self) -> anyhow::Result<()> {
        let lifetime = Duration::from_secs(self.history.lifetime);
        self.tenant.add_user(USER, "Ada");
        for client in 0..self.history.clients() {
            let known = Client::new(&client_id(client)).lifetime(lifetime);
            let known = match self.history.auth[client] {
                Auth::ClientSecret => known.secret(&secret(client, 0)),
                Auth::Impersonation => known.secret(&secret(client, 0)).impersonating(),
                Auth::PrivateKey => known.key(public_key(client, 0)),
                // It is not used.
                Auth::ApiKey => known,
            };
            self.tenant.add_client(known);
            self.put_credential(client)?;
        }
        for context in 0..self.history.contexts.len() {
            self.put_context(context)?;
        }
        self.create_workloads()?;
        if self.history.oauth_clients > 0 {
            let admin = format!("{PLANTED}admin-secret-0123456789");
            let client = Client::new(ADMIN).secret(&admin);
            self.tenant.add_client(client.lifetime(lifetime).scopes(&["admin_classic", "user_default"]));
            self.put_secret(ADMIN, &json!({"client-id": ADMIN, "client-secret": admin}))?;
            let auth = json!({"clientSecret": {"secretRef": {"name": ADMIN}}});
            self.put(&json!({
                "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext",
                "metadata": {"name": ADMIN, "namespace": USERS}, "spec": {"tenantUrl": self.tenant.url(), "auth": auth},
            }))?;
        }
        for object in 0..self.history.oauth_clients {
            self.put_object(object)?;
        }
        Ok(())
    }

    pub(super) fn put(&self, object: &Value) -> anyhow::Result<()> {
        self.api.put(object.clone()).map(drop)
    }

    pub(super) fn put_secret(&self, name: &str, data: &Value) -> anyhow::Result<()> {
        self.put(&json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": USERS}, "stringData": data,
        }))
    }

    /// Writes the credential that works.
    pub(super) fn put_credential(&self, client: usize) -> anyhow::Result<()> {
        let id = client_id(client);
        let known =
            self.tenant.clients().into_iter().find(|known| known.client_id == id).context("a client is gone")?;
        self.put_secret(&id, &match self.history.auth[client] {
            Auth::ClientSecret | Auth::Impersonation => {
                json!({"client-id": id, "client-secret": known.secrets.last().context("a client without a secret")?})
            }
            Auth::PrivateKey => {
                let key_id = &known.public_keys.last().context("a client without a key")?.kid;
                json!({"client-id": id, "private-key": PRIVATE_KEY, "key-id": key_id})
            }
            Auth::ApiKey => json!({"api-key": self.tenant.api_key(USER, API_KEY_LIFETIME)}),
        })
    }

    /// The spec of a context.
    pub(super) fn context_spec(&self, context: usize) -> Value {
        let mut spec = self.spec_of_client(self.history.contexts[context]);
        if self.history.workloads.contains(&context) {
            spec["workloads"] = json!({"refreshVolumes": true, "restart": {"minInterval": "10m"}});
        }
        spec
    }

    fn spec_of_client(&self, client: usize) -> Value {
        let secret_ref = json!({"name": client_id(client)});
        let url = self.tenant.url();
        match self.history.auth[client] {
            Auth::ClientSecret => json!({"tenantUrl": url, "auth": {"clientSecret": {"secretRef": secret_ref}}}),
            Auth::PrivateKey => json!({"tenantUrl": url, "auth": {"privateKeyJwt": {"secretRef": secret_ref}}}),
            Auth::ApiKey => json!({"tenantUrl": url, "auth": {"apiKey": {"secretRef": secret_ref}}}),
            Auth::Impersonation => json!({
                "tenantUrl": url, "auth": {"clientSecret": {"secretRef": secret_ref}}, "impersonate": {"subject": USER},
            }),
        }
    }

    pub(super) fn put_context(&self, context: usize) -> anyhow::Result<()> {
        let spec = self.context_spec(context);
        self.put(&json!({
            "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext",
            "metadata": {"name": name(context), "namespace": USERS}, "spec": spec,
        }))
    }

    pub(super) fn put_object(&self, object: usize) -> anyhow::Result<()> {
        self.put(&json!({
            "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikOAuthClient",
            "metadata": {"name": object_name(object), "namespace": USERS}, "spec": object_spec(object),
        }))
    }

    pub(super) fn edit_context(&self, context: usize, edit: impl FnOnce(&mut Value)) {
        // An object that was deleted is not edited.
        let _ = self.api.edit(Kind::QlikContext, USERS, &name(context), edit);
    }

    pub(super) fn edit_object(&self, object: usize, edit: impl FnOnce(&mut Value)) {
        let _ = self.api.edit(Kind::QlikOAuthClient, USERS, &object_name(object), edit);
    }

    /// The OAuth client of a context may need a new token.
    pub(super) fn need(&self, context: usize) {
        self.checker.need(&client_id(self.history.contexts[context]));
    }

    pub(super) fn need_all(&self) {
        (0..self.history.clients()).for_each(|client| self.checker.need(&client_id(client)));
        self.checker.need(ADMIN);
    }
}

pub fn object_spec(object: usize) -> Value {
    json!({
        "adminContextRef": {"name": ADMIN}, "scopes": ["user_default"],
        "deletionPolicy": if object == 0 { "Delete" } else { "Retain" },
    })
}

pub fn name(context: usize) -> String {
    format!("context-{context}")
}

pub fn target(context: usize) -> String {
    format!("context-{context}-token")
}

pub fn client_id(client: usize) -> String {
    format!("client-{client}")
}

pub fn public_key(client: usize, version: u64) -> PublicKey {
    PublicKey::new(&format!("key-{client}-{version}"), Algorithm::ES384, PUBLIC_KEY)
}

pub fn secret(client: usize, version: u64) -> String {
    format!("{PLANTED}secret-{client}-{version}-0123456789abcdef")
}

pub fn object_name(object: usize) -> String {
    format!("object-{object}")
}
