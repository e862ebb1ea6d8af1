//! Second step: what to do. Pure: no client, no clock, no waiting; the same values give the same plan.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;

use crate::api::ConditionType::{SecretSynced, TokenIssued};
use crate::api::{QlikContext, Reason};
use crate::clock::Timestamp;
use crate::desired::Desired;
use crate::error::Failure;
use crate::oauth::cache::Known;
use crate::oauth::lifetime::{renewal_time, until};
use crate::oauth::tenant::AllowedHosts;
use crate::oauth::token::{Token, VerifiedToken};
use crate::observe::Seen;
use crate::secret::Credential;
use crate::secret::derived::{Target, derived_secret};

/// What to do about one context.
pub enum Plan<'s> {
    /// It is being deleted: nothing.
    Leave,
    /// It is suspended: nothing but the status.
    Rest,
    /// Something stands in the way: say so.
    Refuse(Failure),
    /// The Secret is as it should be, with this token.
    Keep(Wish<'s>, Arc<VerifiedToken>),
    /// The Secret is to hold this token, which is known to be good.
    Publish {
        /// For whom.
        wish: Wish<'s>,
        /// The token.
        token: Arc<VerifiedToken>,
        /// The Secret as it should be.
        secret: Box<Secret>,
    },
    /// Whether the token in the Secret still works has to be asked, before anything else or because it is time.
    Verify {
        /// For whom.
        wish: Wish<'s>,
        /// The token.
        token: Token,
        /// What is left of its life, where that is known.
        left: Option<Duration>,
    },
    /// A new token is needed.
    Renew {
        /// For whom.
        wish: Wish<'s>,
        /// What is left of the token that works now.
        left: Option<Duration>,
    },
}

/// A context whose spec and credential are both understood.
#[derive(Clone, Copy)]
pub struct Wish<'s> {
    /// The spec.
    pub desired: &'s Desired,
    /// The credential.
    pub credential: &'s Credential,
    /// Where the token goes.
    pub target: &'s Target,
}

impl Wish<'_> {
    /// When a token is to be renewed for this context, if ever.
    pub fn renewal_time(&self, token: &Token) -> Option<Timestamp> {
        let percentage = self.desired.renew_before_percentage;
        let spread = self.credential.request.spread();
        token.expires_at.map(|end| renewal_time(token.issued_at, end, percentage, spread))
    }

    /// True until then.
    pub fn is_fresh(&self, token: &Token, now: Timestamp) -> bool {
        self.renewal_time(token).is_none_or(|due| now < due)
    }

    /// The derived Secret with this token, unless it is another's token or may not be written there.
    pub fn secret(
        &self,
        context: &QlikContext,
        token: &VerifiedToken,
        handled: Option<&str>,
    ) -> Result<Secret, Failure> {
        self.desired.pins.check(&token.identity)?;
        derived_secret(context, self.desired, self.credential, token, handled)
    }

    /// When a known token is to be verified again, if ever. What was found after a restart is spread over the interval.
    pub fn verification_time(&self, known: &Known) -> Option<Timestamp> {
        let interval = self.desired.verify_interval?;
        let due = match (known.verified_at, known.since) {
            (Some(verified_at), _) => verified_at.checked_add(interval),
            (None, Some(since)) => since.checked_add(interval.mul_f64(self.credential.request.spread())),
            (None, None) => return None,
        };
        due.ok()
    }
}

/// Judges what was seen.
pub fn decide<'s>(context: &QlikContext, seen: &'s Seen, allowed: &AllowedHosts) -> Plan<'s> {
    if context.metadata.deletion_timestamp.is_some() {
        return Plan::Leave;
    }
    if seen.desired.suspend {
        return Plan::Rest;
    }
    let credential = match &seen.credential {
        Ok(credential) => credential,
        Err(failure) => return Plan::Refuse(failure.clone()),
    };
    if !allowed.allows(&seen.desired.tenant) {
        return Plan::Refuse(host_not_allowed(&seen.desired, allowed));
    }
    if let Some(failure) = seen.target.refusal(&seen.desired.target_name) {
        return Plan::Refuse(failure);
    }
    let wish = Wish { desired: &seen.desired, credential, target: &seen.target };
    let (known, now) = (seen.known.as_ref(), seen.now);
    let fresh = known.and_then(|known| {
        // A refresh request that may not be served yet leaves the token as good as it was.
        let refresh_due = known.refresh_waits && known.refresh_allowed_at <= now;
        known.token.as_ref().filter(|token| !refresh_due && wish.is_fresh(&token.token, now))
    });
    let left_of = |token: &Token| token.expires_at.map(|end| until(end, now));
    let unverified = known.and_then(|known| known.unverified.as_ref());
    if let (None, Some(token)) = (fresh, unverified.filter(|token| wish.is_fresh(token, now))) {
        return Plan::Verify { wish, token: token.clone(), left: left_of(token) };
    }
    let Some(token) = fresh else {
        let held = seen.held.as_ref().filter(|held| held.fit.spec && !held.rejected);
        let left = held.and_then(|held| left_of(&held.token)).filter(|left| !left.is_zero());
        return Plan::Renew { wish, left };
    };
    let answers = known.is_some_and(|known| !known.refresh_waits);
    match (wish.secret(context, token, seen.answered(answers)), &seen.target) {
        (Err(failure), _) => Plan::Refuse(failure),
        (Ok(secret), Target::Ours(stored)) if stored.is_as(&secret) => {
            let due = known.and_then(|known| wish.verification_time(known)).is_some_and(|due| due <= now);
            if due {
                Plan::Verify { wish, token: token.token.clone(), left: left_of(&token.token) }
            } else {
                Plan::Keep(wish, token.clone())
            }
        }
        (Ok(_), Target::Ours(stored)) if stored.is_immutable() => Plan::Refuse(immutable(&seen.desired)),
        (Ok(secret), _) => Plan::Publish { wish, token: token.clone(), secret: Box::new(secret) },
    }
}

impl Seen {
    /// The refresh request that stands beside a token: the one that waits, when the token answers it, else the last one.
    pub fn answered(&self, by_this_token: bool) -> Option<&str> {
        self.refresh.as_deref().filter(|_| by_this_token).or(self.handled.as_deref())
    }
}

/// An immutable Secret cannot be written; asked again where a new token is about to be.
pub fn immutable(desired: &Desired) -> Failure {
    Failure::new(
        SecretSynced,
        Reason::WriteRejected,
        format!(
            "Secret {} is immutable, so no token can be written. Delete it, and the operator writes it anew.",
            desired.target_name
        ),
    )
}

fn host_not_allowed(desired: &Desired, allowed: &AllowedHosts) -> Failure {
    Failure::new(
        TokenIssued,
        Reason::HostNotAllowedByOperator,
        format!(
            "The operator sends credentials only to {allowed}, and {} is not among them. Correct spec.tenantUrl, or have \
             the host added to the operator's flag --allowed-tenant-hosts.",
            desired.tenant.authority()
        ),
    )
}
