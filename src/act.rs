//! Third step: doing it. The only requests to tenants and the only writes besides the status.

mod publish;

use std::time::Duration;

use self::publish::publish;
use crate::api::ConditionType::{self, TokenIssued, Verified};
use crate::api::QlikContext;
use crate::clock::Timestamp;
use crate::context::Context;
use crate::decide::{Plan, Wish};
use crate::error::{Error, Failure};
use crate::metrics::SecretWrite;
use crate::oauth::cache::{Checked, Known, NotYet, Setback};
use crate::oauth::identity::Identity;
use crate::oauth::lifetime::until;
use crate::oauth::token::{Token, VerifiedToken};
use crate::oauth::traffic::Wait;
use crate::observe::Seen;
use crate::secret::derived::Target;

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
    /// It was not this context's turn; it comes up in this time.
    pub turn_in: Option<Duration>,
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

/// One run that acts: for whom, and what was seen.
#[derive(Clone, Copy)]
struct Act<'a> {
    cx: &'a Context,
    context: &'a QlikContext,
    seen: &'a Seen,
}

/// Carries out a plan.
pub async fn act(cx: &Context, context: &QlikContext, seen: &Seen, plan: Plan<'_>) -> Result<Done, Error> {
    let act = Act { cx, context, seen };
    let before = Done { holding: Holding::found(context, seen), handled: seen.handled.clone(), ..Done::default() };
    match plan {
        Plan::Leave => Ok(Done::default()),
        Plan::Rest => Ok(resting(before)),
        Plan::Refuse(failure) => Ok(Done { failure: Some(failure), ..before }),
        Plan::Keep(wish, token) => Ok(kept(wish, seen, seen.known.as_ref(), &token)),
        Plan::Publish { wish, token, secret } => publish(&act, wish, &token, *secret, before).await,
        Plan::Verify { wish, token, left } => verify(&act, wish, &token, left, before).await,
        Plan::Renew { wish, left } => renew(&act, wish, left, before).await,
    }
}

async fn verify(
    act: &Act<'_>,
    wish: Wish<'_>,
    token: &Token,
    left: Option<Duration>,
    before: Done,
) -> Result<Done, Error> {
    let Act { cx, context, seen } = *act;
    cx.leadership.check()?;
    let due = |known: &Known| wish.verification_time(known).is_some_and(|due| due <= known.now);
    let (request, asker) = (&wish.credential.request, seen.asker(context));
    match cx.tokens.check(request, asker, token, left, due).await {
        Ok(Checked::Good(token)) if is_kept(context, seen, wish, &token) => {
            Ok(kept(wish, seen, Some(&cx.tokens.known(request, asker)), &token))
        }
        // The next run finds the identity, and what pins and Secret say of it.
        Ok(Checked::Good(_)) => Err(Error::Changed("what is known of the token")),
        Ok(Checked::Rejected) => renew(act, wish, None, dead(before)).await,
        Err(NotYet::Failed(setback)) => Ok(failed(setback, before)),
        Err(NotYet::Waits(wait)) => match seen.known.as_ref().and_then(|known| known.token.clone()) {
            // A check that has to wait takes nothing from a token that was good so far.
            Some(token) => Ok(Done { turn_in: Some(wait.again), ..kept(wish, seen, seen.known.as_ref(), &token) }),
            None => waits(act, wait, Verified, before),
        },
    }
}

async fn renew(act: &Act<'_>, wish: Wish<'_>, left: Option<Duration>, before: Done) -> Result<Done, Error> {
    let Act { cx, context, seen } = *act;
    cx.leadership.check()?;
    let fresh = |token: &VerifiedToken, now| wish.is_fresh(&token.token, now);
    let token = match cx.tokens.obtain(&wish.credential.request, seen.asker(context), left, fresh).await {
        Ok(token) => token,
        Err(NotYet::Failed(setback)) => return Ok(failed(setback, serving_on(act, wish, before).await)),
        Err(NotYet::Waits(wait)) => return waits(act, wait, TokenIssued, serving_on(act, wish, before).await),
    };
    match wish.secret(context, &token, seen.answered(true)) {
        Ok(secret) => publish(act, wish, &token, secret, before).await,
        Err(failure) => Ok(Done { failure: Some(failure), verified: true, ..before }),
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

/// While its renewal fails, the token in the Secret is still looked at each interval.
async fn serving_on(act: &Act<'_>, wish: Wish<'_>, before: Done) -> Done {
    let works = before.holding.as_ref().is_some_and(|holding| holding.fits);
    let held = act.seen.held.as_ref().filter(|held| works && held.token.is_live(act.seen.now));
    let (Some(held), Some(interval)) = (held, wish.desired.verify_interval) else { return before };
    let (request, asker) = (&wish.credential.request, act.seen.asker(act.context));
    match act.cx.tokens.still_serves(request, asker, &held.token, interval).await {
        (true, due) => Done { due: Some(due), ..before },
        (false, _) => dead(before),
    }
}

fn failed(setback: Setback, before: Done) -> Done {
    Done { failure: Some(setback.failure.clone()), setback: Some(setback), ..before }
}

/// It is not this context's turn. What failed before is told until it was tried again; of a short wait nothing is said, and
/// of a context that has no token yet nothing is known, so that its status stays. So does what another process found, while
/// it is true.
fn waits(act: &Act<'_>, wait: Wait, condition: ConditionType, before: Done) -> Result<Done, Error> {
    let Act { context, seen, .. } = *act;
    let setback = seen.known.as_ref().and_then(|known| known.setback.clone());
    let failure = setback.as_ref().map(|setback| setback.failure.clone()).or_else(|| wait.failure(condition));
    let fitting = before.holding.as_ref().filter(|holding| holding.fits);
    let stands = setback.is_none() && tells_of_failure(context);
    match fitting.and_then(|holding| holding.expires_at) {
        None if fitting.is_none() && (failure.is_none() || stands) => return Err(Error::Turn(wait.again)),
        Some(end) if end > seen.now && stands => return Err(Error::Turn(wait.again.min(until(end, seen.now)))),
        _ => {}
    }
    Ok(Done { failure, setback, turn_in: Some(wait.again), ..before })
}

/// The status says what failed when this spec was tried last.
fn tells_of_failure(context: &QlikContext) -> bool {
    let judged = context.status.as_ref().filter(|status| status.observed_generation == context.metadata.generation);
    judged.is_some_and(|status| status.failure.is_some())
}

/// The token in the Secret no longer works, whatever its expiry says.
fn dead(before: Done) -> Done {
    let holding = before.holding.map(|holding| Holding { fits: false, ..holding });
    Done { holding, ..before }
}
