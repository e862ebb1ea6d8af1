//! Writing the status: only over what was judged, only while this instance leads, and only when it says something new.

use std::time::Duration;

use kube::api::{Api, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use crate::api::{FIELD_MANAGER, QlikContext, QlikContextStatus};
use crate::context::{Context, Guarded};
use crate::error::Error;

const TIMEOUT: Duration = Duration::from_secs(4);

/// Whether a status stands now.
pub enum Written {
    /// It stands.
    Done,
    /// There is nothing to have one.
    Gone,
}

/// How a status is written.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Way {
    /// Server-side apply: what is not said any more goes, if it was applied.
    Apply,
    /// A merge patch: the server cannot apply over an object of which it cannot make sense.
    Merge,
}

/// Writes the status, unless it is what stands there already.
pub async fn report(
    context: &QlikContext,
    status: &QlikContextStatus,
    way: Way,
    cx: &Context,
) -> Result<Written, Error> {
    if context.metadata.deletion_timestamp.is_some() {
        cx.gone(context.metadata.uid.as_deref().unwrap_or_default());
        return Ok(Written::Gone);
    }
    if context.status.as_ref() == Some(status) {
        return Ok(Written::Done);
    }
    cx.leadership.check()?;
    let namespace = context.namespace().unwrap_or_default();
    let contexts: Api<Guarded> = Api::namespaced(cx.client.clone(), &namespace);
    let write = async {
        let mut written = write(&contexts, context, status, way).await?;
        // An apply leaves what was merged in once.
        if let (Way::Apply, Ok(stored)) = (way, &written.0)
            && stored.status.as_ref() != Some(status)
        {
            written = self::write(&contexts, stored, status, Way::Merge).await?;
        }
        Ok(written)
    };
    match tokio::time::timeout(TIMEOUT, write).await.map_err(|_| Error::Deadline(TIMEOUT))? {
        Ok(written) => {
            cx.unless_gone(context.metadata.uid.as_deref().unwrap_or_default(), || {
                cx.latest.note(context, status, written.meta().resource_version.clone());
            });
            Ok(Written::Done)
        }
        Err(kube::Error::Api(status)) if status.is_not_found() => {
            cx.gone(context.metadata.uid.as_deref().unwrap_or_default());
            Ok(Written::Gone)
        }
        Err(kube::Error::Api(status)) if status.is_conflict() => {
            cx.latest.forget(context.metadata.uid.as_deref().unwrap_or_default());
            Err(Error::Changed("the QlikContext"))
        }
        Err(error) => Err(Error::kubernetes("writing the status")(error)),
    }
}

async fn write(
    contexts: &Api<Guarded>,
    context: &QlikContext,
    status: &QlikContextStatus,
    way: Way,
) -> kube::Result<Guarded> {
    let patch = |status| {
        json!({
            "apiVersion": QlikContext::api_version(&()),
            "kind": QlikContext::kind(&()),
            // Only over what was judged: neither after an edit nor on another context of the same name. (The uid would not
            // do: a write to the status takes it from what is stored.)
            "metadata": { "resourceVersion": context.metadata.resource_version },
            "status": status,
        })
    };
    // Forced: the status is ours alone.
    let params = PatchParams::apply(FIELD_MANAGER);
    let (params, patch) = match way {
        Way::Apply => (params.force(), Patch::Apply(patch(json!(status)))),
        Way::Merge => (params, Patch::Merge(patch(changes(&json!(context.status), json!(status))))),
    };
    contexts.patch_status(&context.name_any(), &params, &patch).await
}

/// The merge patch that makes one value the other.
fn changes(before: &Value, after: Value) -> Value {
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
