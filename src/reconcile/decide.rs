//! What to do next. Pure: no client, no clock, no waiting; the same values give the same step.
//!
//! This is the only place that decides. A run asks again after everything that it has done, until there is nothing left to do:
//! what a request or a write led to is found in the facts and in what is known of the tokens.

mod findings;
mod terms;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;

use self::findings::{TOLD_AFTER, contested, host_not_allowed, immutable, is_told, waiting_failure};
use self::terms::Terms;

use crate::api::ConditionType::{self, CredentialsAvailable, Ready, SecretSynced, TokenIssued};
use crate::api::condition::Class;
use crate::api::{QlikContext, Reason};
use crate::clock::{SignedDuration, Timestamp};
use crate::desired::Desired;
use crate::error::{Failure, bounded};
use crate::oauth::lifetime::until;
use crate::oauth::tenant::AllowedHosts;
use crate::oauth::token::{Token, VerifiedToken};
use crate::secret::Credential;
use crate::secret::derived::{Target, derived_secret};
use crate::tokens::scheduler::{RequestKind, Wait, WaitReason};
use crate::values::{
    Call, CallKind, Facts, HeldToken, Holds, Next, Outcome, Priority, Problem, Published, Secrets, SecretsRead,
    Serving, Settled, Step, TokenSnapshot, Wanted,
};

/// A token from memory that the tenant confirmed within this time may be put into another Secret as it is.
const JUST_CONFIRMED: SignedDuration = SignedDuration::from_secs(30);
/// A value that is empty may be about to be filled by another controller, for so long.
const MAY_BE_FILLED: SignedDuration = SignedDuration::from_mins(5);
/// While waiting for the garbage collector, as after so many failures.
const CLUSTER_AGAIN: u32 = 5;
/// What is not seen by a watch is looked at again after this.
const UNWATCHED: Duration = Duration::from_mins(1);
/// Between two tokens of one request.
const SPACING: Duration = Duration::from_secs(10);

/// Judges the facts and what is known of the token request.
pub fn decide(facts: &Facts<'_>, tokens: Option<&TokenSnapshot>, allowed: &AllowedHosts) -> Step {
    if facts.context.metadata.deletion_timestamp.is_some() {
        return deleting(facts);
    }
    match (&facts.secrets, tokens) {
        (Secrets::Unread, tokens) => unread(facts, tokens),
        (Secrets::Unchanged(settled), Some(tokens)) => unchanged(facts, settled, tokens),
        (Secrets::Unchanged(_), None) => read(facts, None),
        (Secrets::Read(read), tokens) => judged(&Judged { facts, read, tokens }, allowed),
    }
}

/// Nothing is done any more; the status says until when the token works.
fn deleting(facts: &Facts<'_>) -> Step {
    match Holds::told(facts.context) {
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
        // As urgent as when it was parked, so that its turn is the one that was reserved.
        (Some(Wanted { priority: Priority::Due(left), working, .. }), now) => {
            (Priority::Due(now.unwrap_or(left)), working)
        }
        (Some(wanted), _) => (wanted.priority, wanted.working),
        (None, Some(left)) if working && renewal.is_some_and(|time| time <= facts.now) => {
            (Priority::Due(left), working)
        }
        _ if tells_of_failure(facts.context) && !working => (Priority::Failed, working),
        _ if working => (Priority::Routine, working),
        _ => (Priority::New, working),
    };
    Step::Read { priority, working, wanted }
}

/// Nothing was read yet. Where the turn has not come, what is told stays; a long wait is told.
fn unread(facts: &Facts<'_>, tokens: Option<&TokenSnapshot>) -> Step {
    let token = facts.context.status.as_ref().and_then(|status| status.token.as_ref());
    let renewal = token.and_then(|token| token.renewal_time.as_ref()).map(|time| time.0);
    let quiet = facts.wanted.is_none() && facts.refresh.is_none() && renewal.is_none_or(|time| time > facts.now);
    if let (Some(at), true, None) = (facts.brake_until, quiet, facts.so_far.wait) {
        // Reading it each time that somebody else writes it would help nobody.
        return Step::rest(Outcome::Unchanged, Next { due: earliest([Some(at), renewal]), ..Next::default() });
    }
    let Some(wait) = facts.so_far.wait else {
        // Where another context got the token meanwhile, nothing has to be asked.
        let answered = tokens.is_some_and(|tokens| tokens.token.is_some() && tokens.backoff.is_none());
        return read(facts, facts.wanted.filter(|_| !answered));
    };
    let expiry = token.and_then(|token| token.expires_at.as_ref()).map(|time| time.0);
    if expiry.is_some_and(|end| end <= facts.now) && is_ready(facts.context) {
        // The status is not true any more, and what it should be is worth reading, turn or not.
        return read(facts, None);
    }
    let due = expiry.filter(|end| *end > facts.now);
    let within = (!is_told(wait) && wait.reason == WaitReason::Budget).then_some(TOLD_AFTER);
    let next = Next { due, parked: true, within, ..Next::default() };
    let judged = facts.context.status.as_ref().and_then(|status| status.observed_generation);
    let known = judged.is_some() && judged == facts.context.metadata.generation;
    match waiting_failure(wait, TokenIssued).filter(|_| known && !tells_of_failure(facts.context)) {
        Some(failure) => {
            let problem = Problem { failure, backoff: None, verified: false };
            Step::rest(Outcome::Failing { holds: Holds::told(facts.context), problem }, next)
        }
        None => Step::rest(Outcome::Unchanged, next),
    }
}

/// Both Secrets are as they were when everything was as it should be: a check may be due, or the Secrets have to be read.
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

/// The facts with both Secrets read, and what is known of the token request.
struct Judged<'f> {
    facts: &'f Facts<'f>,
    read: &'f SecretsRead,
    tokens: Option<&'f TokenSnapshot>,
}

fn judged(judged: &Judged<'_>, allowed: &AllowedHosts) -> Step {
    let Judged { facts, read, tokens } = *judged;
    let desired = &facts.desired;
    if desired.suspend {
        return Step::rest(Outcome::Suspended(resting(judged.holds())), Next::default());
    }
    if let Some(failure) = &facts.so_far.refused {
        return judged.refused(failure);
    }
    let credential = match &read.credential {
        Ok(credential) => credential,
        Err(failure) => return judged.no_credential(failure),
    };
    if !allowed.allows(&desired.tenant) {
        return judged.fails(host_not_allowed(desired, allowed), false);
    }
    if let Some(failure) = read.target.refusal(&desired.target_name) {
        return judged.fails(failure, false);
    }
    match tokens {
        Some(tokens) => Wish { judged, desired, credential, tokens, now: tokens.now.max(facts.now) }.step(),
        None => judged.fails(crate::secret::not_found(&desired.credential_secret), false),
    }
}

impl Judged<'_> {
    fn is_rejected(&self, held: &HeldToken) -> bool {
        held.rejected || self.tokens.is_some_and(|tokens| tokens.held_rejected)
    }

    /// What the Secret holds.
    fn holds(&self) -> Holds {
        let Some(held) = &self.read.held else { return Holds::Nothing };
        // What this process has heard of the token itself goes before what the status says.
        let token = self.tokens.and_then(|tokens| tokens.token.as_ref());
        let same = token.filter(|token| token.token.access_token == held.token.access_token);
        let identity = same.map(|token| (*token.identity).clone()).or_else(|| held.identity.clone());
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
        // A token that nobody vouches for, neither its whole binding nor an identity, may have been planted.
        let vouched = held.fit.credential || identity_known;
        if held.fit.spec && vouched && pinned && !self.is_rejected(held) && !unproven {
            Holds::Fitting(published)
        } else {
            Holds::Other(published)
        }
    }

    /// Something is in the way that is no answer of the tenant.
    fn fails(&self, failure: Failure, verified: bool) -> Step {
        let next = Next { retry: Some((retry_class(&failure), CLUSTER_AGAIN)), ..Next::default() };
        // A stranger's Secret that goes away is seen by no watch with a selector.
        let foreign = self.facts.selector.is_some() && failure.reason == Reason::SecretNotOwned;
        let waits = foreign || (!self.facts.watched && !failure.stalled);
        let next = Next { within: waits.then_some(UNWATCHED), ..next };
        let problem = Problem { failure, backoff: None, verified };
        Step::rest(Outcome::Failing { holds: self.holds(), problem }, next)
    }

    /// The Kubernetes API did not take the Secret. The token is kept, and only the write is repeated.
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

/// A context whose spec and credential are both understood.
struct Wish<'f> {
    judged: &'f Judged<'f>,
    desired: &'f Desired,
    credential: &'f Credential,
    tokens: &'f TokenSnapshot,
    now: Timestamp,
}

impl Wish<'_> {
    fn terms(&self) -> Terms<'_> {
        Terms { desired: self.desired, spread: self.credential.request.spread() }
    }

    fn step(&self) -> Step {
        let (tokens, terms) = (self.tokens, self.terms());
        let fresh = |token: &Token| terms.is_fresh(token, self.now);
        // A refresh request that may not be served yet leaves the token as good as it was.
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

    /// A token is at hand that is good until it is renewed.
    fn publish(&self, token: &Arc<VerifiedToken>) -> Step {
        let refresh_waits = self.tokens.refresh.is_some_and(|refresh| refresh.waits);
        let handled = self.judged.facts.answered(!refresh_waits);
        let secret = match self.secret(token, handled) {
            Ok(secret) => secret,
            Err(failure) => return self.judged.fails(failure, true),
        };
        match &self.judged.read.target {
            Target::Ours(stored) if stored.is_as(&secret) => return self.kept(token),
            Target::Ours(stored) if stored.is_immutable() => return self.judged.fails(immutable(self.desired), true),
            _ => {}
        }
        let held = self.judged.read.held.as_ref();
        let holds = held.is_some_and(|held| held.token.access_token == token.token.access_token);
        if !holds && !self.tokens.held_last && !self.just_confirmed() {
            // It comes from memory and is new to this Secret: what has become of it since is the tenant's to say.
            return self.ask(CallKind::Verify(token.token.clone()), Priority::New);
        }
        let repair = self.tokens.held_last;
        if let Some(at) = self.judged.read.repair_at.filter(|at| repair && *at > self.now) {
            return self.repairs_later(token, holds, at);
        }
        Step::Publish {
            secret: Box::new(secret),
            token: token.clone(),
            renewal_time: self.terms().renewal_time(&token.token),
            repair,
        }
    }

    fn just_confirmed(&self) -> bool {
        self.tokens.confirmed_at.is_some_and(|at| self.now.duration_since(at) <= JUST_CONFIRMED)
    }

    /// The Secret is as it should be. What failed since, a refresh or a check, is told until it is tried again.
    fn kept(&self, token: &Arc<VerifiedToken>) -> Step {
        let (tokens, terms) = (self.tokens, self.terms());
        let wait = self.judged.facts.so_far.wait;
        let verification = terms.verification_time(tokens);
        // Put back from memory into the Secret that held it last: verified right after.
        let unproven = self.judged.facts.so_far.wrote && !self.just_confirmed();
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
        let key = self.judged.read.key?;
        let handled = self.judged.facts.handled.clone();
        Some(Settled { key, spread: self.terms().spread, token: token.clone(), handled })
    }

    /// Somebody else keeps changing the Secret.
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
        if let Some(wait) = self.judged.facts.so_far.wait {
            return self.waits(wait, &kind);
        }
        if self.judged.facts.so_far.issued && matches!(kind, CallKind::Issue { .. }) {
            // A clock that was moved, or a life shorter than the run: no run asks for two tokens.
            return Step::rest(Outcome::Unchanged, Next { within: Some(SPACING), ..Next::default() });
        }
        let held = self.judged.read.held.as_ref();
        let fitting = held.filter(|held| held.fit.spec);
        let live = fitting.filter(|held| !self.judged.is_rejected(held) && held.token.is_live(self.now));
        let serving = match (fitting, live) {
            (_, Some(held)) => Serving::Working(left_of(&held.token, self.now)),
            (Some(_), None) => Serving::Expired,
            (None, None) => Serving::Nothing,
        };
        let working = self.owns_live_token() || live.is_some();
        Step::Call(Call { kind, priority, working, serving })
    }

    /// The back-off of this key lasts. Only a refresh request may cut a wait short that the tenant did not ask for, once; and
    /// the scheduler, when the host has recovered.
    fn backs_off(&self) -> bool {
        let Some(backoff) = &self.tokens.backoff else { return false };
        let refresh = self.tokens.refresh.filter(|refresh| refresh.waits && refresh.allowed_at <= self.now);
        let cut_short = refresh.is_some_and(|refresh| refresh.untried) && backoff.failure.retry_after.is_none();
        let recovered = self.judged.facts.recovered_at.is_some_and(|at| at >= backoff.last);
        backoff.next > self.now && !cut_short && !recovered
    }

    /// What failed is told until it is tried again; meanwhile the token that serves on is still checked.
    fn failing(&self) -> Step {
        let Some(backoff) = self.tokens.backoff.clone() else {
            return Step::rest(Outcome::Unchanged, Next::default());
        };
        let holds = self.judged.holds();
        let recheck = self.recheck_time(&holds);
        if let (Some(due), Some(held), None) = (recheck, &self.judged.read.held, self.judged.facts.so_far.wait)
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
        let parked = self.judged.facts.so_far.wait.is_some();
        let failure = backoff.failure.clone();
        let problem = Problem { failure, backoff: Some(backoff), verified: false };
        Step::rest(Outcome::Failing { holds, problem }, Next { due, parked, ..Next::default() })
    }

    /// When the token that serves on while its renewal fails is to be checked, if ever.
    fn recheck_time(&self, holds: &Holds) -> Option<Timestamp> {
        let held = holds.fitting().filter(|published| published.is_live(self.now));
        let since = self.tokens.rechecked_at.filter(|_| held.is_some())?;
        self.desired.verify_interval.and_then(|interval| since.checked_add(interval).ok())
    }

    /// It is not this context's turn. What failed before is told until it was tried again; of a short wait nothing is said,
    /// and of a context that has no token yet nothing is known, so that its status stays. So does what another process
    /// found, while it is true.
    fn waits(&self, wait: Wait, kind: &CallKind) -> Step {
        let (tokens, facts) = (self.tokens, self.judged.facts);
        if let (CallKind::Verify(token), Some(known)) = (kind, &tokens.token)
            && known.token.access_token == token.access_token
            && self.judged.read.held.as_ref().is_some_and(|held| held.token.access_token == token.access_token)
            && self.judged.holds().fitting().is_some()
        {
            // A check that has to wait takes nothing from a token that was good so far.
            return self.kept(known);
        }
        let condition = match kind {
            CallKind::Issue { .. } => TokenIssued,
            _ => ConditionType::Verified,
        };
        let holds = self.judged.holds();
        let told = is_told(wait);
        let next = Next {
            due: self.recheck_time(&holds).filter(|due| *due > self.now),
            parked: true,
            within: (!told && wait.reason == WaitReason::Budget).then_some(TOLD_AFTER),
            ..Next::default()
        };
        let backoff = tokens.backoff.clone();
        let failure =
            backoff.as_ref().map(|backoff| backoff.failure.clone()).or_else(|| waiting_failure(wait, condition));
        let stands = backoff.is_none() && tells_of_failure(facts.context);
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
        let held = self.judged.read.held.as_ref().filter(|held| held.fit.spec && !self.judged.is_rejected(held));
        let left = held.and_then(|held| left_of(&held.token, self.now)).filter(|left| !left.is_zero());
        match left {
            _ if still_fresh => Priority::Routine,
            // A token that another request led to, before the credential was changed, makes nothing urgent: else anyone who
            // changes one all the time would always come first.
            Some(left) if self.owns_live_token() => Priority::Due(left),
            _ if self.tokens.backoff.is_some() => Priority::Failed,
            None if self.judged.facts.context.status.as_ref().is_some_and(|status| status.failure.is_some()) => {
                Priority::Failed
            }
            _ => Priority::New,
        }
    }

    fn owns_live_token(&self) -> bool {
        self.tokens.token.as_ref().is_some_and(|token| token.token.is_live(self.now))
    }

    /// The Secret with this token, unless it is another's token or may not be written there.
    fn secret(&self, token: &VerifiedToken, handled: Option<&str>) -> Result<Secret, Failure> {
        self.desired.pins.check(&token.identity)?;
        derived_secret(self.judged.facts.context, self.desired, self.credential, token, handled)
    }
}

impl Facts<'_> {
    /// The refresh request that stands beside a token: the one that waits, when the token answers it, else the last one.
    pub fn answered(&self, by_this_token: bool) -> Option<&str> {
        self.refresh.as_deref().filter(|_| by_this_token).or(self.handled.as_deref())
    }
}

/// Suspended: nothing is going to be renewed.
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
fn tells_of_failure(context: &QlikContext) -> bool {
    let judged = context.status.as_ref().filter(|status| status.observed_generation == context.metadata.generation);
    judged.is_some_and(|status| status.failure.is_some())
}

/// The status says that the token works.
fn is_ready(context: &QlikContext) -> bool {
    let mut conditions = context.status.iter().flat_map(|status| &status.conditions);
    conditions.any(|told| told.type_ == Ready.to_string() && told.status == "True")
}

/// Since when the status says this of a condition.
fn condition_since(context: &QlikContext, condition: ConditionType, reason: Reason) -> Option<Timestamp> {
    let mut conditions = context.status.iter().flat_map(|status| &status.conditions);
    let told = conditions.find(|told| told.type_ == condition.to_string() && told.reason == reason.to_string())?;
    Some(told.last_transition_time.0)
}

/// While waiting for the garbage collector, or after a refused write, it is the cluster's turn.
fn retry_class(failure: &Failure) -> Class {
    if !failure.stalled && failure.condition == SecretSynced { Class::Cluster } else { failure.reason.class() }
}

#[cfg(test)]
mod tests;
