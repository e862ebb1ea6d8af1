//! The Secret of a `QlikOAuthClient`: its only constructor, its owner, and the credential in it.
//!
//! It has the keys that a `QlikContext` reads by default. Everything that is needed after a restart is in annotations, which are
//! written in the same request: Qlik's name of the credential, when it was made, which credentials it replaced, and a binding
//! that shows whether the values still belong together.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::api::ObjectMeta;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};

use super::SealedSecret;
use super::derived::controller;
use crate::api::ConditionType::SecretSynced;
use crate::api::{
    ALLOWED_HOSTS_ANNOTATION, CREDENTIAL_BINDING_ANNOTATION, CREDENTIAL_HINT_ANNOTATION, GROUP, ISSUED_AT_ANNOTATION,
    MANAGED_BY_LABEL, OAUTH_CLIENT_LABEL, OPERATOR_NAME, PREVIOUS_CREDENTIALS_ANNOTATION, QlikOAuthClient,
    ROTATED_FOR_ANNOTATION, Reason,
};
use crate::clock::Timestamp;
use crate::error::Failure;
use crate::oauth::tenant::{AllowedHosts, TenantUrl};

const CLIENT_ID_KEY: &str = "client-id";
const CLIENT_SECRET_KEY: &str = "client-secret";
const PRIVATE_KEY_KEY: &str = "private-key";
const KEY_ID_KEY: &str = "key-id";
const VERSION: &str = "v1";

/// A credential of an OAuth client.
#[derive(Clone)]
pub struct IssuedCredential {
    /// The client.
    pub client_id: String,
    /// Qlik's name of the credential: the hint of a client secret, the `kid` of a key.
    pub hint: String,
    /// When it was made.
    pub issued_at: Timestamp,
    /// The secret part.
    pub proof: Proof,
}

/// The secret part of a credential.
#[derive(Clone)]
pub enum Proof {
    /// Made by Qlik.
    ClientSecret(SecretString),
    /// Made by the operator; PKCS#8 in PEM.
    PrivateKey(SecretString),
}

/// Its names alone.
impl fmt::Debug for IssuedCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedCredential").field("hint", &self.hint).finish_non_exhaustive()
    }
}

/// A credential that was replaced and still works.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Previous {
    /// Qlik's name of it.
    pub hint: String,
    /// When it is removed.
    pub removal_time: Timestamp,
}

/// The content of a Secret, as read or as wanted.
#[derive(Clone, Debug)]
pub struct Held {
    /// The credential.
    pub credential: IssuedCredential,
    /// The credentials that it replaced, in the order of their removal.
    pub previous: Vec<Previous>,
    /// The last rotate request that was handled.
    pub rotated_for: Option<String>,
}

/// The Secret of the credential's name, by its owner.
pub enum CredentialSecret {
    /// There is none.
    Absent,
    /// This object controls it, or did until its owner reference was lost.
    Ours(Box<StoredCredential>),
    /// Its controller is a deleted object of this name; the garbage collector will delete it.
    Predecessors,
    /// It belongs to another object: it is not written.
    Foreign,
}

/// A Secret of this object, as read.
pub struct StoredCredential {
    secret: SealedSecret,
    orphan: bool,
    /// Its content, if complete.
    pub held: Option<Held>,
}

impl CredentialSecret {
    /// Decides by the uid of the controller; without a controller, by the marks that the operator sets.
    pub fn classify(secret: Option<SealedSecret>, object: &QlikOAuthClient) -> Self {
        let Some(secret) = secret else { return Self::Absent };
        let owner = controller(&secret.metadata);
        let ours = |secret: SealedSecret, orphan| {
            let held = secret.held_credential();
            Self::Ours(Box::new(StoredCredential { secret, orphan, held }))
        };
        match owner {
            Some(owner) if object.metadata.uid.as_ref() == Some(&owner.uid) => ours(secret, false),
            None if is_orphan_of(&secret, object) => ours(secret, true),
            Some(owner) if is_oauth_client(owner) && object.metadata.name.as_ref() == Some(&owner.name) => {
                Self::Predecessors
            }
            _ => Self::Foreign,
        }
    }

    /// Its content, if it belongs to this object and is complete.
    pub fn held(&self) -> Option<&Held> {
        match self {
            Self::Ours(stored) => stored.held.as_ref(),
            _ => None,
        }
    }

    /// True when every field of this operator is as wanted.
    pub fn is_as(&self, wanted: &Secret) -> bool {
        matches!(self, Self::Ours(stored) if !stored.orphan && stored.secret.is_as(wanted))
    }

    /// True when any write would be refused.
    pub fn is_immutable(&self) -> bool {
        matches!(self, Self::Ours(stored) if stored.secret.immutable == Some(true))
    }

    /// Who else has written to it.
    pub fn other_managers(&self) -> Vec<String> {
        match self {
            Self::Ours(stored) => stored.secret.other_managers(),
            _ => Vec::new(),
        }
    }

    /// The hosts that its annotation allows.
    pub fn allowed_hosts(&self) -> Option<&str> {
        match self {
            Self::Ours(stored) => stored.secret.annotation(ALLOWED_HOSTS_ANNOTATION),
            _ => None,
        }
    }

    /// Ties a write to the object that was read: if it was replaced since, the API server answers 422 (uid) or 409
    /// (resourceVersion).
    pub fn guard(&self, secret: &mut Secret) {
        let Self::Ours(stored) = self else {
            secret.metadata.resource_version = Some(crate::secret::CREATE_ONLY.into());
            return;
        };
        let metadata = &stored.secret.metadata;
        secret.metadata.uid.clone_from(&metadata.uid);
        secret.metadata.resource_version.clone_from(&metadata.resource_version);
        // OwnerReferencesPermissionEnforcement requires permissions to change a reference, even to change its apiVersion only.
        let owner = secret.metadata.owner_references.iter_mut().flatten().next();
        if let (Some(stored), Some(owner)) = (controller(metadata), owner) {
            owner.api_version.clone_from(&stored.api_version);
        }
    }

    /// Why nothing may be written there.
    pub fn refusal(&self, name: &str) -> Option<Failure> {
        let (message, waits) = match self {
            Self::Absent | Self::Ours(_) => return None,
            Self::Predecessors => (
                format!(
                    "Secret {name} belongs to a deleted QlikOAuthClient of the same name. No action needed: it will be \
                     garbage-collected, then the operator continues."
                ),
                true,
            ),
            Self::Foreign => (
                format!(
                    "Secret {name} exists and is not this QlikOAuthClient's, so it is not touched. Use a QlikOAuthClient with \
                     another secret.name, or, if nobody needs that Secret, delete it."
                ),
                false,
            ),
        };
        let failure = Failure::new(SecretSynced, Reason::SecretNotOwned, message);
        Some(if waits { failure.waiting() } else { failure })
    }
}

/// Restored from a backup, or its owner reference was removed: it has no controller, and its labels and values are those of this
/// object.
fn is_orphan_of(secret: &SealedSecret, object: &QlikOAuthClient) -> bool {
    let label = |name: &str| secret.metadata.labels.as_ref().and_then(|labels| labels.get(name)).map(String::as_str);
    label(MANAGED_BY_LABEL) == Some(OPERATOR_NAME)
        && label(OAUTH_CLIENT_LABEL) == object.metadata.name.as_deref()
        && secret.held_credential().is_some()
}

fn is_oauth_client(owner: &OwnerReference) -> bool {
    owner.kind == "QlikOAuthClient" && owner.api_version.split('/').next() == Some(GROUP)
}

impl SealedSecret {
    /// The credential in it, if its values belong together.
    fn held_credential(&self) -> Option<Held> {
        let text = |key: &str| std::str::from_utf8(self.bytes(key)?).ok();
        let client_id = text(CLIENT_ID_KEY)?.to_owned();
        let hint = self.annotation(CREDENTIAL_HINT_ANNOTATION)?.to_owned();
        let issued_at = self.annotation(ISSUED_AT_ANNOTATION)?.parse().ok()?;
        let proof = match (text(CLIENT_SECRET_KEY), text(PRIVATE_KEY_KEY)) {
            (Some(secret), None) => Proof::ClientSecret(secret.into()),
            (None, Some(key)) if text(KEY_ID_KEY) == Some(&hint) => Proof::PrivateKey(key.into()),
            _ => return None,
        };
        let credential = IssuedCredential { client_id, hint, issued_at, proof };
        let binding = self.annotation(CREDENTIAL_BINDING_ANNOTATION)?;
        let bytes = URL_SAFE_NO_PAD.decode(binding.strip_prefix(VERSION)?.strip_prefix('.')?).ok()?;
        hmac::verify(&credential.key(), &credential.bound(), &bytes).ok()?;
        let previous = self.annotation(PREVIOUS_CREDENTIALS_ANNOTATION).map(read_previous).unwrap_or_default();
        let rotated_for = self.annotation(ROTATED_FOR_ANNOTATION).map(str::to_owned);
        Some(Held { credential, previous, rotated_for })
    }
}

impl IssuedCredential {
    /// Whether both are the same credential of the same client.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.client_id, &self.hint) == (&other.client_id, &other.hint)
    }

    fn secret(&self) -> &SecretString {
        match &self.proof {
            Proof::ClientSecret(text) | Proof::PrivateKey(text) => text,
        }
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.secret().expose_secret().as_bytes())
    }

    /// The fields that the binding covers, each prefixed with its length.
    fn bound(&self) -> Vec<u8> {
        let method = match self.proof {
            Proof::ClientSecret(_) => "client_secret",
            Proof::PrivateKey(_) => "private_key_jwt",
        };
        let issued_at = self.issued_at.as_second().to_string();
        let mut bytes = Vec::new();
        for field in [method, &self.client_id, &self.hint, &issued_at] {
            bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
            bytes.extend_from_slice(field.as_bytes());
        }
        bytes
    }

    /// HMAC-SHA-256 keyed by the credential: without the credential the binding reveals nothing.
    fn binding(&self) -> String {
        format!("{VERSION}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&self.key(), &self.bound())))
    }
}

/// Ids of keys are free texts.
const NOT_PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The name of a credential as one word: letters, digits and `-._~%`.
pub fn escaped(name: &str) -> String {
    utf8_percent_encode(name, NOT_PLAIN).to_string()
}

/// What [`escaped`] made a word of.
pub fn unescaped(word: &str) -> String {
    percent_decode_str(word).decode_utf8_lossy().into_owned()
}

/// `hint=time,hint=time`; of several times for one credential the first.
fn read_previous(text: &str) -> Vec<Previous> {
    let read = |entry: &str| {
        let (hint, time) = entry.rsplit_once('=')?;
        Some(Previous { hint: unescaped(hint), removal_time: time.parse().ok()? })
    };
    let mut seen = BTreeSet::new();
    text.split(',').filter_map(read).filter(|old| seen.insert(old.hint.clone())).collect()
}

fn write_previous(previous: &[Previous]) -> String {
    let entries = previous.iter().map(|old| format!("{}={}", escaped(&old.hint), old.removal_time));
    entries.collect::<Vec<_>>().join(",")
}

/// Makes the Secret: all fields that server-side apply manages. `hosts`: the present annotation of hosts, which is kept if it
/// allows the tenant.
pub fn credential_secret(
    object: &QlikOAuthClient,
    name: &str,
    tenant: &TenantUrl,
    held: &Held,
    hosts: Option<&str>,
) -> Secret {
    let credential = &held.credential;
    let allows = |list: &&str| list.parse::<AllowedHosts>().is_ok_and(|list| list.allows(tenant));
    let hosts = hosts.filter(allows).map_or_else(|| tenant.authority(), str::to_owned);
    let annotations = [
        (CREDENTIAL_HINT_ANNOTATION, credential.hint.clone()),
        (ISSUED_AT_ANNOTATION, credential.issued_at.to_string()),
        (CREDENTIAL_BINDING_ANNOTATION, credential.binding()),
        // So that no QlikContext can have it sent to another tenant.
        (ALLOWED_HOSTS_ANNOTATION, hosts),
    ];
    let previous =
        (!held.previous.is_empty()).then(|| (PREVIOUS_CREDENTIALS_ANNOTATION, write_previous(&held.previous)));
    let rotated_for = held.rotated_for.clone().map(|value| (ROTATED_FOR_ANNOTATION, value));
    let annotations = annotations.into_iter().chain(previous).chain(rotated_for);
    let labels = [
        (MANAGED_BY_LABEL, OPERATOR_NAME.to_owned()),
        (OAUTH_CLIENT_LABEL, object.metadata.name.clone().unwrap_or_default()),
    ];
    let entry = |(name, value): (&str, String)| (name.to_owned(), value);
    let bytes = |key: &str, text: &str| (key.to_owned(), ByteString(text.as_bytes().to_vec()));
    let secret = credential.secret().expose_secret();
    let data: BTreeMap<_, _> = match credential.proof {
        Proof::ClientSecret(_) => {
            [bytes(CLIENT_ID_KEY, &credential.client_id), bytes(CLIENT_SECRET_KEY, secret)].into()
        }
        Proof::PrivateKey(_) => [
            bytes(CLIENT_ID_KEY, &credential.client_id),
            bytes(PRIVATE_KEY_KEY, secret),
            bytes(KEY_ID_KEY, &credential.hint),
        ]
        .into(),
    };
    // Without `blockOwnerDeletion`: with OwnerReferencesPermissionEnforcement, that would need permissions for finalizers.
    let owner = object.controller_owner_ref(&()).map(|owner| OwnerReference { block_owner_deletion: None, ..owner });
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: object.metadata.namespace.clone(),
            labels: Some(labels.map(entry).into()),
            annotations: Some(annotations.map(entry).collect()),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some(data),
        type_: Some("Opaque".into()),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn object() -> QlikOAuthClient {
        let object = json!({
            "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikOAuthClient",
            "metadata": {"name": "reporting", "namespace": "a", "uid": "u-1"},
            "spec": {"adminContextRef": {"name": "admin"}, "scopes": ["user_default"]},
        });
        serde_json::from_value(object).unwrap()
    }

    fn held(proof: Proof) -> Held {
        let credential = IssuedCredential {
            client_id: "82e0".into(),
            hint: "e6815".into(),
            issued_at: Timestamp::from_second(1_795_305_600).unwrap(),
            proof,
        };
        let removal_time = Timestamp::from_second(1_795_309_200).unwrap();
        let previous = ["0=0", "my key, [1]"].map(|hint| Previous { hint: hint.into(), removal_time });
        Held { credential, previous: previous.into(), rotated_for: Some("now".into()) }
    }

    fn stored(proof: Proof) -> Value {
        let tenant = "https://acme.eu.qlikcloud.com".parse().unwrap();
        serde_json::to_value(credential_secret(&object(), "reporting-oauth", &tenant, &held(proof), None)).unwrap()
    }

    fn classify(secret: &Value) -> CredentialSecret {
        CredentialSecret::classify(Some(serde_json::from_value(secret.clone()).unwrap()), &object())
    }

    #[test]
    fn what_was_written_is_read_again() {
        for proof in [Proof::ClientSecret("planted-s".into()), Proof::PrivateKey("planted-k".into())] {
            let secret = classify(&stored(proof.clone()));
            let (read, wrote) = (secret.held().unwrap(), held(proof));
            assert_eq!((&read.previous, &read.rotated_for), (&wrote.previous, &wrote.rotated_for));
            assert_eq!(read.credential.bound(), wrote.credential.bound());
            assert!(!format!("{read:?}").contains("planted"));
        }
    }

    #[test]
    fn of_two_times_for_one_credential_the_first_counts() {
        let read = read_previous("a=2026-11-22T00:00:00Z,a=2027-11-22T00:00:00Z,b=never,c");
        assert_eq!(read.iter().map(|old| old.hint.as_str()).collect::<Vec<_>>(), ["a"]);
        assert_eq!(read[0].removal_time.as_second(), 1_795_305_600);
    }

    #[test]
    fn a_value_that_was_changed_by_hand_is_no_credential() {
        let fields: [(&str, &str); 3] = [
            ("/data/client-secret", "eA=="),
            ("/data/client-id", "eA=="),
            ("/metadata/annotations/qlikcontext.dev~1credential-hint", "x"),
        ];
        for (field, value) in fields {
            let mut secret = stored(Proof::ClientSecret("planted-s".into()));
            *secret.pointer_mut(field).unwrap() = value.into();
            let secret_state = classify(&secret);
            assert!(matches!(secret_state, CredentialSecret::Ours(_)) && secret_state.held().is_none(), "{field}");
        }
    }

    #[test]
    fn a_secret_is_ours_by_its_controller_or_by_every_mark_where_it_has_none() {
        let secret = stored(Proof::ClientSecret("planted-s".into()));
        assert!(classify(&secret).refusal("s").is_none());
        let owner = |change: fn(&mut Value)| {
            let mut secret = secret.clone();
            change(&mut secret["metadata"]["ownerReferences"][0]);
            classify(&secret)
        };
        assert!(matches!(owner(|owner| owner["uid"] = "u-0".into()), CredentialSecret::Predecessors));
        assert!(matches!(
            owner(|owner| {
                owner["uid"] = "u-0".into();
                owner["name"] = "other".into();
            }),
            CredentialSecret::Foreign
        ));
        let mut orphan = secret.clone();
        orphan["metadata"]["ownerReferences"] = json!([]);
        let wanted: Secret = serde_json::from_value(secret).unwrap();
        let secret_state = classify(&orphan);
        assert!(secret_state.held().is_some() && !secret_state.is_as(&wanted), "its owner reference is written back");
        orphan["metadata"]["labels"][OAUTH_CLIENT_LABEL] = "other".into();
        assert!(matches!(classify(&orphan), CredentialSecret::Foreign));
    }

    #[test]
    fn the_hosts_that_a_user_allows_stay_while_the_tenant_is_among_them() {
        let tenant: TenantUrl = "https://acme.eu.qlikcloud.com".parse().unwrap();
        for (said, written) in [
            (None, "acme.eu.qlikcloud.com"),
            (Some("*.qlikcloud.com"), "*.qlikcloud.com"),
            (Some("other.example"), "acme.eu.qlikcloud.com"),
            (Some("https://no list"), "acme.eu.qlikcloud.com"),
        ] {
            let held = held(Proof::ClientSecret("planted-s".into()));
            let secret = credential_secret(&object(), "s", &tenant, &held, said);
            assert_eq!(secret.metadata.annotations.unwrap()[ALLOWED_HOSTS_ANNOTATION], written, "{said:?}");
        }
    }
}
