//! Users and bots, and their JSON in the users API (<https://qlik.dev/apis/rest/users>).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The status of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserStatus {
    /// Active.
    Active,
    /// Invited.
    Invited,
    /// Disabled: gets no new token, and earlier tokens show the user as disabled.
    Disabled,
    /// Deleted.
    Deleted,
    /// Provisioned by an identity provider.
    Provisioned,
}

/// A person or the bot of a client.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// The id in the users API.
    pub id: String,
    /// The name. A bot has the name of its client.
    pub name: String,
    /// The subject. For a bot it is `qlikbot\<client id>`.
    pub subject: String,
    /// The id of its tenant.
    pub tenant_id: String,
    /// The client, if this is a bot.
    pub client_id: Option<String>,
    /// The status.
    pub status: UserStatus,
    /// Whether it is an administrator of the tenant, as bots are.
    pub admin: bool,
}

/// The fields of a user in the response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum UserShape {
    /// The fields of schema and tutorials.
    Full,
    /// The four required fields.
    Minimal,
    /// The fields of schema and tutorials, and some unknown ones.
    Extended,
    /// The same with another tenant.
    ForeignTenant(String),
    /// The same with another status.
    Status(UserStatus),
    /// The same with another subject.
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
            // Bots have no email address.
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

/// The creation time of every user. No client needs it.
const CREATED: &str = "2024-01-31T09:00:00.000Z";
