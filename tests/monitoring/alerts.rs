//! Each alert fires on what hurts, and only then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use qlik_context_operator::oauth::transport::TransportFailure;
use serde_json::{Value, json};
use support::api_server::{self, Kind, Verb};
use support::tenant::{Client, Fault, RetryAfter, Route, Script};

use super::prometheus::{assert_content, promtool};
use super::recording::{RULES, Recording, read};
use super::world::{CLIENT_SECRET, HOUR, LIFE, World};

const MINUTE: Duration = Duration::from_mins(1);
/// Of the operator's own series, added up.
const JOB: &str = "operator";

/// Contexts that share nothing.
fn fleet(world: &mut World, size: usize) {
    for n in 0..size {
        world.add("team", &format!("c{n}"), LIFE, &json!({}));
    }
    world.start();
}

fn of(name: &str) -> Value {
    json!({"namespace": "team", "name": name})
}

/// All of a fleet but those of other names.
fn all(alert: &'static str, size: usize) -> Vec<(&'static str, Value)> {
    (0..size).map(|n| (alert, of(&format!("c{n}")))).collect()
}

/// The times from the beginning to the end, so far apart.
fn every(step: Duration, end: Duration) -> impl Iterator<Item = Duration> {
    (1..).map(move |n| step * n).take_while(move |time| *time < end)
}

#[test]
fn promtool_accepts_the_rules_and_the_series_of_what_a_test_cannot_live_through() {
    let folder = support::control_plane::Folder::new().unwrap();
    std::fs::write(folder.path().join("alerts.yaml"), read(RULES)).unwrap();
    std::fs::write(folder.path().join("test.yaml"), read("tests/monitoring/alerts.yaml")).unwrap();
    assert_content(&promtool(&["check", "rules", "alerts.yaml"], folder.path(), ""));
    assert_content(&promtool(&["test", "rules", "test.yaml"], folder.path(), ""));
}

#[tokio::test(start_paused = true)]
async fn a_healthy_fleet_fires_nothing_through_a_day_of_renewals() {
    let mut world = World::new();
    fleet(&mut world, 8);
    let mut recording = Recording::default();
    recording.scrape(&world, "a", HOUR * 24).await;
    assert!(world.issued() >= 8 * 4, "{} tokens", world.issued());
    let quiet: Vec<_> = every(MINUTE * 20, HOUR * 24).map(|time| (time, &[][..])).collect();
    recording.fires(&quiet);
}

#[tokio::test(start_paused = true)]
async fn one_wrong_secret_in_a_healthy_fleet_is_reported_by_its_name_and_nothing_else_is() {
    for size in [6, 11] {
        let mut world = World::new();
        world.add("team", "wrong", LIFE, &json!({}));
        world.put_credential("team", "wrong", "wrong", "planted-wrong-secret-0123456789");
        fleet(&mut world, size);
        let mut recording = Recording::default();
        recording.scrape(&world, "a", HOUR * 12).await;
        let named = [("QlikContextNotReady", of("wrong"))];
        let firing: Vec<_> = every(MINUTE * 20, HOUR * 12).map(|time| (time, &named[..])).collect();
        recording.fires(&firing);
    }
}

#[tokio::test(start_paused = true)]
async fn two_refusals_as_too_many_half_an_hour_apart_fire_nothing() {
    let mut world = World::new();
    fleet(&mut world, 8);
    let mut recording = Recording::default();
    recording.scrape(&world, "a", MINUTE * 10).await;
    for n in ["x", "y"] {
        world.cloud.script(Script::at(Route::Token, Fault::RateLimited(RetryAfter::Seconds(30))).once());
        world.add("team", n, LIFE, &json!({}));
        recording.scrape(&world, "a", MINUTE * 29).await;
    }
    recording.scrape(&world, "a", HOUR).await;
    let counted = world.metrics.render(world.clock.now()).unwrap();
    assert!(counted.contains("outcome=\"RateLimited\"} 2\n"), "{counted}");
    let end = recording.length();
    let quiet: Vec<_> = every(MINUTE, end).map(|time| (time, &[][..])).collect();
    recording.fires(&quiet);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_refuses_everything_as_too_many_is_reported_while_contexts_wait_for_it() {
    let mut world = World::new();
    world.cloud.script(Script::at(Route::Token, Fault::RateLimited(RetryAfter::Seconds(60))));
    fleet(&mut world, 8);
    let mut recording = Recording::default();
    recording.scrape(&world, "a", HOUR * 2).await;
    world.cloud.clear_scripts();
    recording.scrape(&world, "a", HOUR).await;
    let job = json!({"job": JOB});
    let mut early = all("QlikContextNotReady", 8);
    early.push(("QlikContextTokenRequestsFail", job.clone()));
    let mut late = early.clone();
    late.push(("QlikContextRateLimited", job));
    recording.fires(&[
        (MINUTE * 5, &[]),
        (MINUTE * 20, &early),
        (MINUTE * 40, &late),
        (MINUTE * 110, &late),
        (MINUTE * 140, &[]),
        (MINUTE * 170, &[]),
    ]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_tenant_is_reported_once_then_by_context_and_ends_with_it() {
    let mut world = World::new();
    let down = Arc::new(AtomicBool::new(false));
    let is_down = down.clone();
    world.transport_faults =
        Some(Arc::new(move |_, _, _| is_down.load(Ordering::Relaxed).then_some(TransportFailure::Connection)));
    fleet(&mut world, 8);
    let mut recording = Recording::default();
    recording.scrape(&world, "a", HOUR * 3).await;
    down.store(true, Ordering::Relaxed);
    recording.scrape(&world, "a", HOUR * 4).await;
    down.store(false, Ordering::Relaxed);
    recording.scrape(&world, "a", HOUR).await;
    let once = [("QlikContextTokenRequestsFail", json!({"job": JOB}))];
    let with = |alerts: &[&'static str]| {
        let mut firing = once.to_vec();
        alerts.iter().for_each(|alert| firing.extend(all(alert, 8)));
        firing
    };
    recording.fires(&[
        (HOUR * 3, &[]),
        // No token was due yet.
        (HOUR * 3 + MINUTE * 10, &[]),
        (HOUR * 5, &once),
        (HOUR * 5 + MINUTE * 45, &with(&["QlikContextTokenExpiresSoon"])),
        (HOUR * 6 + MINUTE * 5, &with(&["QlikContextTokenExpired"])),
        (HOUR * 6 + MINUTE * 30, &with(&["QlikContextTokenExpired", "QlikContextNotReady"])),
        (HOUR * 7 + MINUTE * 6, &[("QlikContextExpiredTokenServed", json!({"job": JOB}))]),
        (HOUR * 7 + MINUTE * 30, &[]),
    ]);
}

/// A world with an admin context and OAuth clients in namespace `team`.
fn with_oauth_clients(spec: &Value, names: &[&str]) -> World {
    let mut world = World::new();
    world.oauth_clients = true;
    let admin = Client::new("admin").secret(CLIENT_SECRET).lifetime(LIFE).scopes(&["admin_classic"]);
    world.tenant.add_client(admin);
    world.put_credential("team", "admin", "admin", CLIENT_SECRET);
    world.put_context("team", "admin", "admin", &json!({}));
    for name in names {
        let mut object = json!({
            "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikOAuthClient",
            "metadata": {"name": name, "namespace": "team"}, "spec": spec,
        });
        object["spec"]["adminContextRef"] = json!({"name": "admin"});
        object["spec"]["scopes"] = json!(["user_default"]);
        world.api.put(object).unwrap();
    }
    world.start();
    world
}

#[tokio::test(start_paused = true)]
async fn oauth_clients_that_are_kept_up_and_rotated_fire_nothing() {
    let world = with_oauth_clients(&json!({"rotation": {"interval": "2h", "overlap": "10m"}}), &["one", "two"]);
    let mut recording = Recording::default();
    recording.scrape(&world, "a", HOUR * 8).await;
    assert!(world.notes("CredentialIssued").len() >= 6);
    let quiet: Vec<_> = every(MINUTE * 10, HOUR * 8).map(|time| (time, &[][..])).collect();
    recording.fires(&quiet);
}

#[tokio::test(start_paused = true)]
async fn an_admin_context_that_loses_its_rights_is_reported_once_then_by_the_rotation_that_is_overdue() {
    let world = with_oauth_clients(&json!({"rotation": {"interval": "3h", "overlap": "10m"}}), &["one"]);
    let mut recording = Recording::default();
    recording.scrape(&world, "a", HOUR).await;
    world.tenant.edit_user("qlikbot\\admin", |user| user.admin = false);
    recording.scrape(&world, "a", HOUR * 4).await;
    world.tenant.edit_user("qlikbot\\admin", |user| user.admin = true);
    recording.scrape(&world, "a", HOUR).await;
    let once = [("QlikContextOAuthClientRequestsFail", json!({"job": JOB}))];
    let overdue = [once[0].clone(), ("QlikContextOAuthClientRotationOverdue", of("one"))];
    recording.fires(&[
        (HOUR, &[]),
        (HOUR + MINUTE * 30, &[]),
        (HOUR * 3, &once),
        (HOUR * 4 + MINUTE * 30, &overdue),
        (HOUR * 5 + MINUTE * 50, &[]),
    ]);
}

#[tokio::test(start_paused = true)]
async fn an_oauth_client_that_was_deleted_in_the_tenant_is_reported_by_name() {
    let world = with_oauth_clients(&json!({}), &["one", "two"]);
    let mut recording = Recording::default();
    recording.scrape(&world, "a", HOUR).await;
    let gone = world.tenant.clients().into_iter().find(|client| client.name == "team/one").unwrap();
    world.tenant.remove_client(&gone.client_id);
    recording.scrape(&world, "a", HOUR).await;
    let named = [("QlikContextOAuthClientNotReady", of("one"))];
    recording.fires(&[
        (HOUR, &[]),
        (HOUR + MINUTE * 15, &[]),
        (HOUR + MINUTE * 40, &named),
        (HOUR + MINUTE * 59, &named),
    ]);
}

#[tokio::test(start_paused = true)]
async fn a_kubernetes_api_that_refuses_the_secrets_of_oauth_clients_is_reported_when_it_persists() {
    let world = with_oauth_clients(&json!({}), &["one"]);
    let mut recording = Recording::default();
    recording.scrape(&world, "a", MINUTE * 10).await;
    let refused = api_server::Script::on(Verb::Get, Kind::QlikOAuthClient, api_server::Fault::unavailable());
    world.api.script(refused);
    recording.scrape(&world, "a", HOUR).await;
    world.api.clear_scripts();
    recording.scrape(&world, "a", HOUR).await;
    let firing = [("QlikContextKubernetesErrors", json!({"namespace": "qlik-system", "job": JOB}))];
    recording.fires(&[(MINUTE * 9, &[]), (MINUTE * 50, &firing), (MINUTE * 69, &firing), (MINUTE * 110, &[])]);
}

/// A running Pod without a controller that reads the token of `acme` from its environment.
fn reads_environment(world: &World) -> Value {
    let variable = json!({"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "acme-token", "key": "token"}}});
    let running = json!([{"name": "app", "state": {"running": {"startedAt": world.clock.now().to_string()}}}]);
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "reads", "namespace": "team"},
        "spec": {"containers": [{"name": "app", "env": [variable]}]},
        "status": {"phase": "Running", "containerStatuses": running},
    })
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_keeps_an_older_token_is_reported_after_an_hour_until_it_is_restarted() {
    let mut world = World::new();
    world.workloads = true;
    world.add("team", "acme", LIFE, &json!({"workloads": {"restart": {}}}));
    fleet(&mut world, 4);
    world.api.put(reads_environment(&world)).unwrap();
    let mut recording = Recording::default();
    recording.scrape(&world, "a", HOUR * 6).await;
    assert_eq!(world.condition("team", "acme", "WorkloadsSynced")["reason"], "WorkloadsStale");
    world.api.put(reads_environment(&world)).unwrap();
    recording.scrape(&world, "a", MINUTE * 20).await;
    // Renewals are due after 3.6 to 4.02 h.
    let named = [("QlikContextPodsStale", of("acme"))];
    recording.fires(&[
        (HOUR * 4 + MINUTE * 30, &[]),
        (HOUR * 5 + MINUTE * 15, &named),
        (HOUR * 6, &named),
        (HOUR * 6 + MINUTE * 10, &[]),
    ]);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_leader_neither_ends_nor_delays_an_alert() {
    let mut world = World::new();
    world.add("team", "wrong", LIFE, &json!({}));
    world.put_credential("team", "wrong", "wrong", "planted-wrong-secret-0123456789");
    fleet(&mut world, 6);
    let mut recording = Recording::default();
    recording.scrape(&world, "a", MINUTE * 8).await;
    for instance in ["b", "c", "a"] {
        recording.silence(MINUTE).await;
        world.start();
        recording.scrape(&world, instance, MINUTE * 8).await;
    }
    let named = [("QlikContextNotReady", of("wrong"))];
    let firing: Vec<_> = every(MINUTE / 2, recording.length())
        .filter(|time| *time > MINUTE * 14)
        .map(|time| (time, &named[..]))
        .collect();
    recording.fires(&firing);
}

#[tokio::test(start_paused = true)]
async fn a_kubernetes_api_that_refuses_writes_is_reported_when_it_persists() {
    let mut world = World::new();
    fleet(&mut world, 8);
    let mut recording = Recording::default();
    recording.scrape(&world, "a", MINUTE * 10).await;
    let unavailable = || api_server::Script::on(Verb::Watch, Kind::Secret, api_server::Fault::unavailable());
    world.api.script(unavailable());
    world.api.end_watches();
    recording.scrape(&world, "a", HOUR).await;
    world.api.clear_scripts();
    recording.scrape(&world, "a", HOUR).await;
    let firing = [("QlikContextKubernetesErrors", json!({"namespace": "qlik-system", "job": JOB}))];
    recording.fires(&[
        (MINUTE * 9, &[]),
        (MINUTE * 20, &[]),
        (MINUTE * 40, &firing),
        (MINUTE * 69, &firing),
        (MINUTE * 100, &[]),
    ]);
}
