//! Third step: doing it. The only requests to tenants and the only writes besides the status.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PartialObjectMeta, Patch, PatchParams};
use kube::{Client, ResourceExt};

use crate::api::ConditionType::SecretSynced;
use crate::api::{FIELD_MANAGER, QlikContext, REFRESHED_FOR_ANNOTATION, Reason};
use crate::clock::{Clock, Timestamp};
use crate::decide::{Plan, Wish, immutable};
use crate::error::{Error, Failure};
use crate::lease::Leadership;
use crate::metrics::{Metrics, SecretWrite};
use crate::oauth::cache::{Checked, Known, Setback, TokenCache};
use crate::oauth::identity::Identity;
use crate::oauth::token::VerifiedToken;
use crate::observe::Seen;
use crate::secret::SealedSecret;
use crate::secret::derived::Target;

/// Each write ends within this, retries of the client included.
const WRITE_TIMEOUT: Duration = Duration::from_secs(4);

/// What a run led to.
#[derive(Clone, Default)]
pub struct Done {
    /// The token in the derived Secret now.
    pub holding: Option<Holding>,
    /// Why the context is not as it should be.
    pub failure: Option<Failure>,
    /// Failures of this request in a row.
    pub setback: Option<Setback>,
    /// A verified token was at hand, whether or not it could be published.
    pub verified: bool,
    /// What was written.
    pub written: Option<SecretWrite>,
    /// The last refresh request whose token is in the Secret.
    pub handled: Option<String>,
    /// When there is something to do again, besides what follows from the token and the failure.
    pub due: Option<Timestamp>,
}

/// The token in the derived Secret.
#[derive(Clone, Debug, PartialEq)]
pub struct Holding {
    /// Whose it is.
    pub identity: Option<Identity>,
    /// When it was asked for.
    pub issued_at: Timestamp,
    /// When it stops working; unknown for an API key.
    pub expires_at: Option<Timestamp>,
    /// When the next one is due.
    pub renewal_time: Option<Timestamp>,
    /// The scopes granted.
    pub scopes: Option<Vec<String>>,
    /// It was issued for the spec at hand, nothing pinned is broken, and the tenant has not rejected it.
    pub fits: bool,
}

impl Holding {
    fn published(token: &VerifiedToken, renewal_time: Option<Timestamp>) -> Self {
        Self {
            identity: Some((*token.identity).clone()),
            issued_at: token.token.issued_at,
            expires_at: token.token.expires_at,
            renewal_time,
            scopes: token.token.scopes.clone(),
            fits: true,
        }
    }

    /// What was in the Secret before, when the run did not change it.
    fn found(context: &QlikContext, seen: &Seen) -> Option<Self> {
        let held = seen.held.as_ref()?;
        // What this process has heard of the token itself goes before what the status says.
        let known = seen.known.as_ref();
        let token = known.and_then(|known| known.token.as_ref());
        let same = token.filter(|token| token.token.access_token == held.token.access_token);
        let identity = same.map(|token| (*token.identity).clone()).or_else(|| held.identity.clone());
        let pinned = identity.as_ref().is_none_or(|identity| seen.desired.pins.check(identity).is_ok());
        let unproven = known.is_some_and(|known| known.unverified.is_some());
        let status = context.status.as_ref().and_then(|status| status.token.as_ref());
        Some(Self {
            identity,
            issued_at: held.token.issued_at,
            expires_at: held.token.expires_at,
            renewal_time: status.and_then(|token| token.renewal_time.as_ref()).map(|time| time.0),
            scopes: held.token.scopes.clone(),
            fits: held.fit.spec && pinned && !held.rejected && !unproven,
        })
    }
}

/// What acting needs.
pub struct Tools<'a> {
    /// The Kubernetes API.
    pub client: &'a Client,
    /// The way to tokens.
    pub tokens: &'a TokenCache,
    /// What time it is.
    pub clock: &'a Clock,
    /// What is counted.
    pub metrics: &'a Metrics,
    /// Whether writing is ours.
    pub leadership: &'a Leadership,
}

/// Carries out a plan.
pub async fn act(tools: &Tools<'_>, context: &QlikContext, seen: &Seen, plan: Plan<'_>) -> Result<Done, Error> {
    let before = Done { holding: Holding::found(context, seen), handled: seen.handled.clone(), ..Done::default() };
    match plan {
        Plan::Leave => Ok(Done::default()),
        Plan::Rest => Ok(resting(before)),
        Plan::Refuse(failure) => Ok(Done { failure: Some(failure), ..before }),
        Plan::Keep(wish, token) => Ok(kept(wish, seen, seen.known.as_ref(), &token)),
        Plan::Publish { wish, token, secret } => publish(tools, context, seen, wish, &token, *secret, before).await,
        Plan::Verify { wish, token, left } => {
            tools.leadership.check()?;
            let due = |known: &Known| wish.verification_time(known).is_some_and(|due| due <= known.now);
            let (request, asker) = (&wish.credential.request, seen.asker(context));
            match tools.tokens.check(request, asker, &token, left, due).await {
                Ok(Checked::Good(token)) if is_kept(context, seen, wish, &token) => {
                    Ok(kept(wish, seen, Some(&tools.tokens.known(request, asker)), &token))
                }
                // The next run finds the identity, and what pins and Secret say of it.
                Ok(Checked::Good(_)) => Err(Error::Changed("what is known of the token")),
                Ok(Checked::Rejected) => renew(tools, context, seen, wish, None, dead(before)).await,
                Err(setback) => Ok(failed(setback, before)),
            }
        }
        Plan::Renew { wish, left } => renew(tools, context, seen, wish, left, before).await,
    }
}

/// True when the Secret is as it should be with this token, and the token is whose it should be.
fn is_kept(context: &QlikContext, seen: &Seen, wish: Wish<'_>, token: &VerifiedToken) -> bool {
    let answers = seen.known.as_ref().is_some_and(|known| !known.refresh_waits);
    match (wish.secret(context, token, seen.answered(answers)), wish.target) {
        (Ok(secret), Target::Ours(stored)) => stored.is_as(&secret),
        _ => false,
    }
}

/// Suspended: nothing is going to be renewed.
fn resting(before: Done) -> Done {
    let holding = before.holding.map(|holding| Holding { renewal_time: None, ..holding });
    Done { holding, ..before }
}

/// The Secret is as it should be. What failed since, a refresh or a check, is told until it is tried again.
fn kept(wish: Wish<'_>, seen: &Seen, known: Option<&Known>, token: &VerifiedToken) -> Done {
    let waits = known.filter(|known| known.refresh_waits).map(|known| known.refresh_allowed_at);
    let verification = known.and_then(|known| wish.verification_time(known));
    let setback = known.and_then(|known| known.setback.clone().filter(|setback| setback.next > known.now));
    Done {
        holding: Some(Holding::published(token, wish.renewal_time(&token.token))),
        failure: setback.as_ref().map(|setback| setback.failure.clone()),
        setback,
        verified: true,
        handled: seen.answered(waits.is_none()).map(str::to_owned),
        due: [verification, waits].into_iter().flatten().min(),
        ..Done::default()
    }
}

fn failed(setback: Setback, before: Done) -> Done {
    Done { failure: Some(setback.failure.clone()), setback: Some(setback), ..before }
}

/// The token in the Secret no longer works, whatever its expiry says.
fn dead(before: Done) -> Done {
    let holding = before.holding.map(|holding| Holding { fits: false, ..holding });
    Done { holding, ..before }
}

async fn renew(
    tools: &Tools<'_>,
    context: &QlikContext,
    seen: &Seen,
    wish: Wish<'_>,
    left: Option<Duration>,
    before: Done,
) -> Result<Done, Error> {
    let fresh = |token: &VerifiedToken, now| wish.is_fresh(token, now);
    tools.leadership.check()?;
    let token = match tools.tokens.obtain(&wish.credential.request, seen.asker(context), left, fresh).await {
        Ok(token) => token,
        Err(setback) => return Ok(failed(setback, before)),
    };
    match wish.secret(context, &token, seen.answered(true)) {
        Ok(secret) => publish(tools, context, seen, wish, &token, secret, before).await,
        Err(failure) => Ok(Done { failure: Some(failure), verified: true, ..before }),
    }
}

/// Between judging and publishing the world may have moved on; then the next run judges anew.
async fn still_wanted(client: &Client, context: &QlikContext, wish: Wish<'_>) -> Result<(), Error> {
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
async fn publish(
    tools: &Tools<'_>,
    context: &QlikContext,
    seen: &Seen,
    wish: Wish<'_>,
    token: &VerifiedToken,
    mut secret: Secret,
    before: Done,
) -> Result<Done, Error> {
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
    let secrets: Api<Secret> = Api::namespaced(tools.client.clone(), &context.namespace().unwrap_or_default());
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(&secret);
    still_wanted(tools.client, context, wish).await?;
    tools.leadership.check()?;
    let write = tokio::time::timeout(WRITE_TIMEOUT, secrets.patch(&wish.desired.target_name, &params, &patch));
    match write.await.map_err(|_| Error::Deadline(WRITE_TIMEOUT))? {
        Ok(_) => {
            tools.metrics.secret_written(operation);
            let holding = Some(Holding::published(token, wish.renewal_time(&token.token)));
            let verification =
                wish.desired.verify_interval.and_then(|interval| tools.clock.now().checked_add(interval).ok());
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
