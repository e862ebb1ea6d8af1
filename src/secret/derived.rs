//! The token Secret: its only constructor, its owner, its content, and the comparison with the wanted content.
//!
//! All of its values come from one token and the inputs of that token, so it never has one tenant's token with another tenant's
//! address. No value ends in a line break.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::api::ObjectMeta;
use secrecy::ExposeSecret;
use serde_json::Value;

use super::{Credential, SealedSecret};
use crate::api::ConditionType::SecretSynced;
use crate::api::{
    CONTEXT_LABEL, EXPIRES_AT_ANNOTATION, FIELD_MANAGER, GROUP, ISSUED_AT_ANNOTATION, MANAGED_BY_LABEL, OPERATOR_NAME,
    QlikContext, REFRESHED_FOR_ANNOTATION, Reason, TOKEN_BINDING_ANNOTATION,
};
use crate::binding;
use crate::clock::Timestamp;
use crate::desired::{Desired, added};
use crate::error::Failure;
use crate::oauth::token::{AccessToken, Token, VerifiedToken};
use crate::secret::template::{self, contexts_yml};
use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

const TOKEN_KEY: &str = "token";
/// Far below the API server's 1 MiB, with room for keys that other clients add.
const SIZE_LIMIT: usize = 512 * 1024;

/// The keys and templates that a Secret gets without `target.data`.
const DEFAULT_DATA: [(&str, &str); 6] = [
    (TOKEN_KEY, "$(token)"),
    ("authorization", "Bearer $(token)"),
    ("tenant-url", "$(tenantUrl)"),
    ("host", "$(host)"),
    ("expires-at", "$(expiresAt)"),
    ("contexts.yml", "$(contextsYml)"),
];

/// The Secret of the target's name, by its owner.
#[derive(Clone, Debug)]
pub enum Target {
    /// There is none.
    Absent,
    /// This context controls it, or did until its owner reference was lost.
    Ours(Stored),
    /// Its controller is a deleted context of this name; the garbage collector will delete it.
    Predecessors,
    /// It belongs to another object: it is neither read nor written.
    Foreign {
        /// It has this context's label, so it belonged to this context before.
        disowned: bool,
        /// The QlikContext that it belongs to.
        of: Option<String>,
    },
}

/// A token Secret as stored.
#[derive(Clone, Debug)]
pub enum Stored {
    /// As it was read.
    Read {
        /// The Secret.
        secret: Box<SealedSecret>,
        /// It has no controller, and has every mark of this context.
        orphan: bool,
    },
    /// As this process wrote it, and unchanged according to the watch.
    Written(Box<WrittenSecret>),
}

/// What is remembered of a token Secret that this process wrote.
#[derive(Clone)]
pub struct WrittenSecret {
    /// `metadata.uid`.
    pub uid: Option<String>,
    /// `metadata.resourceVersion`.
    pub resource_version: Option<String>,
    /// The `apiVersion` in its owner reference.
    owner_api_version: Option<String>,
    /// Digest of all applied fields.
    digest: [u8; 32],
    held: Option<Held>,
    refreshed_for: Option<String>,
}

impl std::fmt::Debug for WrittenSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WrittenSecret").field("resource_version", &self.resource_version).finish_non_exhaustive()
    }
}

impl WrittenSecret {
    /// `applied` is the Secret that was sent, `stored` the one that the API server returned.
    pub fn new(applied: &Secret, token: &Token, stored: &ObjectMeta) -> Self {
        let annotation = |name: &str| applied.metadata.annotations.as_ref()?.get(name).cloned();
        let binding = annotation(TOKEN_BINDING_ANNOTATION);
        Self {
            uid: stored.uid.clone(),
            resource_version: stored.resource_version.clone(),
            owner_api_version: controller(stored).map(|owner| owner.api_version.clone()),
            digest: content_digest(applied),
            held: binding.map(|binding| Held { token: token.clone(), binding }),
            refreshed_for: annotation(REFRESHED_FOR_ANNOTATION),
        }
    }
}

impl Stored {
    /// The token in this Secret, if it is complete.
    pub fn held(&self) -> Option<Held> {
        match self {
            Self::Read { secret, .. } => secret.held(),
            Self::Written(written) => written.held.clone(),
        }
    }

    /// True when it has lost its owner reference.
    pub fn is_orphan(&self) -> bool {
        matches!(self, Self::Read { orphan: true, .. })
    }

    /// True when every field of this operator is as wanted and none remains from an earlier spec.
    pub fn is_as(&self, wanted: &Secret) -> bool {
        match self {
            Self::Read { secret, orphan } => !orphan && secret.is_as(wanted),
            Self::Written(written) => written.digest == content_digest(wanted),
        }
    }

    /// True when any write would be refused.
    pub fn is_immutable(&self) -> bool {
        matches!(self, Self::Read { secret, .. } if secret.immutable == Some(true))
    }

    /// The last refresh request that was handled.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        match self {
            Self::Read { secret, .. } => secret.annotation(name),
            Self::Written(written) if name == REFRESHED_FOR_ANNOTATION => written.refreshed_for.as_deref(),
            Self::Written(_) => None,
        }
    }

    /// Ties a write to the object that was read: if it was replaced since, the API server answers 422 (uid) or 409
    /// (resourceVersion).
    pub fn guard(&self, secret: &mut Secret) {
        let (uid, resource_version, owner_api_version) = match self {
            Self::Read { secret, .. } => {
                let metadata = &secret.metadata;
                let owner = controller(metadata).map(|owner| &owner.api_version);
                (&metadata.uid, &metadata.resource_version, owner)
            }
            Self::Written(written) => (&written.uid, &written.resource_version, written.owner_api_version.as_ref()),
        };
        secret.metadata.uid.clone_from(uid);
        secret.metadata.resource_version.clone_from(resource_version);
        // OwnerReferencesPermissionEnforcement requires permissions to change a reference, even to change its apiVersion only.
        let owner = secret.metadata.owner_references.iter_mut().flatten().next();
        if let (Some(stored), Some(owner)) = (owner_api_version, owner) {
            owner.api_version.clone_from(stored);
        }
    }

    /// The field managers, other than this operator, that have written it.
    pub fn other_managers(&self) -> Vec<String> {
        let Self::Read { secret, .. } = self else { return Vec::new() };
        secret.other_managers()
    }

    /// The version that was read.
    pub fn resource_version(&self) -> Option<&String> {
        match self {
            Self::Read { secret, .. } => secret.metadata.resource_version.as_ref(),
            Self::Written(written) => written.resource_version.as_ref(),
        }
    }
}

/// Digest of all applied fields: labels, annotations, owner and data. Maps are sorted, so equal Secrets have equal digests.
fn content_digest(secret: &Secret) -> [u8; 32] {
    let metadata = &secret.metadata;
    let owners = metadata.owner_references.iter().flatten().map(|owner| &owner.uid).collect::<Vec<_>>();
    let content = (&metadata.name, &metadata.labels, &metadata.annotations, owners, &secret.data, &secret.type_);
    let text = Zeroizing::new(serde_json::to_vec(&content).unwrap_or_default());
    digest(&SHA256, &text).as_ref().first_chunk().copied().unwrap_or_default()
}

impl Target {
    /// Decides by the uid of the controller, the only mark that is never set by accident; without a controller, by all three
    /// marks that the operator sets.
    pub fn classify(secret: Option<SealedSecret>, context: &QlikContext) -> Self {
        let Some(secret) = secret else {
            return Self::Absent;
        };
        let owner = controller(&secret.metadata).cloned();
        let metadata = &context.metadata;
        match owner {
            Some(owner) if metadata.uid.as_ref() == Some(&owner.uid) => {
                Self::Ours(Stored::Read { secret: Box::new(secret), orphan: false })
            }
            None if is_orphan_of(&secret, context) => {
                Self::Ours(Stored::Read { secret: Box::new(secret), orphan: true })
            }
            Some(owner) if is_context(&owner) && metadata.name.as_ref() == Some(&owner.name) => Self::Predecessors,
            owner => {
                let of = owner.filter(is_context).map(|owner| owner.name);
                let labels = secret.metadata.labels.as_ref();
                let label = labels.and_then(|labels| labels.get(CONTEXT_LABEL));
                Self::Foreign { disowned: label.is_some() && label == metadata.name.as_ref(), of }
            }
        }
    }

    /// Why nothing may be written there.
    pub fn refusal(&self, name: &str) -> Option<Failure> {
        match self {
            Self::Absent | Self::Ours(_) => None,
            Self::Predecessors => Some(
                Failure::new(
                    SecretSynced,
                    Reason::SecretNotOwned,
                    format!(
                        "Secret {name} belongs to a deleted QlikContext of the same name. No action needed: it will be \
                         garbage-collected, then the operator continues."
                    ),
                )
                .waiting(),
            ),
            Self::Foreign { of: Some(of), .. } => Some(Failure::new(
                SecretSynced,
                Reason::SecretNotOwned,
                format!(
                    "Secret {name} belongs to QlikContext {of}, so it is not touched. Create this QlikContext again with \
                     another target.name, or delete the other one."
                ),
            )),
            Self::Foreign { disowned: true, .. } => Some(Failure::new(
                SecretSynced,
                Reason::SecretNotOwned,
                format!(
                    "Secret {name} no longer has this QlikContext as its controller, so it is not written. Delete the \
                     Secret, and the operator creates it again."
                ),
            )),
            Self::Foreign { disowned: false, .. } => Some(Failure::new(
                SecretSynced,
                Reason::SecretNotOwned,
                format!(
                    "Secret {name} exists and is not this QlikContext's, so it is not touched. Use a QlikContext with another \
                     target.name, or, if nobody needs that Secret, delete it."
                ),
            )),
        }
    }
}

/// Restored from a backup, or its owner reference was removed: it has no controller, and both labels and the binding are those
/// of this context. Its token is verified before it is used, so a forged Secret gains nothing.
fn is_orphan_of(secret: &SealedSecret, context: &QlikContext) -> bool {
    let label = |name: &str| secret.metadata.labels.as_ref().and_then(|labels| labels.get(name)).map(String::as_str);
    let binding = secret.annotation(TOKEN_BINDING_ANNOTATION);
    label(MANAGED_BY_LABEL) == Some(OPERATOR_NAME)
        && label(CONTEXT_LABEL) == context.metadata.name.as_deref()
        && binding.is_some_and(binding::is_well_formed)
}

pub(super) fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

fn is_context(owner: &OwnerReference) -> bool {
    owner.kind == "QlikContext" && owner.api_version.split('/').next() == Some(GROUP)
}

/// The token in a token Secret, and the binding beside it.
#[derive(Clone)]
pub struct Held {
    /// The token.
    pub token: Token,
    /// The annotation; see [`crate::binding`].
    pub binding: String,
}

impl SealedSecret {
    /// The token in this Secret, if it is complete.
    fn held(&self) -> Option<Held> {
        let time = |name| self.annotation(name).and_then(|text| text.parse::<Timestamp>().ok());
        let text = std::str::from_utf8(self.bytes(TOKEN_KEY)?).ok()?;
        let token = Token {
            access_token: AccessToken::parse(text)?,
            issued_at: time(ISSUED_AT_ANNOTATION)?,
            expires_at: time(EXPIRES_AT_ANNOTATION),
            scopes: None,
        };
        Some(Held { token, binding: self.annotation(TOKEN_BINDING_ANNOTATION)?.to_owned() })
    }

    /// True when every field of this operator is as wanted and none remains from an earlier spec.
    pub(super) fn is_as(&self, wanted: &Secret) -> bool {
        let data = wanted.data.iter().flatten().all(|(key, value)| self.bytes(key) == Some(&value.0[..]));
        let same = |stored: &Option<BTreeMap<_, _>>, wanted: &Option<BTreeMap<_, _>>| {
            let stored = stored.as_ref();
            wanted.iter().flatten().all(|(key, value)| stored.and_then(|stored| stored.get(key)) == Some(value))
        };
        let (stored, desired) = (&self.metadata, &wanted.metadata);
        let keys = |map: Option<Vec<&String>>| map.into_iter().flatten().cloned().collect::<BTreeSet<_>>();
        let left_over = [
            (&["f:data"][..], keys(wanted.data.as_ref().map(|map| map.keys().collect()))),
            (&["f:metadata", "f:labels"], keys(desired.labels.as_ref().map(|map| map.keys().collect()))),
            (&["f:metadata", "f:annotations"], keys(desired.annotations.as_ref().map(|map| map.keys().collect()))),
        ];
        data && same(&stored.labels, &desired.labels)
            && same(&stored.annotations, &desired.annotations)
            && left_over.iter().all(|(path, wanted)| applied_keys(stored, path).is_subset(wanted))
    }
}

/// The keys under `path` that server-side apply has recorded as ours.
fn applied_keys(metadata: &ObjectMeta, path: &[&str]) -> BTreeSet<String> {
    let entries =
        metadata.managed_fields.iter().flatten().filter(|entry| {
            entry.manager.as_deref() == Some(FIELD_MANAGER) && entry.operation.as_deref() == Some("Apply")
        });
    let fields = entries.filter_map(|entry| entry.fields_v1.as_ref()).filter_map(|fields| {
        path.iter().try_fold(&fields.0, |value: &Value, step| value.get(step)).and_then(Value::as_object)
    });
    fields.flat_map(|map| map.keys()).filter_map(|key| key.strip_prefix("f:")).map(str::to_owned).collect()
}

/// Makes the token Secret of a context: all fields that server-side apply manages.
pub fn derived_secret(
    context: &QlikContext,
    desired: &Desired,
    credential: &Credential,
    verified: &VerifiedToken,
    refreshed_for: Option<&str>,
) -> Result<Secret, Failure> {
    let token = &verified.token;
    let expires_at = token.expires_at.map(|end| (EXPIRES_AT_ANNOTATION, end.to_string()));
    let own = [
        (ISSUED_AT_ANNOTATION, token.issued_at.to_string()),
        (TOKEN_BINDING_ANNOTATION, binding::bind(token, &desired.binding_inputs(), &credential.sent)),
    ];
    let refreshed_for = refreshed_for.map(|value| (REFRESHED_FOR_ANNOTATION, value.to_owned()));
    let annotations =
        own.into_iter().chain(expires_at).chain(refreshed_for).map(|(name, value)| (name.to_owned(), value));
    let labels = [
        (MANAGED_BY_LABEL.to_owned(), OPERATOR_NAME.to_owned()),
        (CONTEXT_LABEL.to_owned(), context.metadata.name.clone().unwrap_or_default()),
    ];
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(desired.target_name.clone()),
            namespace: context.metadata.namespace.clone(),
            labels: Some(added(desired.target.labels.as_ref()).chain(labels).collect()),
            annotations: Some(added(desired.target.annotations.as_ref()).chain(annotations).collect()),
            owner_references: owner(context).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        // `data`, never `stringData`: server-side apply does not notice fields that are removed from the latter.
        data: Some(data(context, desired, credential, verified)?),
        type_: Some("Opaque".into()),
        ..Secret::default()
    })
}

/// Without `blockOwnerDeletion`: with OwnerReferencesPermissionEnforcement, that would need permissions for finalizers.
fn owner(context: &QlikContext) -> Option<OwnerReference> {
    let owner = context.controller_owner_ref(&())?;
    Some(OwnerReference { block_owner_deletion: None, ..owner })
}

fn data(
    context: &QlikContext,
    desired: &Desired,
    credential: &Credential,
    verified: &VerifiedToken,
) -> Result<BTreeMap<String, ByteString>, Failure> {
    let token = verified.token.access_token.expose_secret();
    let name = context.metadata.name.as_deref().unwrap_or_default();
    let namespace = context.metadata.namespace.as_deref().unwrap_or_default();
    let (tenant_url, host) = (desired.tenant.to_string(), desired.tenant.authority());
    let expires_at = verified.token.expires_at.map(|end| end.to_string()).unwrap_or_default();
    let issued_at = verified.token.issued_at.to_string();
    let contexts = contexts_yml(name, &tenant_url, token);
    let value = |placeholder: &str| match placeholder {
        "token" => token,
        "tenantUrl" => &tenant_url,
        "host" => &host,
        "expiresAt" => &expires_at,
        "issuedAt" => &issued_at,
        "clientId" => credential.request.credential.client_id(),
        "userId" => &verified.identity.user_id,
        "tenantId" => &verified.identity.tenant_id,
        "contextName" => name,
        "namespace" => namespace,
        "contextsYml" => &contexts,
        _ => "",
    };
    let templates: BTreeMap<&str, &str> = match &desired.target.data {
        None => DEFAULT_DATA.into(),
        Some(wanted) => {
            let always = (TOKEN_KEY, "$(token)");
            wanted.iter().map(|(key, template)| (key.as_str(), template.as_str())).chain([always]).collect()
        }
    };
    let size = templates.values().map(|template| template::rendered_len(template, value)).sum::<Result<usize, _>>();
    if size.map_err(|problem| invalid(&problem))? > SIZE_LIMIT {
        return Err(invalid(&"its values would be over 512 KiB"));
    }
    let rendered = templates.into_iter().map(|(key, template)| {
        let text = template::render(template, value).map_err(|problem| invalid(&problem))?;
        Ok((key.to_owned(), ByteString(text.trim_end_matches(['\r', '\n']).as_bytes().to_vec())))
    });
    rendered.collect()
}

fn invalid(problem: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        SecretSynced,
        Reason::TemplateInvalid,
        format!("spec.target.data cannot be filled: {problem}. Correct it and apply the QlikContext again."),
    )
}

#[cfg(test)]
mod tests;
