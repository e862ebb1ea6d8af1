//! The CustomResourceDefinitions as installed: the output of the derive macro, with three corrections.
//!
//! `nullable` is taken off, and `null` from lists of values: `Option` becomes both, and then an explicit `null` counts as set.
//! The lines of a text are joined: `kubectl explain` breaks them itself, and keeps every break that is there.
//! The status gets a default, so that tools which rely on `observedGeneration` do not take a newborn object for a
//! finished one.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::json;

use super::{QlikContext, QlikOAuthClient};

/// Every CRD, by the name of its file.
pub fn all() -> [(&'static str, CustomResourceDefinition); 2] {
    [("qlikcontexts.yaml", qlik_contexts()), ("qlikoauthclients.yaml", qlik_oauth_clients())]
}

/// The CRD of `QlikContext`.
pub fn qlik_contexts() -> CustomResourceDefinition {
    corrected(QlikContext::crd())
}

/// The CRD of `QlikOAuthClient`.
pub fn qlik_oauth_clients() -> CustomResourceDefinition {
    corrected(QlikOAuthClient::crd())
}

fn corrected(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        if let Some(root) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            correct(root);
            if let Some(status) = root.properties.as_mut().and_then(|fields| fields.get_mut("status")) {
                status.default = Some(JSON(json!({ "observedGeneration": -1 })));
            }
        }
    }
    crd
}

fn correct(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if let Some(values) = schema.enum_.as_mut() {
        values.retain(|value| !value.0.is_null());
    }
    if let Some(text) = schema.description.as_mut() {
        *text = text.replace('\n', " ");
    }
    schema.properties.iter_mut().flat_map(|fields| fields.values_mut()).for_each(correct);
    match schema.items.as_mut() {
        Some(JSONSchemaPropsOrArray::Schema(item)) => correct(item),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(correct),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = schema.additional_properties.as_mut() {
        correct(values);
    }
}
