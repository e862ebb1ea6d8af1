//! The finalizer of an object whose client is deleted with it.

use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::{Context, Ended, SOON};
use crate::api::condition::Notice;
use crate::api::{FIELD_MANAGER, OAUTH_CLIENT_FINALIZER, QlikOAuthClient};
use crate::error::{Error, WRITING_FINALIZER};
use crate::metrics::Reconciled;
use crate::reconcile::events::EventDraft;

/// Sets or removes the finalizer, over exactly the object that was decided on. `None`: it has changed since.
pub(super) async fn set(
    objects: &Api<QlikOAuthClient>,
    object: &QlikOAuthClient,
    wanted: bool,
) -> Result<Option<ObjectMeta>, Error> {
    let others = object.finalizers().iter().filter(|name| *name != OAUTH_CLIENT_FINALIZER);
    let ours = wanted.then_some(OAUTH_CLIENT_FINALIZER);
    let finalizers: Vec<_> = others.map(String::as_str).chain(ours).collect();
    let version = &object.metadata.resource_version;
    let patch = json!({"metadata": {"resourceVersion": version, "finalizers": finalizers}});
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    // Its metadata alone: the object may be one that cannot be read.
    match objects.patch_metadata(&object.name_any(), &params, &Patch::Merge(patch)).await {
        Ok(stored) => Ok(Some(stored.metadata)),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(None),
        Err(error) => Err(Error::kubernetes(WRITING_FINALIZER)(error)),
    }
}

/// An object that is being deleted and cannot be understood: nobody can know what is to become of its client, and the object goes.
pub(super) async fn release(cx: &Context, object: &QlikOAuthClient) -> Result<Ended, Error> {
    if object.finalizers().iter().any(|name| name == OAUTH_CLIENT_FINALIZER) {
        cx.base.leadership.check()?;
        let objects = Api::namespaced(cx.base.client.clone(), &object.namespace().unwrap_or_default());
        if set(&objects, object, false).await?.is_none() {
            return Ok((Reconciled::Waiting, Some(SOON)));
        }
        let note = "The OAuth client of this QlikOAuthClient was not deleted in the tenant, since the spec of the object cannot be \
                    read. Delete it there if nobody needs it.";
        let draft = EventDraft::new(true, Notice::ClientNotDeleted, note.into());
        cx.base.events.send(object.object_ref(&()), draft);
    }
    Ok((Reconciled::Unchanged, None))
}
