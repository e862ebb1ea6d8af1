//! Writes the status of a context, and remembers what was written: the watch shows it later. If the watch is so late that writes
//! conflict again, the context is read.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::Api;
use kube::core::SelectorExt as _;
use kube::runtime::reflector::ObjectRef;

use crate::api::{QlikContext, QlikContextStatus};
use crate::error::Error;
use crate::reconcile::context::{Context, StoredContext};
use crate::status_write::{self, PatchKind, StatusWrite};

/// The longest time for reading the context; as long as a write may take.
const READ: Duration = Duration::from_secs(34);

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
            let (namespace, name) = (context.namespace().unwrap_or_default(), context.name_any());
            let watched = cx.contexts.get(&ObjectRef::new(&name).within(&namespace));
            let watched = watched.and_then(|watched| watched.resource_version());
            if cx.memories.status_conflict(uid, watched) < 2 {
                return Ok(StatusWrite::Conflict);
            }
            read_again(cx, uid, &namespace, &name).await
        }
    }
}

/// The next attempt uses the context as it is now, unless this instance no longer reconciles it.
async fn read_again(cx: &Context, uid: &str, namespace: &str, name: &str) -> Result<StatusWrite<()>, Error> {
    let contexts: Api<StoredContext> = Api::namespaced(cx.client.clone(), namespace);
    let doing = "reading the QlikContext";
    let read = tokio::time::timeout(READ, contexts.get_opt(name)).await;
    let read = read.map_err(|_| Error::Unanswered { doing, limit: READ })?.map_err(Error::kubernetes(doing))?;
    let Some(newest) = read.filter(|newest| newest.uid().as_deref() == Some(uid)) else {
        cx.deleted(uid);
        return Ok(StatusWrite::Gone);
    };
    if !cx.context_selector.matches(newest.labels()) {
        return Ok(StatusWrite::Gone);
    }
    // The watch reports an object that cannot be read.
    if let Ok(newest) = newest.0 {
        cx.memories.read_again(uid, newest);
    }
    Ok(StatusWrite::Conflict)
}
