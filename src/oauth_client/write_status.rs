//! Writing the status: only over what was judged, only while this instance leads, and only when it says something new.

use std::time::Duration;

use kube::api::{Api, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::Context;
use crate::api::{FIELD_MANAGER, QlikOAuthClient, QlikOAuthClientStatus};
use crate::error::{Error, WRITING_STATUS};

/// As long as an admission webhook may take.
const TIMEOUT: Duration = Duration::from_secs(34);

/// What became of a status.
pub enum StatusWrite {
    /// It is there, in this object.
    Done(Box<QlikOAuthClient>),
    /// There is nothing to have one.
    Gone,
    /// Somebody else has changed the object: judge again.
    Conflict,
}

/// Writes the status, unless it is there already.
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
    // Forced: the status is ours alone.
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let (name, patch) = (object.name_any(), Patch::Apply(patch));
    let write = objects.patch_status(&name, &params, &patch);
    match tokio::time::timeout(TIMEOUT, write).await.map_err(|_| Error::Deadline(TIMEOUT))? {
        Ok(stored) => Ok(StatusWrite::Done(Box::new(stored))),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(StatusWrite::Gone),
        Err(kube::Error::Api(status)) if status.is_conflict() => Ok(StatusWrite::Conflict),
        Err(error) => Err(Error::kubernetes(WRITING_STATUS)(error)),
    }
}
