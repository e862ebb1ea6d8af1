//! `QlikOAuthClient`, version v1alpha1: a machine-to-machine OAuth client of a tenant, declared.
//!
//! The same rules hold as for [`super::QlikContext`]: no schema defaults in `spec`, field texts for `kubectl explain`, and the
//! rest of the program reads it through [`crate::oauth_client::desired`].

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FailureStatus, rules};

/// Keeps one OAuth client of a Qlik Cloud tenant as declared, and its credential in a Secret.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "qlikcontext.dev",
    version = "v1alpha1",
    kind = "QlikOAuthClient",
    plural = "qlikoauthclients",
    shortname = "qoauth",
    category = "qlik",
    namespaced,
    status = "QlikOAuthClientStatus",
    derive = "PartialEq",
    doc = "Keeps a machine-to-machine OAuth client in a Qlik Cloud tenant as declared here, and its credential, which nobody sees, in a Secret that a QlikContext can read. Name a QlikContext of this namespace whose token may manage OAuth clients.",
    selectable = ".spec.adminContextRef.name",
    label("app.kubernetes.io/part-of", "qlik-context-operator"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "ClientID", type_ = "string", json_path = ".status.clientId"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.secret.name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Context", type_ = "string", json_path = ".spec.adminContextRef.name", priority = 1),
    // A string: a date column prints `<invalid>` for a time to come.
    printcolumn(name = "Rotates", type_ = "string", json_path = ".status.rotationTime", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    validation = Rule::new("self.metadata.name.size() <= 63")
        .message("metadata.name must have at most 63 characters: it becomes the value of a label"),
    validation = Rule::new("self.spec.adminContextRef.name == oldSelf.spec.adminContextRef.name")
        .message("adminContextRef cannot be changed, since the OAuth client lives in the tenant of that QlikContext: create another QlikOAuthClient instead")
        .field_path(".spec.adminContextRef"),
    validation = Rule::new(rules::AUTH_METHOD_STAYS)
        .message("authMethod cannot be changed: create another QlikOAuthClient instead")
        .field_path(".spec"),
    validation = Rule::new(rules::CREDENTIAL_SECRET_STAYS)
        .message("the name of the credential's Secret cannot be changed, since QlikContexts read it: create another QlikOAuthClient instead")
        .field_path(".spec"),
    validation = Rule::new(rules::ADOPTION_STAYS)
        .message("adopt cannot be added, changed or removed later: create another QlikOAuthClient instead")
        .field_path(".spec")
)]
#[serde(rename_all = "camelCase")]
pub struct QlikOAuthClientSpec {
    /// A QlikContext of this namespace whose token may manage OAuth clients: one with the scope admin_classic, or with the API
    /// key of a tenant administrator. The OAuth client is made in its tenant. It cannot be changed later.
    pub admin_context_ref: AdminContextRef,

    /// Name of the OAuth client as Qlik shows it. Default <namespace>/<name>.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::client_name")]
    pub client_name: Option<String>,

    /// Description of the OAuth client as Qlik shows it. The operator adds a mark by which it finds the client again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::client_description")]
    pub description: Option<String>,

    /// Scopes that tokens of the client may have, for example user_default. A difference in the tenant is repaired.
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.size() > 0").message("scopes must name at least one scope, for example user_default"),
        validation = Rule::new("self.all(s, s.matches('^[!#-\\\\[\\\\]-~]+$'))")
            .message("each of scopes must be one scope, without whitespace or quotes, for example user_default")
    )]
    #[schemars(length(max = 64), inner(length(max = 128)))]
    pub scopes: Vec<String>,

    /// Whether tokens of the client may act as a user (machine-to-machine impersonation). Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impersonation: Option<bool>,

    /// How the client authenticates. ClientSecret (the default): Qlik makes a secret. PrivateKeyJwt: the operator makes a key
    /// pair on the curve P-384, and only the public key leaves the cluster. It cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_method: Option<AuthMethod>,

    /// The Secret that the operator writes the credential to. Default <metadata.name>-oauth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<CredentialSecret>,

    /// When the credential is replaced. Absent: only on request, by the annotation qlikcontext.dev/rotate-requested-at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("!has(self.overlap) || !has(self.interval) || !self.interval.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') || !self.overlap.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') || duration(self.overlap) <= duration(self.interval)")
        .message("rotation.overlap must not be longer than rotation.interval"))]
    pub rotation: Option<Rotation>,

    /// Take over an OAuth client that exists. Its secrets stay until the credential is rotated. It cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<Adopt>,

    /// What becomes of the OAuth client when this object is deleted. Retain (the default): it stays. Delete: it is deleted in
    /// the tenant; should that not succeed within 5 minutes, the object goes and an event says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,

    /// True: no request to the tenant and no write to the Secret until it is false again. The status is still kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// A QlikContext of this namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AdminContextRef {
    /// Name of the QlikContext.
    #[schemars(schema_with = "rules::context_name")]
    pub name: String,
}

/// How an OAuth client authenticates.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, strum::Display, Eq, PartialEq)]
#[allow(missing_docs)]
pub enum AuthMethod {
    #[default]
    ClientSecret,
    PrivateKeyJwt,
}

/// What becomes of the OAuth client when its object is deleted.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, Eq, PartialEq)]
#[allow(missing_docs)]
pub enum DeletionPolicy {
    #[default]
    Retain,
    Delete,
}

/// The Secret that holds the credential.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CredentialSecret {
    /// Name of the Secret. Default <metadata.name>-oauth. It cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::secret_name")]
    pub name: Option<String>,
}

/// When the credential is replaced.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// Age at which the credential is replaced, as a duration such as 720h, from 1m to 87600h. Absent: only on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1m') && duration(self) <= duration('87600h')")
        .message("rotation.interval must be a duration from 1m to 87600h such as 720h"))]
    #[schemars(length(max = 32))]
    pub interval: Option<String>,
    /// How long the old credential stays valid beside the new one, as a duration such as 24h, from 10s to 8760h. Default 24h,
    /// or the interval if that is shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('10s') && duration(self) <= duration('8760h')")
        .message("rotation.overlap must be a duration from 10s to 8760h such as 24h"))]
    #[schemars(length(max = 32))]
    pub overlap: Option<String>,
}

/// An OAuth client that exists.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Adopt {
    /// Id of the OAuth client.
    #[schemars(schema_with = "rules::adopted_id")]
    pub client_id: String,
}

/// What the operator found and did. Never holds a secret or a key.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct QlikOAuthClientStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// ClientSynced, CredentialVerified, SecretSynced and Ready; Reconciling or Stalled while not ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Id of the OAuth client in the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The Secret that the operator writes, and the credential in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<CredentialSecretStatus>,
    /// Credentials that were replaced and still work, the one that is removed first in front.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["hint".into()]))]
    pub previous: Vec<PreviousCredential>,
    /// When the credential is replaced; absent without rotation.interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_time: Option<Time>,
    /// Last value of the annotation qlikcontext.dev/rotate-requested-at whose new credential is in the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_rotate_request: Option<String>,
    /// When the tenant was asked last to create the OAuth client; absent once the client is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_started_at: Option<Time>,
    /// The present failure; absent when healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureStatus>,
}

/// The Secret that the operator writes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CredentialSecretStatus {
    /// Name of the Secret.
    pub name: String,
    /// When the credential in it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<Time>,
    /// By what Qlik names the credential in it: the hint of a client secret, or the id of a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A credential that was replaced and still works.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PreviousCredential {
    /// By what Qlik names it: the hint of a client secret, or the id of a key.
    pub hint: String,
    /// When it is removed.
    pub removal_time: Time,
}

impl QlikOAuthClient {
    /// Name of the Secret that holds the credential: `secret.name`, else `<metadata.name>-oauth`.
    pub fn secret_name(&self) -> String {
        let named = self.spec.secret.as_ref().and_then(|secret| secret.name.clone());
        named.unwrap_or_else(|| format!("{}-oauth", self.metadata.name.as_deref().unwrap_or_default()))
    }
}
