//! The status for every finding.

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

/// A token that expires so many seconds from now.
fn published(left: i64) -> Published {
    let (expires_at, renewal_time) = (Some(at(left)), Some(at(left - 180)));
    Published { identity: None, issued_at: at(left - 21600), expires_at, renewal_time, scopes: None }
}

fn fitting(left: i64) -> Holds {
    Holds::Fitting(published(left))
}

fn ready(left: i64) -> Outcome {
    Outcome::Ready(published(left))
}

fn failing(holds: Holds, failure: Failure) -> Outcome {
    Outcome::Failing { holds, problem: Problem { failure, backoff: None, verified: false } }
}

fn failing_with(holds: Holds, backoff: Backoff) -> Outcome {
    let failure = backoff.failure.clone();
    Outcome::Failing { holds, problem: Problem { failure, backoff: Some(backoff), verified: false } }
}

fn failure(condition: ConditionType, reason: Reason) -> Failure {
    Failure::new(condition, reason, format!("It is {reason}."))
}

fn new_status(context: &QlikContext, outcome: &Outcome) -> QlikContextStatus {
    status(context, &Desired::parse(context).unwrap(), Ok(()), outcome, None, true, at(0))
}

/// `Type=Status/Reason`, in order.
fn said(status: &QlikContextStatus) -> Vec<String> {
    let words = |held: &Condition| format!("{}={}/{}", held.type_, held.status, held.reason);
    status.conditions.iter().map(words).collect()
}

/// `Ready` and the conditions after it.
fn overall(context: &QlikContext, outcome: &Outcome) -> String {
    let said = said(&new_status(context, outcome));
    said.into_iter().skip_while(|said| !said.starts_with("Ready")).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_context_is_ready_exactly_while_its_token_works() {
    let refused = || failure(TokenIssued, Reason::InvalidClient);
    let limited = || failure(TokenIssued, Reason::RateLimited);
    for (outcome, expected) in [
        (ready(60), "Ready=True/TokenValid"),
        (failing(fitting(60), limited()), "Ready=True/RenewalFailing"),
        (failing(fitting(60), refused()), "Ready=True/RenewalFailing"),
        (failing(fitting(0), limited()), "Ready=False/TokenExpired Reconciling=True/TokenExpired"),
        (failing(fitting(-1), refused()), "Ready=False/TokenExpired Stalled=True/TokenExpired"),
        (ready(0), "Ready=False/TokenExpired Reconciling=True/TokenExpired"),
        (failing(Holds::Other(published(60)), limited()), "Ready=False/RateLimited Reconciling=True/RateLimited"),
        (failing(Holds::Other(published(60)), refused()), "Ready=False/InvalidClient Stalled=True/InvalidClient"),
        (failing(Holds::Nothing, refused()), "Ready=False/InvalidClient Stalled=True/InvalidClient"),
        (failing(Holds::Nothing, limited()), "Ready=False/RateLimited Reconciling=True/RateLimited"),
        (Outcome::Deleting(fitting(60)), "Ready=True/TokenValid"),
        (Outcome::Deleting(fitting(0)), "Ready=False/TokenExpired Reconciling=True/TokenExpired"),
    ] {
        assert_eq!(overall(&context(&json!({})), &outcome), expected);
        let suspended = Outcome::Suspended(outcome.holds().unwrap());
        let resting = if expected.starts_with("Ready=True") { "Ready=True/Suspended" } else { "Ready=False/Suspended" };
        assert_eq!(overall(&context(&json!({"suspend": true})), &suspended), resting);
    }
}

#[test]
fn each_stage_is_reported_as_far_as_it_was_evaluated() {
    let all = ["CredentialsAvailable=True/CredentialsFound", "TokenIssued=True/TokenIssued"];
    let verified = "Verified=True/IdentityConfirmed";
    for (condition, reason, verified_now, stages) in [
        (CredentialsAvailable, Reason::KeyNotFound, false, vec!["CredentialsAvailable=False/KeyNotFound"]),
        (TokenIssued, Reason::RateLimited, false, vec![all[0], "TokenIssued=False/RateLimited"]),
        (Verified, Reason::TokenRejected, false, vec![all[0], all[1], "Verified=False/TokenRejected"]),
        (SecretSynced, Reason::WriteRejected, true, vec![all[0], all[1], verified, "SecretSynced=False/WriteRejected"]),
        (SecretSynced, Reason::SecretNotOwned, false, vec![all[0], "SecretSynced=False/SecretNotOwned"]),
    ] {
        let problem = Problem { failure: failure(condition, reason), backoff: None, verified: verified_now };
        let outcome = Outcome::Failing { holds: Holds::Nothing, problem };
        let mut said = said(&new_status(&context(&json!({})), &outcome));
        said.retain(|said| {
            !said.starts_with("Ready") && !said.starts_with("Reconciling") && !said.starts_with("Stalled")
        });
        assert_eq!(said, stages);
    }
    // The held token has passed all conditions once; a finding of this run takes precedence.
    let outcome = ready(60);
    let context = context(&json!({}));
    let synced = "SecretSynced=True/SecretPublished";
    assert_eq!(said(&new_status(&context, &outcome))[..4], [all[0], all[1], verified, synced]);
    let gone = failure(CredentialsAvailable, Reason::SecretNotFound);
    let status = status(&context, &Desired::parse(&context).unwrap(), Err(&gone), &outcome, None, true, at(0));
    assert_eq!(said(&status)[..2], ["CredentialsAvailable=False/SecretNotFound", all[1]]);
}

#[test]
fn a_transition_time_moves_only_with_the_status_and_an_equal_finding_is_equal_to_the_byte() {
    let mut context = context(&json!({}));
    let good = ready(60);
    let desired = Desired::parse(&context).unwrap();
    let first = status(&context, &desired, Ok(()), &good, None, true, at(-20));
    context.status = Some(first.clone());
    assert_eq!(status(&context, &desired, Ok(()), &good, None, true, at(-10)), first);
    let failing = failing(fitting(60), failure(TokenIssued, Reason::RateLimited));
    let later = status(&context, &desired, Ok(()), &failing, None, true, at(0));
    for held in &later.conditions {
        let moved = held.type_ == "TokenIssued";
        assert_eq!(held.last_transition_time.0, at(if moved { 0 } else { -20 }), "{}", held.type_);
        assert_eq!(held.observed_generation, Some(3));
    }
    context.status = Some(later.clone());
    assert_eq!(status(&context, &desired, Ok(()), &failing, None, true, at(10)), later);
}

#[test]
fn a_spec_that_is_not_understood_keeps_what_is_known_of_the_token() {
    let mut context = context(&json!({}));
    let backoff = Backoff { failure: failure(TokenIssued, Reason::RateLimited), count: 1, last: at(0), next: at(9) };
    let before = new_status(&context, &failing_with(fitting(60), backoff));
    let last_handled_refresh_request = Some("once".into());
    context.status = Some(QlikContextStatus { observed_generation: Some(2), last_handled_refresh_request, ..before });
    let status = invalid(&context, &failure(Ready, Reason::SpecInvalid), at(0));
    assert_eq!(said(&status), ["Ready=False/SpecInvalid", "Stalled=True/SpecInvalid"]);
    assert!(status.token.is_some() && status.last_handled_refresh_request.is_some());
    assert_eq!((status.observed_generation, status.failure), (Some(3), None));
}

#[test]
fn the_status_shows_identity_and_times_of_the_token_and_what_failed() {
    let identity = IdentityStatus {
        user_id: "u".into(),
        name: "Ada ".repeat(200),
        subject: "s".into(),
        client_id: None,
        tenant_id: "t".into(),
    };
    let token = Published { identity: Some((&identity).into()), scopes: Some(vec!["a".into()]), ..published(60) };
    let limited = Failure { trace_id: Some("trace".into()), ..failure(TokenIssued, Reason::RateLimited) };
    let backoff = Backoff { failure: limited, count: u32::MAX, last: at(-1), next: at(9) };
    let outcome = failing_with(Holds::Fitting(token.clone()), backoff);
    let context = context(&json!({"scopes": ["a", "b"]}));
    let status = new_status(&context, &outcome);
    let (issued_at, expires_at) = (Some(Time(at(60 - 21600))), Some(Time(at(60))));
    let renewal_time = Some(Time(at(60 - 180)));
    assert_eq!(status.token, Some(TokenStatus { issued_at, expires_at, renewal_time, scopes: Some(vec!["a".into()]) }));
    assert_eq!(status.identity, Some(identity));
    assert_eq!(status.target.as_ref().unwrap().name, "acme-token");
    let failure = status.failure.clone().unwrap();
    assert_eq!((failure.count, failure.last_time.0), (i32::MAX, at(-1)));
    assert_eq!((failure.next_attempt_time, failure.trace_id), (Some(Time(at(9))), Some("trace".into())));
    let message = |type_: &str| status.conditions.iter().find(|held| held.type_ == type_).unwrap().message.clone();
    assert!(message("Verified").starts_with("The token acts as Ada Ada") && message("Verified").len() == 512);
    assert!(message("Ready").ends_with("but its renewal fails. It is RateLimited."), "{}", message("Ready"));
    let granted = new_status(&context, &Outcome::Ready(token)).conditions[1].message.clone();
    assert!(granted.ends_with("It did not grant the scopes b: add them to the OAuth client."), "{granted}");
}

#[test]
fn an_api_key_is_provided_and_not_issued() {
    let context = context(&json!({"auth": {"apiKey": {"secretRef": {"name": "key"}}}}));
    let key = Published { expires_at: None, renewal_time: None, ..published(60) };
    let status = new_status(&context, &Outcome::Ready(key));
    assert_eq!(said(&status)[1], "TokenIssued=True/ApiKeyProvided");
    assert_eq!(status.conditions[4].message, "Secret acme-token holds a verified token.");
}

#[test]
fn the_next_run_is_when_something_changes() {
    let due = |second| Next { due: Some(at(second)), ..Next::default() };
    let parked = |due: Option<i64>| Next { due: due.map(at), parked: true, ..Next::default() };
    let retry = |class, count| Next { retry: Some((class, count)), ..Next::default() };
    let missing = |holds| failing(holds, failure(CredentialsAvailable, Reason::KeyNotFound));
    for (outcome, next, seconds) in [
        (ready(1000), due(820), Some(820)),
        (ready(1000), due(-30), Some(1)),
        (ready(1000), Next::default(), Some(1000)),
        (ready(1000), parked(Some(-30)), Some(820)),
        (ready(1000), parked(Some(30)), Some(30)),
        (ready(100), parked(None), Some(100)),
        (ready(-1), parked(None), None),
        (missing(Holds::Nothing), retry(Class::User, 5), Some(600)),
        (missing(Holds::Nothing), Next { within: Some(Duration::from_mins(1)), ..retry(Class::User, 5) }, Some(60)),
        (missing(Holds::Nothing), retry(Class::Cluster, 5), Some(16)),
        (missing(fitting(1000)), retry(Class::User, 5), Some(250)),
        (missing(fitting(0)), retry(Class::User, 5), Some(600)),
        (Outcome::Unchanged, Next::default(), Some(600)),
        (Outcome::Unchanged, parked(None), None),
    ] {
        assert_eq!(next_run(&outcome, &next, at(0), 0.0), seconds.map(Duration::from_secs), "{outcome:?} {next:?}");
    }
}

proptest! {
    #[test]
    fn the_next_run_is_never_at_once_and_never_after_a_known_deadline(
        left in any::<i32>(), due in prop::option::of(any::<i32>()), jitter in 0.0f64..1.0
    ) {
        let next = Next { due: due.map(|due| at(0) + SignedDuration::from_secs(due.into())), ..Next::default() };
        let wait = next_run(&ready(left.into()), &next, at(0), jitter).unwrap();
        prop_assert!(wait >= Duration::from_secs(1));
        for second in due.into_iter().chain((left > 0).then_some(left)) {
            prop_assert!(wait <= Duration::from_secs(second.max(1).unsigned_abs().into()), "{wait:?} {second}");
        }
    }
}
