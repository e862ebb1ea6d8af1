//! Collects the facts: first those that are known without a request, then by reading what no watch and no earlier run has shown.

use std::time::Duration;

use futures::future::OptionFuture;
use kube::ResourceExt;
use kube::api::Api;
use tokio::time::Instant;

use crate::api::ConditionType::Ready;
use crate::api::v1alpha1::{IdentityStatus, QlikContextStatus};
use crate::api::{QlikContext, REFRESH_REQUESTED_ANNOTATION, REFRESHED_FOR_ANNOTATION};
use crate::binding;
use crate::clock::{SignedDuration, Timestamp};
use crate::desired::{Desired, is_refresh_request};
use crate::error::Error;
use crate::index::SecretVersion;
use crate::oauth::identity::Identity;
use crate::oauth::token::Token;
use crate::reconcile::context::Context;
use crate::reconcile::memory::{Memory, Versions};
use crate::scheduler::Caller;
use crate::secret::derived::{Stored, Target};
use crate::secret::{self, Credential, SealedSecret};
use crate::tokens::{Held, Requester, TokenDigest};
use crate::values::{Facts, HeldToken, Secrets, SecretsRead, Settled, SoFar};

/// A Secret that another client keeps changing is read this often, so that the status stays up to date.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The facts about a context that are known without a request.
pub fn recall<'c>(cx: &Context, caller: &Caller, context: &'c QlikContext, desired: Desired) -> Facts<'c> {
    let (credential, target) = versions(cx, caller, &desired);
    let remembered = cx.memories.with(&caller.uid, |memory| {
        let seen = memory.seen();
        let same = |versions: &Versions| {
            versions.context == seen
                && credential.is(versions.credential.as_deref())
                && target.is(versions.target.as_deref())
        };
        let settled =
            memory.settled.as_ref().filter(|(settled, versions)| same(versions) && is_reported(context, settled));
        let settled = settled.map(|(settled, _)| settled.clone());
        let same = |read: &Versions| read.context == seen && credential.is(read.credential.as_deref());
        let read = memory.read.as_ref().filter(|(read, _)| same(read));
        let brake = read.and_then(|(_, at)| LOOK_AGAIN.checked_sub(at.elapsed()));
        let brake =
            memory.repairs.wait().zip(brake).map(|(repair, look)| repair.min(look)).filter(|wait| !wait.is_zero());
        let written = memory.written.as_ref().map(|written| written.resource_version.as_deref());
        let in_order = memory.settled.as_ref().map(|(_, versions)| versions.target.as_deref());
        let mut good = [written, in_order].into_iter().flatten().peekable();
        let target_changed = target.is_watched() && good.peek().is_some() && !good.any(|version| target.is(version));
        (settled, memory.wanted, seen, brake, memory.unwritten.clone(), target_changed)
    });
    let (settled, wanted, seen, brake, unwritten, target_changed) = remembered.unwrap_or_default();
    let now = cx.clock.now();
    let reported = context.status.as_ref().and_then(|status| status.last_handled_refresh_request.clone());
    let handled = settled.as_ref().map_or(reported, |settled| settled.handled.clone());
    let refresh = requested(context).filter(|value| Some(value) != handled.as_ref());
    Facts {
        context,
        seen,
        unwritten,
        host: desired.tenant.authority(),
        desired,
        secrets: settled.map_or(Secrets::Unread, Secrets::Unchanged),
        now,
        brake_until: brake.and_then(|wait| later(now, wait)),
        target_changed,
        refresh,
        handled,
        wanted,
        recovered_at: recovered_at(cx, caller),
        watched: credential.is_watched(),
        selector: cx.credential_selector.clone(),
        so_far: SoFar::default(),
    }
}

fn later(now: Timestamp, wait: Duration) -> Option<Timestamp> {
    now.checked_add(SignedDuration::try_from(wait).ok()?).ok()
}

/// When the host recovered, if the context was woken for that reason.
fn recovered_at(cx: &Context, caller: &Caller) -> Option<Timestamp> {
    let age = cx.tokens.scheduler.recovered(&caller.uid, Instant::now())?;
    cx.clock.now().checked_sub(SignedDuration::try_from(age).ok()?).ok()
}

/// The status reports that everything is in order, with this token.
fn is_reported(context: &QlikContext, settled: &Settled) -> bool {
    let Some(status) = &context.status else { return false };
    let issued_at = status.token.as_ref().and_then(|token| token.issued_at.as_ref()).map(|time| time.0);
    status.observed_generation == context.metadata.generation
        && status.failure.is_none()
        && issued_at == Some(settled.token.token.issued_at)
        && was_good(context)
}

/// Reads the credential Secret, and the token Secret unless it is known to be as this process wrote it or absent.
pub async fn observe(cx: &Context, caller: &Caller, facts: &mut Facts<'_>) -> Result<(), Error> {
    let (context, desired) = (facts.context, &facts.desired);
    let epoch = cx.index.epoch(&caller.namespace);
    let (mut credential, mut target) = read(cx, caller, context, desired).await?;
    if !are_current(cx, caller, epoch, &[credential.as_ref(), target.as_ref().and_then(Read::secret)]) {
        // A watch broke meanwhile: what it lists next may be newer than what was read.
        (credential, target) = read(cx, caller, context, desired).await?;
    }
    let target = match target {
        Some(Read::Known(target)) => target,
        Some(Read::Secret(secret)) => Target::classify(Some(*secret), context),
        None => Target::classify(None, context),
    };
    let credential = match credential {
        Some(secret) => secret.credential(desired),
        None => Err(secret::not_found(&desired.credential_secret)),
    };
    let key = credential.as_ref().ok().map(|credential| cx.tokens.enroll(&credential.request, caller));
    let mut held = held_token(context.status.as_ref(), desired, credential.as_ref().ok(), &target, facts.now);
    if let Some(held) = &mut held {
        held.rejected = cx.tokens.is_rejected(TokenDigest::of(&desired.tenant.authority(), &held.token.access_token));
    }
    let wait = cx.memories.with(&caller.uid, |memory| note(memory, desired, held.as_ref(), &target)).flatten();
    let repair_at = wait.and_then(|wait| later(facts.now, wait));
    facts.handled = handled(context, &target);
    facts.refresh = requested(context).filter(|value| Some(value) != facts.handled.as_ref());
    facts.secrets = Secrets::Read(Box::new(SecretsRead { credential, key, target, held, repair_at }));
    Ok(())
}

/// The Secret of the target's name.
enum Read {
    /// As this process wrote it, or absent, according to the watch.
    Known(Target),
    /// As it was read.
    Secret(Box<SealedSecret>),
}

impl Read {
    fn secret(&self) -> Option<&SealedSecret> {
        match self {
            Self::Known(_) => None,
            Self::Secret(secret) => Some(secret),
        }
    }
}

async fn read(
    cx: &Context,
    caller: &Caller,
    context: &QlikContext,
    desired: &Desired,
) -> Result<(Option<SealedSecret>, Option<Read>), Error> {
    let secrets: Api<SealedSecret> = Api::namespaced(cx.client.clone(), &caller.namespace);
    let (_, version) = versions(cx, caller, desired);
    let remembered = cx.memories.with(&caller.uid, |memory| (memory.written.clone(), memory.published.is_some()));
    let (written, seen) = remembered.unwrap_or_default();
    let written = written.filter(|written| version.is(written.resource_version.as_deref()));
    // The first list of a watch may be older than the token that another process has published and reported.
    let outdated = !seen && context.status.as_ref().is_some_and(|status| status.token.is_some());
    let known = match (version, written) {
        (SecretVersion::Absent, _) if !outdated => Some(Target::Absent),
        (_, Some(written)) => Some(Target::Ours(Stored::Written(Box::new(written)))),
        (_, None) => None,
    };
    let target: OptionFuture<_> = known.is_none().then(|| secrets.get_opt(&desired.target_name)).into();
    let (credential, target) = futures::join!(secrets.get_opt(&desired.credential_secret), target);
    let credential = credential.map_err(Error::kubernetes("reading the credential Secret"))?;
    let target = target.transpose().map_err(Error::kubernetes("reading the token Secret"))?.flatten();
    Ok((credential, known.map(Read::Known).or_else(|| target.map(|secret| Read::Secret(Box::new(secret))))))
}

/// Tells the index the versions that were read; false if a watch broke since this epoch.
fn are_current(cx: &Context, caller: &Caller, epoch: u64, secrets: &[Option<&SealedSecret>]) -> bool {
    secrets.iter().flatten().all(|secret| {
        let name = secret.metadata.name.as_deref().unwrap_or_default();
        let version = secret.metadata.resource_version.as_deref().unwrap_or_default();
        cx.index.secret_read(&caller.namespace, name, version, epoch)
    })
}

/// The token Secret was written: from now on it is known as this process wrote it.
pub fn written(cx: &Context, caller: &Caller, facts: &mut Facts<'_>) {
    let written = cx.memories.with(&caller.uid, |memory| memory.written.clone()).flatten();
    let Some(written) = written else {
        facts.secrets = Secrets::Unread;
        return;
    };
    let Secrets::Read(read) = &mut facts.secrets else { return };
    let target = Target::Ours(Stored::Written(Box::new(written)));
    let sent = read.credential.as_ref().ok();
    let held = held_token(facts.context.status.as_ref(), &facts.desired, sent, &target, facts.now);
    let handled = handled(facts.context, &target);
    (read.target, read.held, read.repair_at) = (target, held, None);
    let refresh = requested(facts.context).filter(|value| Some(value) != handled.as_ref());
    (facts.handled, facts.refresh) = (handled, refresh);
}

/// Records the token that the Secret held last: one from this process, or one that was found in the Secret.
fn note(
    memory: &mut Memory,
    desired: &Desired,
    held: Option<&HeldToken>,
    target: &Target,
) -> Option<std::time::Duration> {
    if let (Some(held), None) = (held.filter(|held| held.fit.credential && !held.rejected), memory.published) {
        memory.published = Some(TokenDigest::of(&desired.tenant.authority(), &held.token.access_token));
    }
    if !matches!(target, Target::Ours(_)) {
        memory.written = None;
    }
    memory.repairs.wait()
}

fn versions(cx: &Context, caller: &Caller, desired: &Desired) -> (SecretVersion, SecretVersion) {
    let credential = cx.index.credential(&caller.namespace, &desired.credential_secret);
    (credential, cx.index.target(&caller.namespace, &desired.target_name))
}

impl Facts<'_> {
    /// The context in the form that the token cache takes. `held_last`: the token that its Secret held last; `refresh_seen`: how
    /// long ago the watch showed the refresh request.
    pub fn requester<'a>(
        &'a self,
        caller: &'a Caller,
        held_last: Option<TokenDigest>,
        refresh_seen: Option<Duration>,
    ) -> Requester<'a> {
        let held = match &self.secrets {
            Secrets::Read(read) => read.held.as_ref().map(|held| Held {
                token: &held.token,
                of_request: held.fit.credential,
                identity: held.identity.as_ref().filter(|_| was_good(self.context)),
            }),
            Secrets::Unchanged(settled) => {
                Some(Held { token: &settled.token.token, of_request: true, identity: Some(&settled.token.identity) })
            }
            Secrets::Unread => None,
        };
        let refresh = self.refresh.as_deref().map(|request| (request, refresh_seen.unwrap_or_default()));
        Requester { caller, held, held_last, refresh }
    }
}

/// The status reports that the token in the Secret was verified. After a restart there is no other source; without it the
/// token has to be verified first.
fn was_good(context: &QlikContext) -> bool {
    let mut conditions = context.status.iter().flat_map(|status| &status.conditions);
    conditions.any(|held| held.type_ == Ready.to_string() && held.status == "True")
}

/// The value of the annotation, if it can be echoed.
fn requested(context: &QlikContext) -> Option<String> {
    context.annotations().get(REFRESH_REQUESTED_ANNOTATION).filter(|value| is_refresh_request(value)).cloned()
}

/// Both places are written after the token is in the Secret; either write may have been lost.
fn handled(context: &QlikContext, target: &Target) -> Option<String> {
    let status = context.status.as_ref().and_then(|status| status.last_handled_refresh_request.clone());
    match target {
        Target::Ours(stored) => stored.annotation(REFRESHED_FOR_ANNOTATION).map(str::to_owned).or(status),
        _ => status,
    }
}

fn held_token(
    status: Option<&QlikContextStatus>,
    desired: &Desired,
    credential: Option<&Credential>,
    target: &Target,
    now: Timestamp,
) -> Option<HeldToken> {
    let Target::Ours(stored) = target else {
        return None;
    };
    let held = stored.held()?;
    let sent = credential.map(|credential| &credential.sent[..]);
    let fit = binding::check(&held.binding, &held.token, &desired.binding_inputs(), sent, now);
    let token = status.and_then(|status| status.token.as_ref());
    // The status is about the token in the Secret, unless another one was put there since.
    let same = token.and_then(|token| token.issued_at.as_ref()).is_some_and(|at| at.0 == held.token.issued_at);
    // A Secret without its owner reference was not managed by this context: its token is verified before it is used.
    let same = same && !stored.is_orphan();
    let identity = status.filter(|_| same).and_then(|status| status.identity.as_ref()).and_then(remembered);
    let scopes = token.filter(|_| same).and_then(|token| token.scopes.clone()).or(held.token.scopes);
    Some(HeldToken { token: Token { scopes, ..held.token }, fit, identity, rejected: false })
}

/// The identity that a status shows, unless a withheld part may be needed for a comparison: then the tenant is asked again.
fn remembered(status: &IdentityStatus) -> Option<Identity> {
    let whole = [&status.user_id, &status.subject, &status.tenant_id].into_iter().all(|text| !text.is_empty());
    whole.then(|| status.into())
}
