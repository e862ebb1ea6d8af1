//! The values that travel along the edges of a run: facts to `decide`, a step to the one who carries it out, what it led
//! to back into the facts, and at the end an outcome to `status`.
//!
//! Nothing here does anything. Pure modules import this file and no effectful one.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;

use crate::api::QlikContext;
use crate::api::condition::Class;
use crate::api::v1alpha1::IdentityStatus;
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

/// Everything that a decision about one context is made from, besides what is known of its token request.
pub struct Facts<'c> {
    /// The object.
    pub context: &'c QlikContext,
    /// A digest of all of the object that wakes it.
    pub seen: u64,
    /// Its spec.
    pub desired: Desired,
    /// Host and port of the tenant.
    pub host: String,
    /// Its two Secrets.
    pub secrets: Secrets,
    /// The wall clock when the run began.
    pub now: Timestamp,
    /// Somebody else keeps changing the derived Secret: it is not read again before. Nothing but that Secret has changed since it
    /// was read last.
    pub brake_until: Option<Timestamp>,
    /// The refresh request in the annotation that was not handled yet.
    pub refresh: Option<String>,
    /// The last one that was handled.
    pub handled: Option<String>,
    /// The request that this context waited for when it rested last, if nothing about it has changed since.
    pub wanted: Option<Wanted>,
    /// The scheduler called the context because its host has recovered, at this time.
    pub recovered_at: Option<Timestamp>,
    /// A change of the credential Secret is seen by a watch.
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
    /// The Kubernetes API did not take the derived Secret.
    pub refused: Option<Failure>,
    /// Failures of the Kubernetes API in a row, that one included.
    pub failures: u32,
    /// The request that was, or was to be, sent last.
    pub asked: Option<Wanted>,
    /// A token was asked for.
    pub issued: bool,
    /// The derived Secret was written.
    pub wrote: bool,
}

/// A request that a context waits to send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wanted {
    /// Its key.
    pub key: RequestKey,
    /// What it is charged to.
    pub kind: RequestKind,
    /// How urgent it is.
    pub priority: Priority,
    /// The context holds a token that works.
    pub working: bool,
}

/// What a run knows of the credential Secret and the derived Secret.
pub enum Secrets {
    /// Nothing: they have to be read.
    Unread,
    /// Both are as they were when a run found everything as it should be.
    Unchanged(Settled),
    /// This run has read them.
    Read(Box<SecretsRead>),
}

/// A context that was left with everything as it should be.
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

/// Both Secrets, judged.
pub struct SecretsRead {
    /// The credential, or why there is none.
    pub credential: Result<Credential, Failure>,
    /// The key of its token request.
    pub key: Option<RequestKey>,
    /// The Secret of the target's name.
    pub target: Target,
    /// The token in it.
    pub held: Option<HeldToken>,
    /// When a repair of it may be written: somebody else keeps changing it.
    pub repair_at: Option<Timestamp>,
}

/// The token in the derived Secret, judged.
#[derive(Clone)]
pub struct HeldToken {
    /// The token.
    pub token: Token,
    /// What it belongs to.
    pub fit: Fit,
    /// Its identity, when the status still says so.
    pub identity: Option<Identity>,
    /// The tenant no longer accepted it when it was read.
    pub rejected: bool,
}

/// What is known of a token request without asking the tenant.
#[derive(Clone)]
pub struct TokenSnapshot {
    /// The newest verified token that the context may use.
    pub token: Option<Arc<VerifiedToken>>,
    /// A token that has to be verified before it counts: found in the context's Secret, or doubted since.
    pub unverified: Option<Token>,
    /// A token that was issued for this request and could not be verified yet.
    pub candidate: Option<Token>,
    /// This request's time, by which everything here is to be judged.
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
    /// When the token that serves on was last checked, or first seen to serve on.
    pub rechecked_at: Option<Timestamp>,
}

/// A refresh request, seen beside the token requests of its key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RefreshState {
    /// The newest token does not answer it.
    pub waits: bool,
    /// When it may be served.
    pub allowed_at: Timestamp,
    /// Nothing was tried since it was seen.
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

/// How urgent a request is; what comes first is sent first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Priority {
    /// A working token is to be renewed; this is left of its life.
    Due(Duration),
    /// There is no working token.
    New,
    /// A working token is checked, or renewed before its time.
    Routine,
    /// There is no working token, and the last attempt failed.
    Failed,
}

/// What workloads get from the derived Secret meanwhile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Serving {
    /// No token that ever fitted.
    Nothing,
    /// A token that works for so long.
    Working(Option<Duration>),
    /// A token that has expired or is rejected.
    Expired,
}

/// A request to the tenant.
#[derive(Clone)]
pub struct Call {
    /// What for.
    pub kind: CallKind,
    /// How urgent it is.
    pub priority: Priority,
    /// The context holds a token that works, though perhaps of another key.
    pub working: bool,
    /// What is served until it succeeds.
    pub serving: Serving,
}

/// What a request to the tenant is for.
#[derive(Clone)]
pub enum CallKind {
    /// A token, and its verification.
    Issue {
        /// A refresh request asks for it.
        forced: bool,
        /// The token at hand is still fresh.
        still_fresh: bool,
    },
    /// Whether a token works, before anything else or because it is time.
    Verify(Token),
    /// Whether a token still works that serves on while its renewal fails.
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
    /// Read the Secrets, which is worth a slot.
    Read {
        /// How urgent it is.
        priority: Priority,
        /// A token that works is held.
        working: bool,
        /// What is going to be asked then, where that is known.
        wanted: Option<Wanted>,
    },
    /// Ask the tenant.
    Call(Call),
    /// Write the derived Secret.
    Publish {
        /// As it should be.
        secret: Box<Secret>,
        /// The token in it.
        token: Arc<VerifiedToken>,
        /// When that is renewed.
        renewal_time: Option<Timestamp>,
        /// The token is the one that the Secret held; something else was changed in it.
        repair: bool,
    },
    /// Nothing more in this run.
    Rest {
        /// How it leaves the context.
        outcome: Box<Outcome>,
        /// When to look again.
        next: Next,
        /// Everything is as it should be, and until a version changes nothing has to be read again.
        settled: Option<Settled>,
    },
}

impl Step {
    /// Nothing more in this run.
    pub fn rest(outcome: Outcome, next: Next) -> Self {
        Self::Rest { outcome: Box::new(outcome), next, settled: None }
    }
}

/// How a run leaves its context.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The Secret is as it should be.
    Ready(Published),
    /// Something is not as it should be.
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

/// What the derived Secret holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Holds {
    /// No token that was recognised.
    Nothing,
    /// A token that does not fit this spec, that the tenant rejected or that nobody has confirmed.
    Other(Published),
    /// A token that fits; it works until it expires.
    Fitting(Published),
}

/// A token in the derived Secret, as the status tells of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// Its identity.
    pub identity: Option<Identity>,
    /// When it was asked for.
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
    /// Failures in a row, when it was the tenant that failed.
    pub backoff: Option<Backoff>,
    /// A verified token is at hand, whether or not it could be published.
    pub verified: bool,
}

/// When to look again, besides at a change.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Next {
    /// When something is due.
    pub due: Option<Timestamp>,
    /// Try again as is usual for this class of failure, after so many in a row.
    pub retry: Option<(Class, u32)>,
    /// The scheduler calls when it is this context's turn.
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

    /// True while nothing says that it has ended.
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

    /// The token, if it fits.
    pub fn fitting(&self) -> Option<&Published> {
        match self {
            Self::Fitting(published) => Some(published),
            _ => None,
        }
    }

    /// What the status says of it, where the Secret was not read.
    pub fn told(context: &QlikContext) -> Self {
        use crate::api::{ConditionType::Ready, Reason};
        let Some(status) = &context.status else { return Self::Nothing };
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
    /// What the Secret holds, where that was judged.
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
