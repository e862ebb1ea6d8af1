//! Errors with the text of the API server: a `Status` with code, reason, message and details.
//!
//! <https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#response-status-kind>

use serde_json::{Value, json};

use super::kind::Kind;

/// The reason why a request is rejected.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) retry_after: Option<u32>,
    reason: String,
    message: String,
    details: Value,
}

impl Refusal {
    pub(super) fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self { code, retry_after: None, reason: reason.to_owned(), message: message.into(), details: Value::Null }
    }

    pub(super) fn retry_after(self, seconds: Option<u32>) -> Self {
        Self { retry_after: seconds, ..self }
    }

    fn with_details(self, details: Value) -> Self {
        Self { details, ..self }
    }

    fn about(kind: Kind, name: &str, code: u16, reason: &str, message: String) -> Self {
        Self::new(code, reason, message).with_details(details(kind, kind.plural(), name))
    }

    pub(super) fn not_found(kind: Kind, name: &str) -> Self {
        Self::about(kind, name, 404, "NotFound", format!("{} \"{name}\" not found", kind.resource()))
    }

    pub(super) fn already_exists(kind: Kind, name: &str) -> Self {
        Self::about(kind, name, 409, "AlreadyExists", format!("{} \"{name}\" already exists", kind.resource()))
    }

    pub(super) fn conflict(kind: Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.resource());
        Self::about(kind, name, 409, "Conflict", message)
    }

    /// The resource version of the writer is not the latest.
    pub(super) fn modified(kind: Kind, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    /// A precondition of a deletion fails. Here the server names the kind, not the resource.
    pub(super) fn precondition(kind: Kind, name: &str, why: &str) -> Self {
        let what = kind.qualified(kind.name());
        Self::new(409, "Conflict", format!("Operation cannot be fulfilled on {what} \"{name}\": {why}"))
            .with_details(details(kind, kind.name(), name))
    }

    /// Other managers own fields that are applied with another value: (manager, field) each.
    pub(super) fn field_conflicts(message: String, conflicts: &[(String, String)]) -> Self {
        let cause = |(manager, field): &(String, String)| {
            let message = format!("conflict with {manager}");
            json!({ "reason": "FieldManagerConflict", "message": message, "field": field })
        };
        let causes: Vec<_> = conflicts.iter().map(cause).collect();
        Self::new(409, "Conflict", message).with_details(json!({ "causes": causes }))
    }

    /// A field with an invalid value. `times`: how often the server repeats the error.
    pub(super) fn invalid(kind: Kind, name: &str, field: &str, reason: &str, why: &str, times: usize) -> Self {
        let causes = vec![json!({ "reason": reason, "message": why, "field": field }); times];
        let mut details = details(kind, kind.name(), name);
        details["causes"] = json!(causes);
        let what = kind.qualified(kind.name());
        Self::new(422, "Invalid", format!("{what} \"{name}\" is invalid: {field}: {why}")).with_details(details)
    }

    pub(super) fn immutable(kind: Kind, name: &str, field: &str, value: &Value, times: usize) -> Self {
        let why = format!("Invalid value: {value}: field is immutable");
        Self::invalid(kind, name, field, "FieldValueInvalid", &why, times)
    }

    pub(super) fn namespace_terminating(kind: Kind, name: &str, namespace: &str) -> Self {
        let message = format!(
            "{} \"{name}\" is forbidden: unable to create new content in namespace {namespace} because it is being \
             terminated",
            kind.resource()
        );
        let mut details = details(kind, kind.plural(), name);
        let why = format!("namespace {namespace} is being terminated");
        details["causes"] =
            json!([{ "reason": "NamespaceTerminating", "message": why, "field": "metadata.namespace" }]);
        Self::new(403, "Forbidden", message).with_details(details)
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// A version that is no longer in the history.
    pub(super) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub(super) fn unknown_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource").with_details(json!({}))
    }

    pub(super) fn missing_field_manager() -> Self {
        let why = "Required value: is required for apply patch";
        let cause = json!({ "reason": "FieldValueRequired", "message": why, "field": "fieldManager" });
        Self::new(422, "Invalid", format!("PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: {why}"))
            .with_details(json!({ "group": "meta.k8s.io", "kind": "PatchOptions", "causes": [cause] }))
    }

    /// Invalid parameters of a list or watch: (parameter, reason) each.
    pub(super) fn forbidden_options(forbidden: &[(&str, &str)]) -> Self {
        let cause = |(parameter, why): &(&str, &str)| json!({ "reason": "FieldValueForbidden", "message": format!("Forbidden: {why}"), "field": parameter });
        let causes: Vec<_> = forbidden.iter().map(cause).collect();
        let each: Vec<_> = forbidden.iter().map(|(parameter, why)| format!("{parameter}: Forbidden: {why}")).collect();
        let why = match each.as_slice() {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        Self::new(422, "Invalid", format!("ListOptions.meta.k8s.io \"\" is invalid: {why}"))
            .with_details(json!({ "group": "meta.k8s.io", "kind": "ListOptions", "causes": causes }))
    }

    /// The `Status` object.
    pub(super) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        if let Some(seconds) = self.retry_after {
            status["details"]["retryAfterSeconds"] = json!(seconds);
        }
        status
    }
}

/// The details of a `Status` for one object.
pub(super) fn details(kind: Kind, spelled: &str, name: &str) -> Value {
    let mut details = json!({ "kind": spelled });
    for (field, value) in [("name", name), ("group", kind.group())] {
        if !value.is_empty() {
            details[field] = json!(value);
        }
    }
    details
}
