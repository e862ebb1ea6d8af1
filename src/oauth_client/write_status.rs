//! Writes the status: only over the version that was read, only while this instance leads, and only if it differs.

use std::time::Duration;

use kube::api::{Api, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use super::{Context, StoredClient};
use crate::api::{FIELD_MANAGER, QlikOAuthClient, QlikOAuthClientStatus};
use crate::error::{Error, WRITING_STATUS};
use crate::reconcile::write_status::{PatchKind, changes, needs_merge};

/// As long as an admission webhook may take.
const TIMEOUT: Duration = Duration::from_secs(34);

/// The result of writing a status.
pub enum StatusWrite {
    /// This object has the status.
    Done(Box<QlikOAuthClient>),
    /// The object no longer exists.
    Gone,
    /// Another client has changed the object: decide again.
    Conflict,
}

/// Writes the status, unless the object already has it.
pub async fn write_status(
    cx: &Context,
    object: &QlikOAuthClient,
    status: &QlikOAuthClientStatus,
    kind: PatchKind,
) -> Result<StatusWrite, Error> {
    if object.status.as_ref() == Some(status) {
        return Ok(StatusWrite::Done(Box::new(object.clone())));
    }
    cx.base.leadership.check()?;
    let objects: Api<StoredClient> = Api::namespaced(cx.base.client.clone(), &object.namespace().unwrap_or_default());
    let body = |status: Value| {
        json!({
            "apiVersion": QlikOAuthClient::api_version(&()),
            "kind": QlikOAuthClient::kind(&()),
            "metadata": { "resourceVersion": object.metadata.resource_version },
            "status": status,
        })
    };
    let params = PatchParams::apply(FIELD_MANAGER);
    let conditions = object.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let (params, patch) = if kind == PatchKind::Merge || needs_merge(&object.metadata, conditions) {
        (params, Patch::Merge(body(changes(&json!(object.status), json!(status)))))
    } else {
        // Forced: only this operator writes the status.
        (params.force(), Patch::Apply(body(json!(status))))
    };
    let name = object.name_any();
    let write = objects.patch_status(&name, &params, &patch);
    let written = tokio::time::timeout(TIMEOUT, write).await;
    match written.map_err(|_| Error::Unanswered { doing: WRITING_STATUS, limit: TIMEOUT })? {
        // For an object that cannot be read, the run ends with this.
        Ok(stored) => Ok(StatusWrite::Done(Box::new(stored.0.unwrap_or_else(|_| object.clone())))),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(StatusWrite::Gone),
        Err(kube::Error::Api(status)) if status.is_conflict() => Ok(StatusWrite::Conflict),
        Err(error) => Err(Error::kubernetes(WRITING_STATUS)(error)),
    }
}
