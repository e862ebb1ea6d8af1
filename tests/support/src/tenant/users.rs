//! Users and bots, and how the users API shows them (<https://qlik.dev/apis/rest/users>).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What the tenant says of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserStatus {
    /// May work.
    Active,
    /// Was asked to join.
    Invited,
    /// Was turned off: gets no token, and is shown as disabled to those that are out.
    Disabled,
    /// Is gone.
    Deleted,
    /// Was prepared by an identity provider.
    Provisioned,
}

/// A person or the bot of a client.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// The id under which the users API knows it.
    pub id: String,
    /// Its name; a bot has that of its client.
    pub name: String,
    /// Its subject; a bot's is `qlikbot\<client id>`.
    pub subject: String,
    /// The tenant it belongs to.
    pub tenant_id: String,
    /// The client, if this is a bot.
    pub client_id: Option<String>,
    /// Whether it may work.
    pub status: UserStatus,
    /// Whether it administers the tenant, as bots do.
    pub admin: bool,
}

/// Which fields of a user are shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum UserShape {
    /// The fields of schema and tutorials.
    Full,
    /// The four required fields.
    Minimal,
    /// The full ones and some that nobody knows yet.
    Extended,
    /// The full ones of another tenant.
    ForeignTenant(String),
    /// The full ones with another status.
    Status(UserStatus),
    /// The full ones with another subject.
    Subject(String),
}

impl User {
    /// The JSON of `GET /api/v1/users/{id}`.
    pub(super) fn document(&self, host: &str, shape: &UserShape) -> Value {
        if *shape == UserShape::Minimal {
            return json!({
                "id": self.id,
                "name": self.name,
                "subject": self.subject,
                "tenantId": self.tenant_id,
            });
        }
        let (role, level) = if self.admin { ("TenantAdmin", "admin") } else { ("Developer", "user") };
        let mut user = json!({
            "id": self.id,
            "name": self.name,
            "subject": self.subject,
            "tenantId": self.tenant_id,
            "status": self.status,
            "locale": "en",
            "preferredLocale": "",
            "zoneinfo": "Europe/Stockholm",
            "preferredZoneinfo": "",
            "created": CREATED,
            "createdAt": CREATED,
            "lastUpdated": CREATED,
            "lastUpdatedAt": CREATED,
            "roles": [role],
            "assignedRoles": [
                {"id": "605a18af2ab08cdbb0f1e1d8", "name": role, "type": "default", "level": level},
            ],
            "groups": [],
            "assignedGroups": [],
            "assignedScopes": [],
            "links": {"self": {"href": format!("https://{host}/api/v1/users/{}", self.id)}},
        });
        match &self.client_id {
            Some(client_id) => user["clientId"] = json!(client_id),
            // Bots have no address.
            None => user["email"] = json!(format!("{}@example.com", self.id)),
        }
        match shape {
            UserShape::Full | UserShape::Minimal => {}
            UserShape::Extended => {
                user["inviteExpiry"] = json!(-1);
                user["notYetInvented"] = json!({"deep": [null, {"er": 1.5e300}], "ключ": "☃"});
            }
            UserShape::ForeignTenant(tenant_id) => user["tenantId"] = json!(tenant_id),
            UserShape::Status(status) => user["status"] = json!(status),
            UserShape::Subject(subject) => user["subject"] = json!(subject),
        }
        user
    }
}

/// When everything here was created; nobody should care.
const CREATED: &str = "2024-01-31T09:00:00.000Z";
