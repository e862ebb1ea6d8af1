//! Decides for a context with a valid spec and credential: publish, verify, request a token, or rest.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;

use super::findings::{REPORTED_AFTER, contested, immutable, is_reported, waiting_failure};
use super::terms::Terms;
use super::{Observed, earliest, left_of, reports_failure};
use crate::api::ConditionType::{self, TokenIssued};
use crate::clock::{SignedDuration, Timestamp};
use crate::desired::Desired;
use crate::error::Failure;
use crate::oauth::token::{Token, VerifiedToken};
use crate::scheduler::{Wait, WaitReason};
use crate::secret::Credential;
use crate::secret::derived::{Target, derived_secret};
use crate::values::{
    Call, CallKind, Holds, Next, Outcome, Priority, Problem, Published, Serving, Settled, Step, TokenSnapshot,
};

/// A token from memory that the tenant confirmed within this time may be written to another Secret without a verification.
const JUST_CONFIRMED: SignedDuration = SignedDuration::from_secs(30);
/// Shortest time between two tokens of one request.
const SPACING: Duration = Duration::from_secs(10);

/// A context with a valid spec and credential.
pub(super) struct Resolved<'f> {
    pub(super) observed: &'f Observed<'f>,
    pub(super) desired: &'f Desired,
    pub(super) credential: &'f Credential,
    pub(super) tokens: &'f TokenSnapshot,
    pub(super) now: Timestamp,
}

impl Resolved<'_> {
    fn terms(&self) -> Terms<'_> {
        Terms { desired: self.desired, spread: self.credential.request.spread() }
    }

    pub(super) fn step(&self) -> Step {
        let (tokens, terms) = (self.tokens, self.terms());
        let fresh = |token: &Token| terms.is_fresh(token, self.now);
        // A refresh request that may not be handled yet does not change the state of the token.
        let refresh_due = tokens.refresh.is_some_and(|refresh| refresh.waits && refresh.allowed_at <= self.now);
        let usable = tokens.token.as_ref().filter(|token| fresh(&token.token));
        if let Some(token) = usable.filter(|_| !refresh_due) {
            return self.publish(token);
        }
        if let Some(token) = tokens.unverified.as_ref().filter(|token| usable.is_none() && fresh(token)) {
            let priority = if tokens.token.is_some() { Priority::Routine } else { Priority::New };
            return self.ask(CallKind::Verify(token.clone()), priority);
        }
        let priority = self.priority(usable.is_some());
        if let Some(token) = &tokens.candidate {
            return self.ask(CallKind::Verify(token.clone()), priority);
        }
        self.ask(CallKind::Issue { forced: refresh_due, still_fresh: usable.is_some() }, priority)
    }

    /// There is a token that can be used until it is renewed.
    fn publish(&self, token: &Arc<VerifiedToken>) -> Step {
        let refresh_waits = self.tokens.refresh.is_some_and(|refresh| refresh.waits);
        let handled = self.observed.facts.answered(!refresh_waits);
        let secret = match self.secret(token, handled) {
            Ok(secret) => secret,
            Err(failure) => return self.observed.fails(failure, true),
        };
        match &self.observed.read.target {
            Target::Ours(stored) if stored.is_as(&secret) => return self.kept(token),
            Target::Ours(stored) if stored.is_immutable() => return self.observed.fails(immutable(self.desired), true),
            _ => {}
        }
        let held = self.observed.read.held.as_ref();
        let holds = held.is_some_and(|held| held.token.access_token == token.token.access_token);
        if !holds && !self.tokens.held_last && !self.just_confirmed() {
            // It comes from memory and is new to this Secret, so the tenant has to confirm it again.
            return self.ask(CallKind::Verify(token.token.clone()), Priority::New);
        }
        let repair = self.tokens.held_last && !self.is_issued_again(token);
        if let Some(at) = self.observed.read.repair_at.filter(|at| repair && *at > self.now) {
            return self.repairs_later(token, holds, at);
        }
        Step::Publish {
            secret: Box::new(secret),
            token: token.clone(),
            renewal_time: self.terms().renewal_time(&token.token),
            repair,
        }
    }

    /// The tenant has issued the token in the Secret once more: nobody else has changed the Secret, and its times are outdated.
    fn is_issued_again(&self, token: &VerifiedToken) -> bool {
        let held = self.observed.read.held.as_ref().filter(|held| held.fit.spec);
        held.is_some_and(|held| {
            held.token.access_token == token.token.access_token && held.token.issued_at != token.token.issued_at
        })
    }

    fn just_confirmed(&self) -> bool {
        self.tokens.confirmed_at.is_some_and(|at| self.now.duration_since(at) <= JUST_CONFIRMED)
    }

    /// The Secret is as it should be. A later failure of a refresh or a verification is reported until the next attempt.
    fn kept(&self, token: &Arc<VerifiedToken>) -> Step {
        let (tokens, terms) = (self.tokens, self.terms());
        let wait = self.observed.facts.so_far.wait;
        let verification = terms.verification_time(tokens);
        // Put back from memory into the Secret that held it last: verified right after.
        let unproven = self.observed.facts.so_far.wrote && !self.just_confirmed();
        let due = unproven || verification.is_some_and(|due| due <= self.now);
        if wait.is_none() && due && !self.backs_off() {
            return self.ask(CallKind::Verify(token.token.clone()), Priority::Routine);
        }
        let renewal = terms.renewal_time(&token.token);
        let published = Published::of(token, renewal);
        let allowed_at = tokens.refresh.filter(|refresh| refresh.waits).map(|refresh| refresh.allowed_at);
        let backoff = tokens.backoff.clone().filter(|backoff| backoff.next > self.now);
        let retry_at = backoff.as_ref().map(|backoff| backoff.next);
        let due = earliest([renewal, verification.filter(|due| *due > self.now), allowed_at, retry_at]);
        let next = Next { due, parked: wait.is_some(), ..Next::default() };
        let outcome = match backoff {
            None => {
                let settled = self.settled(token).filter(|_| wait.is_none() && allowed_at.is_none());
                return Step::Rest { outcome: Box::new(Outcome::Ready(published)), next, settled };
            }
            Some(backoff) => {
                let problem = Problem { failure: backoff.failure.clone(), backoff: Some(backoff), verified: true };
                Outcome::Failing { holds: Holds::Fitting(published), problem }
            }
        };
        Step::rest(outcome, next)
    }

    /// Nothing has to be read again until something changes.
    fn settled(&self, token: &Arc<VerifiedToken>) -> Option<Settled> {
        let key = self.observed.read.key?;
        let handled = self.observed.facts.handled.clone();
        Some(Settled { key, spread: self.terms().spread, token: token.clone(), handled })
    }

    /// Another client keeps changing the Secret.
    fn repairs_later(&self, token: &Arc<VerifiedToken>, holds_token: bool, at: Timestamp) -> Step {
        let published = Published::of(token, self.terms().renewal_time(&token.token));
        let next = Next { due: earliest([Some(at), published.renewal_time]), ..Next::default() };
        if holds_token {
            return Step::rest(Outcome::Ready(published), next);
        }
        let problem = Problem { failure: contested(self.desired), backoff: None, verified: true };
        Step::rest(Outcome::Failing { holds: Holds::Nothing, problem }, next)
    }

    /// A request to the tenant, unless it has to wait for its back-off or its turn.
    fn ask(&self, kind: CallKind, priority: Priority) -> Step {
        if self.backs_off() {
            return self.failing();
        }
        if let Some(wait) = self.observed.facts.so_far.wait {
            return self.waits(wait, &kind);
        }
        if self.observed.facts.so_far.issued && matches!(kind, CallKind::Issue { .. }) {
            // A clock that was moved, or a lifetime shorter than the run: no run requests two tokens.
            return Step::rest(Outcome::Unchanged, Next { within: Some(SPACING), ..Next::default() });
        }
        let held = self.observed.read.held.as_ref();
        let fitting = held.filter(|held| held.fit.spec);
        let live = fitting.filter(|held| !self.observed.is_rejected(held) && held.token.is_live(self.now));
        let serving = match (fitting, live) {
            (_, Some(held)) => Serving::Working(left_of(&held.token, self.now)),
            (Some(_), None) => Serving::Expired,
            (None, None) => Serving::Nothing,
        };
        let working = self.owns_live_token() || live.is_some();
        Step::Call(Call { kind, priority, working, serving })
    }

    /// The back-off of this key is not over. A wait that the tenant did not request can be ended early by a refresh request,
    /// once, and by the scheduler, when the host has recovered.
    fn backs_off(&self) -> bool {
        let Some(backoff) = &self.tokens.backoff else { return false };
        let refresh = self.tokens.refresh.filter(|refresh| refresh.waits && refresh.allowed_at <= self.now);
        let refreshed = refresh.is_some_and(|refresh| refresh.untried);
        let recovered = self.observed.facts.recovered_at.is_some_and(|at| at >= backoff.last);
        let cut_short = backoff.failure.retry_after.is_none() && (refreshed || recovered);
        backoff.next > self.now && !cut_short
    }

    /// A failure is reported until the next attempt; meanwhile the token that stays in use is still verified.
    fn failing(&self) -> Step {
        let Some(backoff) = self.tokens.backoff.clone() else {
            return Step::rest(Outcome::Unchanged, Next::default());
        };
        let holds = self.observed.holds();
        let recheck = self.recheck_time(&holds);
        if let (Some(due), Some(held), None) = (recheck, &self.observed.read.held, self.observed.facts.so_far.wait)
            && due <= self.now
        {
            return Step::Call(Call {
                kind: CallKind::Recheck(held.token.clone()),
                priority: Priority::Routine,
                working: true,
                serving: Serving::Working(left_of(&held.token, self.now)),
            });
        }
        let due = earliest([Some(backoff.next), recheck.filter(|due| *due > self.now)]);
        let parked = self.observed.facts.so_far.wait.is_some();
        let failure = backoff.failure.clone();
        let problem = Problem { failure, backoff: Some(backoff), verified: false };
        Step::rest(Outcome::Failing { holds, problem }, Next { due, parked, ..Next::default() })
    }

    /// When the token that stays in use while its renewal fails is due for verification, if ever.
    fn recheck_time(&self, holds: &Holds) -> Option<Timestamp> {
        let held = holds.fitting().filter(|published| published.is_live(self.now));
        let since = self.tokens.rechecked_at.filter(|_| held.is_some())?;
        self.desired.verify_interval.and_then(|interval| since.checked_add(interval).ok())
    }

    /// It is not this context's turn. An earlier failure is reported until the next attempt. A short wait is not reported. The
    /// status of a context without a token stays as it is, since nothing is known yet; so does a finding of another process while
    /// it still holds.
    fn waits(&self, wait: Wait, kind: &CallKind) -> Step {
        let (tokens, facts) = (self.tokens, self.observed.facts);
        if let (CallKind::Verify(token), Some(known)) = (kind, &tokens.token)
            && known.token.access_token == token.access_token
            && self.observed.read.held.as_ref().is_some_and(|held| held.token.access_token == token.access_token)
            && self.observed.holds().fitting().is_some()
            && !self.is_issued_again(known)
        {
            // A verification that has to wait does not change the state of a token that worked so far.
            return self.kept(known);
        }
        let condition = match kind {
            CallKind::Issue { .. } => TokenIssued,
            _ => ConditionType::Verified,
        };
        let holds = self.observed.holds();
        let reported = is_reported(wait);
        let next = Next {
            due: self.recheck_time(&holds).filter(|due| *due > self.now),
            parked: true,
            within: (!reported && wait.reason == WaitReason::Budget).then_some(REPORTED_AFTER),
            ..Next::default()
        };
        let backoff = tokens.backoff.clone();
        let failure =
            backoff.as_ref().map(|backoff| backoff.failure.clone()).or_else(|| waiting_failure(wait, condition));
        let stands = backoff.is_none() && reports_failure(facts.context);
        let unchanged = match holds.fitting() {
            None => failure.is_none() || stands,
            Some(fitting) => stands && fitting.is_live(self.now),
        };
        let outcome = match (failure.filter(|_| !unchanged), holds) {
            (Some(failure), holds) => {
                Outcome::Failing { holds, problem: Problem { failure, backoff, verified: false } }
            }
            (None, Holds::Fitting(published)) if !unchanged => Outcome::Ready(published),
            (None, _) => Outcome::Unchanged,
        };
        Step::rest(outcome, next)
    }

    /// How urgent a new token is.
    fn priority(&self, still_fresh: bool) -> Priority {
        let held = self.observed.read.held.as_ref().filter(|held| held.fit.spec && !self.observed.is_rejected(held));
        let left = held.and_then(|held| left_of(&held.token, self.now)).filter(|left| !left.is_zero());
        match left {
            _ if still_fresh => Priority::Routine,
            // A token of another request, from before the credential was changed, does not make this one urgent: else anyone who
            // changes a credential all the time would always come first.
            Some(left) if self.owns_live_token() => Priority::Due(left),
            _ if self.tokens.backoff.is_some() => Priority::Failed,
            None if self.observed.facts.context.status.as_ref().is_some_and(|status| status.failure.is_some()) => {
                Priority::Failed
            }
            _ => Priority::New,
        }
    }

    fn owns_live_token(&self) -> bool {
        self.tokens.token.as_ref().is_some_and(|token| token.token.is_live(self.now))
    }

    /// The Secret with this token, unless the token has another identity or must not be written there.
    fn secret(&self, token: &VerifiedToken, handled: Option<&str>) -> Result<Secret, Failure> {
        self.desired.pins.check(&token.identity)?;
        derived_secret(self.observed.facts.context, self.desired, self.credential, token, handled)
    }
}
