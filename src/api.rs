//! What users see: the names of the API, and the served version re-exported.
//!
//! Defines every name once. Depends on no client, no clock and no other module of this crate.

pub mod condition;
pub mod crd;
pub mod v1alpha1;

use prometheus_client::encoding::EncodeLabelValue;
use strum::{Display, EnumIter, EnumString};

pub use condition::{ConditionType, Reason};
pub use v1alpha1::oauth_client::{QlikOAuthClient, QlikOAuthClientSpec, QlikOAuthClientStatus};
pub use v1alpha1::{QlikContext, QlikContextSpec, QlikContextStatus};

/// API group of every kind and of every annotation.
pub const GROUP: &str = "qlikcontext.dev";
/// Package, chart, field manager, event reporter and `managed-by` value.
pub const OPERATOR_NAME: &str = "qlik-context-operator";
/// Field manager of every server-side apply.
pub const FIELD_MANAGER: &str = OPERATOR_NAME;

/// Label every token Secret carries; the watch on token Secrets selects it.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Label that names the context a token Secret belongs to.
pub const CONTEXT_LABEL: &str = "qlikcontext.dev/context";

/// When the token in the token Secret stops working, RFC 3339.
pub const EXPIRES_AT_ANNOTATION: &str = "qlikcontext.dev/expires-at";
/// When the token in the token Secret was requested, RFC 3339.
pub const ISSUED_AT_ANNOTATION: &str = "qlikcontext.dev/issued-at";
/// Which spec and credential the token belongs to; see [`crate::binding`].
pub const TOKEN_BINDING_ANNOTATION: &str = "qlikcontext.dev/token-binding";
/// The refresh request for which the token in the token Secret was issued.
pub const REFRESHED_FOR_ANNOTATION: &str = "qlikcontext.dev/refreshed-for";
/// On a context: any new value requests a new token.
pub const REFRESH_REQUESTED_ANNOTATION: &str = "qlikcontext.dev/refresh-requested-at";
/// On a Pod that mounts the derived Secret: when the token was asked for that its kubelet was woken for last.
pub const TOKEN_ISSUED_AT_ANNOTATION: &str = "qlikcontext.dev/token-issued-at";
/// In the Pod template of a workload: when the token was asked for that it was restarted for last.
pub const RESTARTED_FOR_ANNOTATION: &str = "qlikcontext.dev/restarted-for";
/// On a credential Secret: the only hosts it may be sent to.
pub const ALLOWED_HOSTS_ANNOTATION: &str = "qlikcontext.dev/allowed-hosts";

/// Label that names the QlikOAuthClient a credential's Secret belongs to.
pub const OAUTH_CLIENT_LABEL: &str = "qlikcontext.dev/oauth-client";
/// On the Secret of a credential: Qlik's name of the credential, which is its hint or key id.
pub const CREDENTIAL_HINT_ANNOTATION: &str = "qlikcontext.dev/credential-hint";
/// On the Secret of a credential: shows that its values belong together; see [`crate::oauth_client::credential_secret`].
pub const CREDENTIAL_BINDING_ANNOTATION: &str = "qlikcontext.dev/credential-binding";
/// On the Secret of a credential: replaced credentials and when each is removed.
pub const PREVIOUS_CREDENTIALS_ANNOTATION: &str = "qlikcontext.dev/previous-credentials";
/// The rotate request for which the credential in the Secret was issued.
pub const ROTATED_FOR_ANNOTATION: &str = "qlikcontext.dev/rotated-for";
/// On a QlikOAuthClient: any new value requests a new credential.
pub const ROTATE_REQUESTED_ANNOTATION: &str = "qlikcontext.dev/rotate-requested-at";
/// Finalizer of a QlikOAuthClient whose OAuth client is deleted with it.
pub const OAUTH_CLIENT_FINALIZER: &str = "qlikcontext.dev/oauth-client";

/// The kinds of objects that are reconciled.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// [`QlikContext`].
    #[default]
    Context,
    /// [`QlikOAuthClient`].
    OAuthClient,
}

/// The kinds of workloads that are restarted for a new token.
#[derive(Clone, Copy, Debug, Display, EncodeLabelValue, EnumIter, EnumString, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs)]
pub enum WorkloadKind {
    Deployment,
    StatefulSet,
    DaemonSet,
}

/// The placeholders of `spec.target.data`.
pub const PLACEHOLDERS: [&str; 11] = [
    "token",
    "tenantUrl",
    "host",
    "expiresAt",
    "issuedAt",
    "clientId",
    "userId",
    "tenantId",
    "contextName",
    "namespace",
    "contextsYml",
];
