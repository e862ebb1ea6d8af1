//! A Kubernetes API that rejects requests, fails or is slow: how it is reported, and that no token is requested or lost
//! by it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use qlik_context_operator::clock::SignedDuration;
use serde_json::{Value, json};
use support::api_server::{Fault, Kind, Script, Verb};
use support::tenant::{self, Route};

use crate::world::{HOUR, LIFE, World, pass};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
/// Status codes with which API servers, webhooks and proxies reject a request.
const CODES: [u16; 11] = [400, 401, 403, 405, 406, 418, 429, 500, 502, 503, 504];

fn answers(code: u16) -> Fault {
    Fault::Status { code, reason: "Refused", retry_after: None }
}

/// Rejects every write of a Secret, as an admission webhook does.
fn refuse_writes(world: &World, fault: Fault) {
    world.api.script(Script::on(Verb::Patch, Kind::Secret, fault));
}

fn quiet() -> Value {
    json!({"verifyInterval": "0s"})
}

/// A context that was ready with a token of this lifetime.
async fn ready(life: Duration) -> World {
    let mut world = World::new();
    world.add("a", "acme", life, &quiet());
    world.start();
    pass(5 * SECOND).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
    world
}

/// Lets time pass until this long before or after the expiry of the token in the Secret.
async fn until_expiry(world: &World, seconds: i64) {
    let expiry = world.expiry("a", "acme").unwrap();
    let at = expiry.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    let left = at.duration_since(world.clock.now());
    pass(Duration::try_from(left).unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_rejected_first_write_is_reported_within_a_minute_with_its_code_in_status_and_event() {
    for code in CODES {
        let mut world = World::new();
        refuse_writes(&world, answers(code));
        world.add("a", "acme", LIFE, &quiet());
        world.start();
        pass(MINUTE).await;
        for condition in ["SecretSynced", "Ready"] {
            let reported = world.reported("a", "acme", condition);
            assert!(reported.starts_with("False/WriteRejected: "), "HTTP {code}, {condition}: {reported}");
            assert!(reported.contains(&format!("HTTP {code}")), "HTTP {code}, {condition}: {reported}");
        }
        let notes = world.notes("WriteRejected");
        assert_eq!(notes.len(), 1, "HTTP {code}: {notes:?}");
        assert!(notes[0].contains(&format!("HTTP {code}")), "{notes:?}");
        pass(10 * MINUTE).await;
        assert_eq!(world.notes("WriteRejected").len(), 1, "reported once");
        world.api.clear_scripts();
        pass(MINUTE).await;
        assert_eq!((world.ready("a", "acme").as_str(), world.issued()), ("True/TokenValid", 1), "HTTP {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_cannot_be_written_is_reported_within_a_minute_and_ready_turns_false_at_the_expiry() {
    for code in CODES {
        let world = ready(HOUR).await;
        refuse_writes(&world, answers(code));
        // The renewal is due after 36 to 40 min.
        pass(40 * MINUTE + MINUTE).await;
        let reported = world.reported("a", "acme", "SecretSynced");
        assert!(
            reported.starts_with("False/WriteRejected: ") && reported.contains(&format!("HTTP {code}")),
            "{reported}"
        );
        let reported = world.reported("a", "acme", "Ready");
        assert!(
            reported.starts_with("True/RenewalFailing: ") && reported.contains(&format!("HTTP {code}")),
            "{reported}"
        );
        let notes = world.notes("RenewalFailing");
        assert!(notes.len() == 1 && notes[0].contains(&format!("HTTP {code}")), "{notes:?}");
        assert_eq!(world.issued(), 2);
        until_expiry(&world, -2).await;
        assert_eq!(world.ready("a", "acme"), "True/RenewalFailing", "HTTP {code}");
        until_expiry(&world, 3).await;
        let reported = world.reported("a", "acme", "Ready");
        assert!(
            reported.starts_with("False/TokenExpired: ") && reported.contains(&format!("HTTP {code}")),
            "{reported}"
        );
        assert_eq!(world.ready_metric("a", "acme").as_deref(), Some("0"), "HTTP {code}");
        world.api.clear_scripts();
        pass(MINUTE).await;
        assert_eq!((world.ready("a", "acme").as_str(), world.issued()), ("True/TokenValid", 2), "HTTP {code}");
        assert_eq!(world.ready_metric("a", "acme").as_deref(), Some("1"), "HTTP {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_writes_for_two_hundred_contexts_causes_no_extra_token_and_no_wrong_status() {
    let contexts = 200;
    let mut issued = Vec::new();
    for refused in [false, true] {
        let mut world = World::new();
        for n in 0..contexts {
            world.add(&format!("ns{}", n % 5), &format!("c{n}"), Duration::from_mins(45), &quiet());
        }
        world.start();
        pass(5 * MINUTE).await;
        if refused {
            refuse_writes(&world, answers(500));
        }
        for minute in 0..60 {
            pass(MINUTE).await;
            for n in 0..contexts {
                let (namespace, name) = (format!("ns{}", n % 5), format!("c{n}"));
                let left = world.expiry(&namespace, &name).unwrap().duration_since(world.clock.now()).as_secs();
                let good = world.ready(&namespace, &name).starts_with("True/");
                let metric = world.ready_metric(&namespace, &name);
                // Close to the expiry both values are accepted.
                if left.abs() > 2 {
                    assert_eq!(
                        good,
                        left > 0,
                        "{refused} {name} in minute {minute}, {left} s: {}",
                        world.reported(&namespace, &name, "Ready")
                    );
                    assert_eq!(metric.as_deref() == Some("1"), left > 0, "{name} in minute {minute}");
                }
            }
        }
        issued.push(world.issued());
        world.api.clear_scripts();
        pass(MINUTE).await;
        let ready =
            (0..contexts).filter(|n| world.ready(&format!("ns{}", n % 5), &format!("c{n}")) == "True/TokenValid");
        assert_eq!(ready.count(), contexts, "a minute after writes work again");
    }
    assert!(issued[1] <= issued[0], "{} tokens, {} with a webhook that allows every write", issued[1], issued[0]);
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_cannot_be_read_is_reported_within_a_minute() {
    for code in [403, 500] {
        let mut world = World::new();
        world.api.script(Script::on(Verb::Get, Kind::Secret, answers(code)));
        world.add("a", "acme", LIFE, &quiet());
        world.start();
        pass(MINUTE).await;
        for condition in ["CredentialsAvailable", "Ready"] {
            let reported = world.reported("a", "acme", condition);
            assert!(reported.starts_with("False/SecretNotReadable: "), "HTTP {code}, {condition}: {reported}");
            assert!(reported.contains(&format!("HTTP {code}")), "HTTP {code}, {condition}: {reported}");
        }
        assert_eq!(world.notes("SecretNotReadable").len(), 1, "HTTP {code}");
        world.api.clear_scripts();
        pass(MINUTE).await;
        assert_eq!((world.ready("a", "acme").as_str(), world.issued()), ("True/TokenValid", 1), "HTTP {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn secrets_that_cannot_be_read_at_a_renewal_are_reported_and_ready_turns_false_at_the_expiry() {
    for code in [403, 500] {
        let world = ready(HOUR).await;
        world.api.script(Script::on(Verb::Get, Kind::Secret, answers(code)));
        pass(40 * MINUTE + MINUTE).await;
        let reported = world.reported("a", "acme", "CredentialsAvailable");
        assert!(
            reported.starts_with("False/SecretNotReadable: ") && reported.contains(&format!("HTTP {code}")),
            "{reported}"
        );
        assert_eq!(world.ready("a", "acme"), "True/RenewalFailing", "HTTP {code}");
        until_expiry(&world, -2).await;
        assert_eq!(world.ready("a", "acme"), "True/RenewalFailing", "HTTP {code}");
        until_expiry(&world, 60).await;
        assert!(world.ready("a", "acme").starts_with("False/"), "HTTP {code}: {}", world.ready("a", "acme"));
        assert_eq!(world.ready_metric("a", "acme").as_deref(), Some("0"), "HTTP {code}");
        world.api.clear_scripts();
        pass(MINUTE).await;
        assert_eq!((world.ready("a", "acme").as_str(), world.issued()), ("True/TokenValid", 2), "HTTP {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn when_no_status_can_be_written_the_metrics_still_report_the_expiry() {
    for code in [403, 500] {
        let world = ready(HOUR).await;
        assert_eq!(world.ready_metric("a", "acme").as_deref(), Some("1"));
        refuse_writes(&world, answers(code));
        world.api.script(Script::on(Verb::Patch, Kind::QlikContext, answers(code)).status());
        until_expiry(&world, 60).await;
        assert_eq!(world.ready_metric("a", "acme").as_deref(), Some("0"), "HTTP {code}");
        let metrics = world.metrics.render(world.clock.now()).unwrap();
        let served =
            metrics.lines().find(|line| line.starts_with("qlik_context_expired_served_seconds_total")).unwrap();
        let seconds: f64 = served.split(' ').nth(1).unwrap().parse().unwrap();
        assert!((55.0..=61.0).contains(&seconds), "HTTP {code}: {served}");
        world.api.clear_scripts();
        pass(MINUTE).await;
        assert_eq!((world.ready("a", "acme").as_str(), world.issued()), ("True/TokenValid", 2), "HTTP {code}");
        assert_eq!(world.ready_metric("a", "acme").as_deref(), Some("1"), "HTTP {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_a_slow_webhook_delays_is_waited_for() {
    for seconds in [6, 12, 29] {
        let mut world = World::new();
        refuse_writes(&world, Fault::Delay(Duration::from_secs(seconds)));
        world.add("a", "acme", LIFE, &quiet());
        world.start();
        pass(Duration::from_secs(seconds + 3)).await;
        assert_eq!(world.ready("a", "acme"), "True/TokenValid", "{seconds} s");
        assert_eq!((world.issued(), world.secret_writes()), (1, 1), "{seconds} s");
        pass(HOUR).await;
        assert_eq!(world.secret_writes(), 1, "{seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_a_slow_webhook_delays_is_written_once() {
    for seconds in [6, 12, 29] {
        let world = ready(HOUR).await;
        let before = world.expiry("a", "acme").unwrap();
        world.api.clear_log();
        refuse_writes(&world, Fault::Delay(Duration::from_secs(seconds)));
        pass(41 * MINUTE).await;
        assert!(world.expiry("a", "acme").unwrap() > before, "{seconds} s");
        assert_eq!((world.ready("a", "acme").as_str(), world.issued()), ("True/TokenValid", 2), "{seconds} s");
        assert_eq!(world.secret_writes(), 1, "{seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_context_with_a_foreign_finalizer_reports_it_and_then_the_expiry_of_its_token() {
    let world = ready(HOUR).await;
    let hold = |context: &mut Value| context["metadata"]["finalizers"] = json!(["example.com/hold"]);
    world.api.edit(Kind::QlikContext, "a", "acme", hold).unwrap();
    pass(5 * SECOND).await;
    assert!(world.api.delete(Kind::QlikContext, "a", "acme"));
    pass(5 * SECOND).await;
    let reported = world.reported("a", "acme", "Ready");
    assert!(reported.starts_with("True/TokenValid: ") && reported.contains("being deleted"), "{reported}");
    let expiry = world.expiry("a", "acme").unwrap();
    assert!(reported.contains(&format!("until {expiry}")), "{reported}");
    until_expiry(&world, -2).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
    until_expiry(&world, 3).await;
    let reported = world.reported("a", "acme", "Ready");
    assert!(reported.starts_with("False/TokenExpired: ") && reported.contains("being deleted"), "{reported}");
    world.api.clear_log();
    pass(HOUR).await;
    assert_eq!(world.issued(), 1, "nothing is renewed any more");
    assert_eq!(world.api.log(|log| log.records.iter().filter(|record| record.call.verb == Verb::Patch).count()), 0);
}

/// From now on: when the token of each status was issued, and when the token in the Secret was issued at that moment.
fn reported_and_held(world: &World) -> Arc<Mutex<Vec<(Value, Value)>>> {
    let issued_at = |secret: &Value| secret["metadata"]["annotations"]["qlikcontext.dev/issued-at"].clone();
    let held = Mutex::new(world.api.get(Kind::Secret, "a", "acme-token").map(|secret| issued_at(&secret)));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let writer = seen.clone();
    world.api.observe(Arc::new(move |change| {
        let Some(object) = change.after else { return };
        match (change.kind, change.name) {
            (Kind::Secret, "acme-token") => *held.lock().unwrap() = Some(issued_at(object)),
            (Kind::QlikContext, _) => {
                let held = held.lock().unwrap().clone().unwrap_or_default();
                writer.lock().unwrap().push((object["status"]["token"]["issuedAt"].clone(), held));
            }
            _ => {}
        }
    }));
    seen
}

fn request_refresh(world: &World) {
    let annotate = |context: &mut Value| {
        context["metadata"]["annotations"]["qlikcontext.dev/refresh-requested-at"] = "now".into();
    };
    world.api.edit(Kind::QlikContext, "a", "acme", annotate).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_token_that_the_tenant_issues_again_is_in_the_secret_before_the_status_names_it() {
    let world = ready(LIFE).await;
    pass(MINUTE).await;
    let seen = reported_and_held(&world);
    world.cloud.script(tenant::Script::at(Route::Token, tenant::Fault::SameToken).once());
    world.api.script(
        Script::on(Verb::Patch, Kind::Secret, Fault::Status { code: 409, reason: "Conflict", retry_after: None })
            .once(),
    );
    let token = world.token("a", "acme");
    request_refresh(&world);
    pass(30 * SECOND).await;
    assert_eq!((world.token("a", "acme"), world.issued()), (token, 2), "the same token, requested twice");
    let seen = seen.lock().unwrap();
    // The edit of the annotation by the user is the first change.
    assert!(seen.len() > 1, "{seen:?}");
    assert!(seen.iter().all(|(reported, held)| reported == held), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_status_that_gets_no_response_is_not_reported_as_an_unreadable_credential() {
    let world = ready(LIFE).await;
    let (reasons, written) = (Arc::new(Mutex::new(BTreeSet::new())), world.secret_writes());
    let kept = reasons.clone();
    world.api.observe(Arc::new(move |change| {
        let conditions = change.after.and_then(|object| object["status"]["conditions"].as_array().cloned());
        let found = conditions.unwrap_or_default().into_iter().map(|condition| condition["reason"].clone());
        kept.lock().unwrap().extend(found.filter_map(|reason| reason.as_str().map(str::to_owned)));
    }));
    world.api.script(Script::on(Verb::Patch, Kind::QlikContext, Fault::Silence).status().times(2));
    request_refresh(&world);
    pass(5 * MINUTE).await;
    assert_eq!((world.ready("a", "acme").as_str(), world.secret_writes()), ("True/TokenValid", written + 1));
    let reasons = reasons.lock().unwrap();
    assert!(!reasons.contains("SecretNotReadable") && !reasons.contains("RenewalFailing"), "{reasons:?}");
}

#[tokio::test(start_paused = true)]
async fn while_the_kubernetes_api_fails_the_status_names_the_token_that_was_written_last() {
    let world = ready(LIFE).await;
    pass(MINUTE).await;
    let (expiry, failed) = (world.expiry("a", "acme"), AtomicBool::new(false));
    // The status is not written once, and from then on no Secret can be read.
    world.api.intercept(Some(Arc::new(move |call| match (call.verb, call.kind) {
        (Verb::Patch, Kind::QlikContext) if !failed.swap(true, Ordering::Relaxed) => Some(Fault::unavailable()),
        (Verb::Get, Kind::Secret) if failed.load(Ordering::Relaxed) => Some(Fault::unavailable()),
        _ => None,
    })));
    request_refresh(&world);
    pass(MINUTE).await;
    assert_eq!(world.ready("a", "acme"), "True/RenewalFailing");
    assert_ne!(world.expiry("a", "acme"), expiry, "the new token is in the Secret");
    let status = world.api.get(Kind::QlikContext, "a", "acme").unwrap()["status"].clone();
    let reported = status["token"]["expiresAt"].as_str().and_then(|time| time.parse().ok());
    assert_eq!(reported, world.expiry("a", "acme"));
    assert_eq!(status["lastHandledRefreshRequest"], "now");
}
