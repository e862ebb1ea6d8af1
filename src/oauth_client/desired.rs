//! The spec of a `QlikOAuthClient`, parsed into types that cannot be wrong. Defaults are defined here; the field texts of the API
//! repeat them.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::api::QlikOAuthClient;
use crate::api::v1alpha1::oauth_client::{AuthMethod, DeletionPolicy};
use crate::desired::duration;
use crate::error::Failure;
use crate::oauth::clients::GrantType;

const OVERLAP: Duration = Duration::from_hours(24);
/// What the schema lets through.
const SHORTEST_INTERVAL: Duration = Duration::from_mins(1);
const LONGEST_INTERVAL: Duration = Duration::from_hours(87600);
const SHORTEST_OVERLAP: Duration = Duration::from_secs(10);
const LONGEST_OVERLAP: Duration = Duration::from_hours(8760);

/// A parsed `QlikOAuthClient`.
#[derive(Clone, Debug)]
pub struct Desired {
    /// The QlikContext whose token manages the client.
    pub admin_context: String,
    /// `clientName`.
    pub client_name: String,
    /// `description`, without the mark.
    pub description: Option<String>,
    /// `allowedScopes`.
    pub scopes: BTreeSet<String>,
    /// `allowedGrantTypes`.
    pub grants: BTreeSet<GrantType>,
    /// `allowedAuthMethods`.
    pub method: AuthMethod,
    /// Name of the Secret.
    pub secret_name: String,
    /// Age at which the credential is replaced.
    pub interval: Option<Duration>,
    /// How long a replaced credential stays.
    pub overlap: Duration,
    /// The client that is taken over.
    pub adopt: Option<String>,
    /// The client is deleted with its object.
    pub delete: bool,
    /// `spec.suspend`.
    pub suspend: bool,
}

impl Desired {
    /// Parses an object.
    pub fn parse(object: &QlikOAuthClient) -> Result<Self, Failure> {
        let (spec, metadata) = (&object.spec, &object.metadata);
        let rotation = spec.rotation.clone().unwrap_or_default();
        let interval = rotation.interval.map(|text| duration("spec.rotation.interval", &text)).transpose()?;
        let interval = interval.map(|interval| interval.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL));
        let overlap = rotation.overlap.map(|text| duration("spec.rotation.overlap", &text)).transpose()?;
        let overlap = overlap.map_or(OVERLAP, |overlap| overlap.clamp(SHORTEST_OVERLAP, LONGEST_OVERLAP));
        let named = || {
            let part = |text: &Option<String>| text.clone().unwrap_or_default();
            format!("{}/{}", part(&metadata.namespace), part(&metadata.name))
        };
        let impersonation = spec.impersonation.unwrap_or_default().then_some(GrantType::UserImpersonation);
        Ok(Self {
            admin_context: spec.admin_context_ref.name.clone(),
            client_name: spec.client_name.clone().unwrap_or_else(named),
            description: spec.description.clone().filter(|text| !text.is_empty()),
            scopes: spec.scopes.iter().cloned().collect(),
            grants: [GrantType::ClientCredentials].into_iter().chain(impersonation).collect(),
            method: spec.auth_method.unwrap_or_default(),
            secret_name: object.secret_name(),
            interval,
            overlap: interval.map_or(overlap, |interval| overlap.min(interval)),
            adopt: spec.adopt.as_ref().map(|adopt| adopt.client_id.clone()),
            delete: spec.deletion_policy.unwrap_or_default() == DeletionPolicy::Delete,
            suspend: spec.suspend.unwrap_or_default(),
        })
    }
}

/// `allowedAuthMethods` of a method.
pub fn auth_method(method: AuthMethod) -> &'static str {
    match method {
        AuthMethod::ClientSecret => "client_secret",
        AuthMethod::PrivateKeyJwt => "private_key_jwt",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[expect(clippy::unwrap_in_result, reason = "the result is what is tested")]
    fn parse(changes: &Value) -> Result<Desired, Failure> {
        let mut spec = json!({"adminContextRef": {"name": "admin"}, "scopes": ["b", "a"]});
        spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let object = json!({
            "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikOAuthClient",
            "metadata": {"name": "reporting", "namespace": "analytics"}, "spec": spec,
        });
        Desired::parse(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn what_is_not_said_is_as_the_field_texts_say() {
        let desired = parse(&json!({})).unwrap();
        assert_eq!(
            (desired.client_name.as_str(), desired.secret_name.as_str()),
            ("analytics/reporting", "reporting-oauth")
        );
        assert_eq!((desired.interval, desired.overlap), (None, Duration::from_hours(24)));
        assert_eq!(desired.method, AuthMethod::ClientSecret);
        assert_eq!(desired.grants, [GrantType::ClientCredentials].into());
        assert!(!desired.delete && !desired.suspend && desired.adopt.is_none());
    }

    #[test]
    fn a_credential_is_never_kept_for_longer_than_until_the_next_rotation() {
        for (rotation, interval, overlap) in [
            (json!({"interval": "720h"}), Some(720), 24),
            (json!({"interval": "1h"}), Some(1), 1),
            (json!({"interval": "1h", "overlap": "5h"}), Some(1), 1),
            (json!({"overlap": "2h"}), None, 2),
        ] {
            let desired = parse(&json!({ "rotation": rotation })).unwrap();
            assert_eq!(desired.interval, interval.map(Duration::from_hours));
            assert_eq!(desired.overlap, Duration::from_hours(overlap));
        }
        assert!(parse(&json!({"rotation": {"interval": "soon"}})).is_err());
    }
}
