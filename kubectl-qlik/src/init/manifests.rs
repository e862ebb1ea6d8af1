//! The two objects that `init` writes, made from the answers, and their form for display.

use qlik_context_operator::api::{CONTEXT_LABEL, GROUP, MANAGED_BY_LABEL};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};

use crate::args::AuthMethod;

/// Field manager, and value of the label that marks objects of `init`.
pub const MADE_BY: &str = "kubectl-qlik";

/// Keys of a credential Secret: the ones that a QlikContext reads by default.
pub const CLIENT_ID: &str = "client-id";
pub const CLIENT_SECRET: &str = "client-secret";
pub const PRIVATE_KEY: &str = "private-key";
pub const KEY_ID: &str = "key-id";
pub const API_KEY: &str = "api-key";

/// The answers to all questions.
#[derive(Clone, Debug)]
pub struct Answers {
    pub name: String,
    pub tenant_url: String,
    pub method: AuthMethod,
    pub secret: CredentialSecret,
    /// None: as it is, or all that the client allows.
    pub scopes: Vec<String>,
    /// None: `<name>-token`.
    pub token_secret: Option<String>,
}

/// Where the credential is.
#[derive(Clone, Debug)]
pub enum CredentialSecret {
    /// In a Secret that is managed elsewhere.
    Existing(String),
    /// In a Secret that `init` writes. A missing key keeps its present value.
    Ours(Vec<(&'static str, SecretString)>),
}

impl Answers {
    /// Name of the credential Secret.
    pub fn secret_name(&self) -> String {
        match &self.secret {
            CredentialSecret::Existing(name) => name.clone(),
            CredentialSecret::Ours(_) => format!("{}-{}", self.name, ending(self.method)),
        }
    }

    /// The QlikContext as it is created.
    pub fn context(&self) -> Value {
        let mut spec = json!({"tenantUrl": self.tenant_url, "auth": self.auth()});
        if !self.scopes.is_empty() {
            spec["scopes"] = json!(self.scopes);
        }
        if let Some(name) = &self.token_secret {
            spec["target"] = json!({"name": name});
        }
        json!({
            "apiVersion": format!("{GROUP}/v1alpha1"),
            "kind": "QlikContext",
            "metadata": {"name": self.name, "labels": {MANAGED_BY_LABEL: MADE_BY}},
            "spec": spec,
        })
    }

    /// The same as a merge patch, which removes the other methods.
    pub fn context_patch(&self) -> Value {
        let mut context = self.context();
        for other in ["clientSecret", "privateKeyJwt", "apiKey"] {
            if context["spec"]["auth"].get(other).is_none() {
                context["spec"]["auth"][other] = Value::Null;
            }
        }
        context
    }

    /// The credential Secret with its values, unless it is managed elsewhere.
    pub fn secret(&self) -> Option<Value> {
        self.secret_with(|value| value.expose_secret().to_owned())
    }

    /// The credential Secret in a form that may be shown.
    pub fn shown_secret(&self) -> Option<Value> {
        self.secret_with(|_| "(not shown)".to_owned())
    }

    fn secret_with(&self, show: impl Fn(&SecretString) -> String) -> Option<Value> {
        let CredentialSecret::Ours(values) = &self.secret else {
            return None;
        };
        let data: Map<_, _> = values.iter().map(|(key, value)| ((*key).to_owned(), show(value).into())).collect();
        Some(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": self.secret_name(),
                "labels": {MANAGED_BY_LABEL: MADE_BY, CONTEXT_LABEL: self.name},
            },
            "type": "Opaque",
            "stringData": data,
        }))
    }

    fn auth(&self) -> Value {
        let reference = json!({"secretRef": {"name": self.secret_name()}});
        json!({field(self.method): reference})
    }
}

/// The field of `spec.auth`.
pub fn field(method: AuthMethod) -> &'static str {
    match method {
        AuthMethod::Oauth => "clientSecret",
        AuthMethod::PrivateKey => "privateKeyJwt",
        AuthMethod::ApiKey => "apiKey",
    }
}

/// Keys that the credential Secret must have.
pub fn keys(method: AuthMethod) -> &'static [&'static str] {
    match method {
        AuthMethod::Oauth => &[CLIENT_ID, CLIENT_SECRET],
        AuthMethod::PrivateKey => &[CLIENT_ID, PRIVATE_KEY],
        AuthMethod::ApiKey => &[API_KEY],
    }
}

/// The suffix of the name of the credential Secret.
fn ending(method: AuthMethod) -> &'static str {
    match method {
        AuthMethod::Oauth => "oauth",
        AuthMethod::PrivateKey => "key",
        AuthMethod::ApiKey => "api-key",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qlik_context_operator::api::QlikContext;
    use qlik_context_operator::desired::Desired;

    fn answers(method: AuthMethod) -> Answers {
        let values = keys(method).iter().map(|key| (*key, SecretString::from("planted-value"))).collect();
        Answers {
            name: "acme".into(),
            tenant_url: "https://acme.eu.qlikcloud.com".into(),
            method,
            secret: CredentialSecret::Ours(values),
            scopes: vec!["user_default".into()],
            token_secret: Some("tokens".into()),
        }
    }

    #[test]
    fn the_operator_understands_the_context_and_finds_every_key_it_looks_for() {
        for method in [AuthMethod::Oauth, AuthMethod::PrivateKey, AuthMethod::ApiKey] {
            let mut answers = answers(method);
            if method == AuthMethod::ApiKey {
                answers.scopes.clear();
            }
            let context: QlikContext = serde_json::from_value(answers.context()).expect("a context");
            let desired = Desired::parse(&context).expect("understood");
            assert_eq!((desired.credential_secret, desired.target_name), (answers.secret_name(), "tokens".into()));
            let method = format!("{:?}", desired.method);
            let secret = answers.secret().expect("a secret");
            let data = secret["stringData"].as_object().expect("data");
            assert!(data.keys().all(|key| method.contains(&format!("{key:?}"))), "{method}");
        }
    }

    #[test]
    fn what_is_shown_holds_no_value() {
        let shown = answers(AuthMethod::Oauth).shown_secret().expect("a secret").to_string();
        assert!(!shown.contains("planted") && shown.contains(CLIENT_SECRET));
        assert!(!format!("{:?}", answers(AuthMethod::Oauth)).contains("planted"));
    }

    #[test]
    fn a_change_of_method_takes_the_other_methods_away() {
        let patch = answers(AuthMethod::ApiKey).context_patch();
        assert!(patch["spec"]["auth"]["clientSecret"].is_null() && patch["spec"]["auth"]["apiKey"].is_object());
    }
}
