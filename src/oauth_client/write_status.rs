//! Writes the status: only over the version that was read, only while this instance leads, and only if it differs.

use std::time::Duration;

use kube::api::{Api, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::Context;
use crate::api::{FIELD_MANAGER, QlikOAuthClient, QlikOAuthClientStatus};
use crate::error::{Error, WRITING_STATUS};

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
) -> Result<StatusWrite, Error> {
    if object.status.as_ref() == Some(status) {
        return Ok(StatusWrite::Done(Box::new(object.clone())));
    }
    cx.base.leadership.check()?;
    let objects: Api<QlikOAuthClient> =
        Api::namespaced(cx.base.client.clone(), &object.namespace().unwrap_or_default());
    let patch = json!({
        "apiVersion": QlikOAuthClient::api_version(&()),
        "kind": QlikOAuthClient::kind(&()),
        "metadata": { "resourceVersion": object.metadata.resource_version },
        "status": status,
    });
    // Forced: only this operator writes the status.
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let (name, patch) = (object.name_any(), Patch::Apply(patch));
    let write = objects.patch_status(&name, &params, &patch);
    let written = tokio::time::timeout(TIMEOUT, write).await;
    match written.map_err(|_| Error::Unanswered { doing: WRITING_STATUS, limit: TIMEOUT })? {
        Ok(stored) => Ok(StatusWrite::Done(Box::new(stored))),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(StatusWrite::Gone),
        Err(kube::Error::Api(status)) if status.is_conflict() => Ok(StatusWrite::Conflict),
        Err(error) => Err(Error::kubernetes(WRITING_STATUS)(error)),
    }
}
