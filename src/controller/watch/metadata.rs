//! The parts of a Secret that the watches read: its name, namespace and version.
//!
//! The API server is asked for metadata only, so no data is ever received. Annotations, labels and managed fields are skipped
//! while parsing: a Secret may have hundreds of KiB there (`kubectl apply` keeps a copy of the applied object).

use std::borrow::Cow;

use k8s_openapi::api::core::v1::Secret;
use kube::Resource;
use kube::api::ObjectMeta;
use kube::core::NamespaceResourceScope;
use serde::{Deserialize, Deserializer};

/// A Secret, reduced to its name, namespace and version.
#[derive(Clone, Debug, Deserialize)]
pub struct SecretMetadata {
    #[serde(deserialize_with = "kept")]
    metadata: ObjectMeta,
}

fn kept<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kept {
        name: Option<String>,
        namespace: Option<String>,
        resource_version: Option<String>,
    }
    let Kept { name, namespace, resource_version } = Kept::deserialize(deserializer)?;
    Ok(ObjectMeta { name, namespace, resource_version, ..ObjectMeta::default() })
}

impl Resource for SecretMetadata {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Secret::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Secret::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Secret::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Secret::plural(&())
    }

    fn metadata_api() -> bool {
        true
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
