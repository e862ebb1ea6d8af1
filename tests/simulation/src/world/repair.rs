//! Ends all faults, and checks whether all objects are ready.

use std::time::Duration;

use qlik_context_operator::api::{ROTATE_REQUESTED_ANNOTATION, TOKEN_BINDING_ANNOTATION};
use qlik_context_operator::clock::Timestamp;
use serde_json::{Value, json};
use support::api_server::Kind;
use support::tenant::Client;
use tokio::time::Instant;

use super::World;
use super::objects::{ADMIN, USER, USERS, client_id, name, object_name, object_spec, target};
use crate::invariants::{Invariant, value};
use crate::replica::Replica;

/// The operator uses four of the five secrets that a client can have.
const MOST_SECRETS: usize = 4;
/// The longest time until a status reports that its token expired, with restarts, outages and failed writes between.
const EXPIRY_NOTICED: Duration = Duration::from_mins(10);

impl World {
    /// Ends all faults. Users and administrators correct all objects.
    pub fn repair(&mut self) -> anyhow::Result<()> {
        self.api.clear_scripts();
        self.api.intercept(None);
        self.api.delay_watches(Duration::ZERO);
        self.api.repeat_watches(0);
        self.cloud.clear_scripts();
        self.losses.clear();
        self.contests.clear();
        self.replicas.iter().for_each(Replica::disarm);
        (self.api_up, self.tenant_up) = (None, None);
        for client in 0..self.history.clients() {
            self.tenant.edit_client(&client_id(client), |client| client.disabled = false);
            self.put_credential(client)?;
        }
        for context in 0..self.history.contexts.len() {
            let spec = self.context_spec(context);
            if self.api.get(Kind::QlikContext, USERS, &name(context)).is_none() {
                self.put_context(context)?;
            }
            self.edit_context(context, |object| object["spec"] = spec);
            // A Secret of another owner at the place of the token Secret is deleted.
            let secret = self.api.get(Kind::Secret, USERS, &target(context));
            if secret.is_some_and(|secret| secret["metadata"]["annotations"][TOKEN_BINDING_ANNOTATION].is_null()) {
                self.api.delete(Kind::Secret, USERS, &target(context));
            }
            // A token may be needed for the spec, for the credential and for the Secret.
            (0..3).for_each(|_| self.need(context));
        }
        for context in &self.history.workloads {
            self.read_secret(*context, true);
        }
        for object in 0..self.history.oauth_clients {
            if self.api.get(Kind::QlikOAuthClient, USERS, &object_name(object)).is_none() {
                self.put_object(object)?;
            } else if self.made_by(object).is_empty() {
                let stamp = format!("again-{object}");
                self.edit_object(object, |object| {
                    object["metadata"]["annotations"][ROTATE_REQUESTED_ANNOTATION] = json!(stamp);
                });
            }
            self.edit_object(object, |stored| stored["spec"] = object_spec(object));
        }
        for replica in &mut self.starts {
            *replica = Some(Instant::now());
        }
        Ok(())
    }

    /// Creates a Secret that no object uses. The operator trusts a watch that failed only when it shows a change again; until then
    /// it reads Secrets more often.
    pub fn show_a_change(&self) {
        // It only fails for an object that cannot be stored.
        let _ = self.put_secret("unused", &json!({"key": "value"}));
    }

    /// The objects that are not ready, and why.
    pub fn not_ready(&self) -> Vec<String> {
        let contexts = (0..self.history.contexts.len()).map(name);
        let admin = (self.history.oauth_clients > 0).then(|| ADMIN.to_owned());
        let contexts = contexts.chain(admin).filter_map(|name| self.context_not_ready(&name));
        let objects = (0..self.history.oauth_clients).filter_map(|object| self.object_not_ready(object));
        contexts.chain(objects).collect()
    }

    fn context_not_ready(&self, name: &str) -> Option<String> {
        let Some(context) = self.api.get(Kind::QlikContext, USERS, name) else {
            return Some(format!("{name} is gone"));
        };
        let ready = ready(&context);
        if ready != "True/TokenValid" {
            return Some(format!("{name} is {ready}"));
        }
        if context["status"]["observedGeneration"] != context["metadata"]["generation"] {
            return Some(format!("the status of {name} is of another generation"));
        }
        // A wrong user in a response is only noticed with the next verification.
        let (identity, user) = (&context["status"]["identity"], self.identity_of(&context["spec"]));
        if Some(identity) != user.as_ref() {
            return Some(format!("{name} has the identity {identity}, and the tenant knows it as {user:?}"));
        }
        let Some(secret) = self.api.get(Kind::Secret, USERS, &format!("{name}-token")) else {
            return Some(format!("{name} has no Secret"));
        };
        (!self.checker.is_good(&value(&secret, "token"))).then(|| format!("the token of {name} is not good"))
    }

    /// The user of a context's tokens, as a status shows it.
    fn identity_of(&self, spec: &Value) -> Option<Value> {
        let auth = spec["auth"].as_object()?;
        let is_of_user = auth.contains_key("apiKey") || spec["impersonate"].is_object();
        let client = || auth.values().find_map(|method| method["secretRef"]["name"].as_str());
        let user = if is_of_user { Some(self.tenant.add_user(USER, "Ada")) } else { self.tenant.bot(client()?) }?;
        let mut identity =
            json!({"userId": user.id, "name": user.name, "subject": user.subject, "tenantId": user.tenant_id});
        if let Some(client) = user.client_id {
            identity["clientId"] = json!(client);
        }
        Some(identity)
    }

    fn object_not_ready(&self, object: usize) -> Option<String> {
        let name = object_name(object);
        let gone = || format!("{name} is gone");
        let Some(stored) = self.api.get(Kind::QlikOAuthClient, USERS, &name) else {
            // Deleted, with the finalizer: users create it again afterwards.
            return self.put_object(object).err().map(|error| error.to_string()).or_else(|| Some(gone()));
        };
        let ready = ready(&stored);
        if ready != "True/ClientReady" {
            return Some(format!("{name} is {ready}"));
        }
        let made = self.made_by(object);
        let [id] = &made[..] else { return Some(format!("{} clients belong to {name}", made.len())) };
        let Some(secret) = self.api.get(Kind::Secret, USERS, &format!("{name}-oauth")) else {
            return Some(format!("{name} has no Secret"));
        };
        let client = self.tenant.clients().into_iter().find(|client| client.client_id == *id)?;
        let works = value(&secret, "client-id") == *id && client.secrets.contains(&value(&secret, "client-secret"));
        (!works).then(|| format!("the Secret of {name} has a credential that does not work"))
    }

    /// Each object has one client, which has the secret of the object's Secret, and at most four secrets.
    pub(super) fn check_clients(&self) {
        for object in 0..self.history.oauth_clients {
            let (name, made) = (object_name(object), self.made_by(object));
            if made.len() > 1 {
                self.checker
                    .violated(Invariant::OneClientForEachObject, format!("{} clients belong to {name}", made.len()));
            }
            let clients = self.tenant.clients();
            let Some(client) = made.first().and_then(|id| clients.iter().find(|client| client.client_id == *id)) else {
                continue;
            };
            if client.secrets.len() > MOST_SECRETS {
                let seen = format!("the client of {name} has {} secrets", client.secrets.len());
                self.checker.violated(Invariant::CredentialsAreKept, seen);
            }
            let Some(secret) = self.api.get(Kind::Secret, USERS, &format!("{name}-oauth")) else { continue };
            let held = value(&secret, "client-secret");
            let belongs = value(&secret, "client-id") == client.client_id && !held.is_empty();
            if belongs && !client.secrets.contains(&held) {
                let seen = format!("the secret that the Secret of {name} holds was removed from its client");
                self.checker.violated(Invariant::CredentialsAreKept, seen);
            }
        }
    }

    /// No context is ready long after its token expired. A clock that is set ahead makes tokens expire at that moment.
    pub(super) fn check_expiry(&self) {
        if self.set_ahead.is_some_and(|at| at.elapsed() < EXPIRY_NOTICED) {
            return;
        }
        let limit = self.clock.now().saturating_sub(EXPIRY_NOTICED).unwrap_or(Timestamp::MIN);
        for context in self.api.list(Kind::QlikContext, None) {
            let expires = context["status"]["token"]["expiresAt"].as_str().unwrap_or_default();
            if ready(&context).starts_with("True/") && expires.parse::<Timestamp>().is_ok_and(|end| end < limit) {
                let name = &context["metadata"]["name"];
                self.checker
                    .violated(Invariant::TrueStatus, format!("{name} is ready, and its token expired at {expires}"));
            }
        }
    }

    /// The OAuth clients of objects that were deleted with `deletionPolicy: Delete`.
    pub fn left_behind(&self) -> Vec<String> {
        let deleted = self.checker.deleted_with_client();
        let left = |client: &Client| {
            let text = client.description.clone().unwrap_or_default();
            deleted.iter().any(|uid| text.contains(uid))
        };
        self.tenant.clients().into_iter().filter(left).map(|client| client.client_id).collect()
    }

    /// The clients in the tenant with the mark of this object.
    pub(super) fn made_by(&self, object: usize) -> Vec<String> {
        let Some(stored) = self.api.get(Kind::QlikOAuthClient, USERS, &object_name(object)) else { return Vec::new() };
        let uid = stored["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let marked = |client: &Client| client.description.as_ref().is_some_and(|text| text.contains(&uid));
        let clients = self.tenant.clients().into_iter().filter(marked);
        clients.map(|client| client.client_id).collect()
    }
}

fn ready(object: &Value) -> String {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready").unwrap_or_default();
    let message = ready["message"].as_str().filter(|_| ready["status"] != "True").map(|text| format!(" ({text})"));
    let text = |field: &str| ready[field].as_str().unwrap_or("-").to_owned();
    format!("{}/{}{}", text("status"), text("reason"), message.unwrap_or_default())
}
