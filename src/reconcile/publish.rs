//! Writes the token Secret: only over the version that was read, and only while the context still wants it.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Resource;
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::reflector::ObjectRef;
use tokio::time::Instant;

use crate::api::QlikContext;
use crate::desired::Desired;
use crate::error::{Error, Failure, WRITING_SECRET};
use crate::index::{ContextName, SecretVersion};
use crate::metrics::SecretWrite;
use crate::oauth::token::VerifiedToken;
use crate::reconcile::context::Context;
use crate::scheduler::Caller;
use crate::secret::CREATE_ONLY;
use crate::secret::derived::{Target, WrittenSecret};
use crate::secret::write::{self, Applied, WRITE_TIMEOUT};
use crate::tokens::TokenDigest;
use crate::values::{Facts, Secrets, SecretsRead};

/// The watch is considered up to date for a run that took no longer than this.
const WATCHES_TRUSTED: Duration = Duration::from_secs(5);
/// So many refusals in a row that may be temporary are not reported yet.
const TEMPORARY_FAILURES: u32 = 1;
/// A failed write that took longer than this does not count as temporary.
const LASTING: Duration = Duration::from_secs(10);

/// The result of a write.
pub enum Written {
    /// It was written.
    Done(SecretWrite),
    /// Something changed since the Secret was read: decide again.
    Stale,
    /// The Kubernetes API refused it.
    Refused(Failure),
}

/// When the facts were read, and in which state the watches were.
#[derive(Clone, Copy)]
pub struct ReadAt {
    at: Instant,
    epoch: u64,
    credential: SecretVersion,
}

impl ReadAt {
    /// Now.
    pub fn now(cx: &Context, caller: &Caller, desired: &Desired) -> Self {
        Self {
            at: Instant::now(),
            epoch: cx.index.epoch(&caller.namespace),
            credential: cx.index.credential(&caller.namespace, &desired.credential_secret),
        }
    }
}

/// Writes the token Secret: creates it if there is none, else writes over exactly the version that was read.
pub async fn publish(
    cx: &Context,
    caller: &Caller,
    facts: &Facts<'_>,
    read_at: ReadAt,
    mut secret: Secret,
    token: &VerifiedToken,
) -> Result<Written, Error> {
    let Secrets::Read(read) = &facts.secrets else { return Ok(Written::Stale) };
    let applied = secret.clone();
    let operation = match &read.target {
        Target::Ours(stored) => {
            stored.guard(&mut secret);
            SecretWrite::Update
        }
        _ => {
            secret.metadata.resource_version = Some(CREATE_ONLY.into());
            SecretWrite::Create
        }
    };
    if !still_wanted(cx, caller, facts, read, read_at).await? {
        return Ok(Written::Stale);
    }
    let name = &facts.desired.target_name;
    let secrets: Api<Secret> = Api::namespaced(cx.client.clone(), &caller.namespace);
    let context =
        ContextName { kind: caller.kind, namespace: caller.namespace.to_string(), name: caller.name.to_string() };
    cx.leadership.check()?;
    let writing = cx.index.writing(&context, name);
    let begun = Instant::now();
    let stored = match write::apply(&secrets, name, &secret).await {
        Applied::Done(stored) => stored,
        Applied::Stale => {
            cx.memories.with(&caller.uid, |memory| memory.written = None);
            return Ok(Written::Stale);
        }
        Applied::Terminating(error) => return Err(Error::kubernetes(WRITING_SECRET)(error)),
        Applied::Refused { code, error } => return failed(cx, caller, name, code, error, begun.elapsed()),
        // Whether it was written is not known: the next run reads it.
        Applied::Unclear => return unclear(cx, caller, name, begun.elapsed()),
    };
    if let Some(version) = &stored.metadata.resource_version {
        writing.written(version);
    }
    cx.metrics.secret_written(operation);
    cx.memories.with(&caller.uid, |memory| {
        memory.failures = 0;
        memory.written = Some(WrittenSecret::new(&applied, &token.token, &stored.metadata));
        memory.published = Some(TokenDigest::of(&facts.desired.tenant.authority(), &token.token.access_token));
    });
    Ok(Written::Done(operation))
}

/// The objects may have changed between the decision and the write. While the watches are healthy and the run was short, it
/// is enough to ask them; else the API server is asked.
async fn still_wanted(
    cx: &Context,
    caller: &Caller,
    facts: &Facts<'_>,
    read: &SecretsRead,
    read_at: ReadAt,
) -> Result<bool, Error> {
    let decided_on = &facts.context.metadata;
    let version = read.credential.as_ref().ok().and_then(|credential| credential.resource_version.clone());
    let name = &facts.desired.credential_secret;
    let reference = ObjectRef::new(&caller.name).within(&caller.namespace);
    let shown = cx.contexts.get(&reference);
    let shown = shown.is_some_and(|shown| {
        let meta = shown.meta();
        meta.uid == decided_on.uid && meta.generation == decided_on.generation && meta.deletion_timestamp.is_none()
    });
    let trusted = read_at.at.elapsed() <= WATCHES_TRUSTED && read_at.epoch == cx.index.epoch(&caller.namespace);
    if trusted && shown && is_as_read(cx, caller, name, version.as_deref(), read_at) {
        return Ok(true);
    }
    let contexts: Api<PartialObjectMeta<QlikContext>> = Api::namespaced(cx.client.clone(), &caller.namespace);
    let secrets: Api<PartialObjectMeta<Secret>> = Api::namespaced(cx.client.clone(), &caller.namespace);
    let (now, credential) = futures::try_join!(contexts.get_metadata_opt(&caller.name), secrets.get_metadata_opt(name))
        .map_err(Error::kubernetes("checking whether the token is still wanted"))?;
    let same = now.is_some_and(|now| {
        now.metadata.uid == decided_on.uid
            && now.metadata.generation == decided_on.generation
            && now.metadata.deletion_timestamp.is_none()
    });
    Ok(same && credential.and_then(|secret| secret.metadata.resource_version) == version)
}

/// The watch shows the credential as it was read, or has shown nothing of it since. (A Secret that was just created may be read
/// before the watch shows it.)
fn is_as_read(cx: &Context, caller: &Caller, name: &str, version: Option<&str>, read_at: ReadAt) -> bool {
    let shown = cx.index.credential(&caller.namespace, name);
    let ahead = |version| cx.index.credential_is_ahead(&caller.namespace, name, version);
    shown.is_watched() && (shown.is(version) || shown == read_at.credential && version.is_some_and(ahead))
}

fn failed(
    cx: &Context,
    caller: &Caller,
    name: &str,
    code: u16,
    error: kube::Error,
    took: Duration,
) -> Result<Written, Error> {
    let count = cx.memories.with(&caller.uid, |memory| memory.failures).unwrap_or_default();
    if write::may_be_temporary(code) && count < TEMPORARY_FAILURES && took < LASTING {
        return Err(Error::kubernetes(WRITING_SECRET)(error));
    }
    Ok(Written::Refused(write::refused(name, "spec.target", code)))
}

/// It is unknown whether the Secret was written: the next run reads it. Repeated failures are reported.
fn unclear(cx: &Context, caller: &Caller, name: &str, took: Duration) -> Result<Written, Error> {
    let count = cx.memories.with(&caller.uid, |memory| {
        memory.written = None;
        memory.failures
    });
    if count.unwrap_or_default() < TEMPORARY_FAILURES && took < LASTING {
        return Err(Error::Unanswered { doing: WRITING_SECRET, limit: WRITE_TIMEOUT });
    }
    Ok(Written::Refused(write::unanswered(name)))
}
