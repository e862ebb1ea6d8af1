//! Writing a Secret of ours, of whichever kind: only over what was judged, and what came of it in words that can be acted on.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PartialObjectMeta, Patch, PatchParams};

use crate::api::ConditionType::SecretSynced;
use crate::api::{FIELD_MANAGER, Reason};
use crate::error::Failure;

/// An admission webhook may take 30 s, and the API server gives it that long; one that is slow is waited for.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(34);

/// What became of a write.
pub enum Applied {
    /// It is there.
    Done(Box<PartialObjectMeta<Secret>>),
    /// Something changed since it was judged: judge again.
    Stale,
    /// The namespace is being deleted.
    Terminating(kube::Error),
    /// The Kubernetes API did not take it.
    Refused {
        /// HTTP status.
        code: u16,
        /// What it said.
        error: kube::Error,
    },
    /// Nobody knows whether it was written.
    Unclear,
}

/// Applies a Secret that carries the `uid` and `resourceVersion` that were judged, or [`crate::secret::CREATE_ONLY`].
pub async fn apply(secrets: &Api<Secret>, name: &str, secret: &Secret) -> Applied {
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(secret);
    let write = tokio::time::timeout(WRITE_TIMEOUT, secrets.patch_metadata(name, &params, &patch));
    match write.await {
        Ok(Ok(stored)) => Applied::Done(Box::new(stored)),
        Ok(Err(kube::Error::Api(status))) if status.is_conflict() || names_cause(&status, "metadata.uid", None) => {
            Applied::Stale
        }
        Ok(Err(kube::Error::Api(status))) if names_cause(&status, "", Some("NamespaceTerminating")) => {
            Applied::Terminating(kube::Error::Api(status))
        }
        Ok(Err(kube::Error::Api(status))) => Applied::Refused { code: status.code, error: kube::Error::Api(status) },
        // Whether it was written is not known: the next run reads it.
        Ok(Err(_)) | Err(_) => Applied::Unclear,
    }
}

/// True when one of the causes that the API server gives has this field or this type.
fn names_cause(status: &kube::core::Status, field: &str, kind: Option<&str>) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    causes.any(|cause| kind.map_or(cause.field == field, |kind| cause.reason == kind))
}

/// Whether a refusal with this code may pass by itself.
pub fn may_pass(code: u16) -> bool {
    matches!(code, 408 | 429 | 500..=599)
}

/// The API server's own message stays out: it may quote what was sent. `place`: the field that says how the Secret is to be.
pub fn refused(name: &str, place: &str, code: u16) -> Failure {
    let fix = match code {
        403 => {
            "Check that the operator may write Secrets in this namespace, the namespace's quota and the admission policies"
                .to_owned()
        }
        404 => "Check that the namespace exists".to_owned(),
        429 | 500..=599 => {
            "The operator retries. Check the API server and the admission webhooks for Secrets".to_owned()
        }
        _ => format!("Check {place} and the cluster's admission policies and webhooks"),
    };
    Failure::new(
        SecretSynced,
        Reason::WriteRejected,
        format!("The Kubernetes API refused to write Secret {name} (HTTP {code}). {fix}."),
    )
}

/// No answer came, again and again.
pub fn unanswered(name: &str) -> Failure {
    Failure::new(
        SecretSynced,
        Reason::WriteRejected,
        format!(
            "Writing Secret {name} failed: the Kubernetes API did not answer in time. The operator retries. Check the API \
             server and the admission webhooks for Secrets."
        ),
    )
}
