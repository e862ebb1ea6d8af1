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
        // As short as it is: places in a queue are less than a second apart.
        Some(turn) => expires.map_or(turn, |expires| turn.min(expires.max(soon))),
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
            let message =
                identity.map(|identity| format!("The token acts as {} ({}).", identity.name, identity.user_id));
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
mod tests {
    use super::*;
    use crate::clock::SignedDuration;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_305_600 + second).unwrap()
    }

    fn context(changes: &Value) -> QlikContext {
        let auth = json!({"clientSecret": {"secretRef": {"name": "oauth"}}});
        let mut spec = json!({"tenantUrl": "https://acme.eu.qlikcloud.com", "auth": auth});
        spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let metadata = json!({"name": "acme", "generation": 3});
        let context = json!({
            "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext", "metadata": metadata, "spec": spec
        });
        serde_json::from_value(context).unwrap()
    }

    /// A token that ends so many seconds from now.
    fn holding(left: i64, fits: bool) -> Holding {
        let (expires_at, renewal_time) = (Some(at(left)), Some(at(left - 180)));
        Holding { identity: None, issued_at: at(left - 21600), expires_at, renewal_time, scopes: None, fits }
    }

    fn failure(condition: ConditionType, reason: Reason) -> Failure {
        Failure::new(condition, reason, format!("It is {reason}."))
    }

    fn judged(context: &QlikContext, done: &Done) -> QlikContextStatus {
        status(context, &Desired::parse(context).unwrap(), Ok(()), done, at(0))
    }

    /// `Type=Status/Reason`, in order.
    fn said(status: &QlikContextStatus) -> Vec<String> {
        let words = |held: &Condition| format!("{}={}/{}", held.type_, held.status, held.reason);
        status.conditions.iter().map(words).collect()
    }

    /// What is said from `Ready` on.
    fn whole(context: &QlikContext, done: &Done) -> String {
        let said = said(&judged(context, done));
        said.into_iter().skip_while(|said| !said.starts_with("Ready")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_context_is_ready_exactly_while_its_token_works() {
        let refused = || Some(failure(TokenIssued, Reason::InvalidClient));
        let limited = || Some(failure(TokenIssued, Reason::RateLimited));
        for (failure, holding, expected) in [
            (None, Some(holding(60, true)), "Ready=True/TokenValid"),
            (limited(), Some(holding(60, true)), "Ready=True/RenewalFailing"),
            (refused(), Some(holding(60, true)), "Ready=True/RenewalFailing"),
            (limited(), Some(holding(0, true)), "Ready=False/TokenExpired Reconciling=True/TokenExpired"),
            (refused(), Some(holding(-1, true)), "Ready=False/TokenExpired Stalled=True/TokenExpired"),
            (None, Some(holding(0, true)), "Ready=False/TokenExpired Reconciling=True/TokenExpired"),
            (limited(), Some(holding(60, false)), "Ready=False/RateLimited Reconciling=True/RateLimited"),
            (refused(), Some(holding(60, false)), "Ready=False/InvalidClient Stalled=True/InvalidClient"),
            (refused(), None, "Ready=False/InvalidClient Stalled=True/InvalidClient"),
            (limited(), None, "Ready=False/RateLimited Reconciling=True/RateLimited"),
            (None, None, "Ready=False/TokenExpired Reconciling=True/TokenExpired"),
        ] {
            let done = Done { holding, failure, ..Done::default() };
            assert_eq!(whole(&context(&json!({})), &done), expected);
            let resting =
                if expected.starts_with("Ready=True") { "Ready=True/Suspended" } else { "Ready=False/Suspended" };
            assert_eq!(whole(&context(&json!({"suspend": true})), &done), resting);
        }
    }

    #[test]
    fn each_stage_is_told_as_far_as_it_was_judged() {
        let all = ["CredentialsAvailable=True/CredentialsFound", "TokenIssued=True/TokenIssued"];
        let verified = "Verified=True/IdentityConfirmed";
        for (condition, reason, verified_now, stages) in [
            (CredentialsAvailable, Reason::KeyNotFound, false, vec!["CredentialsAvailable=False/KeyNotFound"]),
            (TokenIssued, Reason::RateLimited, false, vec![all[0], "TokenIssued=False/RateLimited"]),
            (Verified, Reason::TokenRejected, false, vec![all[0], all[1], "Verified=False/TokenRejected"]),
            (
                SecretSynced,
                Reason::WriteRejected,
                true,
                vec![all[0], all[1], verified, "SecretSynced=False/WriteRejected"],
            ),
            (SecretSynced, Reason::SecretNotOwned, false, vec![all[0], "SecretSynced=False/SecretNotOwned"]),
        ] {
            let done = Done { failure: Some(failure(condition, reason)), verified: verified_now, ..Done::default() };
            let mut said = said(&judged(&context(&json!({})), &done));
            said.retain(|said| {
                !said.starts_with("Ready") && !said.starts_with("Reconciling") && !said.starts_with("Stalled")
            });
            assert_eq!(said, stages);
        }
        // A token that is there has passed them all once; what was read just now is told first.
        let done = Done { holding: Some(holding(60, true)), ..Done::default() };
        let context = context(&json!({}));
        let synced = "SecretSynced=True/SecretPublished";
        assert_eq!(said(&judged(&context, &done))[..4], [all[0], all[1], verified, synced]);
        let gone = failure(CredentialsAvailable, Reason::SecretNotFound);
        let status = status(&context, &Desired::parse(&context).unwrap(), Err(&gone), &done, at(0));
        assert_eq!(said(&status)[..2], ["CredentialsAvailable=False/SecretNotFound", all[1]]);
    }

    #[test]
    fn a_transition_time_moves_only_with_the_status_and_an_equal_finding_is_equal_to_the_byte() {
        let mut context = context(&json!({}));
        let good = Done { holding: Some(holding(60, true)), ..Done::default() };
        let desired = Desired::parse(&context).unwrap();
        let first = status(&context, &desired, Ok(()), &good, at(-20));
        context.status = Some(first.clone());
        assert_eq!(status(&context, &desired, Ok(()), &good, at(-10)), first);
        let failing = Done { failure: Some(failure(TokenIssued, Reason::RateLimited)), ..good };
        let later = status(&context, &desired, Ok(()), &failing, at(0));
        for held in &later.conditions {
            let moved = held.type_ == "TokenIssued";
            assert_eq!(held.last_transition_time.0, at(if moved { 0 } else { -20 }), "{}", held.type_);
            assert_eq!(held.observed_generation, Some(3));
        }
    }

    #[test]
    fn a_spec_that_is_not_understood_keeps_what_is_known_of_the_token() {
        let mut context = context(&json!({}));
        let done = Done { holding: Some(holding(60, true)), handled: Some("once".into()), ..Done::default() };
        context.status = Some(judged(&context, &done));
        let status = invalid(&context, &failure(Ready, Reason::SpecInvalid), at(0));
        assert_eq!(said(&status), ["Ready=False/SpecInvalid", "Stalled=True/SpecInvalid"]);
        assert!(status.token.is_some() && status.last_handled_refresh_request.is_some());
    }

    #[test]
    fn the_next_run_is_when_something_changes() {
        let setback = |next| Setback {
            failure: failure(TokenIssued, Reason::RateLimited),
            count: 1,
            last: at(0),
            next: at(next),
        };
        let failed = |condition, reason| Done { failure: Some(failure(condition, reason)), ..Done::default() };
        let renewed = |holding| Done { holding: Some(holding), ..Done::default() };
        let stuck = Failure::new(SecretSynced, Reason::SecretNotOwned, "").waiting();
        for (done, seconds) in [
            (renewed(holding(1000, true)), 820),
            (Done { due: Some(at(30)), ..renewed(holding(1000, true)) }, 30),
            (Done { due: Some(at(-30)), ..renewed(holding(1000, true)) }, 1),
            (Done { holding: Some(Holding { renewal_time: None, ..holding(1000, true) }), ..Done::default() }, 1000),
            (Done { setback: Some(setback(40)), ..failed(TokenIssued, Reason::RateLimited) }, 40),
            (
                Done {
                    holding: Some(holding(20, true)),
                    setback: Some(setback(40)),
                    ..failed(TokenIssued, Reason::RateLimited)
                },
                20,
            ),
            (failed(CredentialsAvailable, Reason::KeyNotFound), 600),
            (failed(SecretSynced, Reason::SecretNotOwned), 600),
            (failed(SecretSynced, Reason::WriteRejected), 16),
            (Done { failure: Some(stuck), ..Done::default() }, 16),
            (Done { holding: Some(holding(1000, true)), ..failed(CredentialsAvailable, Reason::KeyNotFound) }, 250),
            (Done { holding: Some(holding(-5, true)), ..failed(CredentialsAvailable, Reason::KeyNotFound) }, 600),
            (Done::default(), 600),
        ] {
            assert_eq!(next_run(&done, at(0), 0.0), Duration::from_secs(seconds));
        }
    }

    proptest! {
        #[test]
        fn no_run_is_put_off_for_ever_or_to_at_once(
            left in any::<i32>(), due in prop::option::of(any::<i32>()), jitter in 0.0f64..1.0, fits in any::<bool>()
        ) {
            let due = due.map(|due| at(0) + SignedDuration::from_secs(due.into()));
            let done = Done { holding: Some(holding(left.into(), fits)), due, ..Done::default() };
            let wait = next_run(&done, at(0), jitter);
            prop_assert!(wait >= Duration::from_secs(1) && wait <= Duration::from_secs(i32::MAX.unsigned_abs().into()));
        }
    }
}
