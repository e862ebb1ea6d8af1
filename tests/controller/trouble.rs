//! An API server or a tenant that fails.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use support::api_server::{Fault, Kind, Script, Verb};
use support::tenant::{self, FaultBody, Route};

use crate::world::{HOUR, LIFE, World, pass};

async fn ready_world() -> World {
    let mut world = World::new();
    world.add("a", "acme", LIFE, &json!({}));
    world.start();
    pass(Duration::from_secs(5)).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
    world
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_written_for_an_hour_is_not_requested_again() {
    for fault in [Fault::Forbidden, Fault::unavailable(), Fault::Silence, Fault::Broken, Fault::internal_error()] {
        let mut world = World::new();
        world.add("a", "acme", LIFE, &json!({}));
        world.api.script(Script::on(Verb::Patch, Kind::Secret, fault.clone()));
        world.start();
        pass(HOUR).await;
        assert_eq!((world.issued(), world.token("a", "acme")), (1, None), "{fault:?}");
        world.api.clear_scripts();
        pass(Duration::from_mins(11)).await;
        assert_eq!(world.ready("a", "acme"), "True/TokenValid", "{fault:?}");
        assert_eq!(world.issued(), 1, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_write_without_a_response_the_secret_is_read_and_no_token_is_requested() {
    for fault in [Fault::DoneThenSilence, Fault::DoneThenBroken] {
        let mut world = World::new();
        world.add("a", "acme", LIFE, &json!({}));
        world.api.script(Script::on(Verb::Patch, Kind::Secret, fault).once());
        world.start();
        pass(Duration::from_mins(2)).await;
        assert_eq!(world.ready("a", "acme"), "True/TokenValid");
        assert_eq!((world.issued(), world.secret_writes()), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_that_cannot_be_written_causes_no_token_request_and_is_written_later() {
    let mut world = World::new();
    world.add("a", "acme", LIFE, &json!({}));
    world.api.script(Script::on(Verb::Patch, Kind::QlikContext, Fault::unavailable()).status());
    world.start();
    pass(HOUR).await;
    assert!(world.token("a", "acme").is_some(), "the token is published before the status is written");
    world.api.clear_scripts();
    pass(Duration::from_mins(20)).await;
    assert_eq!((world.ready("a", "acme").as_str(), world.issued()), ("True/TokenValid", 1));
}

#[tokio::test(start_paused = true)]
async fn a_rejected_watch_delays_no_context() {
    let mut world = World::new();
    for verb in [Verb::List, Verb::Watch] {
        world.api.script(Script::on(verb, Kind::Secret, Fault::Forbidden));
    }
    world.start();
    pass(Duration::from_mins(30)).await;
    world.add("a", "acme", LIFE, &json!({}));
    pass(Duration::from_secs(2)).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
    let metrics = world.metrics.render(world.clock.now()).unwrap();
    assert!(metrics.contains("watch_errors_total{watch=\"Credentials\"}"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn watches_that_end_expire_or_restart_lose_nothing() {
    let world = ready_world().await;
    for round in 0..20 {
        world.api.compact();
        world.api.end_watches();
        pass(Duration::from_mins(3)).await;
        let secret = format!("planted-client-secret-{round:04}-rotated");
        world.tenant.edit_client("acme", |client| client.secrets.push(secret.clone()));
        world.put_credential("a", "acme", "acme", &secret);
        pass(Duration::from_mins(2)).await;
        assert_eq!(world.issued(), 2 + round, "each rotation is noticed");
    }
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
}

#[tokio::test(start_paused = true)]
async fn a_context_created_during_a_gap_of_the_watch_is_not_lost_when_the_list_is_slow_or_fails() {
    for fault in [Fault::Delay(Duration::from_secs(2)), Fault::Forbidden] {
        let mut world = World::new();
        for n in 0..60 {
            world.add("a", &format!("c{n}"), LIFE, &json!({"suspend": true}));
        }
        world.start();
        pass(Duration::from_secs(5)).await;
        for verb in [Verb::List, Verb::Watch] {
            world.api.script(Script::on(verb, Kind::QlikContext, Fault::unavailable()));
        }
        world.api.end_watches();
        world.add("a", "acme", LIFE, &json!({}));
        world.api.compact();
        pass(Duration::from_mins(1)).await;
        world.api.clear_scripts();
        // The first page, which contains the new context, succeeds; the second fails.
        world.api.script(Script::on(Verb::List, Kind::QlikContext, Fault::Delay(Duration::ZERO)).once());
        world.api.script(Script::on(Verb::List, Kind::QlikContext, fault.clone()).once());
        pass(Duration::from_mins(2)).await;
        assert_eq!(world.ready("a", "acme"), "True/TokenValid", "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_parsed_delays_no_other_and_is_reported() {
    let mut world = World::new();
    let broken = json!({
        "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext",
        "metadata": {"name": "broken", "namespace": "a"}, "spec": {"tenantUrl": 7},
    });
    world.api.put(broken).unwrap();
    world.add("a", "acme", LIFE, &json!({}));
    world.start();
    pass(Duration::from_secs(5)).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
    assert_eq!(world.ready("a", "broken"), "False/SpecInvalid");
    world.api.clear_log();
    pass(HOUR).await;
    assert_eq!(world.api.log(support::api_server::Log::writes), 0, "the status is written once");
}

#[tokio::test(start_paused = true)]
async fn after_an_object_could_not_be_parsed_each_status_is_written_whole() {
    let world = ready_world().await;
    let (seen, types) = (Arc::new(Mutex::new(BTreeSet::new())), ["Ready", "Stalled", "Reconciling"]);
    let kept = seen.clone();
    world.api.observe(Arc::new(move |change| {
        let Some(context) = change.after.filter(|_| change.kind == Kind::QlikContext) else { return };
        let conditions = context["status"]["conditions"].as_array().cloned().unwrap_or_default();
        assert!(conditions.iter().all(|condition| condition["lastTransitionTime"].is_string()), "{conditions:?}");
        let is_true = |name: &str| conditions.iter().any(|found| found["type"] == name && found["status"] == "True");
        kept.lock().unwrap().insert(types.into_iter().filter(|name| is_true(name)).collect::<Vec<_>>());
    }));
    let (unreadable, refused, right) = (json!(7), "https://acme.example.com", "https://acme.eu.qlikcloud.com");
    for url in [unreadable.clone(), json!(right), unreadable, json!(refused), json!(right)] {
        world.api.edit(Kind::QlikContext, "a", "acme", |context| context["spec"]["tenantUrl"] = url).unwrap();
        pass(Duration::from_secs(5)).await;
    }
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
    assert_eq!(*seen.lock().unwrap(), BTreeSet::from([vec!["Ready"], vec!["Stalled"]]));
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_an_hour_causes_few_requests_and_no_token_expires() {
    let world = ready_world().await;
    // Lets time pass until the renewal is due.
    pass(3 * HOUR).await;
    let before = world.token_requests();
    let down = tenant::Fault::Answer { status: 503, body: FaultBody::Html };
    world.cloud.script(tenant::Script { at: None, ..tenant::Script::at(Route::Token, down) });
    pass(Duration::from_mins(90)).await;
    assert_eq!(world.ready("a", "acme"), "True/RenewalFailing");
    let tries = world.token_requests() - before;
    assert!((5..=40).contains(&tries), "{tries}");
    world.cloud.clear_scripts();
    pass(Duration::from_mins(6)).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
    assert!(world.metrics.render(world.clock.now()).unwrap().contains("expired_served_seconds_total 0.0"));
}

#[tokio::test(start_paused = true)]
async fn served_while_expired_is_counted_during_a_long_outage() {
    let world = ready_world().await;
    let down = tenant::Fault::Answer { status: 503, body: FaultBody::Html };
    world.cloud.script(tenant::Script { at: None, ..tenant::Script::at(Route::Token, down) });
    pass(7 * HOUR).await;
    assert_eq!(world.ready("a", "acme"), "False/TokenExpired");
    let metrics = world.metrics.render(world.clock.now()).unwrap();
    let line = metrics.lines().find(|line| line.starts_with("qlik_context_expired_served_seconds_total")).unwrap();
    let seconds: f64 = line.split(' ').nth(1).unwrap().parse().unwrap();
    assert!((3500.0..=3700.0).contains(&seconds), "{line}");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_could_not_be_verified_is_kept_and_only_the_verification_is_repeated() {
    let mut world = World::new();
    let down = tenant::Fault::Answer { status: 503, body: FaultBody::Html };
    world.cloud.script(tenant::Script::at(Route::UsersMe, down));
    world.add("a", "acme", LIFE, &json!({}));
    world.start();
    pass(HOUR).await;
    assert_eq!((world.issued(), world.token("a", "acme")), (1, None), "an unverified token is not published");
    world.cloud.clear_scripts();
    pass(Duration::from_mins(6)).await;
    assert_eq!((world.issued(), world.ready("a", "acme").as_str()), (1, "True/TokenValid"));
}

#[tokio::test(start_paused = true)]
async fn the_retry_after_of_a_tenant_is_obeyed() {
    let mut world = World::new();
    let limited = tenant::Fault::RateLimited(tenant::RetryAfter::Seconds(100));
    world.cloud.script(tenant::Script::at(Route::Token, limited).once());
    world.add("a", "acme", LIFE, &json!({}));
    world.start();
    pass(Duration::from_secs(99)).await;
    assert_eq!((world.token_requests(), world.ready("a", "acme").as_str()), (1, "False/RateLimited"));
    pass(Duration::from_secs(20)).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
}

#[tokio::test(start_paused = true)]
async fn a_failed_refresh_is_reported_and_the_token_is_still_served() {
    let world = ready_world().await;
    let token = world.token("a", "acme");
    let denied = tenant::Fault::Answer { status: 403, body: FaultBody::Qlik };
    world.cloud.script(tenant::Script::at(Route::Token, denied));
    let annotate = |context: &mut serde_json::Value| {
        context["metadata"]["annotations"]["qlikcontext.dev/refresh-requested-at"] = "now".into();
    };
    world.api.edit(Kind::QlikContext, "a", "acme", annotate).unwrap();
    pass(Duration::from_secs(5)).await;
    assert_eq!((world.ready("a", "acme").as_str(), world.token("a", "acme")), ("True/RenewalFailing", token));
    world.api.clear_log();
    let before = world.token_requests();
    pass(HOUR).await;
    assert!(world.token_requests() - before <= 7, "{}", world.token_requests() - before);
    assert!(world.api.log(|log| log.records.len()) < 200, "no busy loop");
    world.cloud.clear_scripts();
    pass(Duration::from_mins(11)).await;
    let context = world.api.get(Kind::QlikContext, "a", "acme").unwrap();
    assert_eq!(context["status"]["lastHandledRefreshRequest"], "now");
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
}

#[tokio::test(start_paused = true)]
async fn a_response_that_echoes_the_credential_is_reported_without_it() {
    let mut world = World::new();
    let echo = tenant::Fault::Answer { status: 401, body: FaultBody::Echo };
    world.cloud.script(tenant::Script::at(Route::Token, echo));
    world.add("a", "acme", LIFE, &json!({}));
    world.start();
    pass(Duration::from_secs(5)).await;
    assert_eq!(world.ready("a", "acme"), "False/InvalidClient");
    world.nothing_leaked();
}

#[tokio::test(start_paused = true)]
async fn a_renewal_whose_verification_fails_requests_one_token_and_only_repeats_the_verification() {
    let world = ready_world().await;
    // Lets time pass until the renewal is due.
    pass(3 * HOUR).await;
    let down = tenant::Fault::Answer { status: 503, body: FaultBody::Html };
    world.cloud.script(tenant::Script::at(Route::UsersMe, down));
    pass(Duration::from_mins(90)).await;
    assert_eq!((world.ready("a", "acme").as_str(), world.issued()), ("True/RenewalFailing", 2));
    world.cloud.clear_scripts();
    pass(Duration::from_mins(6)).await;
    assert_eq!((world.ready("a", "acme").as_str(), world.issued()), ("True/TokenValid", 2));
}

#[tokio::test(start_paused = true)]
async fn a_context_that_is_suspended_past_its_renewal_sends_no_request() {
    let world = ready_world().await;
    world.api.edit(Kind::QlikContext, "a", "acme", |context| context["spec"]["suspend"] = true.into()).unwrap();
    pass(5 * HOUR).await;
    assert_eq!(world.ready("a", "acme"), "True/Suspended");
    world.api.clear_log();
    pass(Duration::from_mins(30)).await;
    let calls = world.api.log(|log| log.records.iter().filter(|record| record.call.verb == Verb::Get).count());
    assert!(calls < 20, "{calls} reads in half an hour");
    pass(HOUR).await;
    assert_eq!(world.ready("a", "acme"), "False/Suspended", "the token has expired");
    let metrics = world.metrics.render(world.clock.now()).unwrap();
    assert!(!metrics.contains("name=\"acme\""), "no metric that could fire an alert: {metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_rejection_after_a_failure_of_the_tenant_is_reported_alone_and_stops_the_retries() {
    let mut world = World::new();
    let down = tenant::Fault::Answer { status: 503, body: FaultBody::Html };
    world.cloud.script(tenant::Script::at(Route::Token, down));
    world.add("a", "acme", LIFE, &json!({}));
    world.start();
    pass(Duration::from_mins(1)).await;
    let foreign = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "acme-token", "namespace": "a"}});
    world.api.put(foreign).unwrap();
    pass(Duration::from_mins(10)).await;
    assert_eq!(world.ready("a", "acme"), "False/SecretNotOwned");
    let context = world.api.get(Kind::QlikContext, "a", "acme").unwrap();
    assert!(context["status"].get("failure").is_none(), "no request to the tenant is pending");
    world.api.clear_log();
    pass(HOUR).await;
    let calls = world.api.log(|log| log.records.iter().filter(|record| record.call.verb == Verb::Get).count());
    assert!(calls < 30, "{calls} reads in an hour");
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_user_is_not_reported_as_valid() {
    let mut world = World::new();
    let tenant_id = world.tenant.id();
    world.add("a", "acme", LIFE, &json!({"expectedIdentity": {"tenantId": tenant_id}, "verifyInterval": "1m"}));
    world.start();
    pass(Duration::from_secs(5)).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
    let stranger = tenant::Fault::User(tenant::UserShape::ForeignTenant("somebody-elses".into()));
    world.cloud.script(tenant::Script::at(Route::User, stranger));
    pass(Duration::from_mins(5)).await;
    assert_eq!(world.ready("a", "acme"), "False/IdentityMismatch");
}

#[tokio::test(start_paused = true)]
async fn requests_to_an_api_server_that_is_down_back_off() {
    let mut world = World::new();
    for n in 0..50 {
        world.add("a", &format!("c{n}"), LIFE, &json!({"verifyInterval": "1m"}));
    }
    world.start();
    pass(HOUR).await;
    world.api.script(Script::on(Verb::Get, Kind::Secret, Fault::internal_error()));
    pass(HOUR).await;
    world.api.clear_log();
    pass(HOUR).await;
    let calls = world.api.log(|log| log.records.len());
    assert!(calls < 50 * 61 * 3, "{calls} calls in the second hour");
}

#[tokio::test(start_paused = true)]
async fn the_series_of_a_context_deleted_during_a_gap_of_the_watch_are_removed() {
    let world = ready_world().await;
    world.api.script(Script::on(Verb::Watch, Kind::QlikContext, Fault::unavailable()).times(3));
    world.api.compact();
    world.api.end_watches();
    world.api.delete(Kind::QlikContext, "a", "acme");
    pass(Duration::from_mins(10)).await;
    let metrics = world.metrics.render(world.clock.now()).unwrap();
    assert!(!metrics.contains("name=\"acme\""), "{metrics}");
    pass(8 * HOUR).await;
    assert!(world.metrics.render(world.clock.now()).unwrap().contains("expired_served_seconds_total 0.0"));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_revoked_while_its_renewal_fails_is_detected() {
    for interval in ["1m", "15m"] {
        let mut world = World::new();
        world.add("a", "acme", LIFE, &json!({"verifyInterval": interval}));
        world.start();
        pass(Duration::from_mins(1)).await;
        world.put_credential("a", "acme", "acme", "planted-wrong-secret");
        pass(Duration::from_mins(1)).await;
        assert_eq!(world.ready("a", "acme"), "True/RenewalFailing");
        world.tenant.revoke_all();
        pass(Duration::from_mins(17)).await;
        assert_eq!(world.ready("a", "acme"), "False/InvalidClient", "every {interval}");
        let before = world.cloud.ledger(|ledger| ledger.at(Route::UsersMe));
        pass(HOUR).await;
        assert_eq!(world.cloud.ledger(|ledger| ledger.at(Route::UsersMe)), before, "the token is not verified again");
    }
}
