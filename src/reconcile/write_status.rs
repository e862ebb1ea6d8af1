//! Writes the status: only over the version that was read, only while this instance leads, and only if it differs.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ManagedFieldsEntry, ObjectMeta};
use kube::api::{Api, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use crate::api::{FIELD_MANAGER, QlikContext, QlikContextStatus, Reason};
use crate::error::{Error, WRITING_STATUS};
use crate::reconcile::context::{Context, StoredContext};

/// As long as an admission webhook may take.
const TIMEOUT: Duration = Duration::from_secs(34);

/// The result of writing a status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StatusWrite {
    /// The object has this status.
    Done,
    /// The object no longer exists.
    Gone,
    /// Another client has changed the object: decide again.
    Conflict,
}

/// How a status is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PatchKind {
    /// Server-side apply: removes fields that were applied before and are no longer present.
    Apply,
    /// A merge patch: the server cannot apply over an object that is not valid under the schema.
    Merge,
}

/// Whether this entry owns fields of the status that an apply of ours does not remove: after a merge patch, or another client's
/// write.
pub fn is_other_owner(entry: &ManagedFieldsEntry) -> bool {
    let is_our_apply = entry.manager.as_deref() == Some(FIELD_MANAGER) && entry.operation.as_deref() == Some("Apply");
    entry.subresource.as_deref() == Some("status") && !is_our_apply
}

/// Whether an apply would leave a part of the stored status, because other writes own it, too. After a write to an object that was
/// not valid under the schema the API server has no owners; the reason shows such a write.
pub fn needs_merge(metadata: &ObjectMeta, conditions: &[Condition]) -> bool {
    metadata.managed_fields.iter().flatten().any(is_other_owner)
        || conditions.iter().any(|condition| condition.reason == Reason::SpecInvalid.to_string())
}

/// Writes the status, unless the object already has it.
pub async fn write_status(
    cx: &Context,
    context: &QlikContext,
    status: &QlikContextStatus,
    kind: PatchKind,
) -> Result<StatusWrite, Error> {
    if context.status.as_ref() == Some(status) {
        return Ok(StatusWrite::Done);
    }
    cx.leadership.check()?;
    let uid = context.metadata.uid.as_deref().unwrap_or_default();
    let contexts: Api<StoredContext> = Api::namespaced(cx.client.clone(), &context.namespace().unwrap_or_default());
    // An apply leaves fields that are also owned by another write: the status would be written in two parts.
    let conditions = context.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let kind = if needs_merge(&context.metadata, conditions) { PatchKind::Merge } else { kind };
    let write = patch(&contexts, context, status, kind);
    let written = tokio::time::timeout(TIMEOUT, write).await;
    match written.map_err(|_| Error::Unanswered { doing: WRITING_STATUS, limit: TIMEOUT })? {
        Ok(written) => {
            cx.memories.status_written(context, status, written.meta().resource_version.clone());
            Ok(StatusWrite::Done)
        }
        Err(kube::Error::Api(status)) if status.is_not_found() => {
            cx.deleted(uid);
            Ok(StatusWrite::Gone)
        }
        Err(kube::Error::Api(status)) if status.is_conflict() => {
            cx.memories.status_conflict(uid);
            Ok(StatusWrite::Conflict)
        }
        Err(error) => Err(Error::kubernetes(WRITING_STATUS)(error)),
    }
}

async fn patch(
    contexts: &Api<StoredContext>,
    context: &QlikContext,
    status: &QlikContextStatus,
    kind: PatchKind,
) -> kube::Result<StoredContext> {
    let object = |status: Value| {
        json!({
            "apiVersion": QlikContext::api_version(&()),
            "kind": QlikContext::kind(&()),
            // Only over the version that was read: neither after an edit nor on another context of the same name. (The uid
            // is not enough: a write to the status takes it from the stored object.)
            "metadata": { "resourceVersion": context.metadata.resource_version },
            "status": status,
        })
    };
    // Forced: only this operator writes the status.
    let params = PatchParams::apply(FIELD_MANAGER);
    let (params, patch) = match kind {
        PatchKind::Apply => (params.force(), Patch::Apply(object(json!(status)))),
        PatchKind::Merge => (params, Patch::Merge(object(changes(&json!(context.status), json!(status))))),
    };
    contexts.patch_status(&context.name_any(), &params, &patch).await
}

/// The merge patch that turns one value into the other.
pub fn changes(before: &Value, after: Value) -> Value {
    match (before, after) {
        (Value::Object(before), Value::Object(mut after)) => {
            for (name, old) in before {
                let new = after.remove(name).map_or(Value::Null, |new| changes(old, new));
                after.insert(name.clone(), new);
            }
            Value::Object(after)
        }
        (_, after) => after,
    }
}
