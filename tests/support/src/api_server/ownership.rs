//! Ownership of fields (`metadata.managedFields`, KEP-555), and how an apply or another write changes it.

use serde_json::{Value, json};

use super::fields::{Difference, FieldSet, Path, spelled};
use super::kind::Kind;
use super::merge::{merge, remove};
use super::refusal::Refusal;

/// The field manager, and the subresource that it writes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Writer {
    pub(super) manager: String,
    /// `status`, or `None`.
    pub(super) subresource: Option<String>,
}

#[derive(Clone, Debug)]
struct Entry {
    writer: Writer,
    is_apply: bool,
    time: Option<Value>,
    fields: FieldSet,
}

/// The owners of an object's fields.
#[derive(Clone, Debug, Default)]
pub(super) struct Ownership(Vec<Entry>);

impl Ownership {
    pub(super) fn of(object: &Value) -> Self {
        let entries = object["metadata"]["managedFields"].as_array().map(Vec::as_slice).unwrap_or_default();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let read = |entry: &Value| Entry {
            writer: Writer {
                manager: text(&entry["manager"]).unwrap_or_default(),
                subresource: text(&entry["subresource"]),
            },
            is_apply: entry["operation"] == "Apply",
            time: entry.get("time").cloned(),
            fields: FieldSet::of_fields_v1(&entry["fieldsV1"]),
        };
        Self(entries.iter().map(read).collect())
    }

    /// Writes `managedFields`, in the API server's order: applies first, then by time.
    pub(super) fn write(mut self, kind: Kind, object: &mut Value) {
        self.0.retain(|entry| !entry.fields.0.is_empty());
        let time = |entry: &Entry| entry.time.as_ref().and_then(Value::as_str).map(str::to_owned);
        self.0.sort_by_cached_key(|entry| (!entry.is_apply, time(entry), entry.writer.manager.clone()));
        let entries = self.0.iter().map(|entry| {
            let mut managed = json!({
                "manager": entry.writer.manager,
                "operation": if entry.is_apply { "Apply" } else { "Update" },
                "apiVersion": kind.api_version(),
                "fieldsType": "FieldsV1",
                "fieldsV1": entry.fields.to_fields_v1(),
            });
            if let Some(time) = &entry.time {
                managed["time"] = time.clone();
            }
            if let Some(subresource) = &entry.writer.subresource {
                managed["subresource"] = json!(subresource);
            }
            managed
        });
        let entries: Vec<_> = entries.collect();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
            if !entries.is_empty() {
                metadata.insert("managedFields".to_owned(), Value::Array(entries));
            }
        }
    }

    fn take(&mut self, writer: &Writer, is_apply: bool) -> Option<Entry> {
        let at = self.0.iter().position(|entry| entry.is_apply == is_apply && entry.writer == *writer)?;
        Some(self.0.remove(at))
    }

    /// Applies: sets the fields of `writer`, and removes fields of its earlier apply that no other manager owns.
    pub(super) fn apply(
        mut self,
        live: &Value,
        applied: &Value,
        writer: Writer,
        force: bool,
        now: Value,
        kind: Kind,
    ) -> Result<(Value, Self), Refusal> {
        let before = self.take(&writer, true);
        let fields = FieldSet::applied(applied);
        let mut object = live.clone();
        merge(&mut Path::new(), &mut object, applied);
        let mut kept = fields.clone();
        for entry in &self.0 {
            kept.0.extend(entry.fields.0.iter().cloned());
        }
        for path in before.iter().flat_map(|entry| &entry.fields.0).filter(|path| !kept.reaches(path)) {
            remove(&mut object, path);
        }
        let mut difference = Difference::between(live, &object);
        // The owner of a map itself still owns it after its last entry is removed.
        difference.removed.retain(|path| !kept.0.contains(path));
        if !force {
            self.refuse_conflicts(&difference, kind)?;
        }
        self.give_up(&difference);
        // An apply that changes nothing keeps the earlier time, even if it is the manager's first.
        let time = if difference.is_none() { before.and_then(|entry| entry.time) } else { Some(now) };
        self.0.push(Entry { writer, is_apply: true, time, fields });
        Ok((object, self))
    }

    /// Any other write: the writer owns the fields that it changed.
    pub(super) fn update(mut self, live: &Value, object: &Value, writer: Writer, now: Value, kind: Kind) -> Self {
        let mut difference = Difference::between(live, object);
        if !kind.is_custom() {
            // In Go these are structs, which always exist.
            difference.set.retain(|path| *path != ["f:spec"] && *path != ["f:status"]);
        }
        let before = self.take(&writer, false);
        self.give_up(&difference);
        let time =
            if difference.set.is_empty() { before.as_ref().and_then(|entry| entry.time.clone()) } else { Some(now) };
        let mut fields = before.map(|entry| entry.fields).unwrap_or_default();
        fields.0.retain(|path| !difference.removed.contains(path));
        fields.0.extend(difference.set);
        self.0.push(Entry { writer, is_apply: false, time, fields });
        self
    }

    fn give_up(&mut self, difference: &Difference) {
        for entry in &mut self.0 {
            entry.fields.0.retain(|path| !difference.set.contains(path) && !difference.removed.contains(path));
        }
    }

    fn refuse_conflicts(&self, difference: &Difference, kind: Kind) -> Result<(), Refusal> {
        let lost =
            |entry: &Entry| -> Vec<String> { entry.fields.0.intersection(&difference.set).map(spelled).collect() };
        let mut conflicts: Vec<(String, Vec<String>)> =
            self.0.iter().map(|entry| (entry.named(kind), lost(entry))).filter(|(_, lost)| !lost.is_empty()).collect();
        conflicts.sort();
        let pairs: Vec<_> = conflicts
            .iter()
            .flat_map(|(manager, fields)| fields.iter().map(|field| (manager.clone(), field.clone())))
            .collect();
        match &pairs[..] {
            [] => Ok(()),
            [(manager, field)] => {
                let message = format!("Apply failed with 1 conflict: conflict with {manager}: {field}");
                Err(Refusal::field_conflicts(message, &pairs))
            }
            _ => {
                let lines = conflicts.iter().flat_map(|(manager, fields)| {
                    let fields = fields.iter().map(|field| format!("- {field}"));
                    std::iter::once(format!("conflicts with {manager}:")).chain(fields)
                });
                let lines = lines.collect::<Vec<_>>().join("\n");
                let message = format!("Apply failed with {} conflicts: {lines}", pairs.len());
                Err(Refusal::field_conflicts(message, &pairs))
            }
        }
    }
}

impl Entry {
    fn named(&self, kind: Kind) -> String {
        let subresource = self.writer.subresource.as_ref();
        let subresource = subresource.map(|name| format!(" with subresource {name:?}")).unwrap_or_default();
        let version = if self.is_apply { String::new() } else { format!(" using {}", kind.api_version()) };
        format!("{:?}{subresource}{version}", self.writer.manager)
    }
}
