//! Fourth step: what to say. Pure; the one place that makes conditions.
//!
//! The same finding makes the same status, to the byte, so that nothing is written when nothing changed; a transition time
//! moves only when a condition's status does. kstatus's rules hold: `Stalled` or `Reconciling` while not ready, never both,
//! neither while ready.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::act::{Done, Holding};
use crate::api::ConditionType::{
    self, CredentialsAvailable, Ready, Reconciling, SecretSynced, Stalled, TokenIssued, Verified,
};
use crate::api::condition::Class;
use crate::api::v1alpha1::{FailureStatus, IdentityStatus, QlikContextStatus, TargetStatus, TokenStatus};
use crate::api::{QlikContext, Reason};
use crate::clock::Timestamp;
use crate::desired::{Desired, Method};
use crate::error::Failure;
use crate::events::not_granted;
use crate::oauth::cache::Setback;
use crate::oauth::identity::Identity;
use crate::oauth::lifetime::until;
use crate::retry;

/// While waiting for the garbage collector, or after a refused write.
const CLUSTER_AGAIN: u32 = 5;

/// A finding: one condition before its time.
struct Finding {
    condition: ConditionType,
    good: bool,
    reason: Reason,
    message: String,
}

/// The status of a context after a run. `credential`: whether the credential Secret was understood, or why not.
pub fn status(
    context: &QlikContext,
    desired: &Desired,
    credential: Result<(), &Failure>,
    done: &Done,
    now: Timestamp,
) -> QlikContextStatus {
    let mut findings = stages(desired, credential, done);
    findings.push(readiness(desired, done, now));
    QlikContextStatus {
        observed_generation: context.metadata.generation,
        conditions: conditions(context, findings, done.failure.as_ref(), now),
        identity: done.holding.as_ref().and_then(|holding| holding.identity.as_ref()).map(IdentityStatus::from),
        token: done.holding.as_ref().map(token_status),
        target: Some(TargetStatus { name: desired.target_name.clone() }),
        last_handled_refresh_request: done.handled.clone(),
        failure: done.setback.as_ref().map(failure_status),
    }
}

/// The status of a context whose spec is not understood.
pub fn invalid(context: &QlikContext, failure: &Failure, now: Timestamp) -> QlikContextStatus {
    let before = context.status.clone().unwrap_or_default();
    let finding = Finding { condition: Ready, good: false, reason: failure.reason, message: failure.message.clone() };
    QlikContextStatus {
        observed_generation: context.metadata.generation,
        conditions: conditions(context, vec![finding], Some(failure), now),
        failure: None,
        ..before
    }
}

/// When to look again, whatever happens in between.
pub fn next_run(done: &Done, now: Timestamp, jitter: f64) -> Duration {
    let soon = Duration::from_secs(1);
    let expiry = done.holding.as_ref().and_then(|holding| holding.expires_at).filter(|expiry| *expiry > now);
    let due = match (&done.failure, &done.setback) {
        (None, _) => done.holding.as_ref().and_then(|holding| holding.renewal_time).map(|time| until(time, now)),
        (Some(_), Some(setback)) => Some(until(setback.next, now)),
        (Some(failure), None) => {
            let waits_for_cluster = !failure.stalled && failure.condition == SecretSynced;
            let class = if waits_for_cluster { Class::Cluster } else { failure.reason.class() };
            let left = expiry.map(|expiry| until(expiry, now));
            Some(retry::delay(class, CLUSTER_AGAIN, None, left, jitter))
        }
    };
    // A token that expires changes the status even if nothing else happens.
    let expires = expiry.map(|expiry| until(expiry, now));
    let recheck = retry::delay(Class::User, 1, None, None, jitter);
    let also = done.due.map(|due| until(due, now));
    match done.turn_in {
        // As short as it is: places in a queue are less than a second apart. What is due waits for its turn; what comes due
        // until then, the renewal of a token that is to be checked, does not.
        Some(turn) => {
            let renewal = done.holding.as_ref().and_then(|holding| holding.renewal_time);
            let ahead = [expiry, renewal, done.due].into_iter().flatten().filter(|time| *time > now);
            ahead.map(|time| until(time, now).max(soon)).fold(turn, Duration::min)
        }
        None => [due, expires, also].into_iter().flatten().min().unwrap_or(recheck).max(soon),
    }
}

fn stages(desired: &Desired, credential: Result<(), &Failure>, done: &Done) -> Vec<Finding> {
    let failed = done.failure.as_ref();
    let holds = done.holding.as_ref().filter(|holding| holding.fits);
    [CredentialsAvailable, TokenIssued, Verified, SecretSynced]
        .into_iter()
        .filter_map(|stage| {
            // What was read just now goes before what a token that is still there passed once.
            let unread = credential.err().filter(|_| stage == CredentialsAvailable);
            if let Some(failure) = unread.or(failed.filter(|failure| failure.condition == stage)) {
                return Some(Finding {
                    condition: stage,
                    good: false,
                    reason: failure.reason,
                    message: failure.message.clone(),
                });
            }
            // Passed in this run, or the token that passed it is in the Secret. What was not judged is left out.
            let passed = match stage {
                CredentialsAvailable => true,
                TokenIssued => done.verified || failed.is_some_and(|failure| failure.condition == Verified),
                Verified => done.verified,
                _ => false,
            };
            (passed || holds.is_some()).then(|| good(stage, desired, holds))
        })
        .collect()
}

fn good(stage: ConditionType, desired: &Desired, holding: Option<&Holding>) -> Finding {
    let (reason, message) = match stage {
        CredentialsAvailable => {
            (Reason::CredentialsFound, format!("The credential was read from Secret {}.", desired.credential_secret))
        }
        TokenIssued => {
            let granted = holding.and_then(|holding| holding.scopes.as_deref());
            let short = not_granted(&desired.scopes, granted);
            let short =
                short.map(|missing| format!(" It did not grant the scopes {missing}: add them to the OAuth client."));
            let message = format!("{} issued a token.{}", desired.tenant.authority(), short.unwrap_or_default());
            match desired.method {
                Method::ApiKey { .. } => {
                    let secret = &desired.credential_secret;
                    (Reason::ApiKeyProvided, format!("The API key of Secret {secret} is used; it is never renewed."))
                }
                _ => (Reason::TokenIssued, bounded(message)),
            }
        }
        Verified => {
            let identity = holding.and_then(|holding| holding.identity.as_ref());
            let message = identity.and_then(Identity::in_words).map(|who| format!("The token acts as {who}."));
            let message = message.unwrap_or_else(|| "The tenant confirmed the token.".into());
            (Reason::IdentityConfirmed, bounded(message))
        }
        _ => (Reason::SecretPublished, format!("Secret {} holds the token.", desired.target_name)),
    };
    Finding { condition: stage, good: true, reason, message }
}

fn readiness(desired: &Desired, done: &Done, now: Timestamp) -> Finding {
    let name = &desired.target_name;
    let finding = |good, reason, message| Finding { condition: Ready, good, reason, message };
    let holding = done.holding.as_ref();
    let fitting = holding.filter(|holding| holding.fits);
    let working = fitting.filter(|holding| holding.expires_at.is_none_or(|end| end > now));
    let until = |holding: &Holding| holding.expires_at.map_or(String::new(), |end| format!(" until {end}"));
    if desired.suspend {
        return match working {
            Some(token) => finding(
                true,
                Reason::Suspended,
                format!(
                    "Suspended; the token in Secret {name} works{}. Set spec.suspend to false to have it renewed.",
                    until(token)
                ),
            ),
            None => finding(
                false,
                Reason::Suspended,
                format!(
                    "Suspended, and Secret {name} holds no token that works. Set spec.suspend to false to get one."
                ),
            ),
        };
    }
    match (&done.failure, working, fitting, holding) {
        (None, Some(token), ..) => {
            finding(true, Reason::TokenValid, format!("Secret {name} holds a verified token{}.", until(token)))
        }
        (Some(failure), Some(token), ..) => finding(
            true,
            Reason::RenewalFailing,
            bounded(format!(
                "The token in Secret {name} works{}, but its renewal fails. {}",
                until(token),
                failure.message
            )),
        ),
        (failure, None, Some(token), _) => {
            let cause = failure.as_ref().map(|failure| failure.message.as_str()).unwrap_or_default();
            let ended = token.expires_at.map_or(String::new(), |end| format!(" at {end}"));
            let message = format!("The token in Secret {name} expired{ended}. {cause}");
            finding(false, Reason::TokenExpired, bounded(message.trim_end().to_owned()))
        }
        (Some(failure), None, None, Some(_)) => finding(
            false,
            failure.reason,
            bounded(format!(
                "{} Secret {name} still holds an earlier token, which does not fit this spec or no longer works.",
                failure.message
            )),
        ),
        (Some(failure), None, None, None) => finding(false, failure.reason, failure.message.clone()),
        (None, None, None, _) => {
            finding(false, Reason::TokenExpired, format!("Secret {name} holds no token that works."))
        }
    }
}

fn bounded(message: String) -> String {
    Failure::new(Ready, Reason::TokenValid, message).message
}

fn conditions(
    context: &QlikContext,
    findings: Vec<Finding>,
    failure: Option<&Failure>,
    now: Timestamp,
) -> Vec<Condition> {
    let before = context.status.as_ref().map(|status| &status.conditions[..]).unwrap_or_default();
    let make = |condition: ConditionType, good: bool, reason: String, message: String| {
        let (type_, status) = (condition.to_string(), if good { "True" } else { "False" }.to_owned());
        let unchanged = before.iter().find(|old| old.type_ == type_ && old.status == status);
        let last_transition_time = unchanged.map_or(Time(now), |old| old.last_transition_time.clone());
        let observed_generation = context.metadata.generation;
        Condition { type_, status, reason, message, last_transition_time, observed_generation }
    };
    let kstatus = findings.iter().find(|finding| finding.condition == Ready && !finding.good).and_then(|ready| {
        if ready.reason == Reason::Suspended {
            return None;
        }
        let stalled = failure.is_some_and(|failure| failure.stalled);
        let condition = if stalled { Stalled } else { Reconciling };
        Some(make(condition, true, ready.reason.to_string(), ready.message.clone()))
    });
    let judged = findings
        .into_iter()
        .map(|finding| make(finding.condition, finding.good, finding.reason.to_string(), finding.message));
    judged.chain(kstatus).collect()
}

fn token_status(holding: &Holding) -> TokenStatus {
    TokenStatus {
        issued_at: Some(Time(holding.issued_at)),
        expires_at: holding.expires_at.map(Time),
        renewal_time: holding.renewal_time.map(Time),
        scopes: holding.scopes.clone(),
    }
}

fn failure_status(setback: &Setback) -> FailureStatus {
    FailureStatus {
        count: i32::try_from(setback.count).unwrap_or(i32::MAX),
        last_time: Time(setback.last),
        next_attempt_time: Some(Time(setback.next)),
        reason: setback.failure.reason.to_string(),
        trace_id: setback.failure.trace_id.clone(),
    }
}

#[cfg(test)]
mod tests;
