//! The fields of a spec and values for them, from the schema of the CRD, so that a new field is edited without a change
//! here.
//!
//! The API server in memory does not validate. Values have the field's type and are within its bounds. A value that a pattern or a
//! rule of the schema rejects counts as stored under an older schema, and the operator has to report it. A field that the schema
//! makes immutable is not edited.

use std::sync::LazyLock;

use qlik_context_operator::api::crd::{qlik_contexts, qlik_oauth_clients};
use serde_json::{Value, json};

/// The fields of a QlikContext.
pub static CONTEXTS: LazyLock<Vec<Field>> = LazyLock::new(|| all(&json!(qlik_contexts()), &["target.name"]));
/// The fields of a QlikOAuthClient.
pub static OAUTH_CLIENTS: LazyLock<Vec<Field>> =
    LazyLock::new(|| all(&json!(qlik_oauth_clients()), &["adminContextRef", "authMethod", "secret", "adopt"]));

/// A field of a spec.
#[derive(Debug)]
pub struct Field {
    /// `target.labels`.
    pub path: String,
    values: Vec<Value>,
}

/// The field of a QlikContext with this number.
pub fn of_contexts(number: usize) -> &'static Field {
    &CONTEXTS[number % CONTEXTS.len()]
}

/// The field of a QlikOAuthClient with this number.
pub fn of_oauth_clients(number: usize) -> &'static Field {
    &OAUTH_CLIENTS[number % OAUTH_CLIENTS.len()]
}

impl Field {
    fn value(&self, number: usize) -> &Value {
        &self.values[number % self.values.len()]
    }

    /// `scopes = ["user_default"]`.
    pub fn shown(&self, number: usize) -> String {
        match self.value(number) {
            Value::Null => format!("{} is removed", self.path),
            value => format!("{} = {value}", self.path),
        }
    }

    /// Sets the field in a spec to the value with this number.
    pub fn set(&self, spec: &mut Value, number: usize) {
        let value = self.value(number).clone();
        let mut place = spec;
        let mut names = self.path.split('.').peekable();
        while let Some(name) = names.next() {
            if !place.is_object() {
                if value.is_null() {
                    return;
                }
                *place = json!({});
            }
            if names.peek().is_none() {
                match (&value, place.as_object_mut()) {
                    (Value::Null, Some(fields)) => drop(fields.remove(name)),
                    _ => place[name] = value,
                }
                return;
            }
            place = &mut place[name];
        }
    }
}

fn all(crd: &Value, immutable: &[&str]) -> Vec<Field> {
    let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut fields = Vec::new();
    collect(spec, "", &mut fields);
    fields.retain(|field| {
        !immutable.iter().any(|name| field.path == *name || field.path.starts_with(&format!("{name}.")))
    });
    fields
}

fn collect(schema: &Value, path: &str, fields: &mut Vec<Field>) {
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let values = [values(schema, &path), vec![Value::Null]].concat();
        collect(schema, &path, fields);
        fields.push(Field { path, values });
    }
}

/// Values of a field's type, at its bounds if it has any.
fn values(schema: &Value, path: &str) -> Vec<Value> {
    if let Some(choices) = schema["enum"].as_array() {
        return choices.clone();
    }
    match schema["type"].as_str().unwrap_or_default() {
        "boolean" => vec![json!(true), json!(false)],
        "integer" => {
            let bound = |name: &str| {
                let whole = format!("{:.0}", schema[name].as_f64()?);
                whole.parse::<i64>().ok().map(|bound| json!(bound))
            };
            [bound("minimum"), bound("maximum")].into_iter().flatten().collect()
        }
        "array" => match schema["items"]["type"].as_str() {
            Some("string") => vec![json!(["user_default"]), json!(["a", "b"]), json!([])],
            _ => vec![json!([example(&schema["items"])]), json!([])],
        },
        "object" if schema["additionalProperties"].is_object() => {
            vec![json!({"key": "$(token)"}), json!({"key": "$(unknown)"}), json!({"key": "value"})]
        }
        "string" if path == "tenantUrl" => {
            vec![json!("https://elsewhere.eu.qlikcloud.com"), json!("https://example.com"), json!("http://")]
        }
        "string" => vec![json!("a"), json!("30s"), json!("1h"), json!("")],
        _ => Vec::new(),
    }
}

/// An object with a value for each field.
fn example(schema: &Value) -> Value {
    let fields = schema["properties"].as_object().into_iter().flatten();
    let value = |schema: &Value| values(schema, "").first().cloned().unwrap_or_else(|| example(schema));
    fields.map(|(name, schema)| (name.clone(), value(schema))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_both_schemas_has_values() {
        let paths: Vec<_> = CONTEXTS.iter().map(|field| field.path.as_str()).collect();
        for path in ["auth.clientSecret.secretRef.name", "expectedIdentity.userId", "scopes", "suspend", "target.data"]
        {
            assert!(paths.contains(&path), "{path} of {paths:?}");
        }
        assert!(!paths.contains(&"target.name"));
        assert!(CONTEXTS.iter().flat_map(|field| &field.values).any(|value| value[0]["operator"] == "a"));
        assert!(OAUTH_CLIENTS.iter().any(|field| field.path == "rotation.interval"));
        for field in CONTEXTS.iter().chain(&*OAUTH_CLIENTS) {
            assert!(!field.values.is_empty(), "{field:?}");
        }
    }

    #[test]
    fn a_field_is_set_where_its_path_says_and_removed() {
        let field = Field { path: "target.labels".into(), values: vec![json!({"a": "b"}), Value::Null] };
        let mut spec = json!({});
        field.set(&mut spec, 2);
        assert_eq!(spec, json!({"target": {"labels": {"a": "b"}}}));
        field.set(&mut spec, 1);
        assert_eq!(spec, json!({"target": {}}));
    }
}
