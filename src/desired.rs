//! The spec of a `QlikContext`, parsed into types that cannot be wrong.
//!
//! The API server has checked all of it once, but an object may have been stored under an older schema. A spec that does not
//! parse here becomes `SpecInvalid`. Defaults are defined here; the field texts of the API repeat them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::core::{Duration as GoDuration, Selector};

use crate::api::v1alpha1::{self, Algorithm, Auth, ExpectedIdentity, Impersonate, Target};
use crate::api::{ConditionType, QlikContext, Reason};
use crate::binding::SpecInputs;
use crate::error::Failure;
use crate::oauth::identity::{Field, Identity};
use crate::oauth::request::{Grant, UserLookup};
use crate::oauth::tenant::TenantUrl;

const RENEW_BEFORE_PERCENTAGE: i32 = 33;
const VERIFY_INTERVAL: Duration = Duration::from_mins(15);
/// What the schema lets through.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(10);
const LONGEST_INTERVAL: Duration = Duration::from_hours(24);
const RESTART_INTERVAL: Duration = Duration::from_hours(1);
const SHORTEST_RESTART_INTERVAL: Duration = Duration::from_mins(10);
const CLIENT_ID_KEY: &str = "client-id";
const CLIENT_SECRET_KEY: &str = "client-secret";
const PRIVATE_KEY_KEY: &str = "private-key";
const KEY_ID_KEY: &str = "key-id";
const API_KEY_KEY: &str = "api-key";

/// A parsed `QlikContext`.
#[derive(Clone, Debug)]
pub struct Desired {
    /// `spec.tenantUrl`.
    pub tenant: TenantUrl,
    /// `spec.auth`.
    pub method: Method,
    /// Name of the Secret that holds the credential.
    pub credential_secret: String,
    /// From `spec.impersonate`.
    pub grant: Grant,
    /// `spec.scopes`.
    pub scopes: BTreeSet<String>,
    /// `spec.expectedIdentity`, with what `spec.impersonate` implies.
    pub pins: Pins,
    /// Name of the token Secret.
    pub target_name: String,
    /// `spec.target`.
    pub target: Target,
    /// `spec.renewBeforePercentage`.
    pub renew_before_percentage: u8,
    /// `spec.verifyInterval`; `None`: a token is verified only when it is new.
    pub verify_interval: Option<Duration>,
    /// `spec.suspend`.
    pub suspend: bool,
    /// `spec.workloads`.
    pub workloads: Option<Workloads>,
}

/// What to do about the Pods that read the token Secret.
#[derive(Clone, Debug)]
pub struct Workloads {
    /// Wake the kubelets of those that mount it.
    pub refresh_volumes: bool,
    /// Restart what keeps an older token.
    pub restart: Option<Restart>,
}

/// Which workloads are restarted, and how often.
#[derive(Clone, Debug)]
pub struct Restart {
    /// Their labels.
    pub selector: Selector,
    /// A workload is not restarted more often.
    pub min_interval: Duration,
    /// So many may roll at the same time.
    pub max_concurrent: usize,
}

/// How to authenticate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Method {
    /// RFC 6749, section 2.3.1.
    ClientSecret {
        /// Where the client id is.
        client_id: Source,
        /// Key of the client secret.
        client_secret_key: String,
    },
    /// RFC 7523.
    PrivateKeyJwt {
        /// Where the client id is.
        client_id: Source,
        /// Key of the private key.
        private_key_key: String,
        /// Where the key id is; the key of the Secret is optional.
        key_id: Source,
        /// The algorithm; `None`: the default for the key.
        algorithm: Option<Algorithm>,
    },
    /// An API key is published as it is.
    ApiKey {
        /// Key of the API key.
        api_key_key: String,
    },
}

/// Where a value is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// In the spec.
    Inline(String),
    /// Under this key of the credential Secret.
    Key(String),
}

impl Source {
    fn of(inline: Option<&String>, key: Option<String>, default_key: &str) -> Self {
        match inline {
            Some(text) => Self::Inline(text.clone()),
            None => Self::Key(key.unwrap_or_else(|| default_key.into())),
        }
    }

    /// The value, when it is in the spec.
    pub fn inline(&self) -> Option<&String> {
        match self {
            Self::Inline(text) => Some(text),
            Self::Key(_) => None,
        }
    }

    /// The key of the Secret, when it is there.
    pub fn key(&self) -> Option<&String> {
        match self {
            Self::Inline(_) => None,
            Self::Key(key) => Some(key),
        }
    }
}

/// The identity that the token must have; each field that is set must match.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pins(Vec<Pin>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct Pin {
    /// The field of the spec.
    field: &'static str,
    part: Field,
    wanted: String,
}

impl Desired {
    /// Parses a context.
    pub fn parse(context: &QlikContext) -> Result<Self, Failure> {
        let spec = &context.spec;
        let tenant = spec.tenant_url.parse().map_err(|problem| invalid("spec.tenantUrl", &problem))?;
        let (method, credential_secret) = method(&spec.auth)?;
        let grant = grant(spec.impersonate.as_ref())?;
        // No token request is sent that could contain them.
        let of_requests = [("spec.scopes", spec.scopes.is_some()), ("spec.impersonate", spec.impersonate.is_some())];
        let set = of_requests.into_iter().find(|(_, is_set)| *is_set);
        if let (Method::ApiKey { .. }, Some((field, _))) = (&method, set) {
            return Err(invalid(field, &"it cannot be combined with spec.auth.apiKey"));
        }
        let percentage = spec.renew_before_percentage.unwrap_or(RENEW_BEFORE_PERCENTAGE);
        let verify_interval = match spec.verify_interval.as_deref() {
            None => Some(VERIFY_INTERVAL),
            Some(text) => interval(text)?,
        };
        Ok(Self {
            tenant,
            method,
            credential_secret,
            scopes: spec.scopes.iter().flatten().cloned().collect(),
            pins: Pins::of(spec.expected_identity.as_ref(), &grant),
            grant,
            target_name: context.target_name(),
            target: spec.target.clone().unwrap_or_default(),
            renew_before_percentage: percentage.clamp(5, 80).try_into().unwrap_or_default(),
            verify_interval,
            suspend: spec.suspend.unwrap_or_default(),
            workloads: spec.workloads.as_ref().map(workloads).transpose()?,
        })
    }

    /// The parts that the token binding covers.
    pub fn binding_inputs(&self) -> SpecInputs {
        let (method, client_id, key_id, algorithm) = match &self.method {
            Method::ClientSecret { client_id, .. } => ("client_secret", client_id.inline(), None, None),
            Method::PrivateKeyJwt { client_id, key_id, algorithm, .. } => {
                ("private_key_jwt", client_id.inline(), key_id.inline(), algorithm.as_ref())
            }
            Method::ApiKey { .. } => ("api_key", None, None, None),
        };
        SpecInputs {
            authority: self.tenant.authority(),
            method,
            grant_type: self.grant.grant_type(),
            client_id: client_id.cloned(),
            key_id: key_id.cloned(),
            algorithm: algorithm.map(ToString::to_string),
            scopes: self.scopes.iter().cloned().collect(),
            impersonate: self.grant.user_lookup().map(|(field, value)| (field, value.to_owned())),
        }
    }
}

impl Pins {
    fn of(expected: Option<&ExpectedIdentity>, grant: &Grant) -> Self {
        let expected = expected.cloned().unwrap_or_default();
        let impersonated = match grant {
            Grant::ClientCredentials => None,
            Grant::UserImpersonation(UserLookup::UserId(id)) => {
                Some(("spec.impersonate.userId", Field::UserId, id.clone()))
            }
            Grant::UserImpersonation(UserLookup::Subject(subject)) => {
                Some(("spec.impersonate.subject", Field::Subject, subject.clone()))
            }
        };
        let expected = [
            ("spec.expectedIdentity.tenantId", Field::TenantId, expected.tenant_id),
            ("spec.expectedIdentity.userId", Field::UserId, expected.user_id),
            ("spec.expectedIdentity.subject", Field::Subject, expected.subject),
        ];
        let expected = expected.into_iter().filter_map(|(field, part, wanted)| Some((field, part, wanted?)));
        Self(expected.chain(impersonated).map(|(field, part, wanted)| Pin { field, part, wanted }).collect())
    }

    /// `IdentityMismatch` unless every pin holds.
    pub fn check(&self, identity: &Identity) -> Result<(), Failure> {
        let holds = |pin: &Pin| match pin.part {
            // Qlik itself has spelled a bot's subject in both cases; any other subject is compared exactly.
            Field::Subject if pin.wanted.to_ascii_lowercase().starts_with("qlikbot\\") => {
                identity.subject.eq_ignore_ascii_case(&pin.wanted)
            }
            field => identity.field(field) == pin.wanted,
        };
        self.0.iter().find(|pin| !holds(pin)).map_or(Ok(()), |pin| {
            let actual: String = identity.shown(pin.part).chars().take(128).collect();
            let whose = if actual.is_empty() { String::new() } else { format!(" \"{actual}\"") };
            Err(Failure::new(
                ConditionType::Verified,
                Reason::IdentityMismatch,
                format!(
                    "The token's identity{whose} does not match {}; the token is not published. Correct that field, or use the OAuth \
                     client that belongs to it.",
                    pin.field
                ),
            ))
        })
    }
}

fn method(auth: &Auth) -> Result<(Method, String), Failure> {
    match auth {
        Auth { client_secret: Some(method), private_key_jwt: None, api_key: None } => {
            let keys = method.secret_ref.keys.clone().unwrap_or_default();
            let client_id = Source::of(method.client_id.as_ref(), keys.client_id, CLIENT_ID_KEY);
            let client_secret_key = keys.client_secret.unwrap_or_else(|| CLIENT_SECRET_KEY.into());
            Ok((Method::ClientSecret { client_id, client_secret_key }, method.secret_ref.name.clone()))
        }
        Auth { private_key_jwt: Some(method), client_secret: None, api_key: None } => {
            let keys = method.secret_ref.keys.clone().unwrap_or_default();
            let private_key_jwt = Method::PrivateKeyJwt {
                client_id: Source::of(method.client_id.as_ref(), keys.client_id, CLIENT_ID_KEY),
                private_key_key: keys.private_key.unwrap_or_else(|| PRIVATE_KEY_KEY.into()),
                key_id: Source::of(method.key_id.as_ref(), keys.key_id, KEY_ID_KEY),
                algorithm: method.algorithm,
            };
            Ok((private_key_jwt, method.secret_ref.name.clone()))
        }
        Auth { api_key: Some(method), client_secret: None, private_key_jwt: None } => {
            let keys = method.secret_ref.keys.clone().unwrap_or_default();
            let api_key_key = keys.api_key.unwrap_or_else(|| API_KEY_KEY.into());
            Ok((Method::ApiKey { api_key_key }, method.secret_ref.name.clone()))
        }
        _ => Err(invalid("spec.auth", &"not exactly one method is set")),
    }
}

fn grant(impersonate: Option<&Impersonate>) -> Result<Grant, Failure> {
    match impersonate {
        None => Ok(Grant::ClientCredentials),
        Some(Impersonate { user_id: Some(id), subject: None }) => {
            Ok(Grant::UserImpersonation(UserLookup::UserId(id.clone())))
        }
        Some(Impersonate { user_id: None, subject: Some(subject) }) => {
            Ok(Grant::UserImpersonation(UserLookup::Subject(subject.clone())))
        }
        Some(_) => Err(invalid("spec.impersonate", &"not exactly one of userId and subject is set")),
    }
}

/// `spec.verifyInterval`; zero means none.
fn interval(text: &str) -> Result<Option<Duration>, Failure> {
    let interval = duration("spec.verifyInterval", text)?;
    Ok((!interval.is_zero()).then(|| interval.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL)))
}

/// `spec.workloads`.
fn workloads(workloads: &v1alpha1::Workloads) -> Result<Workloads, Failure> {
    let restart = workloads.restart.as_ref().map(restart).transpose()?;
    Ok(Workloads { refresh_volumes: workloads.refresh_volumes.unwrap_or(true), restart })
}

fn restart(restart: &v1alpha1::Restart) -> Result<Restart, Failure> {
    let selector = restart.selector.clone().unwrap_or_default();
    let selector = selector.try_into().map_err(|problem| invalid("spec.workloads.restart.selector", &problem))?;
    let min_interval = match restart.min_interval.as_deref() {
        None => RESTART_INTERVAL,
        Some(text) => duration("spec.workloads.restart.minInterval", text)?,
    };
    Ok(Restart {
        selector,
        min_interval: min_interval.clamp(SHORTEST_RESTART_INTERVAL, LONGEST_INTERVAL),
        max_concurrent: restart.max_concurrent.unwrap_or(1).clamp(1, 10).try_into().unwrap_or(1),
    })
}

/// A duration as Go writes it.
pub fn duration(field: &str, text: &str) -> Result<Duration, Failure> {
    let invalid = |problem: &dyn std::fmt::Display| invalid(field, problem);
    // The parser panics on overflow, so it never gets a number that long, or a sign.
    let longest = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
    if text.contains('-') || longest > Some(9) {
        return Err(invalid(&"it is negative or has a number of more than nine digits"));
    }
    let parsed: GoDuration = text.parse().map_err(|problem| invalid(&problem))?;
    Ok(parsed.into())
}

fn invalid(field: &str, problem: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        ConditionType::Ready,
        Reason::SpecInvalid,
        format!("{field} is not valid: {problem}. Correct it and apply the QlikContext again."),
    )
}

/// Labels or annotations that a user added to the target.
pub fn added(entries: Option<&BTreeMap<String, String>>) -> impl Iterator<Item = (String, String)> + '_ {
    entries.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone()))
}

/// At most 64 printable characters, which is enough for a time or a counter.
pub fn is_refresh_request(value: &str) -> bool {
    !value.is_empty() && value.len() <= 64 && value.chars().all(|c| (' '..='~').contains(&c))
}

/// The scopes that were requested and not granted, if the tenant reports the granted ones.
pub fn not_granted(asked: &BTreeSet<String>, granted: Option<&[String]>) -> Option<String> {
    let granted = granted?;
    let missing: Vec<_> = asked.iter().filter(|scope| !granted.contains(scope)).map(String::as_str).collect();
    (!missing.is_empty()).then(|| missing.join(" "))
}

#[cfg(test)]
mod tests;
