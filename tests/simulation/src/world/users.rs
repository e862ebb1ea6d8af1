//! Actions of users and of other controllers.

use std::time::Duration;

use qlik_context_operator::api::{ALLOWED_HOSTS_ANNOTATION, REFRESH_REQUESTED_ANNOTATION, ROTATE_REQUESTED_ANNOTATION};
use serde_json::{Value, json};
use support::api_server::Kind;
use tokio::time::Instant;

use super::objects::{USERS, client_id, name, object_name, public_key, secret, target};
use super::{PLANTED, World};
use crate::event::{Edit, Event};
use crate::fields;
use crate::history::Auth;
use crate::invariants::value;

impl World {
    pub(super) fn user(&mut self, event: Event) -> anyhow::Result<()> {
        self.ticks += 1;
        let stamp = self.ticks;
        match event {
            Event::Refresh { context } => {
                self.edit_context(context, |object| {
                    object["metadata"]["annotations"][REFRESH_REQUESTED_ANNOTATION] = json!(stamp.to_string());
                });
                self.need(context);
            }
            Event::Edit { context, edit } => {
                self.edit_context(context, |object| change(&mut object["spec"], edit));
                self.need(context);
            }
            Event::EditField { context, field, value } => {
                self.edit_context(context, |object| fields::of_contexts(field).set(&mut object["spec"], value));
                self.need(context);
            }
            Event::Label { context } => self.edit_context(context, |object| {
                object["metadata"]["labels"]["look"] = json!(stamp.to_string());
                object["metadata"]["annotations"]["look"] = json!(stamp.to_string());
            }),
            Event::Delete { context } => {
                self.api.delete(Kind::QlikContext, USERS, &name(context));
                self.need(context);
            }
            Event::Create { context } => {
                if self.api.get(Kind::QlikContext, USERS, &name(context)).is_none() {
                    self.put_context(context)?;
                    self.need(context);
                }
            }
            Event::ReplacePod { context } => self.replace_pod(context),
            Event::ReadSecret { context, own } => self.read_secret(context, own),
            Event::Tamper { .. }
            | Event::Contest { .. }
            | Event::DeleteTarget { .. }
            | Event::Orphan { .. }
            | Event::Foreign { .. } => {
                self.tamper(event)?;
            }
            _ => self.credential(event, stamp)?,
        }
        Ok(())
    }

    /// Other writers of the token Secret. A process that requested the token itself has it in memory, and needs no new one.
    pub(super) fn tamper(&mut self, event: Event) -> anyhow::Result<()> {
        if let Event::Contest { context, seconds } = event {
            self.contests.insert(context, Instant::now() + Duration::from_secs(seconds));
            return Ok(());
        }
        let edit = |context: usize, edit: &dyn Fn(&mut Value)| {
            // An object that was deleted is not edited.
            let _ = self.api.edit(Kind::Secret, USERS, &target(context), |secret| edit(secret));
        };
        match event {
            Event::Tamper { context } => edit(context, &|secret| secret["data"]["token"] = json!("dGFtcGVyZWQ=")),
            Event::DeleteTarget { context } => {
                self.api.delete(Kind::Secret, USERS, &target(context));
            }
            Event::Orphan { context } => edit(context, &|secret| {
                if let Some(metadata) = secret["metadata"].as_object_mut() {
                    metadata.remove("ownerReferences");
                }
            }),
            Event::Foreign { context } => {
                self.api.delete(Kind::Secret, USERS, &target(context));
                self.put(&json!({
                    "apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": USERS, "name": target(context)},
                    "stringData": {"of": "another"},
                }))?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Adds a credential in the tenant, writes it to the Secret, and removes the old one in the tenant.
    fn rotate(&self, client: usize, stamp: u64) -> anyhow::Result<()> {
        let (id, new_secret, new_key) = (client_id(client), secret(client, stamp), public_key(client, stamp));
        match self.history.auth[client] {
            Auth::ClientSecret | Auth::Impersonation => {
                self.tenant.edit_client(&id, |client| client.secrets.push(new_secret.clone()));
                self.put_credential(client)?;
                self.tenant.edit_client(&id, |client| client.secrets.retain(|kept| *kept == new_secret));
            }
            Auth::PrivateKey => {
                self.tenant.edit_client(&id, |client| client.public_keys.push(new_key.clone()));
                self.put_credential(client)?;
                self.tenant.edit_client(&id, |client| client.public_keys.retain(|kept| *kept == new_key));
            }
            Auth::ApiKey => {
                let old = self.api.get(Kind::Secret, USERS, &id).map(|secret| value(&secret, "api-key"));
                self.put_credential(client)?;
                if let Some(old) = old {
                    self.tenant.revoke(&old);
                    self.checker.revoked(&old);
                }
            }
        }
        Ok(())
    }

    /// Actions on credentials of contexts, and on QlikOAuthClients.
    fn credential(&self, event: Event, stamp: u64) -> anyhow::Result<()> {
        match event {
            Event::Rotate { client } => {
                self.rotate(client, stamp)?;
                self.checker.need(&client_id(client));
            }
            Event::LabelCredential { client } => {
                // An object that was deleted is not edited.
                let _ = self.api.edit(Kind::Secret, USERS, &client_id(client), |secret| {
                    secret["metadata"]["labels"]["look"] = json!(stamp.to_string());
                });
            }
            Event::WrongSecret { client } | Event::MalformedSecret { client } => {
                let (id, is_malformed) = (client_id(client), matches!(event, Event::MalformedSecret { .. }));
                let space = if is_malformed { " " } else { "" };
                let wrong = format!("{PLANTED}wrong-{stamp}-{space}0123456789");
                let data = json!({"client-id": id, "client-secret": wrong, "private-key": wrong, "key-id": "a", "api-key": wrong});
                self.put_secret(&id, &data)?;
                self.checker.need(&id);
            }
            Event::RestrictCredential { client } => {
                let _ = self.api.edit(Kind::Secret, USERS, &client_id(client), |secret| {
                    secret["metadata"]["annotations"][ALLOWED_HOSTS_ANNOTATION] = json!("elsewhere.eu.qlikcloud.com");
                });
                self.checker.need(&client_id(client));
            }
            Event::DeleteCredential { client } => {
                self.api.delete(Kind::Secret, USERS, &client_id(client));
                self.checker.need(&client_id(client));
            }
            Event::RightSecret { client } => {
                self.put_credential(client)?;
                self.checker.need(&client_id(client));
            }
            Event::RotateObject { object } => self.edit_object(object, |object| {
                object["metadata"]["annotations"][ROTATE_REQUESTED_ANNOTATION] = json!(stamp.to_string());
            }),
            Event::EditInTenant { object } => {
                for id in self.made_by(object) {
                    self.tenant.edit_client(&id, |client| client.name = format!("renamed {stamp}"));
                }
            }
            Event::DeleteInTenant { object } => {
                for id in self.made_by(object) {
                    self.tenant.remove_client(&id);
                }
            }
            Event::EditObjectField { object, field, value } => {
                self.edit_object(object, |object| fields::of_oauth_clients(field).set(&mut object["spec"], value));
            }
            Event::DeleteObject { object } => {
                self.api.delete(Kind::QlikOAuthClient, USERS, &object_name(object));
            }
            _ => {}
        }
        Ok(())
    }
}

fn change(spec: &mut Value, edit: Edit) {
    match edit {
        Edit::Scopes => spec["scopes"] = json!(["user_default"]),
        Edit::RenewBefore => spec["renewBeforePercentage"] = json!(50),
        Edit::VerifyInterval => spec["verifyInterval"] = json!("30s"),
        Edit::TargetLabel => spec["target"]["labels"] = json!({"team": "a"}),
        Edit::TargetData => spec["target"]["data"] = json!({"KEY": "$(token)"}),
        Edit::WrongPin => spec["expectedIdentity"] = json!({"userId": "another"}),
        Edit::NoPin => {
            if let Some(spec) = spec.as_object_mut() {
                spec.remove("expectedIdentity");
            }
        }
        Edit::Suspend => spec["suspend"] = json!(true),
        Edit::Resume => spec["suspend"] = json!(false),
    }
}
