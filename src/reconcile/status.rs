//! Makes the status of a context. Pure.
//!
//! The same finding makes the same status, to the byte, so that nothing is written when nothing changed.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::ConditionType::{
    self, CredentialsAvailable, Ready, SecretSynced, TokenIssued, Verified, WorkloadsSynced,
};
use crate::api::condition::Class;
use crate::api::v1alpha1::{
    FailureStatus, IdentityStatus, QlikContextStatus, TargetStatus, TokenStatus, WorkloadsStatus,
};
use crate::api::{QlikContext, Reason};
use crate::clock::Timestamp;
use crate::conditions::{Finding, conditions};
use crate::desired::{Desired, Method, not_granted};
use crate::error::{Failure, bounded};
use crate::oauth::identity::Identity;
use crate::oauth::lifetime::until;
use crate::retry;
use crate::values::{Backoff, Holds, Next, Outcome, Problem, Published, Serving};

/// The shortest wait between two runs that nothing wakes.
const SOON: Duration = Duration::from_secs(1);

/// The status of a context after a run with a result. `credential`: whether the credential Secret could be used, or why not;
/// `handled`: the last refresh request whose token is in the Secret; `permitted`: the operator may refresh and restart workloads.
pub fn status(
    context: &QlikContext,
    desired: &Desired,
    credential: Result<(), &Failure>,
    outcome: &Outcome,
    handled: Option<String>,
    permitted: bool,
    now: Timestamp,
) -> QlikContextStatus {
    let holds = outcome.holds().unwrap_or(Holds::Nothing);
    let problem = outcome.problem();
    let mut findings = stages(desired, credential, outcome, &holds);
    findings.push(readiness(desired, outcome, &holds, now));
    let published = holds.published();
    let mut conditions = of(context, findings, problem.map(|problem| &problem.failure), now);
    let (workloads, synced) = of_workloads(context, desired, permitted, now);
    conditions.extend(synced);
    QlikContextStatus {
        observed_generation: context.metadata.generation,
        conditions,
        identity: published.and_then(|published| published.identity.as_ref()).map(IdentityStatus::from),
        token: published.map(token_status),
        target: Some(TargetStatus { name: desired.target_name.clone() }),
        last_handled_refresh_request: handled,
        failure: problem.and_then(|problem| problem.backoff.as_ref()).map(failure_status),
        workloads,
    }
}

/// The finding that the operator does nothing about workloads, with who changes that.
pub fn workloads_not_permitted() -> Finding {
    Finding {
        condition: WorkloadsSynced,
        good: false,
        reason: Reason::NotPermitted,
        message: "The operator has no permissions for the Pods and workloads of this namespace. Set workloads.enabled to true \
                  in the operator's chart, or remove spec.workloads."
            .into(),
    }
}

/// The status of a context whose spec is not valid.
pub fn invalid(context: &QlikContext, failure: &Failure, now: Timestamp) -> QlikContextStatus {
    let before = context.status.clone().unwrap_or_default();
    let finding = Finding { condition: Ready, good: false, reason: failure.reason, message: failure.message.clone() };
    QlikContextStatus {
        observed_generation: context.metadata.generation,
        conditions: of(context, vec![finding], Some(failure), now),
        failure: None,
        workloads: None,
        ..before
    }
}

/// When the next run is due at the latest; `None`: the scheduler wakes the context.
pub fn next_run(outcome: &Outcome, next: &Next, now: Timestamp, jitter: f64) -> Option<Duration> {
    let published = outcome.holds().and_then(|holds| holds.published().cloned());
    let expiry = published.as_ref().and_then(|published| published.expires_at).filter(|end| *end > now);
    // A token that expires changes the status even if nothing else happens.
    let times = [next.due, expiry];
    let times = if next.parked {
        // A request that is due waits for its turn; one that becomes due meanwhile does not.
        let renewal = published.and_then(|published| published.renewal_time);
        times.into_iter().chain([renewal]).flatten().filter(|time| *time > now).min()
    } else {
        times.into_iter().flatten().min()
    };
    let retry = next.retry.map(|(class, count)| {
        let left = expiry.map(|expiry| until(expiry, now));
        retry::delay(class, count, None, left.map_or(Serving::Nothing, |left| Serving::Working(Some(left))), jitter)
    });
    let at = times.map(|time| until(time, now).max(SOON));
    let first = [at, retry, next.within].into_iter().flatten().min();
    match (first, next.parked) {
        (None, false) => Some(retry::delay(Class::User, 1, None, Serving::Nothing, jitter)),
        (first, _) => first,
    }
}

fn stages(desired: &Desired, credential: Result<(), &Failure>, outcome: &Outcome, holds: &Holds) -> Vec<Finding> {
    let problem = outcome.problem();
    let failed = problem.map(|problem| &problem.failure);
    let verified = problem.is_some_and(|problem| problem.verified);
    let holds = holds.fitting();
    [CredentialsAvailable, TokenIssued, Verified, SecretSynced]
        .into_iter()
        .filter_map(|stage| {
            // A finding of this run takes precedence over what the held token passed before.
            let unread = credential.err().filter(|_| stage == CredentialsAvailable);
            if let Some(failure) = unread.or(failed.filter(|failure| failure.condition == stage)) {
                return Some(Finding {
                    condition: stage,
                    good: false,
                    reason: failure.reason,
                    message: failure.message.clone(),
                });
            }
            // Passed in this run, or the token that passed it is in the Secret. A condition that was not reached is left out.
            let passed = match stage {
                CredentialsAvailable => true,
                TokenIssued => verified || failed.is_some_and(|failure| failure.condition == Verified),
                Verified => verified,
                _ => false,
            };
            (passed || holds.is_some()).then(|| good(stage, desired, holds))
        })
        .collect()
}

fn good(stage: ConditionType, desired: &Desired, holding: Option<&Published>) -> Finding {
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

fn readiness(desired: &Desired, outcome: &Outcome, holds: &Holds, now: Timestamp) -> Finding {
    let name = &desired.target_name;
    let finding = |good, reason, message: String| Finding { condition: Ready, good, reason, message: bounded(message) };
    let fitting = holds.fitting();
    let working = fitting.filter(|token| token.is_live(now));
    let until = |token: &Published| token.expires_at.map_or(String::new(), |end| format!(" until {end}"));
    match (outcome, working) {
        (Outcome::Suspended(_), Some(token)) => finding(
            true,
            Reason::Suspended,
            format!(
                "Suspended; the token in Secret {name} works{}. Set spec.suspend to false to have it renewed.",
                until(token)
            ),
        ),
        (Outcome::Suspended(_), None) => finding(
            false,
            Reason::Suspended,
            format!("Suspended, and Secret {name} holds no token that works. Set spec.suspend to false to get one."),
        ),
        (Outcome::Deleting(_), Some(token)) => finding(
            true,
            Reason::TokenValid,
            format!(
                "This QlikContext is being deleted, so nothing is renewed; the token in Secret {name} works{}. If it stays, \
                 look at metadata.finalizers.",
                until(token)
            ),
        ),
        (Outcome::Deleting(_), None) => finding(
            false,
            Reason::TokenExpired,
            format!(
                "This QlikContext is being deleted, and Secret {name} holds no token that works. If it stays, look at \
                 metadata.finalizers."
            ),
        ),
        (Outcome::Ready(_) | Outcome::Unchanged, Some(token)) => {
            finding(true, Reason::TokenValid, format!("Secret {name} holds a verified token{}.", until(token)))
        }
        (Outcome::Failing { problem, .. }, Some(token)) => finding(
            true,
            Reason::RenewalFailing,
            format!("The token in Secret {name} works{}, but {}", until(token), renewal_fails(problem)),
        ),
        (outcome, None) => not_ready(name, outcome.problem(), holds, finding),
    }
}

/// Half a sentence and the cause.
fn renewal_fails(problem: &Problem) -> String {
    format!("its renewal fails. {}", problem.failure.message)
}

fn not_ready(
    name: &str,
    problem: Option<&Problem>,
    holds: &Holds,
    finding: impl Fn(bool, Reason, String) -> Finding,
) -> Finding {
    let cause = problem.map(|problem| problem.failure.message.as_str()).unwrap_or_default();
    match (problem, holds) {
        (_, Holds::Fitting(token)) => {
            let ended = token.expires_at.map_or(String::new(), |end| format!(" at {end}"));
            let message = format!("The token in Secret {name} expired{ended}. {cause}");
            finding(false, Reason::TokenExpired, message.trim_end().to_owned())
        }
        (Some(problem), Holds::Other(_)) => finding(
            false,
            problem.failure.reason,
            format!(
                "{cause} Secret {name} still holds an earlier token, which does not fit this spec or no longer works."
            ),
        ),
        (Some(problem), Holds::Nothing) => finding(false, problem.failure.reason, cause.to_owned()),
        (None, _) => finding(false, Reason::TokenExpired, format!("Secret {name} holds no token that works.")),
    }
}

fn of(context: &QlikContext, findings: Vec<Finding>, failure: Option<&Failure>, now: Timestamp) -> Vec<Condition> {
    let before = context.status.as_ref().map(|status| &status.conditions[..]).unwrap_or_default();
    conditions(before, context.metadata.generation, findings, failure, now)
}

/// What is said of workloads is found beside the runs, and kept by them.
fn of_workloads(
    context: &QlikContext,
    desired: &Desired,
    permitted: bool,
    now: Timestamp,
) -> (Option<WorkloadsStatus>, Vec<Condition>) {
    if desired.workloads.is_none() {
        return (None, Vec::new());
    }
    if !permitted {
        return (None, of(context, vec![workloads_not_permitted()], None, now));
    }
    let before = context.status.iter().flat_map(|status| &status.conditions);
    let synced = before.filter(|condition| condition.type_ == WorkloadsSynced.to_string()).cloned().collect();
    (context.status.as_ref().and_then(|status| status.workloads.clone()), synced)
}

fn token_status(holding: &Published) -> TokenStatus {
    TokenStatus {
        issued_at: Some(Time(holding.issued_at)),
        expires_at: holding.expires_at.map(Time),
        renewal_time: holding.renewal_time.map(Time),
        scopes: holding.scopes.clone(),
    }
}

fn failure_status(backoff: &Backoff) -> FailureStatus {
    FailureStatus {
        count: i32::try_from(backoff.count).unwrap_or(i32::MAX),
        last_time: Time(backoff.last),
        next_attempt_time: Some(Time(backoff.next)),
        reason: backoff.failure.reason.to_string(),
        trace_id: backoff.failure.trace_id.clone(),
    }
}

#[cfg(test)]
mod tests;
