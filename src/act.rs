//! Third step: doing it. The only requests to tenants and the only writes besides the status.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PartialObjectMeta, Patch, PatchParams};
use kube::{Client, ResourceExt};

use crate::api::ConditionType::SecretSynced;
use crate::api::{FIELD_MANAGER, QlikContext, Reason};
use crate::clock::{Clock, Timestamp};
use crate::decide::{Plan, Wish, immutable};
use crate::error::{Error, Failure};
use crate::metrics::{Metrics, SecretWrite};
use crate::oauth::cache::{Setback, TokenCache};
use crate::oauth::identity::Identity;
use crate::oauth::token::VerifiedToken;
use crate::observe::Seen;
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
}

/// The token in the derived Secret.
#[derive(Clone, Debug, PartialEq)]
pub struct Holding {
    /// Whose it is.
    pub identity: Option<Identity>,
    /// When it was asked for.
    pub issued_at: Timestamp,
    /// When it stops working.
    pub expires_at: Timestamp,
    /// When the next one is due.
    pub renewal_time: Option<Timestamp>,
    /// The scopes granted.
    pub scopes: Option<Vec<String>>,
    /// It was issued for the spec at hand and nothing pinned is broken.
    pub fits: bool,
}

impl Holding {
    fn published(token: &VerifiedToken, renewal_time: Timestamp) -> Self {
        Self {
            identity: Some((*token.identity).clone()),
            issued_at: token.token.issued_at,
            expires_at: token.token.expires_at,
            renewal_time: Some(renewal_time),
            scopes: token.token.scopes.clone(),
            fits: true,
        }
    }

    /// What was in the Secret before, when the run did not change it.
    fn found(context: &QlikContext, seen: &Seen) -> Option<Self> {
        let held = seen.held.as_ref()?;
        let pinned = held
            .identity
            .as_ref()
            .is_none_or(|identity| seen.desired.pins.check(identity).is_ok());
        let status = context
            .status
            .as_ref()
            .and_then(|status| status.token.as_ref());
        Some(Self {
            identity: held.identity.clone(),
            issued_at: held.token.issued_at,
            expires_at: held.token.expires_at,
            renewal_time: status
                .and_then(|token| token.renewal_time.as_ref())
                .map(|time| time.0),
            scopes: held.token.scopes.clone(),
            fits: held.fit.spec && pinned,
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
}

/// Carries out a plan.
pub async fn act(
    tools: &Tools<'_>,
    context: &QlikContext,
    seen: &Seen,
    plan: Plan<'_>,
) -> Result<Done, Error> {
    let as_before = || Done {
        holding: Holding::found(context, seen),
        ..Done::default()
    };
    match plan {
        Plan::Leave => Ok(Done::default()),
        Plan::Rest => Ok(as_before()),
        Plan::Refuse(failure) => Ok(Done {
            failure: Some(failure),
            setback: seen.known.setback.clone(),
            ..as_before()
        }),
        Plan::Keep(token) => {
            let renewal_time = seen.credential.as_ref().ok().map(|credential| {
                let wish = Wish {
                    desired: &seen.desired,
                    credential,
                    target: &seen.target,
                };
                wish.renewal_time(&token.token)
            });
            let holding = Holding {
                renewal_time,
                ..Holding::published(&token, token.token.expires_at)
            };
            Ok(Done {
                holding: Some(holding),
                verified: true,
                ..Done::default()
            })
        }
        Plan::Publish {
            wish,
            token,
            secret,
        } => {
            let published = publish(tools, context, wish, &token, *secret).await?;
            Ok(merge(published, as_before()))
        }
        Plan::Renew { wish, left } => {
            let fresh = |token: &VerifiedToken| tools.clock.now() < wish.renewal_time(&token.token);
            let token = match tools
                .tokens
                .obtain(&wish.credential.request, left, fresh)
                .await
            {
                Ok(token) => token,
                Err(setback) => {
                    return Ok(Done {
                        failure: Some(setback.failure.clone()),
                        setback: Some(setback),
                        ..as_before()
                    });
                }
            };
            still_wanted(tools.client, context, wish).await?;
            let published = match wish.secret(context, &token) {
                Ok(secret) => publish(tools, context, wish, &token, secret).await?,
                Err(failure) => Err(failure),
            };
            Ok(merge(published, as_before()))
        }
    }
}

fn merge(published: Result<Done, Failure>, before: Done) -> Done {
    published.unwrap_or_else(|failure| Done {
        failure: Some(failure),
        verified: true,
        ..before
    })
}

/// Between asking for a token and publishing it the world may have moved on; then the next run judges anew.
async fn still_wanted(client: &Client, context: &QlikContext, wish: Wish<'_>) -> Result<(), Error> {
    let namespace = context.namespace().unwrap_or_default();
    let contexts: Api<PartialObjectMeta<QlikContext>> = Api::namespaced(client.clone(), &namespace);
    let secrets: Api<PartialObjectMeta<Secret>> = Api::namespaced(client.clone(), &namespace);
    let name = context.name_any();
    let (now, credential) = futures::try_join!(
        contexts.get_metadata_opt(&name),
        secrets.get_metadata_opt(&wish.desired.credential_secret)
    )
    .map_err(Error::kubernetes("checking what is wanted"))?;
    let same = now.is_some_and(|now| {
        now.metadata.uid == context.metadata.uid
            && now.metadata.generation == context.metadata.generation
            && now.metadata.deletion_timestamp.is_none()
    });
    if !same {
        return Err(Error::Changed("the QlikContext"));
    }
    if credential.and_then(|secret| secret.metadata.resource_version)
        != wish.credential.resource_version
    {
        return Err(Error::Changed("the credential Secret"));
    }
    Ok(())
}

/// Writes the derived Secret: created where there is none, else over exactly the one that was judged.
async fn publish(
    tools: &Tools<'_>,
    context: &QlikContext,
    wish: Wish<'_>,
    token: &VerifiedToken,
    mut secret: Secret,
) -> Result<Result<Done, Failure>, Error> {
    let operation = match wish.target {
        Target::Ours(stored) if stored.is_immutable() => return Ok(Err(immutable(wish.desired))),
        Target::Ours(stored) => {
            // A swap since is answered 422 (uid) or 409 (resourceVersion).
            secret.metadata.uid.clone_from(&stored.metadata.uid);
            secret
                .metadata
                .resource_version
                .clone_from(&stored.metadata.resource_version);
            // OwnerReferencesPermissionEnforcement wants rights for a changed reference, even for its apiVersion alone.
            let uid = context.metadata.uid.as_deref();
            let stored = stored
                .metadata
                .owner_references
                .iter()
                .flatten()
                .find(|owner| Some(owner.uid.as_str()) == uid);
            if let (Some(stored), Some(owner)) = (
                stored,
                secret.metadata.owner_references.iter_mut().flatten().next(),
            ) {
                owner.api_version.clone_from(&stored.api_version);
            }
            SecretWrite::Update
        }
        _ => {
            // An apply with this version can only create: 409 if the name exists.
            secret.metadata.resource_version = Some("1".into());
            SecretWrite::Create
        }
    };
    let secrets: Api<Secret> = Api::namespaced(
        tools.client.clone(),
        &context.namespace().unwrap_or_default(),
    );
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(&secret);
    let write = tokio::time::timeout(
        WRITE_TIMEOUT,
        secrets.patch(&wish.desired.target_name, &params, &patch),
    );
    match write.await.map_err(|_| Error::Deadline(WRITE_TIMEOUT))? {
        Ok(_) => {
            tools.metrics.secret_written(operation);
            let holding = Some(Holding::published(token, wish.renewal_time(&token.token)));
            Ok(Ok(Done {
                holding,
                verified: true,
                written: Some(operation),
                ..Done::default()
            }))
        }
        Err(kube::Error::Api(status)) if status.is_conflict() || touches_uid(&status) => {
            Err(Error::Changed("the derived Secret"))
        }
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 404 | 413 | 422) => {
            Ok(Err(rejected(wish, status.code)))
        }
        Err(error) => Err(Error::kubernetes("writing the derived Secret")(error)),
    }
}

fn touches_uid(status: &kube::core::Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes
        .into_iter()
        .any(|cause| cause.field == "metadata.uid")
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
        format!(
            "The Kubernetes API refused to write Secret {} (HTTP {code}). {cure}.",
            wish.desired.target_name
        ),
    )
}
