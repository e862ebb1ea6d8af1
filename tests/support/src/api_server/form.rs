//! The form of objects in a response: complete, or only their metadata.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use super::kind::Kind;

/// The form that the `Accept` header requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// The complete object.
    Full,
    /// `PartialObjectMetadata`.
    Metadata,
}

/// An object in a form.
pub(super) struct Shown<'a> {
    pub(super) form: Form,
    pub(super) object: &'a Value,
    /// Items of a list of a built-in kind have no `kind` and `apiVersion`.
    pub(super) is_bare: bool,
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.form, self.object.as_object()) {
            (Form::Full, Some(fields)) if self.is_bare => {
                serializer.collect_map(fields.iter().filter(|(name, _)| *name != "kind" && *name != "apiVersion"))
            }
            (Form::Full, _) => self.object.serialize(serializer),
            (Form::Metadata, _) => {
                let mut map = serializer.serialize_map(Some(3))?;
                map.serialize_entry("kind", "PartialObjectMetadata")?;
                map.serialize_entry("apiVersion", "meta.k8s.io/v1")?;
                map.serialize_entry("metadata", &self.object["metadata"])?;
                map.end()
            }
        }
    }
}

impl Form {
    /// `kind` and `apiVersion` of a list.
    pub(super) fn of_list(self, kind: Kind) -> (String, &'static str) {
        match self {
            Self::Full => (format!("{}List", kind.name()), kind.api_version()),
            Self::Metadata => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1"),
        }
    }

    /// An object that contains only a version.
    pub(super) fn bookmark(self, kind: Kind, version: u64, annotations: Option<Value>) -> Value {
        let (name, api_version) = match self {
            Self::Full => (kind.name(), kind.api_version()),
            Self::Metadata => ("PartialObjectMetadata", "meta.k8s.io/v1"),
        };
        let mut metadata = json!({ "resourceVersion": version.to_string() });
        if let Some(annotations) = annotations {
            metadata["annotations"] = annotations;
        }
        json!({ "kind": name, "apiVersion": api_version, "metadata": metadata })
    }
}
