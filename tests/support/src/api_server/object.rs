//! Normalizes an object before it is stored, and compares objects.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::fields::is_empty;
use super::kind::Kind;
use super::merge::without_nulls;

/// Converts an object to its stored form.
pub(super) fn normalise(kind: Kind, object: &mut Value) {
    without_nulls(object);
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    if kind == Kind::Secret {
        data_of_strings(object);
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|_, value| !is_empty(value));
    }
    if !kind.is_custom()
        && let Some(fields) = object.as_object_mut()
    {
        fields.retain(|name, value| name != "data" || !is_empty(value));
    }
}

/// Sets defaults.
pub(super) fn defaulted(kind: Kind, object: &mut Value) {
    match kind {
        Kind::Secret if object["type"].is_null() => object["type"] = json!("Opaque"),
        // The default of the CustomResourceDefinition.
        Kind::QlikContext | Kind::QlikOAuthClient if object["status"].is_null() => {
            object["status"] = json!({ "observedGeneration": -1 });
        }
        Kind::Namespace if object["status"].is_null() => {
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = object["metadata"]["name"].clone();
            object["spec"] = json!({ "finalizers": ["kubernetes"] });
            object["status"] = json!({ "phase": "Active" });
        }
        _ => {}
    }
}

/// True if only the times in `managedFields` differ. Such a write changes nothing.
pub(super) fn is_same(left: &Value, right: &Value) -> bool {
    fn timeless(object: &Value) -> Value {
        let mut object = object.clone();
        for entry in object["metadata"]["managedFields"].as_array_mut().into_iter().flatten() {
            entry["time"] = Value::Null;
        }
        object
    }
    left == right || timeless(left) == timeless(right)
}

/// The part of an object whose change increases the generation: everything except metadata and status.
pub(super) fn spec_of(object: &Value) -> Vec<(&String, &Value)> {
    let fields = object.as_object().into_iter().flatten();
    fields.filter(|(name, _)| *name != "metadata" && *name != "status").collect()
}

/// Moves `stringData` to `data`.
fn data_of_strings(secret: &mut Value) {
    let Some(strings) = secret.as_object_mut().and_then(|fields| fields.remove("stringData")) else { return };
    for (key, text) in strings.as_object().into_iter().flatten() {
        secret["data"][key] = json!(STANDARD.encode(text.as_str().unwrap_or_default()));
    }
}
