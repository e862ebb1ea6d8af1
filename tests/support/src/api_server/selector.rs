//! Label and field selectors: equality, inequality, presence.

use serde_json::Value;

use super::refusal::Refusal;

/// The labels and fields that an object must have.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector(Vec<Requirement>);

#[derive(Clone, Debug)]
struct Requirement {
    at: Vec<String>,
    value: Option<String>,
    holds: bool,
}

impl Selector {
    /// Parses both selectors of a request. Set-based selectors (`in (…)`) are rejected, because no test needs them.
    pub(super) fn read(labels: Option<&str>, fields: Option<&str>) -> Result<Self, Refusal> {
        let label = |name: &str| vec!["metadata".to_owned(), "labels".to_owned(), name.to_owned()];
        let field = |name: &str| name.trim_start_matches('.').split('.').map(str::to_owned).collect();
        let mut requirements = Vec::new();
        requirements.extend(read(labels, &label)?);
        requirements.extend(read(fields, &field)?);
        Ok(Self(requirements))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn selects(&self, object: &Value) -> bool {
        self.0.iter().all(|requirement| {
            let value = requirement.at.iter().try_fold(object, |value, step| value.get(step));
            let fits = match (&requirement.value, value.and_then(Value::as_str)) {
                (Some(wanted), value) => value == Some(wanted),
                (None, value) => value.is_some(),
            };
            fits == requirement.holds
        })
    }
}

fn read(selector: Option<&str>, at: &dyn Fn(&str) -> Vec<String>) -> Result<Vec<Requirement>, Refusal> {
    let terms = selector.unwrap_or_default().split(',').map(str::trim).filter(|term| !term.is_empty());
    terms
        .map(|term| {
            if term.contains(['(', ')', ' ']) {
                return Err(Refusal::bad_request(format!("this server does not know the selector {term}")));
            }
            let requirement = |name: &str, value: Option<&str>, holds| Requirement {
                at: at(name),
                value: value.map(str::to_owned),
                holds,
            };
            Ok(if let Some((name, value)) = term.split_once("!=") {
                requirement(name, Some(value), false)
            } else if let Some((name, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
                requirement(name, Some(value), true)
            } else if let Some(name) = term.strip_prefix('!') {
                requirement(name, None, false)
            } else {
                requirement(term, None, true)
            })
        })
        .collect()
}
