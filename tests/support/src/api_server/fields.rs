//! Fields in server-side apply: paths, sets of paths, and the difference of two objects.
//!
//! A path is spelled as in `fieldsV1` (KEP-555): `f:name` for a field, `k:{"type":"Ready"}` for an item of a list that
//! is a map, `v:"x"` for one of a list that is a set. The few lists that are not replaced as a whole are in [`shape`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

/// The steps from the object to a field.
pub(super) type Path = Vec<String>;

/// How owners can share a value.
pub(super) enum Shape {
    /// Field by field.
    Granular,
    /// Only as a whole.
    Atomic,
    /// A list whose items are identified by this field.
    Keyed(&'static str),
    /// A list that is a set of values.
    Set,
}

/// The shape of an object or list at `path`. Scalars have none.
pub(super) fn shape(path: &[String], value: &Value) -> Shape {
    let steps: Vec<&str> = path.iter().map(String::as_str).collect();
    match (&steps[..], value) {
        (["f:metadata", "f:ownerReferences"], Value::Array(_)) => Shape::Keyed("uid"),
        (["f:status", "f:conditions"], Value::Array(_)) => Shape::Keyed("type"),
        (["f:metadata", "f:finalizers"] | ["f:spec", "f:scopes"], Value::Array(_)) => Shape::Set,
        (["f:metadata", "f:ownerReferences", _] | ["f:regarding" | "f:related"], _) => Shape::Atomic,
        (_, Value::Object(_)) => Shape::Granular,
        _ => Shape::Atomic,
    }
}

/// The parts of a value that can have different owners; empty if it is owned as a whole.
pub(super) fn parts<'v>(path: &[String], value: &'v Value) -> Option<Vec<(String, &'v Value)>> {
    match (value, shape(path, value)) {
        (Value::Object(fields), Shape::Granular) => {
            Some(fields.iter().map(|(name, value)| (format!("f:{name}"), value)).collect())
        }
        (Value::Array(items), shape @ (Shape::Keyed(_) | Shape::Set)) => {
            Some(items.iter().map(|item| (step(&shape, item), item)).collect())
        }
        _ => None,
    }
}

/// The step to an item of a list.
pub(super) fn step(shape: &Shape, item: &Value) -> String {
    match shape {
        Shape::Keyed(key) => format!("k:{}", json!({ *key: item[key] })),
        _ => format!("v:{item}"),
    }
}

/// True for an empty object or list.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Fields that the server sets have no owner.
fn is_ignored(path: &[String]) -> bool {
    const SYSTEM: [&str; 11] = [
        "f:name",
        "f:namespace",
        "f:uid",
        "f:resourceVersion",
        "f:generation",
        "f:creationTimestamp",
        "f:deletionTimestamp",
        "f:deletionGracePeriodSeconds",
        "f:selfLink",
        "f:managedFields",
        "f:clusterName",
    ];
    match path {
        [field] => field == "f:apiVersion" || field == "f:kind",
        [metadata, field] => metadata == "f:metadata" && SYSTEM.contains(&field.as_str()),
        _ => false,
    }
}

/// A set of fields.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct FieldSet(pub(super) BTreeSet<Path>);

impl FieldSet {
    /// The fields of an applied configuration: its leaves, and the items of lists.
    pub(super) fn applied(object: &Value) -> Self {
        let mut set = Self::default();
        walk(&mut Path::new(), object, &mut |path, _, whole| {
            if whole || path.last().is_some_and(|step| step.starts_with("k:")) {
                set.0.insert(path.clone());
            }
        });
        set
    }

    pub(super) fn of_fields_v1(fields: &Value) -> Self {
        fn read(path: &mut Path, node: &Value, set: &mut BTreeSet<Path>) {
            let Value::Object(children) = node else { return };
            if !path.is_empty() && (children.is_empty() || children.contains_key(".")) {
                set.insert(path.clone());
            }
            for (step, child) in children.iter().filter(|(step, _)| *step != ".") {
                path.push(step.clone());
                read(path, child, set);
                path.pop();
            }
        }
        let mut set = Self::default();
        read(&mut Path::new(), fields, &mut set.0);
        set
    }

    pub(super) fn to_fields_v1(&self) -> Value {
        let mut root = json!({});
        for path in &self.0 {
            path.iter().fold(&mut root, |node, step| {
                if node[step].is_null() {
                    node[step] = json!({});
                }
                &mut node[step]
            });
        }
        for path in &self.0 {
            let node = path.iter().fold(&mut root, |node, step| &mut node[step]);
            if node.as_object().is_some_and(|children| !children.is_empty()) {
                node["."] = json!({});
            }
        }
        root
    }

    /// True if the set contains the field or a field below it.
    pub(super) fn reaches(&self, path: &Path) -> bool {
        self.0.range(path.clone()..).next().is_some_and(|member| member.starts_with(path))
    }
}

/// The difference between two versions of an object.
#[derive(Default)]
pub(super) struct Difference {
    /// Fields that are new or have another value.
    pub(super) set: BTreeSet<Path>,
    /// Removed fields.
    pub(super) removed: BTreeSet<Path>,
}

impl Difference {
    pub(super) fn between(before: &Value, after: &Value) -> Self {
        let (before, after) = (nodes(before), nodes(after));
        let changed = after.iter().filter(|(path, value)| before.get(*path) != Some(*value));
        let removed = before.keys().filter(|path| !after.contains_key(*path));
        Self { set: changed.map(|(path, _)| path.clone()).collect(), removed: removed.cloned().collect() }
    }

    pub(super) fn is_none(&self) -> bool {
        self.set.is_empty() && self.removed.is_empty()
    }
}

/// Every field with its value. A field with parts has no value here, only its presence counts.
fn nodes(object: &Value) -> BTreeMap<Path, Option<&Value>> {
    let mut all = BTreeMap::new();
    walk(&mut Path::new(), object, &mut |path, value, whole| {
        all.insert(path.clone(), Some(value).filter(|value| whole && !is_empty(value)));
    });
    all
}

/// Visits every field that can have an owner; `whole`: it has no parts.
fn walk<'v>(path: &mut Path, value: &'v Value, visit: &mut impl FnMut(&Path, &'v Value, bool)) {
    let parts = parts(path, value).filter(|parts| !parts.is_empty());
    if !path.is_empty() && *path != ["f:metadata"] {
        visit(path, value, parts.is_none());
    }
    for (step, part) in parts.into_iter().flatten() {
        path.push(step);
        if !is_ignored(path) {
            walk(path, part, visit);
        }
        path.pop();
    }
}

/// The notation of messages: `.status.conditions[type="Ready"].reason`.
pub(super) fn spelled(path: &Path) -> String {
    let mut text = String::new();
    for step in path {
        // Writing to a String does not fail.
        let _ = match step.split_at(2) {
            ("f:", name) => write!(text, ".{name}"),
            ("k:", key) => {
                let key: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
                let pairs: Vec<_> = key.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(text, "[{}]", pairs.join(","))
            }
            (_, value) => write!(text, "[={value}]"),
        };
    }
    text
}
