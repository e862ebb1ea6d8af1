//! `QlikContext`, version v1alpha1: the types as users write and read them, with every rule the API server checks.
//!
//! The field texts are the documentation that `kubectl explain` prints. `spec` has no schema defaults (they would show as
//! differences in GitOps tools): a default lives in the code beside the accessor and stands in the field text.
//! Stored objects may be older than the rules here, so the rest of the program reads a context through [`crate::desired`].

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod oauth_client;
mod rules;

/// Asks one Qlik Cloud tenant for an access token and keeps a fresh, verified one in a Secret.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "qlikcontext.dev",
    version = "v1alpha1",
    kind = "QlikContext",
    plural = "qlikcontexts",
    shortname = "qctx",
    category = "qlik",
    namespaced,
    status = "QlikContextStatus",
    derive = "PartialEq",
    doc = "Keeps a fresh, verified access token of one Qlik Cloud tenant in a Secret. Name the tenant and a Secret that holds the credentials of a machine-to-machine OAuth client; mount the Secret <name>-token that appears.",
    selectable = ".spec.tenantUrl",
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
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.target.name"),
    // A string: a date column prints `<invalid>` for a time to come.
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.token.expiresAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Tenant", type_ = "string", json_path = ".spec.tenantUrl", priority = 1),
    printcolumn(name = "User", type_ = "string", json_path = ".status.identity.name", priority = 1),
    printcolumn(name = "Renews", type_ = "string", json_path = ".status.token.renewalTime", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    validation = Rule::new("self.metadata.name.size() <= 63")
        .message("metadata.name must have at most 63 characters: it becomes the value of a label"),
    validation = Rule::new(rules::TARGET_IS_NOT_THE_CREDENTIAL)
        .message("the token Secret (target.name, or <metadata.name>-token) must not be the Secret that holds the credential: give one of them another name")
        .field_path(".spec.target"),
    validation = Rule::new(rules::TARGET_NAME_STAYS)
        .message("the name of the token Secret cannot be changed, since workloads mount it: create another QlikContext instead")
        .field_path(".spec.target"),
    validation = Rule::new("!(has(self.spec.auth.apiKey) && has(self.spec.scopes))")
        .message("scopes cannot be combined with auth.apiKey: an API key has all permissions of its user")
        .field_path(".spec.scopes"),
    validation = Rule::new("!(has(self.spec.auth.apiKey) && has(self.spec.impersonate))")
        .message("impersonate cannot be combined with auth.apiKey: use auth.clientSecret or auth.privateKeyJwt")
        .field_path(".spec.impersonate")
)]
#[serde(rename_all = "camelCase")]
pub struct QlikContextSpec {
    /// Address of the tenant, for example `https://acme.eu.qlikcloud.com`. In lower case, https only, without path, query
    /// or user name. Prefer the tenant's original host name: an alias stops working when it is renamed.
    #[schemars(schema_with = "rules::tenant_url")]
    pub tenant_url: String,

    /// How to authenticate. Set exactly one of clientSecret, privateKeyJwt, apiKey. The Secret named is always one of
    /// this namespace.
    #[x_kube(validation = Rule::new("[has(self.clientSecret), has(self.privateKeyJwt), has(self.apiKey)].filter(x, x).size() == 1")
        .message("set exactly one of auth.clientSecret, auth.privateKeyJwt, auth.apiKey"))]
    pub auth: Auth,

    /// Scopes to request. Absent: all scopes that the client allows. A scope that the client does not have is refused by
    /// the tenant (reason InvalidScope).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.size() > 0")
            .message("scopes must name at least one scope; leave it out to get all scopes that the client allows"),
        validation = Rule::new("self.all(s, s.matches('^[!#-\\\\[\\\\]-~]+$'))")
            .message("each of scopes must be one scope, without whitespace or quotes, for example user_default")
    )]
    #[schemars(length(max = 64), inner(length(max = 128)))]
    pub scopes: Option<Vec<String>>,

    /// Request a token that acts as this user instead of the client's own bot. Set exactly one of userId, subject. The
    /// client must allow machine-to-machine impersonation. A token of any other user is never published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("has(self.userId) != has(self.subject)")
        .message("set exactly one of impersonate.userId, impersonate.subject"))]
    pub impersonate: Option<Impersonate>,

    /// Whose token it must be. A token of any other user or tenant is never published (reason IdentityMismatch).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("has(self.tenantId) || has(self.userId) || has(self.subject)")
        .message("expectedIdentity must set at least one of tenantId, userId, subject"))]
    pub expected_identity: Option<ExpectedIdentity>,

    /// The Secret that the operator writes for workloads to mount. By default it is called <metadata.name>-token and has the
    /// keys token, authorization, tenant-url, host, expires-at and contexts.yml.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,

    /// Renew when this share of the token's lifetime is left, in percent. Default 33: a token of 6 h is renewed after 4 h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 5, max = 80))]
    pub renew_before_percentage: Option<i32>,

    /// How often the token in the Secret is checked against the tenant, as a duration such as 15m or 1h30m, from 10s to
    /// 24h. Default 15m. "0s": only when the token is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && (duration(self) == duration('0s') || (duration(self) >= duration('10s') && duration(self) <= duration('24h')))")
        .message("verifyInterval must be a duration from 10s to 24h such as 15m, or 0s to check a token only when it is new"))]
    #[schemars(length(max = 32))]
    pub verify_interval: Option<String>,

    /// True: no request to the tenant and no write to the Secret until it is false again. The status is still kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,

    /// What to do about the Pods of this namespace that read the token Secret when there is a new token. Absent: nothing. Needs
    /// workloads.enabled in the operator's chart (condition WorkloadsSynced).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("!has(self.refreshVolumes) || self.refreshVolumes || has(self.restart)")
        .message("with workloads.refreshVolumes false, set workloads.restart, or leave out workloads"))]
    pub workloads: Option<Workloads>,
}

/// How to authenticate. Exactly one is set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// Client id and client secret of a machine-to-machine OAuth client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("!(has(self.clientId) && has(self.secretRef.keys) && has(self.secretRef.keys.clientId))")
        .message("name the client id once: either clientSecret.clientId or clientSecret.secretRef.keys.clientId"))]
    pub client_secret: Option<ClientSecret>,
    /// Client id and private key of a machine-to-machine OAuth client ("Private key JWT").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new("!(has(self.clientId) && has(self.secretRef.keys) && has(self.secretRef.keys.clientId))")
            .message("name the client id once: either privateKeyJwt.clientId or privateKeyJwt.secretRef.keys.clientId"),
        validation = Rule::new("!(has(self.keyId) && has(self.secretRef.keys) && has(self.secretRef.keys.keyId))")
            .message("name the key id once: either privateKeyJwt.keyId or privateKeyJwt.secretRef.keys.keyId")
    )]
    pub private_key_jwt: Option<PrivateKeyJwt>,
    /// An API key of a user. It is verified and published, never renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKey>,
}

/// Client id and client secret of a machine-to-machine OAuth client.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClientSecret {
    /// Id of the OAuth client. Absent: read from the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::oauth_id")]
    pub client_id: Option<String>,
    /// The Secret that holds the credential.
    pub secret_ref: ClientSecretRef,
}

/// A Secret of this namespace with a client secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClientSecretRef {
    /// Name of the Secret.
    #[schemars(schema_with = "rules::secret_name")]
    pub name: String,
    /// Under which keys the values stand. Absent: client-id and client-secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<ClientSecretKeys>,
}

/// Keys of the Secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClientSecretKeys {
    /// Key of the client id. Default client-id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::data_key")]
    pub client_id: Option<String>,
    /// Key of the client secret. Default client-secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::data_key")]
    pub client_secret: Option<String>,
}

/// Client id and private key of a machine-to-machine OAuth client.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PrivateKeyJwt {
    /// Id of the OAuth client. Absent: read from the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::oauth_id")]
    pub client_id: Option<String>,
    /// Id of the key as registered with the client (kid). Absent: from the Secret, or from the private JWK itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::oauth_id")]
    pub key_id: Option<String>,
    /// Algorithm of the signature. Default by type of the key: RSA: RS256, P-384: ES384.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// The Secret that holds the private key.
    pub secret_ref: PrivateKeyRef,
}

/// Signature algorithms that Qlik Cloud accepts.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, strum::Display, Eq, PartialEq)]
#[allow(missing_docs)]
pub enum Algorithm {
    RS256,
    RS512,
    ES384,
}

/// A Secret of this namespace with a private key, as PEM or JWK.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PrivateKeyRef {
    /// Name of the Secret.
    #[schemars(schema_with = "rules::secret_name")]
    pub name: String,
    /// Under which keys the values stand. Absent: client-id, private-key and, if it is there, key-id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<PrivateKeyKeys>,
}

/// Keys of the Secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PrivateKeyKeys {
    /// Key of the client id. Default client-id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::data_key")]
    pub client_id: Option<String>,
    /// Key of the private key. Default private-key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::data_key")]
    pub private_key: Option<String>,
    /// Key of the key id. Default key-id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::data_key")]
    pub key_id: Option<String>,
}

/// An API key of a user.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// The Secret that holds the API key.
    pub secret_ref: ApiKeyRef,
}

/// A Secret of this namespace with an API key.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyRef {
    /// Name of the Secret.
    #[schemars(schema_with = "rules::secret_name")]
    pub name: String,
    /// Under which key the value stands. Absent: api-key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<ApiKeyKeys>,
}

/// Keys of the Secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyKeys {
    /// Key of the API key. Default api-key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::data_key")]
    pub api_key: Option<String>,
}

/// The user that the token acts as. Exactly one is set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Impersonate {
    /// Id of the user in the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub user_id: Option<String>,
    /// Subject of the user, as the identity provider names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub subject: Option<String>,
}

/// Pins on the identity. At least one is set; all that are set must hold.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ExpectedIdentity {
    /// Id of the tenant (users/me: tenantId).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub tenant_id: Option<String>,
    /// Id of the user (users/me: id).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub user_id: Option<String>,
    /// Subject of the user (users/me: subject).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub subject: Option<String>,
}

/// The Secret that the operator writes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Name of the Secret. Default <metadata.name>-token. It cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::secret_name")]
    pub name: Option<String>,
    /// Labels added to the Secret. Those of the operator cannot be set: qlikcontext.dev/… and app.kubernetes.io/managed-by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::labels")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations added to the Secret, for example reloader.stakater.com/match. Those of the operator cannot be set:
    /// qlikcontext.dev/….
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::annotations")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Keys of the Secret, in place of the default ones; the key `token` is always the token. Values are text with placeholders:
    /// $(token) $(tenantUrl) $(host) $(expiresAt) $(issuedAt) $(clientId) $(userId) $(tenantId) $(contextName)
    /// $(namespace) $(contextsYml). Write $$(token) for the literal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::data")]
    pub data: Option<BTreeMap<String, String>>,
}

/// What to do about the Pods that read the token Secret when there is a new token.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Workloads {
    /// Whether Pods that mount the Secret as a volume get an annotation after a new token was written, which makes the kubelet
    /// update the files within seconds. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_volumes: Option<bool>,
    /// Restart Deployments, StatefulSets and DaemonSets whose Pods read the Secret from environment variables or by subPath, where
    /// an older token stays until the container restarts. Absent: nothing is restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
}

/// Which workloads are restarted, and how often.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Restart {
    /// Labels of the workloads that may be restarted. Absent: every workload whose Pods read the Secret so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// A workload is not restarted more often than this, as a duration such as 1h or 90m, from 10m to 24h. Default 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('10m') && duration(self) <= duration('24h')")
        .message("workloads.restart.minInterval must be a duration from 10m to 24h such as 1h"))]
    #[schemars(length(max = 32))]
    pub min_interval: Option<String>,
    /// How many workloads may roll at the same time. Default 1: one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub max_concurrent: Option<i32>,
}

/// What the operator found and did. Never holds a token or a credential.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct QlikContextStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// CredentialsAvailable, TokenIssued, Verified, SecretSynced and Ready; Reconciling or Stalled while not ready;
    /// WorkloadsSynced with spec.workloads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Identity of the token in the Secret, as the tenant reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityStatus>,
    /// When the token in the Secret was issued, expires and is renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenStatus>,
    /// The Secret that the operator writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetStatus>,
    /// Last value of the annotation qlikcontext.dev/refresh-requested-at whose new token is in the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_refresh_request: Option<String>,
    /// The present failure; absent when healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureStatus>,
    /// The Pods that read the token Secret, counted when the token changed and until none is stale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workloads: Option<WorkloadsStatus>,
}

/// The Pods that read the token Secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadsStatus {
    /// Pods that mount the Secret as a volume.
    pub volumes: i32,
    /// Pods that read it from an environment variable or by subPath.
    pub environment: i32,
    /// Pods of those that still have an older token.
    pub stale: i32,
}

/// Identity of the token in the Secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct IdentityStatus {
    /// Id of the user or bot.
    pub user_id: String,
    /// Name of the user or bot.
    pub name: String,
    /// Subject of the user or bot.
    pub subject: String,
    /// Id of the OAuth client, where the tenant says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Id of the tenant.
    pub tenant_id: String,
}

/// Times and scopes of the token in the Secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TokenStatus {
    /// When the token was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<Time>,
    /// When the token stops working; absent for an API key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// When the operator requests the next one; absent for an API key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal_time: Option<Time>,
    /// Scopes that the tenant says it granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
}

/// The Secret that the operator writes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    /// Name of the Secret.
    pub name: String,
}

/// The present failure.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct FailureStatus {
    /// Attempts that failed in a row.
    pub count: i32,
    /// When the last one failed.
    pub last_time: Time,
    /// When the next attempt is due; it comes earlier when spec or Secret change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_time: Option<Time>,
    /// Reason of the failure, as in the conditions.
    pub reason: String,
    /// Trace id that the tenant gave with the first failure of this kind; Qlik's support asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

impl QlikContext {
    /// Name of the token Secret: `target.name`, else `<metadata.name>-token`.
    pub fn target_name(&self) -> String {
        let named = self.spec.target.as_ref().and_then(|target| target.name.clone());
        named.unwrap_or_else(|| format!("{}-token", self.metadata.name.as_deref().unwrap_or_default()))
    }

    /// Name of the Secret that holds the credential, whichever method is set.
    pub fn credential_name(&self) -> Option<&str> {
        let auth = &self.spec.auth;
        None.or_else(|| auth.client_secret.as_ref().map(|method| method.secret_ref.name.as_str()))
            .or_else(|| auth.private_key_jwt.as_ref().map(|method| method.secret_ref.name.as_str()))
            .or_else(|| auth.api_key.as_ref().map(|method| method.secret_ref.name.as_str()))
    }
}
