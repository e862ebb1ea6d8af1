//! Writing the derived Secret, so that only what was judged is written over, and only what is still wanted is written.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, PartialObjectMeta, Patch, PatchParams};

use super::{Act, Done, Holding};
use crate::api::ConditionType::SecretSynced;
use crate::api::{FIELD_MANAGER, QlikContext, REFRESHED_FOR_ANNOTATION, Reason};
use crate::decide::{Wish, immutable};
use crate::error::{Error, Failure};
use crate::metrics::SecretWrite;
use crate::oauth::token::VerifiedToken;
use crate::secret::SealedSecret;
use crate::secret::derived::Target;

/// Each write ends within this, retries of the client included.
const WRITE_TIMEOUT: Duration = Duration::from_secs(4);

/// Between judging and publishing the world may have moved on; then the next run judges anew.
async fn still_wanted(act: &Act<'_>, wish: Wish<'_>) -> Result<(), Error> {
    let (client, context) = (&act.cx.client, act.context);
    let namespace = context.namespace().unwrap_or_default();
    let contexts: Api<PartialObjectMeta<QlikContext>> = Api::namespaced(client.clone(), &namespace);
    let secrets: Api<PartialObjectMeta<Secret>> = Api::namespaced(client.clone(), &namespace);
    let name = context.name_any();
    let (now, credential) =
        futures::try_join!(contexts.get_metadata_opt(&name), secrets.get_metadata_opt(&wish.desired.credential_secret))
            .map_err(Error::kubernetes("checking what is wanted"))?;
    let same = now.is_some_and(|now| {
        now.metadata.uid == context.metadata.uid
            && now.metadata.generation == context.metadata.generation
            && now.metadata.deletion_timestamp.is_none()
    });
    if !same {
        return Err(Error::Changed("the QlikContext"));
    }
    if credential.and_then(|secret| secret.metadata.resource_version) != wish.credential.resource_version {
        return Err(Error::Changed("the credential Secret"));
    }
    Ok(())
}

/// Writes the derived Secret: created where there is none, else over exactly the one that was judged.
pub(super) async fn publish(
    act: &Act<'_>,
    wish: Wish<'_>,
    token: &VerifiedToken,
    mut secret: Secret,
    before: Done,
) -> Result<Done, Error> {
    let Act { cx, context, seen } = *act;
    let refused = |failure| Ok(Done { failure: Some(failure), verified: true, ..before.clone() });
    let operation = match wish.target {
        Target::Ours(stored) if stored.is_immutable() => return refused(immutable(wish.desired)),
        Target::Ours(stored) => {
            guard_with(&mut secret, stored, context);
            SecretWrite::Update
        }
        _ => {
            // An apply with this version can only create: 409 if the name exists.
            secret.metadata.resource_version = Some("1".into());
            SecretWrite::Create
        }
    };
    let handled = secret.annotations().get(REFRESHED_FOR_ANNOTATION).cloned().or_else(|| seen.handled.clone());
    let secrets: Api<Secret> = Api::namespaced(cx.client.clone(), &context.namespace().unwrap_or_default());
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(&secret);
    still_wanted(act, wish).await?;
    cx.leadership.check()?;
    let write = tokio::time::timeout(WRITE_TIMEOUT, secrets.patch(&wish.desired.target_name, &params, &patch));
    match write.await.map_err(|_| Error::Deadline(WRITE_TIMEOUT))? {
        Ok(_) => {
            cx.metrics.secret_written(operation);
            let holding = Some(Holding::published(token, wish.renewal_time(&token.token)));
            let verification =
                wish.desired.verify_interval.and_then(|interval| cx.clock.now().checked_add(interval).ok());
            Ok(Done {
                holding,
                verified: true,
                written: Some(operation),
                handled,
                due: verification,
                ..Done::default()
            })
        }
        Err(kube::Error::Api(status)) if status.is_conflict() || names_cause(&status, "metadata.uid", None) => {
            Err(Error::Changed("the derived Secret"))
        }
        Err(kube::Error::Api(status)) if names_cause(&status, "", Some("NamespaceTerminating")) => {
            Err(Error::Changed("the namespace"))
        }
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 404 | 413 | 422) => {
            refused(rejected(wish, status.code))
        }
        Err(error) => Err(Error::kubernetes("writing the derived Secret")(error)),
    }
}

/// Names the very object that was judged: a swap since is answered 422 (uid) or 409 (resourceVersion).
fn guard_with(secret: &mut Secret, stored: &SealedSecret, context: &QlikContext) {
    secret.metadata.uid.clone_from(&stored.metadata.uid);
    secret.metadata.resource_version.clone_from(&stored.metadata.resource_version);
    // OwnerReferencesPermissionEnforcement wants rights for a changed reference, even for its apiVersion alone.
    let uid = context.metadata.uid.as_deref();
    let stored = stored.metadata.owner_references.iter().flatten().find(|owner| Some(owner.uid.as_str()) == uid);
    if let (Some(stored), Some(owner)) = (stored, secret.metadata.owner_references.iter_mut().flatten().next()) {
        owner.api_version.clone_from(&stored.api_version);
    }
}

/// True when one of the causes that the API server gives has this field or this type.
fn names_cause(status: &kube::core::Status, field: &str, kind: Option<&str>) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    causes.any(|cause| kind.map_or(cause.field == field, |kind| cause.reason == kind))
}

/// The API server's own message stays out: it may quote what was sent.
fn rejected(wish: Wish<'_>, code: u16) -> Failure {
    let cure = match code {
        403 => {
            "Check that the operator may write Secrets in this namespace, and the namespace's quota and admission policies"
        }
        404 => "Check that the namespace exists",
        _ => "Check spec.target and the cluster's admission policies",
    };
    Failure::new(
        SecretSynced,
        Reason::WriteRejected,
        format!("The Kubernetes API refused to write Secret {} (HTTP {code}). {cure}.", wish.desired.target_name),
    )
}
