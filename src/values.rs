//! The values that the steps of a run exchange: facts for `decide`, a step to execute, its result, which is added to the facts,
//! and at the end an outcome for `status`.
//!
//! Data only. Pure modules import this file and no module with effects.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;

use crate::api::condition::Class;
use crate::api::v1alpha1::IdentityStatus;
use crate::api::{QlikContext, QlikContextStatus};
use crate::binding::Fit;
use crate::clock::Timestamp;
use crate::desired::Desired;
use crate::error::Failure;
use crate::oauth::identity::{Field, Identity};
use crate::oauth::request::RequestKey;
use crate::oauth::token::{Token, VerifiedToken};
use crate::scheduler::{RequestKind, Wait};
use crate::secret::Credential;
use crate::secret::derived::Target;

/// All inputs of a decision about one context, besides the state of its token request.
pub struct Facts<'c> {
    /// The object.
    pub context: &'c QlikContext,
    /// A digest of the parts of the object whose change wakes it.
    pub seen: u64,
    /// The status of the run before, if it could not be written: it is newer than that of the object.
    pub unwritten: Option<Box<QlikContextStatus>>,
    /// Its spec.
    pub desired: Desired,
    /// Host and port of the tenant.
    pub host: String,
    /// Its two Secrets.
    pub secrets: Secrets,
    /// The wall clock when the run began.
    pub now: Timestamp,
    /// Another client keeps changing the token Secret: it is not read again before this time. Only that Secret has changed since
    /// it was read last.
    pub brake_until: Option<Timestamp>,
    /// Another client has changed or deleted the token Secret since it was in order.
    pub target_changed: bool,
    /// The refresh request in the annotation, if it was not handled yet.
    pub refresh: Option<String>,
    /// The last one that was handled.
    pub handled: Option<String>,
    /// The request that this context waited to send when its last run ended, if nothing about it has changed since.
    pub wanted: Option<Wanted>,
    /// The scheduler woke the context because its host recovered, at this time.
    pub recovered_at: Option<Timestamp>,
    /// A watch shows changes of the credential Secret.
    pub watched: bool,
    /// `--credential-selector`, where it hides Secrets without its labels from that watch.
    pub selector: Option<String>,
    /// What this run has led to so far.
    pub so_far: SoFar,
}

/// What a run has led to so far.
#[derive(Clone, Default)]
pub struct SoFar {
    /// It is not this context's turn.
    pub wait: Option<Wait>,
    /// The Kubernetes API refused the token Secret.
    pub refused: Option<Failure>,
    /// Failures of the Kubernetes API in a row, that one included.
    pub failures: u32,
    /// The request that was, or was to be, sent last.
    pub asked: Option<Wanted>,
    /// A token was requested.
    pub issued: bool,
    /// The token Secret was written.
    pub wrote: bool,
}

/// A request that a context waits to send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wanted {
    /// Its key.
    pub key: RequestKey,
    /// The budget that it is charged to.
    pub kind: RequestKind,
    /// How urgent it is.
    pub priority: Priority,
    /// The context holds a token that works.
    pub working: bool,
}

/// What a run knows of the credential Secret and the token Secret.
pub enum Secrets {
    /// Nothing; they have to be read.
    Unread,
    /// Both are unchanged since a run found everything in order.
    Unchanged(Settled),
    /// This run has read them.
    Read(Box<SecretsRead>),
}

/// A context whose last run found everything in order.
#[derive(Clone)]
pub struct Settled {
    /// Its token request.
    pub key: RequestKey,
    /// [`crate::oauth::request::TokenRequest::spread`] of it.
    pub spread: f64,
    /// The token in its Secret.
    pub token: Arc<VerifiedToken>,
    /// The last refresh request that was handled.
    pub handled: Option<String>,
}

/// Both Secrets, as read and classified.
pub struct SecretsRead {
    /// The credential, or why there is none.
    pub credential: Result<Credential, Failure>,
    /// The key of its token request.
    pub key: Option<RequestKey>,
    /// The Secret of the target's name.
    pub target: Target,
    /// The token in it.
    pub held: Option<HeldToken>,
    /// When a repair of it may be written, because another client keeps changing it.
    pub repair_at: Option<Timestamp>,
}

/// The token in the token Secret, compared with the spec.
#[derive(Clone)]
pub struct HeldToken {
    /// The token.
    pub token: Token,
    /// What it belongs to.
    pub fit: Fit,
    /// Its identity, when the status still says so.
    pub identity: Option<Identity>,
    /// The tenant had already rejected it when it was read.
    pub rejected: bool,
}

/// The state of a token request, without a call of the tenant.
#[derive(Clone)]
pub struct TokenSnapshot {
    /// The newest verified token that the context may use.
    pub token: Option<Arc<VerifiedToken>>,
    /// A token that has to be verified before it is used: found in the context's Secret, or in doubt since.
    pub unverified: Option<Token>,
    /// A token that was issued for this request and could not be verified yet.
    pub candidate: Option<Token>,
    /// The time of this snapshot; everything here is compared with it.
    pub now: Timestamp,
    /// When the tenant confirmed the token last, as far as this process knows.
    pub confirmed_at: Option<Timestamp>,
    /// Since when this process knows the token.
    pub since: Option<Timestamp>,
    /// The context's Secret held this token last.
    pub held_last: bool,
    /// Failures since the last success.
    pub backoff: Option<Backoff>,
    /// The context's refresh request.
    pub refresh: Option<RefreshState>,
    /// The tenant no longer accepts the token in the context's Secret.
    pub held_rejected: bool,
    /// The identity of the token in the context's Secret, if this process knows it.
    pub held_identity: Option<Arc<Identity>>,
    /// When the token that stays in use was last verified, or first seen to stay in use.
    pub rechecked_at: Option<Timestamp>,
}

/// A refresh request, seen beside the token requests of its key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RefreshState {
    /// The newest token was not issued for it.
    pub waits: bool,
    /// When it may be served.
    pub allowed_at: Timestamp,
    /// No attempt was made since it was seen.
    pub untried: bool,
}

/// Failures in a row of one key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Backoff {
    /// The last failure; its trace id is that of the first of its kind.
    pub failure: Failure,
    /// How many in a row.
    pub count: u32,
    /// When the last attempt ended.
    pub last: Timestamp,
    /// When the next may begin.
    pub next: Timestamp,
}

/// How urgent a request is; the first variant goes first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Priority {
    /// A working token is to be renewed; this is its remaining lifetime.
    Due(Duration),
    /// There is no working token.
    New,
    /// A working token is verified, or renewed before it is due.
    Routine,
    /// There is no working token, and the last attempt failed.
    Failed,
}

/// The token that workloads get from the token Secret meanwhile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Serving {
    /// No token that ever matched.
    Nothing,
    /// A token that works for this long.
    Working(Option<Duration>),
    /// A token that has expired or is rejected.
    Expired,
}

/// A request to the tenant.
#[derive(Clone)]
pub struct Call {
    /// Its purpose.
    pub kind: CallKind,
    /// How urgent it is.
    pub priority: Priority,
    /// The context holds a working token, perhaps of another key.
    pub working: bool,
    /// The token that workloads get until it succeeds.
    pub serving: Serving,
}

/// The purpose of a request to the tenant.
#[derive(Clone)]
pub enum CallKind {
    /// A token, and its verification.
    Issue {
        /// It is due to a refresh request.
        forced: bool,
        /// The present token is still fresh.
        still_fresh: bool,
    },
    /// A verification, before anything else or because it is due.
    Verify(Token),
    /// A verification of a token that stays in use while its renewal fails.
    Recheck(Token),
}

impl Call {
    /// Which of the host's budgets it is charged to.
    pub fn request_kind(&self, api_key: bool) -> RequestKind {
        match self.kind {
            CallKind::Issue { .. } if !api_key => RequestKind::Token,
            _ => RequestKind::Check,
        }
    }
}

/// What to do next about one context.
pub enum Step {
    /// Read the Secrets, which needs a slot.
    Read {
        /// How urgent it is.
        priority: Priority,
        /// The context holds a working token.
        working: bool,
        /// The request that will follow, if known.
        wanted: Option<Wanted>,
    },
    /// Call the tenant.
    Call(Call),
    /// Write the token Secret.
    Publish {
        /// The Secret as it should be.
        secret: Box<Secret>,
        /// The token in it.
        token: Arc<VerifiedToken>,
        /// When that is renewed.
        renewal_time: Option<Timestamp>,
        /// The token is the one that the Secret held; other parts of it were changed.
        repair: bool,
    },
    /// Nothing more in this run.
    Rest {
        /// The result for the context.
        outcome: Box<Outcome>,
        /// When the next run is due.
        next: Next,
        /// Everything is in order, and nothing has to be read again until a version changes.
        settled: Option<Settled>,
    },
}

impl Step {
    /// Nothing more in this run.
    pub fn rest(outcome: Outcome, next: Next) -> Self {
        Self::Rest { outcome: Box::new(outcome), next, settled: None }
    }
}

/// The result of a run for its context.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The Secret is as it should be.
    Ready(Published),
    /// There is a failure.
    Failing {
        /// What the Secret holds meanwhile.
        holds: Holds,
        /// What is wrong.
        problem: Problem,
    },
    /// `spec.suspend`.
    Suspended(Holds),
    /// It is being deleted.
    Deleting(Holds),
    /// There is nothing new to say.
    Unchanged,
}

/// The content of the token Secret.
#[derive(Clone, Debug, PartialEq)]
pub enum Holds {
    /// No token that was recognised.
    Nothing,
    /// A token that does not match this spec, that the tenant rejected, or that was never confirmed.
    Other(Published),
    /// A token that matches; it works until it expires.
    Fitting(Published),
}

/// A token in the token Secret, as the status reports it.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// Its identity.
    pub identity: Option<Identity>,
    /// When it was requested.
    pub issued_at: Timestamp,
    /// When it stops working; unknown for an API key.
    pub expires_at: Option<Timestamp>,
    /// When the next one is due.
    pub renewal_time: Option<Timestamp>,
    /// The scopes granted.
    pub scopes: Option<Vec<String>>,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The finding.
    pub failure: Failure,
    /// Failures in a row, if the tenant failed.
    pub backoff: Option<Backoff>,
    /// There is a verified token, whether or not it could be published.
    pub verified: bool,
}

/// When the next run is due without a change.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Next {
    /// When something is due.
    pub due: Option<Timestamp>,
    /// Retry as is usual for this class of failure, after so many in a row.
    pub retry: Option<(Class, u32)>,
    /// The scheduler wakes the context when it is its turn.
    pub parked: bool,
    /// At the latest after this.
    pub within: Option<Duration>,
}

impl Published {
    /// This token, to be renewed then.
    pub fn of(token: &VerifiedToken, renewal_time: Option<Timestamp>) -> Self {
        Self {
            identity: Some((*token.identity).clone()),
            issued_at: token.token.issued_at,
            expires_at: token.token.expires_at,
            renewal_time,
            scopes: token.token.scopes.clone(),
        }
    }

    /// True while it has not expired, as far as is known.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| end > now)
    }
}

impl Holds {
    /// The token, whether or not it works.
    pub fn published(&self) -> Option<&Published> {
        match self {
            Self::Nothing => None,
            Self::Other(published) | Self::Fitting(published) => Some(published),
        }
    }

    /// The token, if it matches.
    pub fn fitting(&self) -> Option<&Published> {
        match self {
            Self::Fitting(published) => Some(published),
            _ => None,
        }
    }

    /// The token that the status reports, for a Secret that was not read.
    pub fn reported(status: Option<&QlikContextStatus>) -> Self {
        use crate::api::{ConditionType::Ready, Reason};
        let Some(status) = status else { return Self::Nothing };
        let Some((token, issued_at)) =
            status.token.as_ref().and_then(|token| Some((token, token.issued_at.as_ref()?.0)))
        else {
            return Self::Nothing;
        };
        let published = Published {
            identity: status.identity.as_ref().map(Identity::from),
            issued_at,
            expires_at: token.expires_at.as_ref().map(|time| time.0),
            renewal_time: token.renewal_time.as_ref().map(|time| time.0),
            scopes: token.scopes.clone(),
        };
        let ready = status.conditions.iter().find(|condition| condition.type_ == Ready.to_string());
        let fits =
            ready.is_some_and(|ready| ready.status == "True" || ready.reason == Reason::TokenExpired.to_string());
        if fits { Self::Fitting(published) } else { Self::Other(published) }
    }
}

impl Outcome {
    /// What the Secret holds, if it was read.
    pub fn holds(&self) -> Option<Holds> {
        match self {
            Self::Ready(published) => Some(Holds::Fitting(published.clone())),
            Self::Failing { holds, .. } | Self::Suspended(holds) | Self::Deleting(holds) => Some(holds.clone()),
            Self::Unchanged => None,
        }
    }

    /// What is wrong.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Failing { problem, .. } => Some(problem),
            _ => None,
        }
    }
}

impl From<&IdentityStatus> for Identity {
    fn from(status: &IdentityStatus) -> Self {
        Self {
            user_id: status.user_id.clone(),
            name: status.name.clone(),
            subject: status.subject.clone(),
            client_id: status.client_id.clone(),
            tenant_id: status.tenant_id.clone(),
            ..Self::default()
        }
    }
}

impl From<&Identity> for IdentityStatus {
    fn from(identity: &Identity) -> Self {
        Self {
            user_id: identity.shown(Field::UserId).to_owned(),
            name: identity.shown(Field::Name).to_owned(),
            subject: identity.shown(Field::Subject).to_owned(),
            client_id: Some(identity.shown(Field::ClientId)).filter(|id| !id.is_empty()).map(str::to_owned),
            tenant_id: identity.shown(Field::TenantId).to_owned(),
        }
    }
}
