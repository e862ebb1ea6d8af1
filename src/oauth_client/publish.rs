//! Writes the Secret: only over the version that was read, and only while the object still wants it.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PartialObjectMeta};
use tokio::time::Instant;

use super::act::{Done, Run, Stop};
use super::facts::Facts;
use crate::api::QlikOAuthClient;
use crate::api::condition::Notice;
use crate::error::{Error, WRITING_CREDENTIAL};
use crate::index::ContextName;
use crate::metrics::SecretWrite;
use crate::secret::SealedSecret;
use crate::secret::oauth_credential::CredentialSecret;
use crate::secret::write::{self, Applied, WRITE_TIMEOUT};

/// A write that took longer than this is no passing trouble.
const LASTING: Duration = Duration::from_secs(10);

/// Writes the Secret: created where there is none, else over exactly the one that was decided on. `new`: it holds a new credential;
/// `repair`: somebody else has changed or deleted what was there.
pub(super) async fn publish(
    run: &Run<'_>,
    facts: &mut Facts,
    mut secret: Secret,
    new: bool,
    repair: bool,
) -> Result<Done, Stop> {
    let (cx, caller) = (&run.cx.base, run.caller);
    let operation = match facts.secret {
        CredentialSecret::Ours(_) => SecretWrite::Update,
        _ => SecretWrite::Create,
    };
    facts.secret.guard(&mut secret);
    if !is_still_wanted(run, facts).await? {
        return Ok(Done::Stale);
    }
    let name = facts.desired.secret_name.clone();
    let secrets: Api<Secret> = Api::namespaced(cx.client.clone(), &caller.namespace);
    let writer =
        ContextName { kind: caller.kind, namespace: caller.namespace.to_string(), name: caller.name.to_string() };
    cx.leadership.check()?;
    let writing = cx.index.writing(&writer, &name);
    let begun = Instant::now();
    let applied = write::apply(&secrets, &name, &secret).await;
    if repair && matches!(applied, Applied::Done(_) | Applied::Stale) {
        run.repaired_secret(facts);
    }
    // A single refusal that may pass by itself is no finding yet.
    let passes = run.failures() == 0 && begun.elapsed() < LASTING;
    let stored = match applied {
        Applied::Done(stored) => stored,
        Applied::Stale => return Ok(Done::Stale),
        Applied::Terminating(error) => return Err(Error::kubernetes(WRITING_CREDENTIAL)(error).into()),
        Applied::Refused { code, error } if write::may_be_temporary(code) && passes => {
            return Err(Error::kubernetes(WRITING_CREDENTIAL)(error).into());
        }
        Applied::Refused { code, .. } => return Err(Stop::Refused(write::refused(&name, "spec.secret", code))),
        Applied::Unclear if passes => {
            return Err(Error::Unanswered { doing: WRITING_CREDENTIAL, limit: WRITE_TIMEOUT }.into());
        }
        Applied::Unclear => return Err(Stop::Refused(write::unanswered(&name))),
    };
    if let Some(version) = &stored.metadata.resource_version {
        writing.written(version);
    }
    cx.metrics.secret_written(operation);
    facts.so_far.wrote = true;
    if new {
        facts.candidate = None;
        run.keep(None);
        run.tell(facts, false, Notice::CredentialIssued, format!("Secret {name} holds a new credential."));
    }
    let sealed: Api<SealedSecret> = Api::namespaced(cx.client.clone(), &caller.namespace);
    let read = sealed.get_opt(&name).await.map_err(Error::kubernetes("reading the Secret"))?;
    facts.secret = CredentialSecret::classify(read, &facts.object);
    Ok(Done::Next)
}

/// The object is unchanged since it was read.
async fn is_still_wanted(run: &Run<'_>, facts: &Facts) -> Result<bool, Stop> {
    let objects: Api<PartialObjectMeta<QlikOAuthClient>> =
        Api::namespaced(run.cx.base.client.clone(), &run.caller.namespace);
    let now = objects.get_metadata_opt(&run.caller.name).await;
    let now = now.map_err(Error::kubernetes("checking whether the credential is still wanted"))?;
    let decided_on = &facts.object.metadata;
    Ok(now.is_some_and(|now| {
        now.metadata.uid == decided_on.uid
            && now.metadata.generation == decided_on.generation
            && now.metadata.deletion_timestamp.is_none()
    }))
}
