//! Writes: checks, fields that the server sets, and storage.
//!
//! The order of checks and the texts of errors are those of a 1.36 server. `tests/api_server.rs` compares them.

use serde_json::{Value, json};

use super::checks::version_of;
use super::kind::Kind;
use super::merge::{merge_patch, without_nulls};
use super::object::{defaulted, is_same, normalise, spec_of};
use super::ownership::{Ownership, Writer};
use super::refusal::{Refusal, details};
use super::store::{Key, Store};

/// Metadata that the server sets.
const SYSTEM: [&str; 8] = [
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "generation",
    "resourceVersion",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// The result of a write: HTTP code and object.
pub(super) type Written = Result<(u16, Value), Refusal>;

/// A write of one object by one writer.
pub(super) struct Write<'a> {
    pub(super) store: &'a mut Store,
    pub(super) kind: Kind,
    pub(super) key: Key,
    pub(super) writer: Writer,
}

impl Write<'_> {
    pub(super) fn name(&self) -> &str {
        &self.key.1
    }

    fn live(&self) -> Result<Value, Refusal> {
        self.stored().ok_or_else(|| Refusal::not_found(self.kind, self.name()))
    }

    fn stored(&self) -> Option<Value> {
        self.store.get(self.kind, &self.key).map(|object| Value::clone(object))
    }

    pub(super) fn is_status(&self) -> bool {
        self.writer.subresource.is_some()
    }

    /// POST.
    pub(super) fn create(mut self, mut object: Value) -> Written {
        let metadata = &object["metadata"];
        if version_of(metadata).is_some() {
            return Err(Refusal::new(500, "", "resourceVersion should not be set on objects to be created"));
        }
        match (metadata["name"].as_str(), metadata["generateName"].as_str()) {
            (Some(name), _) if !name.is_empty() => name.clone_into(&mut self.key.1),
            (_, Some(prefix)) => self.key.1 = self.store.new_name(prefix),
            _ => {
                let why = "Required value: name or generateName is required";
                return Err(Refusal::invalid(self.kind, "", "metadata.name", "FieldValueRequired", why, 1));
            }
        }
        self.accept_namespace()?;
        if self.stored().is_some() {
            return Err(Refusal::already_exists(self.kind, self.name()));
        }
        object["metadata"]["managedFields"] = json!([]);
        self.prepare(&mut object);
        let ownership = Ownership::default();
        let owned =
            ownership.update(&json!({}), &self.owned_part(&object), self.writer.clone(), self.store.now(), self.kind);
        owned.write(self.kind, &mut object);
        Ok(self.make(object))
    }

    /// PUT.
    pub(super) fn replace(self, object: Value) -> Written {
        let live = self.live()?;
        let (given, uid) = (&object["metadata"], &live["metadata"]["uid"]);
        if given["name"].as_str().is_some_and(|name| name != self.name()) {
            let name = given["name"].as_str().unwrap_or_default();
            let message =
                format!("the name of the object ({name}) does not match the name on the URL ({})", self.name());
            return Err(Refusal::bad_request(message));
        }
        if let Some(wanted) = given["uid"].as_str().filter(|wanted| uid != wanted) {
            let uid = uid.as_str().unwrap_or_default();
            let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}");
            return Err(Refusal::conflict(self.kind, self.name(), &why));
        }
        self.update(&live, object)
    }

    /// PATCH with a merge patch.
    pub(super) fn merge(self, patch: &Value) -> Written {
        let live = self.live()?;
        let mut object = live.clone();
        if patch["metadata"]["resourceVersion"].is_null() {
            object["metadata"]["resourceVersion"] = Value::Null;
        }
        merge_patch(&mut object, patch);
        self.update(&live, object)
    }

    /// PATCH with server-side apply.
    pub(super) fn apply(mut self, mut applied: Value, force: bool) -> Written {
        without_nulls(&mut applied);
        let given = applied["metadata"].clone();
        if let Some(name) = given["name"].as_str().filter(|name| *name != self.name()) {
            let message =
                format!("the name of the object ({name}) does not match the name on the URL ({})", self.name());
            return Err(Refusal::bad_request(message));
        }
        let live = match self.stored() {
            Some(live) => live,
            None if self.is_status() => return Err(Refusal::not_found(self.kind, self.name())),
            None => {
                self.accept_namespace()?;
                if let Some(uid) = given["uid"].as_str() {
                    let why = format!(
                        "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                    );
                    return Err(Refusal::conflict(self.kind, self.name(), &why));
                }
                json!({ "metadata": {} })
            }
        };
        let is_new = live["kind"].is_null();
        normalise(self.kind, &mut applied);
        // A write through this endpoint does not own fields that the endpoint ignores.
        let mut applied = self.owned_part(&applied);
        let ownership = Ownership::of(&live);
        let now = self.store.now();
        applied["kind"] = json!(self.kind.name());
        applied["apiVersion"] = json!(self.kind.api_version());
        let (mut object, owned) = ownership.apply(&live, &applied, self.writer.clone(), force, now, self.kind)?;
        if is_new {
            self.prepare(&mut object);
            owned.write(self.kind, &mut object);
            return Ok(self.make(object));
        }
        for guard in ["uid", "resourceVersion"] {
            object["metadata"][guard] = given[guard].clone();
        }
        self.check(&live, &object)?;
        self.keep(&live, &mut object);
        owned.write(self.kind, &mut object);
        self.respect_immutability(&live, &object)?;
        Ok(self.store(&live, object))
    }

    /// DELETE.
    pub(super) fn delete(self, preconditions: &Value) -> Written {
        let mut live = self.live()?;
        let metadata = &live["metadata"];
        self.check_preconditions(metadata, preconditions)?;
        let waits =
            metadata["finalizers"].as_array().is_some_and(|all| !all.is_empty()) || self.kind == Kind::Namespace;
        if !waits {
            let mut details = details(self.kind, self.kind.plural(), self.name());
            details["uid"] = metadata["uid"].clone();
            self.store.commit(&self.writer.manager, self.kind, self.key, None);
            let success = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
            });
            return Ok((200, success));
        }
        if metadata["deletionTimestamp"].is_null() {
            live["metadata"]["deletionTimestamp"] = self.store.now();
            if self.kind == Kind::Namespace {
                live["status"]["phase"] = json!("Terminating");
            } else {
                live["metadata"]["deletionGracePeriodSeconds"] = json!(0);
            }
            if let Some(generation) = live["metadata"]["generation"].as_i64() {
                live["metadata"]["generation"] = json!(generation + 1);
            }
            live = self.commit(live);
        }
        Ok((200, live))
    }

    /// Sets the object to what a test gives, including the status and fields that the server usually sets.
    pub(super) fn overwrite(mut self, mut object: Value) -> Value {
        let (given, live) = (object.clone(), self.stored());
        self.prepare(&mut object);
        for source in live.iter().chain([&given]) {
            for field in SYSTEM {
                if !source["metadata"][field].is_null() {
                    object["metadata"][field] = source["metadata"][field].clone();
                }
            }
            if !source["status"].is_null() {
                object["status"] = source["status"].clone();
            }
        }
        let live = live.unwrap_or_else(|| json!({}));
        let managed = &given["metadata"]["managedFields"];
        if managed.is_null() || *managed == live["metadata"]["managedFields"] {
            let owners = Ownership::of(&live);
            let owners = owners.update(&live, &object, self.writer.clone(), self.store.now(), self.kind);
            owners.write(self.kind, &mut object);
        }
        self.store(&live, object).1
    }

    fn update(self, live: &Value, mut object: Value) -> Written {
        self.check(live, &object)?;
        normalise(self.kind, &mut object);
        self.keep(live, &mut object);
        let (before, after) = (self.owned_part(live), self.owned_part(&object));
        let owned = Ownership::of(live).update(&before, &after, self.writer.clone(), self.store.now(), self.kind);
        owned.write(self.kind, &mut object);
        self.respect_immutability(live, &object)?;
        Ok(self.store(live, object))
    }

    /// Metadata that the server sets on a new object.
    fn prepare(&mut self, object: &mut Value) {
        normalise(self.kind, object);
        object["apiVersion"] = json!(self.kind.api_version());
        object["kind"] = json!(self.kind.name());
        let now = self.store.now();
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(self.key.1);
        if self.kind.is_namespaced() {
            metadata["namespace"] = json!(self.key.0);
        }
        metadata["uid"] = json!(self.store.new_uid());
        metadata["creationTimestamp"] = now;
        if self.kind.has_generation() {
            metadata["generation"] = json!(1);
        }
        if self.kind.is_custom() {
            object["status"] = Value::Null;
        }
        without_nulls(object);
        defaulted(self.kind, object);
    }

    fn make(self, object: Value) -> (u16, Value) {
        (201, self.commit(object))
    }

    /// Restores fields that a write through this endpoint cannot change.
    fn keep(&self, live: &Value, object: &mut Value) {
        if self.is_status() {
            let status = object["status"].take();
            *object = live.clone();
            object["status"] = status;
        } else if self.kind.is_custom() {
            object["status"] = live["status"].clone();
        }
        for field in ["apiVersion", "kind"] {
            object[field] = live[field].clone();
        }
        for field in SYSTEM {
            object["metadata"][field] = live["metadata"][field].clone();
        }
        without_nulls(object);
        defaulted(self.kind, object);
    }

    /// The part of an object that is written, and owned, through this endpoint.
    fn owned_part(&self, object: &Value) -> Value {
        if !self.kind.is_custom() {
            return object.clone();
        }
        let fields = object.as_object().into_iter().flatten();
        let here = fields.filter(|(name, _)| (*name == "status") == self.is_status());
        Value::Object(here.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// Stores an object that differs. An unchanged object keeps its version.
    fn store(self, live: &Value, mut object: Value) -> (u16, Value) {
        if is_same(live, &object) {
            return (200, live.clone());
        }
        if self.kind.has_generation() && !live["kind"].is_null() && spec_of(live) != spec_of(&object) {
            let generation = live["metadata"]["generation"].as_i64().unwrap_or_default();
            object["metadata"]["generation"] = json!(generation + 1);
        }
        let finalizers = object["metadata"]["finalizers"].as_array().map_or(0, Vec::len);
        if !object["metadata"]["deletionTimestamp"].is_null() && finalizers == 0 && self.kind != Kind::Namespace {
            self.store.commit(&self.writer.manager, self.kind, self.key, None);
            return (200, object);
        }
        (200, self.commit(object))
    }

    fn commit(self, object: Value) -> Value {
        let stored = self.store.commit(&self.writer.manager, self.kind, self.key, Some(object));
        stored.map(|object| Value::clone(&object)).unwrap_or_default()
    }
}
