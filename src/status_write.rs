//! Writes the status of an object: only over the version that was read, only while this instance leads, and only if it differs.
//! Both kinds share it.

use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ManagedFieldsEntry};
use kube::api::{Api, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::core::object::HasStatus;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::{FIELD_MANAGER, QlikContextStatus, QlikOAuthClientStatus, Reason};
use crate::error::{Error, WRITING_STATUS};
use crate::lease::Leadership;

/// As long as an admission webhook may take.
const TIMEOUT: Duration = Duration::from_secs(34);

/// The result of writing a status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StatusWrite<T> {
    /// The object has this status.
    Done(T),
    /// The object no longer exists, or another instance reconciles it.
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

/// A status that this operator writes.
pub trait Conditions {
    /// Its conditions.
    fn conditions(&self) -> &[Condition];
}

impl Conditions for QlikContextStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
}

impl Conditions for QlikOAuthClientStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
}

/// Writes the status, unless the object already has it. With `Done`, the stored object if it was written.
pub async fn write_status<K>(
    client: &Client,
    leadership: &Leadership,
    object: &K,
    status: &K::Status,
    kind: PatchKind,
) -> Result<StatusWrite<Option<DeserializeGuard<K>>>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned,
    K: HasStatus<Status: Conditions + Serialize + PartialEq>,
{
    if object.status() == Some(status) {
        return Ok(StatusWrite::Done(None));
    }
    leadership.check()?;
    let objects: Api<DeserializeGuard<K>> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let (params, patch) = patch(object, status, kind);
    let name = object.name_any();
    let written = tokio::time::timeout(TIMEOUT, objects.patch_status(&name, &params, &patch)).await;
    match written.map_err(|_| Error::Unanswered { doing: WRITING_STATUS, limit: TIMEOUT })? {
        Ok(stored) => Ok(StatusWrite::Done(Some(stored))),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(StatusWrite::Gone),
        Err(kube::Error::Api(status)) if status.is_conflict() => Ok(StatusWrite::Conflict),
        Err(error) => Err(Error::kubernetes(WRITING_STATUS)(error)),
    }
}

fn patch<K>(object: &K, status: &K::Status, kind: PatchKind) -> (PatchParams, Patch<Value>)
where
    K: Resource<DynamicType = ()> + HasStatus<Status: Conditions + Serialize>,
{
    let body = |status: Value| {
        json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            // Only over the version that was read: neither after an edit nor on another object of the same name. (The uid
            // is not enough: a write to the status takes it from the stored object.)
            "metadata": { "resourceVersion": object.meta().resource_version },
            "status": status,
        })
    };
    let params = PatchParams::apply(FIELD_MANAGER);
    if kind == PatchKind::Merge || needs_merge(object) {
        (params, Patch::Merge(body(changes(&json!(object.status()), json!(status)))))
    } else {
        // Forced: only this operator writes the status.
        (params.force(), Patch::Apply(body(json!(status))))
    }
}

/// Whether an apply would leave a part of the stored status, because other writes own it, too. After a write to an object that was
/// not valid under the schema the API server has no owners; the reason shows such a write.
fn needs_merge<K: Resource + HasStatus<Status: Conditions>>(object: &K) -> bool {
    let conditions = object.status().map(Conditions::conditions).unwrap_or_default();
    object.managed_fields().iter().any(is_other_owner)
        || conditions.iter().any(|condition| condition.reason == Reason::SpecInvalid.to_string())
}

/// Whether this entry owns fields of the status that an apply of ours does not remove: after a merge patch, or another client's
/// write.
pub fn is_other_owner(entry: &ManagedFieldsEntry) -> bool {
    let is_our_apply = entry.manager.as_deref() == Some(FIELD_MANAGER) && entry.operation.as_deref() == Some("Apply");
    entry.subresource.as_deref() == Some("status") && !is_our_apply
}

/// The merge patch that turns one value into the other.
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
