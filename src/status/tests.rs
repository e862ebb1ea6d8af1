//! What is said of every finding.

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
        let resting = if expected.starts_with("Ready=True") { "Ready=True/Suspended" } else { "Ready=False/Suspended" };
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
        (SecretSynced, Reason::WriteRejected, true, vec![all[0], all[1], verified, "SecretSynced=False/WriteRejected"]),
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
    context.status = Some(later.clone());
    assert_eq!(status(&context, &desired, Ok(()), &failing, at(10)), later);
}

#[test]
fn a_spec_that_is_not_understood_keeps_what_is_known_of_the_token() {
    let mut context = context(&json!({}));
    let setback = Setback { failure: failure(TokenIssued, Reason::RateLimited), count: 1, last: at(0), next: at(9) };
    let holding = Some(holding(60, true));
    let done = Done { holding, setback: Some(setback), handled: Some("once".into()), ..Done::default() };
    context.status = Some(QlikContextStatus { observed_generation: Some(2), ..judged(&context, &done) });
    let status = invalid(&context, &failure(Ready, Reason::SpecInvalid), at(0));
    assert_eq!(said(&status), ["Ready=False/SpecInvalid", "Stalled=True/SpecInvalid"]);
    assert!(status.token.is_some() && status.last_handled_refresh_request.is_some());
    assert_eq!((status.observed_generation, status.failure), (Some(3), None));
}

#[test]
fn the_status_shows_whose_the_token_is_its_times_and_what_failed() {
    let identity = IdentityStatus {
        user_id: "u".into(),
        name: "Ada ".repeat(200),
        subject: "s".into(),
        client_id: None,
        tenant_id: "t".into(),
    };
    let held = Holding { identity: Some((&identity).into()), scopes: Some(vec!["a".into()]), ..holding(60, true) };
    let limited = Failure { trace_id: Some("trace".into()), ..failure(TokenIssued, Reason::RateLimited) };
    let setback = Setback { failure: limited.clone(), count: u32::MAX, last: at(-1), next: at(9) };
    let done = Done { holding: Some(held), failure: Some(limited), setback: Some(setback), ..Done::default() };
    let context = context(&json!({"scopes": ["a", "b"]}));
    let status = judged(&context, &done);
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
    let granted = judged(&context, &Done { failure: None, ..done }).conditions[1].message.clone();
    assert!(granted.ends_with("It did not grant the scopes b: add them to the OAuth client."), "{granted}");
}

#[test]
fn an_api_key_is_provided_and_not_issued() {
    let context = context(&json!({"auth": {"apiKey": {"secretRef": {"name": "key"}}}}));
    let held = Holding { expires_at: None, renewal_time: None, ..holding(60, true) };
    let status = judged(&context, &Done { holding: Some(held), ..Done::default() });
    assert_eq!(said(&status)[1], "TokenIssued=True/ApiKeyProvided");
    assert_eq!(status.conditions[4].message, "Secret acme-token holds a verified token.");
}

#[test]
fn the_next_run_is_when_something_changes() {
    let setback =
        |next| Setback { failure: failure(TokenIssued, Reason::RateLimited), count: 1, last: at(0), next: at(next) };
    let failed = |condition, reason| Done { failure: Some(failure(condition, reason)), ..Done::default() };
    let renewed = |holding| Done { holding: Some(holding), ..Done::default() };
    let stuck = Failure::new(SecretSynced, Reason::SecretNotOwned, "").waiting();
    let turn = Some(Duration::from_secs(500));
    for (done, seconds) in [
        (renewed(holding(1000, true)), 820),
        (Done { due: Some(at(30)), ..renewed(holding(1000, true)) }, 30),
        (Done { due: Some(at(-30)), ..renewed(holding(1000, true)) }, 1),
        (Done { turn_in: turn, due: Some(at(-30)), ..renewed(holding(1000, true)) }, 500),
        (Done { turn_in: turn, due: Some(at(30)), ..renewed(holding(1000, true)) }, 30),
        (Done { turn_in: turn, ..renewed(holding(600, true)) }, 420),
        (Done { turn_in: turn, ..renewed(holding(100, true)) }, 100),
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
        (Done { holding: Some(holding(0, true)), ..failed(CredentialsAvailable, Reason::KeyNotFound) }, 600),
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
