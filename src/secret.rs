//! Secrets, read sealed: the credential Secret and the token Secret.
//!
//! The bytes never print and are wiped on drop. (The HTTP client's own buffers are not wiped.) This module checks a credential
//! Secret; [`text`] reads a value, [`lookalike`] guesses what a wrong one is; [`derived`] makes the token Secret.

pub mod derived;
pub mod lookalike;
pub mod oauth_credential;
pub mod template;
mod text;
pub mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_lc_rs::digest;
use k8s_openapi::ByteString;
use kube::api::ObjectMeta;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::{Deserialize, Deserializer};

use self::lookalike::Lookalike;
use crate::api::ConditionType::CredentialsAvailable;
use crate::api::v1alpha1;
use crate::api::{ALLOWED_HOSTS_ANNOTATION, FIELD_MANAGER, Reason};
use crate::desired::{Desired, Method, Source};
use crate::error::Failure;
use crate::oauth::assertion::Signer;
use crate::oauth::key::{self, Algorithm, BadKey};
use crate::oauth::pasted::Foreign;
use crate::oauth::request::{self as oauth, TokenRequest};
use crate::oauth::tenant::AllowedHosts;
use crate::oauth::token::AccessToken;

/// Types of Secret that never hold a credential of a tenant. They are refused, so that none of them can be sent to a tenant.
const NEVER_A_CREDENTIAL: [&str; 5] = [
    "kubernetes.io/service-account-token",
    "bootstrap.kubernetes.io/token",
    "kubernetes.io/dockercfg",
    "kubernetes.io/dockerconfigjson",
    "helm.sh/release.v1",
];

/// An apply with this version can only create: 409 if the name exists.
pub const CREATE_ONLY: &str = "1";

/// A Secret whose data does not print.
#[derive(kube::Resource, Clone, Deserialize)]
#[resource(inherit = "k8s_openapi::api::core::v1::Secret")]
pub struct SealedSecret {
    /// Name, owners, labels, annotations.
    pub metadata: ObjectMeta,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    immutable: Option<bool>,
    #[serde(default, deserialize_with = "sealed")]
    data: BTreeMap<String, SecretSlice<u8>>,
}

/// Prints the name only: annotations may repeat the data, as those of `kubectl apply` do.
impl std::fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedSecret").field("name", &self.metadata.name).finish_non_exhaustive()
    }
}

fn sealed<'de, D: Deserializer<'de>>(data: D) -> Result<BTreeMap<String, SecretSlice<u8>>, D::Error> {
    let data = Option::<BTreeMap<String, ByteString>>::deserialize(data)?.unwrap_or_default();
    Ok(data.into_iter().map(|(key, value)| (key, SecretSlice::from(value.0))).collect())
}

/// A credential, ready to be sent.
#[derive(Clone)]
pub struct Credential {
    /// The token request.
    pub request: TokenRequest,
    /// Every value that came from the Secret, as sent; the token binding covers them.
    pub sent: Vec<SecretString>,
    /// A value was not in its plain form: characters around it were removed, or the form of a private key was repaired.
    pub trimmed: bool,
    /// The Secret's version; if it changes, the credential has to be read again.
    pub resource_version: Option<String>,
}

impl SealedSecret {
    fn bytes(&self, key: &str) -> Option<&[u8]> {
        self.data.get(key).map(ExposeSecret::expose_secret)
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(name).map(String::as_str)
    }

    /// Who else has written to it.
    pub fn other_managers(&self) -> Vec<String> {
        let managers = self.metadata.managed_fields.iter().flatten().filter_map(|entry| entry.manager.clone());
        managers.filter(|manager| manager != FIELD_MANAGER).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Reads the credential of a context.
    pub fn credential(&self, desired: &Desired) -> Result<Credential, Failure> {
        let name = &desired.credential_secret;
        if self.kind.as_deref().is_some_and(|kind| NEVER_A_CREDENTIAL.contains(&kind)) {
            return Err(malformed(&format!(
                "Secret {name} is of a type that never holds a tenant's credential. Put the credential into a Secret of \
                 type Opaque."
            )));
        }
        self.check_host(desired)?;
        let mut values = Values { secret: self, name, sent: Vec::new(), trimmed: false };
        let credential = match &desired.method {
            Method::ClientSecret { client_id, client_secret_key } => oauth::Credential::ClientSecret {
                client_id: values.source(client_id)?,
                client_secret: values.text(client_secret_key)?,
            },
            Method::PrivateKeyJwt { client_id, private_key_key, key_id, algorithm } => {
                let client_id = values.source(client_id)?;
                let signer = Arc::new(values.signer(private_key_key, key_id, algorithm.map(Algorithm::from))?);
                oauth::Credential::PrivateKey { client_id, signer }
            }
            Method::ApiKey { api_key_key } => {
                let key = values.text(api_key_key)?;
                let key = AccessToken::parse(key.expose_secret()).ok_or_else(|| {
                    malformed(&format!(
                        "The value of key {api_key_key} in Secret {name} cannot be an API key: it is longer than 8 KiB or has a \
                         character outside ASCII. Copy it again."
                    ))
                })?;
                oauth::Credential::ApiKey(key)
            }
        };
        let request = TokenRequest {
            tenant: desired.tenant.clone(),
            grant: desired.grant.clone(),
            scopes: desired.scopes.clone(),
            credential,
        };
        let Values { sent, trimmed, .. } = values;
        Ok(Credential { request, sent, trimmed, resource_version: self.metadata.resource_version.clone() })
    }

    /// A Secret may limit the hosts to which it is sent; an empty or invalid list allows none.
    fn check_host(&self, desired: &Desired) -> Result<(), Failure> {
        let Some(list) = self.annotation(ALLOWED_HOSTS_ANNOTATION) else {
            return Ok(());
        };
        let allowed = list.parse::<AllowedHosts>().is_ok_and(|hosts| hosts.allows(&desired.tenant));
        if allowed {
            return Ok(());
        }
        Err(Failure::new(
            CredentialsAvailable,
            Reason::HostNotAllowedBySecret,
            format!(
                "Secret {} does not allow its credential to be sent to {}. Add the host to its annotation \
                 {ALLOWED_HOSTS_ANNOTATION}, or correct spec.tenantUrl.",
                desired.credential_secret,
                desired.tenant.authority()
            ),
        ))
    }
}

/// Reads values of a credential Secret, and collects those that were read.
struct Values<'s> {
    secret: &'s SealedSecret,
    name: &'s str,
    sent: Vec<SecretString>,
    trimmed: bool,
}

impl Values<'_> {
    fn source(&mut self, source: &Source) -> Result<SecretString, Failure> {
        match source {
            Source::Inline(text) => Ok(text.as_str().into()),
            Source::Key(key) => self.text(key),
        }
    }

    /// One value: text in one piece.
    fn text(&mut self, key: &str) -> Result<SecretString, Failure> {
        let name = self.name;
        let text = self.block(key)?;
        if let Some(foreign) = Foreign::find(text.expose_secret()) {
            let advice = match Lookalike::of(text.expose_secret()) {
                Some(form) => format!("It looks as if the value {form}."),
                None => "Copy it again, as one piece.".to_owned(),
            };
            return Err(malformed(&format!("The value of key {key} in Secret {name} has {foreign} inside. {advice}")));
        }
        Ok(text)
    }

    /// One value that may have several lines.
    fn block(&mut self, key: &str) -> Result<SecretString, Failure> {
        let name = self.name;
        let Some(bytes) = self.secret.bytes(key) else {
            return Err(Failure::new(
                CredentialsAvailable,
                Reason::KeyNotFound,
                format!("Secret {name} has no key {key}. Add the key, or name another in spec.auth."),
            ));
        };
        let value = text::read(bytes).map_err(|problem| {
            let failure = malformed(&format!("The value of key {key} in Secret {name} {problem}."));
            // An empty value may be about to be filled by another controller.
            if problem == text::NotText::Empty { failure.waiting() } else { failure }
        })?;
        self.trimmed |= value.trimmed;
        self.sent.push(value.text.clone());
        Ok(value.text)
    }

    /// A private key with its id: that of the spec, else of the Secret, else of the JWK. Two different ids are an error.
    fn signer(&mut self, key: &str, key_id: &Source, algorithm: Option<Algorithm>) -> Result<Signer, Failure> {
        let name = self.name;
        let unusable = |problem: &dyn std::fmt::Display| {
            Failure::new(
                CredentialsAvailable,
                Reason::PrivateKeyInvalid,
                format!("The private key under key {key} in Secret {name} cannot be used: {problem}."),
            )
        };
        let before = self.trimmed;
        let text = self.block(key)?;
        let found = key::read(text.expose_secret()).map_err(|problem| match Lookalike::of(text.expose_secret()) {
            // The parser of keys does not recognise placeholders.
            Some(form) if problem == BadKey::NotAKey => unusable(&format_args!("it looks as if the value {form}")),
            _ => unusable(&problem),
        })?;
        // A key file usually ends in a line break, which is not a mistake to report.
        let raw = self.secret.bytes(key).unwrap_or_default();
        let plain = std::str::from_utf8(raw).is_ok_and(|raw| raw.trim_end() == text.expose_secret());
        self.trimmed = before || found.repaired || !plain;
        let stated = match key_id {
            Source::Inline(id) => Some(SecretString::from(id.as_str())),
            Source::Key(key) if self.secret.bytes(key).is_some() => Some(self.text(key)?),
            Source::Key(_) => None,
        };
        let stated = stated.map(|id| id.expose_secret().to_owned());
        if let (Some(stated), Some(own)) = (&stated, &found.key_id)
            && stated != own
        {
            return Err(unusable(&"its own kid is not the key id that is given; give the one that is registered"));
        }
        let algorithm = found.key.algorithm(algorithm).ok_or_else(|| {
            unusable(
                &"spec.auth.privateKeyJwt.algorithm does not go with it; leave the field out to take the key's own",
            )
        })?;
        let key_id = stated.or(found.key_id);
        let fingerprint =
            fingerprint(&[text.expose_secret(), key_id.as_deref().unwrap_or_default(), &algorithm.to_string()]);
        Ok(Signer { key: found.key, algorithm, key_id, fingerprint })
    }
}

impl From<v1alpha1::Algorithm> for Algorithm {
    fn from(algorithm: v1alpha1::Algorithm) -> Self {
        match algorithm {
            v1alpha1::Algorithm::RS256 => Self::RS256,
            v1alpha1::Algorithm::RS512 => Self::RS512,
            v1alpha1::Algorithm::ES384 => Self::ES384,
        }
    }
}

/// SHA-256 over texts prefixed with their lengths.
fn fingerprint(texts: &[&str]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for text in texts {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    }
    context.finish().as_ref().first_chunk().copied().unwrap_or_default()
}

/// The Secret that a context names does not exist.
pub fn not_found(name: &str) -> Failure {
    Failure::new(
        CredentialsAvailable,
        Reason::SecretNotFound,
        format!("Secret {name} does not exist in this namespace. Create it; it is read as soon as it is there."),
    )
}

fn malformed(message: &str) -> Failure {
    Failure::new(CredentialsAvailable, Reason::CredentialMalformed, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    fn desired() -> Desired {
        let context = json!({
            "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext", "metadata": {"name": "acme"},
            "spec": {"tenantUrl": "https://acme.eu.qlikcloud.com", "auth": {"clientSecret": {"secretRef": {"name": "oauth"}}}}
        });
        Desired::parse(&serde_json::from_value(context).unwrap()).unwrap()
    }

    fn secret(kind: &str, hosts: Option<&str>, id: &[u8], value: &[u8]) -> SealedSecret {
        let annotations: BTreeMap<_, _> = hosts.map(|hosts| (ALLOWED_HOSTS_ANNOTATION, hosts)).into_iter().collect();
        let data = json!({"client-id": STANDARD.encode(id), "client-secret": STANDARD.encode(value)});
        let object = json!({"metadata": {"name": "oauth", "annotations": annotations}, "type": kind, "data": data});
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn a_value_is_read_without_the_line_break_that_was_pasted_with_it() {
        let credential = secret("Opaque", None, b"id\n", b" planted-secret \r\n").credential(&desired()).unwrap();
        assert!(credential.trimmed);
        assert_eq!(credential.sent[1].expose_secret(), "planted-secret");
        assert_eq!(credential.sent[0].expose_secret(), "id");
    }

    #[test]
    fn a_byte_order_mark_and_invisible_characters_around_a_value_are_not_sent_and_that_is_reported() {
        for mark in ["\u{feff}", "\u{200b}", "\u{2060}", "\u{200e}", "\u{a0}", "\0"] {
            for value in [
                format!("{mark}planted-secret"),
                format!("planted-secret{mark}\n"),
                format!("{mark}\n{mark}planted-secret{mark}"),
            ] {
                let credential = secret("Opaque", None, b"id", value.as_bytes()).credential(&desired()).unwrap();
                assert!(credential.trimmed, "{value:?}");
                assert_eq!(credential.sent[1].expose_secret(), "planted-secret", "{value:?}");
            }
        }
        assert!(!secret("Opaque", None, b"id", b"planted-secret").credential(&desired()).unwrap().trimmed);
    }

    #[test]
    fn what_stands_inside_a_value_is_named_with_what_the_value_looks_like() {
        for (value, says) in [
            ("planted\u{200b}-secret", "has an invisible character (U+200B) inside. Copy it again"),
            ("planted\u{feff}-secret", "(U+FEFF)"),
            ("planted\u{2060}-secret", "(U+2060)"),
            ("planted secret", "has whitespace inside"),
            ("planted\nsecret", "has a line break inside"),
            ("p\0l\0a\0n\0t\0e\0d\0", "UTF-16"),
            ("\u{1b}[32mplanted-secret\u{1b}[0m", "a terminal's escape sequence"),
            ("Bearer planted-secret", "looks as if the value begins with the name of an authorization scheme"),
            ("{{ .Values.planted }}", "is a placeholder that was never filled in"),
            ("CLIENT_ID=planted\nCLIENT_SECRET=planted", "has its name in front of it"),
            ("{\"clientSecret\": \"planted\"}", "is a JSON document"),
            ("-----BEGIN PRIVATE KEY-----\nplanted", "goes under auth.privateKeyJwt"),
            ("$ANSIBLE_VAULT;1.1;AES256\n6162", "is still encrypted"),
        ] {
            let failure = secret("Opaque", None, b"id", value.as_bytes()).credential(&desired()).err().unwrap();
            assert_eq!(failure.reason, Reason::CredentialMalformed);
            assert!(failure.message.contains(says), "{says}: {}", failure.message);
            assert!(!failure.message.contains("planted") && failure.message.len() < 512, "{}", failure.message);
        }
    }

    #[test]
    fn what_cannot_be_a_credential_is_refused_and_not_repeated() {
        for (secret, reason) in [
            (secret("Opaque", None, b"id", b"two planted-words"), Reason::CredentialMalformed),
            (secret("Opaque", None, b"id", b" \n"), Reason::CredentialMalformed),
            (secret("Opaque", None, b"id", "planted-".repeat(4000).as_bytes()), Reason::CredentialMalformed),
            (secret("Opaque", None, b"id", b"planted-\xff\xfe"), Reason::CredentialMalformed),
            (secret("kubernetes.io/service-account-token", None, b"id", b"planted-s"), Reason::CredentialMalformed),
            (secret("Opaque", Some("other.example"), b"id", b"planted-s"), Reason::HostNotAllowedBySecret),
            (secret("Opaque", Some(""), b"id", b"planted-s"), Reason::HostNotAllowedBySecret),
            (secret("Opaque", Some("https://x"), b"id", b"planted-s"), Reason::HostNotAllowedBySecret),
        ] {
            let failure = secret.credential(&desired()).err().unwrap();
            assert_eq!(failure.reason, reason, "{}", failure.message);
            assert!(!failure.message.contains("planted"));
        }
        assert!(secret("Opaque", Some("*.eu.qlikcloud.com"), b"id", b"s").credential(&desired()).is_ok());
    }

    #[test]
    fn a_secret_never_prints_its_bytes() {
        let printed = format!("{:?}", secret("Opaque", None, b"id", b"hunter2"));
        assert!(!printed.contains("hunter2") && !printed.contains("104, 117") && !printed.contains("aHVudGVyMg"));
    }

    /// A context with a private key, and the Secret with this text under it.
    #[expect(clippy::unwrap_in_result, reason = "what is not tried here is as it should be")]
    fn with_private_key(text: &[u8]) -> Result<Credential, Failure> {
        let context = json!({
            "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext", "metadata": {"name": "acme"},
            "spec": {"tenantUrl": "https://acme.eu.qlikcloud.com", "auth": {"privateKeyJwt": {"clientId": "id", "secretRef": {"name": "key"}}}}
        });
        let desired = Desired::parse(&serde_json::from_value(context).unwrap()).unwrap();
        let object = json!({"metadata": {"name": "key"}, "data": {"private-key": STANDARD.encode(text)}});
        serde_json::from_value::<SealedSecret>(object).unwrap().credential(&desired)
    }

    #[test]
    fn a_private_key_that_was_put_back_in_form_is_reported_and_one_with_its_last_line_break_is_not() {
        let pem = include_str!("../tests/keys/p384-pkcs8.pem");
        assert!(!with_private_key(pem.as_bytes()).unwrap().trimmed);
        assert!(!with_private_key(format!("{pem}\n\n").as_bytes()).unwrap().trimmed);
        assert!(!with_private_key(pem.replace('\n', "\r\n").as_bytes()).unwrap().trimmed);
        let utf16 = [&[0xff, 0xfe][..], &pem.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()].concat();
        let changed = [
            format!("\u{feff}{pem}"),
            pem.replace('\n', "\\n"),
            format!("\"{}\"", pem.trim_end()),
            STANDARD.encode(pem),
        ];
        for text in changed.map(String::into_bytes).into_iter().chain([utf16]) {
            assert!(with_private_key(&text).unwrap().trimmed, "{}", String::from_utf8_lossy(&text));
        }
        for (text, says) in [
            ("REPLACE-WITH-THE-PRIVATE-KEY", "is a placeholder"),
            ("ENC[AES256_GCM,data:planted]", "is still encrypted"),
            ("/run/secrets/private-key.pem", "is the path of a file"),
            ("planted", "neither a PEM private key"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nplanted\n-----END OPENSSH PRIVATE KEY-----", "ssh-keygen -p"),
        ] {
            let failure = with_private_key(text.as_bytes()).err().unwrap();
            assert_eq!(failure.reason, Reason::PrivateKeyInvalid, "{text}");
            assert!(failure.message.contains(says) && !failure.message.contains("planted"), "{}", failure.message);
        }
    }
}
