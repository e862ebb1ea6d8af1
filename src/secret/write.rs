//! Writes a Secret of either kind: only over the version that was read. A failure gets a message that says what to do.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PartialObjectMeta, Patch, PatchParams};

use crate::api::ConditionType::SecretSynced;
use crate::api::{FIELD_MANAGER, Reason};
use crate::error::Failure;

/// An admission webhook may take 30 s; this waits for a slow one.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(34);

/// The result of a write.
pub enum Applied {
    /// It was written.
    Done(Box<PartialObjectMeta<Secret>>),
    /// Something changed since the Secret was read: decide again.
    Stale,
    /// The namespace is being deleted.
    Terminating(kube::Error),
    /// The Kubernetes API refused it.
    Refused {
        /// HTTP status.
        code: u16,
        /// The message of the API.
        error: kube::Error,
    },
    /// It is unknown whether it was written.
    Unclear,
}

/// Applies a Secret with the `uid` and `resourceVersion` that were read, or [`crate::secret::CREATE_ONLY`].
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

/// True when one of the causes that the API server reports has this field or this type.
fn names_cause(status: &kube::core::Status, field: &str, kind: Option<&str>) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    causes.any(|cause| kind.map_or(cause.field == field, |kind| cause.reason == kind))
}

/// Whether a refusal with this code may be temporary.
pub fn may_be_temporary(code: u16) -> bool {
    matches!(code, 408 | 429 | 500..=599)
}

/// Leaves out the API server's own message, which may quote the request. `place`: the field of the spec that defines the Secret.
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

/// No response, several times in a row.
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
