//! What to do next. Pure: no client, no clock, no waiting; the same values give the same step.
//!
//! This is the only place that decides. A run calls it again after each step, until there is nothing left to do. The results of
//! requests and writes are in the facts and in the state of the tokens.

mod findings;
mod resolved;
mod terms;

use std::sync::Arc;
use std::time::Duration;

use self::findings::{REPORTED_AFTER, host_not_allowed, is_long, is_reported, waiting_failure};
use self::resolved::Resolved;
use self::terms::Terms;
use crate::api::ConditionType::{self, CredentialsAvailable, Ready, SecretSynced, TokenIssued};
use crate::api::condition::Class;
use crate::api::{QlikContext, Reason};
use crate::clock::{SignedDuration, Timestamp};
use crate::error::{Failure, bounded};
use crate::oauth::lifetime::until;
use crate::oauth::tenant::AllowedHosts;
use crate::oauth::token::{Token, VerifiedToken};
use crate::scheduler::{RequestKind, WaitReason};
use crate::values::{
    Call, CallKind, Facts, HeldToken, Holds, Next, Outcome, Priority, Problem, Published, Secrets, SecretsRead,
    Serving, Settled, Step, TokenSnapshot, Wanted,
};

/// For this long an empty value is not an error that needs a person: another controller may be about to fill it.
const MAY_BE_FILLED: SignedDuration = SignedDuration::from_mins(5);
/// The wait for the garbage collector is that after so many failures.
const CLUSTER_AGAIN: u32 = 5;
/// An object that no watch shows is read again after this.
const UNWATCHED: Duration = Duration::from_mins(1);

/// Decides from the facts and the state of the token request.
pub fn decide(facts: &Facts<'_>, tokens: Option<&TokenSnapshot>, allowed: &AllowedHosts) -> Step {
    if facts.context.metadata.deletion_timestamp.is_some() {
        return deleting(facts);
    }
    match (&facts.secrets, tokens) {
        (Secrets::Unread, tokens) => unread(facts, tokens),
        (Secrets::Unchanged(settled), Some(tokens)) => unchanged(facts, settled, tokens),
        (Secrets::Unchanged(_), None) => read(facts, None),
        (Secrets::Read(read), tokens) => observed(&Observed { facts, read, tokens }, allowed),
    }
}

/// A context that is being deleted: nothing is renewed; the status says until when the token works.
fn deleting(facts: &Facts<'_>) -> Step {
    match facts.reported() {
        Holds::Nothing => Step::rest(Outcome::Unchanged, Next::default()),
        holds => Step::rest(Outcome::Deleting(holds), Next::default()),
    }
}

fn read(facts: &Facts<'_>, wanted: Option<Wanted>) -> Step {
    let status = facts.context.status.as_ref();
    let token = status.and_then(|status| status.token.as_ref());
    let left = token.and_then(|token| token.expires_at.as_ref()).map(|end| until(end.0, facts.now));
    let working = left.is_some_and(|left| !left.is_zero());
    let renewal = token.and_then(|token| token.renewal_time.as_ref()).map(|time| time.0);
    let (priority, working) = match (wanted, left) {
        // As urgent as when it was parked, so that it gets the turn that was reserved.
        (Some(Wanted { priority: Priority::Due(left), working, .. }), now) => {
            (Priority::Due(now.unwrap_or(left)), working)
        }
        (Some(wanted), _) => (wanted.priority, wanted.working),
        (None, Some(left)) if working && renewal.is_some_and(|time| time <= facts.now) => {
            (Priority::Due(left), working)
        }
        _ if reports_failure(facts.context) && !working => (Priority::Failed, working),
        _ if working => (Priority::Routine, working),
        _ => (Priority::New, working),
    };
    Step::Read { priority, working, wanted }
}

/// Nothing was read yet. If it is not the context's turn, the status stays as it is; only a long wait is reported.
fn unread(facts: &Facts<'_>, tokens: Option<&TokenSnapshot>) -> Step {
    let token = facts.context.status.as_ref().and_then(|status| status.token.as_ref());
    let renewal = token.and_then(|token| token.renewal_time.as_ref()).map(|time| time.0);
    let quiet = facts.wanted.is_none() && facts.refresh.is_none() && renewal.is_none_or(|time| time > facts.now);
    if let (Some(at), true, None) = (facts.brake_until, quiet, facts.so_far.wait) {
        // Reading it after each write of the other client would gain nothing.
        return Step::rest(Outcome::Unchanged, Next { due: earliest([Some(at), renewal]), ..Next::default() });
    }
    let Some(wait) = facts.so_far.wait else {
        // If another context got the token meanwhile, no token request is needed. A verification is needed as before: without it, the
        // context would give up the turn that was reserved for it.
        let answered = tokens.is_some_and(|tokens| tokens.token.is_some() && tokens.backoff.is_none());
        return read(facts, facts.wanted.filter(|wanted| wanted.kind == RequestKind::Check || !answered));
    };
    let expiry = token.and_then(|token| token.expires_at.as_ref()).map(|time| time.0);
    if expiry.is_some_and(|end| end <= facts.now) && is_ready(facts.context) {
        // The status is outdated, so the Secrets are read, whether or not it is the context's turn.
        return read(facts, None);
    }
    let repair = facts.target_changed && is_long(wait);
    if repair && facts.brake_until.is_none() {
        // A repair needs no request to the tenant, so it does not wait for the context's turn.
        return read(facts, None);
    }
    let due = earliest([expiry.filter(|end| *end > facts.now), facts.brake_until.filter(|_| repair)]);
    let within = (!is_reported(wait) && wait.reason == WaitReason::Budget).then_some(REPORTED_AFTER);
    let next = Next { due, parked: true, within, ..Next::default() };
    let observed = facts.context.status.as_ref().and_then(|status| status.observed_generation);
    let known = observed.is_some() && observed == facts.context.metadata.generation;
    match waiting_failure(wait, TokenIssued).filter(|_| known && !reports_failure(facts.context)) {
        Some(failure) => {
            let problem = Problem { failure, backoff: None, verified: false };
            Step::rest(Outcome::Failing { holds: facts.reported(), problem }, next)
        }
        None => Step::rest(Outcome::Unchanged, next),
    }
}

/// Both Secrets are unchanged since everything was in order: a verification may be due, or the Secrets have to be read.
fn unchanged(facts: &Facts<'_>, settled: &Settled, tokens: &TokenSnapshot) -> Step {
    let terms = Terms { desired: &facts.desired, spread: settled.spread };
    let same = |token: &&Arc<VerifiedToken>| token.token.access_token == settled.token.token.access_token;
    let Some(token) = tokens.token.as_ref().filter(same) else { return read(facts, None) };
    let renewal = terms.renewal_time(&token.token);
    if renewal.is_some_and(|due| due <= tokens.now) {
        return match facts.so_far.wait {
            Some(_) => unread(facts, Some(tokens)),
            None => {
                let left = left_of(&token.token, tokens.now).unwrap_or_default();
                let (key, kind, working) = (settled.key, RequestKind::Token, !left.is_zero());
                read(facts, Some(Wanted { key, kind, priority: Priority::Due(left), working }))
            }
        };
    }
    if tokens.backoff.is_some() || tokens.refresh.is_some_and(|refresh| refresh.waits) {
        return match facts.so_far.wait {
            Some(_) => unread(facts, Some(tokens)),
            None => read(facts, None),
        };
    }
    let verification = terms.verification_time(tokens);
    let next = Next { due: earliest([renewal, verification]), ..Next::default() };
    match (verification.filter(|due| *due <= tokens.now), facts.so_far.wait) {
        (None, _) => Step::rest(Outcome::Unchanged, next),
        (Some(_), Some(_)) => Step::rest(Outcome::Unchanged, Next { due: renewal, parked: true, ..next }),
        (Some(_), None) => Step::Call(Call {
            kind: CallKind::Verify(token.token.clone()),
            priority: Priority::Routine,
            working: true,
            serving: Serving::Working(left_of(&token.token, tokens.now)),
        }),
    }
}

/// The facts with both Secrets read, and the state of the token request.
struct Observed<'f> {
    facts: &'f Facts<'f>,
    read: &'f SecretsRead,
    tokens: Option<&'f TokenSnapshot>,
}

fn observed(observed: &Observed<'_>, allowed: &AllowedHosts) -> Step {
    let Observed { facts, read, tokens } = *observed;
    let desired = &facts.desired;
    if desired.suspend {
        return Step::rest(Outcome::Suspended(resting(observed.holds())), Next::default());
    }
    if let Some(failure) = &facts.so_far.refused {
        return observed.refused(failure);
    }
    let credential = match &read.credential {
        Ok(credential) => credential,
        Err(failure) => return observed.no_credential(failure),
    };
    if !allowed.allows(&desired.tenant) {
        return observed.fails(host_not_allowed(desired, allowed), false);
    }
    if let Some(failure) = read.target.refusal(&desired.target_name) {
        return observed.fails(failure, false);
    }
    match tokens {
        Some(tokens) => Resolved { observed, desired, credential, tokens, now: tokens.now.max(facts.now) }.step(),
        None => observed.fails(crate::secret::not_found(&desired.credential_secret), false),
    }
}

impl Observed<'_> {
    fn is_rejected(&self, held: &HeldToken) -> bool {
        held.rejected || self.tokens.is_some_and(|tokens| tokens.held_rejected)
    }

    /// What the Secret holds.
    fn holds(&self) -> Holds {
        let Some(held) = &self.read.held else { return Holds::Nothing };
        // What this process has learned of the token takes precedence over the status.
        let known = self.tokens.and_then(|tokens| tokens.held_identity.as_deref());
        let identity = known.or(held.identity.as_ref()).cloned();
        let pinned = identity.as_ref().is_none_or(|identity| self.facts.desired.pins.check(identity).is_ok());
        let unproven = self.tokens.is_some_and(|tokens| tokens.unverified.is_some());
        let status = self.facts.context.status.as_ref().and_then(|status| status.token.as_ref());
        let identity_known = identity.is_some();
        let published = Published {
            identity,
            issued_at: held.token.issued_at,
            expires_at: held.token.expires_at,
            renewal_time: status.and_then(|token| token.renewal_time.as_ref()).map(|time| time.0),
            scopes: held.token.scopes.clone(),
        };
        // A token without a complete binding and without an identity in the status may have been planted.
        let vouched = held.fit.credential || identity_known;
        if held.fit.spec && vouched && pinned && !self.is_rejected(held) && !unproven {
            Holds::Fitting(published)
        } else {
            Holds::Other(published)
        }
    }

    /// A failure that is not a response of the tenant.
    fn fails(&self, failure: Failure, verified: bool) -> Step {
        let next = Next { retry: Some((retry_class(&failure), CLUSTER_AGAIN)), ..Next::default() };
        // With a selector no watch shows that a foreign Secret is deleted.
        let foreign = self.facts.selector.is_some() && failure.reason == Reason::SecretNotOwned;
        let waits = foreign || (!self.facts.watched && !failure.stalled);
        let next = Next { within: waits.then_some(UNWATCHED), ..next };
        let problem = Problem { failure, backoff: None, verified };
        Step::rest(Outcome::Failing { holds: self.holds(), problem }, next)
    }

    /// The Kubernetes API refused the Secret. The token is kept, and only the write is repeated.
    fn refused(&self, failure: &Failure) -> Step {
        let problem = Problem { failure: failure.clone(), backoff: None, verified: true };
        let next = Next { retry: Some((Class::Cluster, self.facts.so_far.failures)), ..Next::default() };
        Step::rest(Outcome::Failing { holds: self.holds(), problem }, next)
    }

    /// Another controller may be about to write the credential: an empty value becomes a lasting failure later, and a
    /// Secret that no watch shows is looked at again soon.
    fn no_credential(&self, failure: &Failure) -> Step {
        let mut failure = failure.clone();
        let facts = self.facts;
        let missing = matches!(failure.reason, Reason::SecretNotFound | Reason::KeyNotFound);
        let fillable = failure.reason == Reason::CredentialMalformed && !failure.stalled;
        let since = condition_since(facts.context, CredentialsAvailable, failure.reason).unwrap_or(facts.now);
        let lasting = since.saturating_add(MAY_BE_FILLED).unwrap_or(Timestamp::MAX);
        if fillable && lasting <= facts.now {
            failure.stalled = true;
        }
        if let Some(selector) = facts.selector.as_ref().filter(|_| !facts.watched && (missing || fillable)) {
            let name = &facts.desired.credential_secret;
            let what = if failure.reason == Reason::SecretNotFound {
                format!("Secret {name} does not exist in this namespace. Create it.")
            } else {
                failure.message.clone()
            };
            let message = format!(
                "{what} Give it the label {selector} (the operator's --credential-selector); without it, it is read once a minute."
            );
            failure = Failure { message: bounded(message), ..failure };
        }
        match self.fails(failure, false) {
            Step::Rest { outcome, next, .. } => {
                let due = (fillable && lasting > facts.now).then_some(lasting);
                let within = (!facts.watched).then_some(UNWATCHED);
                Step::Rest { outcome, next: Next { due, within, ..next }, settled: None }
            }
            step => step,
        }
    }
}

impl Facts<'_> {
    /// The token in a Secret that was not read.
    fn reported(&self) -> Holds {
        Holds::reported(self.unwritten.as_deref().or(self.context.status.as_ref()))
    }

    /// The refresh request to record with a token: the pending one, if the token was issued for it, else the last one.
    pub fn answered(&self, by_this_token: bool) -> Option<&str> {
        self.refresh.as_deref().filter(|_| by_this_token).or(self.handled.as_deref())
    }
}

/// Suspended: nothing is renewed.
fn resting(holds: Holds) -> Holds {
    let rest = |published| Published { renewal_time: None, ..published };
    match holds {
        Holds::Nothing => Holds::Nothing,
        Holds::Other(published) => Holds::Other(rest(published)),
        Holds::Fitting(published) => Holds::Fitting(rest(published)),
    }
}

fn earliest<const N: usize>(times: [Option<Timestamp>; N]) -> Option<Timestamp> {
    times.into_iter().flatten().min()
}

fn left_of(token: &Token, now: Timestamp) -> Option<Duration> {
    token.expires_at.map(|end| until(end, now))
}

/// The status says what failed when this spec was tried last.
fn reports_failure(context: &QlikContext) -> bool {
    let observed = context.status.as_ref().filter(|status| status.observed_generation == context.metadata.generation);
    observed.is_some_and(|status| status.failure.is_some())
}

/// The status says that the token works.
fn is_ready(context: &QlikContext) -> bool {
    let mut conditions = context.status.iter().flat_map(|status| &status.conditions);
    conditions.any(|reported| reported.type_ == Ready.to_string() && reported.status == "True")
}

/// Since when the status says this of a condition.
fn condition_since(context: &QlikContext, condition: ConditionType, reason: Reason) -> Option<Timestamp> {
    let mut conditions = context.status.iter().flat_map(|status| &status.conditions);
    let reported =
        conditions.find(|reported| reported.type_ == condition.to_string() && reported.reason == reason.to_string())?;
    Some(reported.last_transition_time.0)
}

/// The next run while waiting for the garbage collector, or after a refused write.
fn retry_class(failure: &Failure) -> Class {
    if !failure.stalled && failure.condition == SecretSynced { Class::Cluster } else { failure.reason.class() }
}

#[cfg(test)]
mod tests;
