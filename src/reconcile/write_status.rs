//! Writes the status of a context, and remembers what was written: the watch shows it later.

use kube::ResourceExt;

use crate::api::{QlikContext, QlikContextStatus};
use crate::error::Error;
use crate::reconcile::context::Context;
use crate::status_write::{self, PatchKind, StatusWrite};

/// Writes the status, unless the context already has it.
pub async fn write_status(
    cx: &Context,
    context: &QlikContext,
    status: &QlikContextStatus,
    kind: PatchKind,
) -> Result<StatusWrite<()>, Error> {
    let uid = context.metadata.uid.as_deref().unwrap_or_default();
    match status_write::write_status(&cx.client, &cx.leadership, context, status, kind).await? {
        StatusWrite::Done(stored) => {
            if let Some(stored) = stored {
                cx.memories.status_written(context, status, stored.resource_version());
            }
            Ok(StatusWrite::Done(()))
        }
        StatusWrite::Gone => {
            cx.deleted(uid);
            Ok(StatusWrite::Gone)
        }
        StatusWrite::Conflict => {
            cx.memories.status_conflict(uid);
            Ok(StatusWrite::Conflict)
        }
    }
}
