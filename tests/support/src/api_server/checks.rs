//! Checks before a write, and the errors if they fail.

use serde_json::Value;

use super::kind::Kind;
use super::refusal::Refusal;
use super::write::Write;

impl Write<'_> {
    /// A new object needs a namespace that exists and is not terminating.
    pub(super) fn accept_namespace(&self) -> Result<(), Refusal> {
        if !self.kind.is_namespaced() {
            return Ok(());
        }
        let namespace = &self.key.0;
        let stored = self.store.get(Kind::Namespace, &(String::new(), namespace.clone()));
        let stored = stored.ok_or_else(|| Refusal::not_found(Kind::Namespace, namespace))?;
        if stored["metadata"]["deletionTimestamp"].is_null() {
            return Ok(());
        }
        Err(Refusal::namespace_terminating(self.kind, self.name(), namespace))
    }

    /// Checks the resource version and uid that the writer gives.
    pub(super) fn check(&self, live: &Value, object: &Value) -> Result<(), Refusal> {
        let (stored, given) = (&live["metadata"], &object["metadata"]);
        if version_of(given).is_some_and(|version| Some(version) != version_of(stored)) {
            return Err(Refusal::modified(self.kind, self.name()));
        }
        // On /status the server takes all metadata from the stored object, including the uid, so it does not compare
        // it.
        let uid = &given["uid"];
        if !self.is_status() && !uid.is_null() && *uid != stored["uid"] {
            let times = if self.kind.is_custom() { 1 } else { 2 };
            return Err(Refusal::immutable(self.kind, self.name(), "metadata.uid", uid, times));
        }
        Ok(())
    }

    /// Checks the preconditions of a deletion.
    pub(super) fn check_preconditions(&self, metadata: &Value, preconditions: &Value) -> Result<(), Refusal> {
        for (field, name, otherwise) in [
            ("uid", "UID", "The object might have been deleted and then recreated"),
            ("resourceVersion", "ResourceVersion", "The object might have been modified"),
        ] {
            let held = metadata[field].as_str().unwrap_or_default();
            if let Some(wanted) = preconditions[field].as_str().filter(|wanted| *wanted != held) {
                let why = format!(
                    "the {name} in the precondition ({wanted}) does not match the {name} in record ({held}). {otherwise}"
                );
                return Err(Refusal::precondition(self.kind, self.name(), &why));
            }
        }
        Ok(())
    }

    /// The type of a Secret cannot change. Of an immutable Secret only the metadata can.
    pub(super) fn respect_immutability(&self, live: &Value, object: &Value) -> Result<(), Refusal> {
        if self.kind != Kind::Secret {
            return Ok(());
        }
        if live["type"] != object["type"] {
            return Err(Refusal::immutable(self.kind, self.name(), "type", &object["type"], 1));
        }
        let why = "Forbidden: field is immutable when `immutable` is set";
        let fields = ["immutable", "data"].into_iter().filter(|_| live["immutable"] == true);
        match fields.into_iter().find(|field| live[field] != object[field]) {
            Some(field) => Err(Refusal::invalid(self.kind, self.name(), field, "FieldValueForbidden", why, 1)),
            None => Ok(()),
        }
    }
}

/// The version that a writer gives. `0` is the same as none.
pub(super) fn version_of(metadata: &Value) -> Option<&str> {
    metadata["resourceVersion"].as_str().filter(|version| !version.is_empty() && *version != "0")
}
