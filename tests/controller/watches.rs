//! The watches of Secrets: their requests, and unnecessary reconciliations.

use std::time::Duration;

use qlik_context_operator::controller::scope::{Scope, selector};
use serde_json::json;
use support::api_server::{Fault, Kind, Script, Verb};
use support::tenant::{self, Route, UserShape};

use crate::world::{LIFE, World, pass};

/// Requests of a reconciliation: reads of single objects, and writes.
fn requests(world: &World) -> usize {
    world.api.log(|log| log.count_if(|call| !matches!(call.verb, Verb::List | Verb::Watch)))
}

fn label(world: &World, name: &str) {
    world.api.edit(Kind::Secret, "a", name, |secret| secret["metadata"]["labels"] = json!({"mark": "yes"})).unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_list_and_an_unrelated_secret_trigger_no_reconciliation() {
    for streams in [true, false] {
        let mut world = World::new();
        world.api.set_watch_list(streams);
        for name in ["one", "two", "three"] {
            world.add("a", name, LIFE, &json!({"verifyInterval": "24h"}));
        }
        world.put_credential("a", "stranger", "stranger", "planted-stranger");
        world.start();
        pass(Duration::from_secs(10)).await;
        world.api.clear_log();
        // The watch is restarted with a list.
        world.api.compact();
        world.api.end_watches();
        label(&world, "stranger");
        world.api.compact();
        pass(Duration::from_mins(1)).await;
        let lists = world.api.log(|log| {
            log.count_if(|call| {
                let streamed = call.parameters.contains_key("sendInitialEvents");
                call.kind == Kind::Secret && (call.verb == Verb::List || streamed)
            })
        });
        assert!(lists > 0, "the watch was restarted with a list");
        assert_eq!(requests(&world), 0, "streamed: {streams}");
        label(&world, "two");
        pass(Duration::from_secs(2)).await;
        assert_eq!(
            requests(&world),
            1,
            "a change triggers a reconciliation of the only context that uses the Secret, which reads its credential"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_context_whose_watch_gets_no_response_gets_no_further_token() {
    let mut world = World::new();
    world.add("a", "acme", LIFE, &json!({"verifyInterval": "1m"}));
    world.start();
    pass(Duration::from_mins(1)).await;
    world.api.script(Script::on(Verb::Watch, Kind::QlikContext, Fault::Silence));
    world.api.end_watches();
    pass(Duration::from_secs(30)).await;
    world.api.delete(Kind::QlikContext, "a", "acme");
    // A verification that fails is reported in the status, which no longer exists.
    let foreign = tenant::Fault::User(UserShape::ForeignTenant("another".into()));
    world.cloud.script(tenant::Script::at(Route::User, foreign).times(2));
    for _ in 0..60 {
        world.api.collect_garbage();
        pass(Duration::from_secs(5)).await;
    }
    assert_eq!((world.issued(), world.token("a", "acme")), (1, None));
    // The same name, as another object.
    world.api.clear_scripts();
    world.put_context("a", "acme", "acme", &json!({}));
    world.api.end_watches();
    world.start();
    pass(Duration::from_mins(1)).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
}

#[tokio::test(start_paused = true)]
async fn a_context_whose_watch_gets_no_response_gets_its_status_with_few_requests() {
    let mut world = World::new();
    world.add("a", "acme", LIFE, &json!({}));
    world.start();
    pass(Duration::from_mins(1)).await;
    world.api.script(Script::on(Verb::Watch, Kind::QlikContext, Fault::Silence));
    world.api.end_watches();
    pass(Duration::from_secs(30)).await;
    let label = |context: &mut serde_json::Value| context["metadata"]["labels"] = json!({"team": "a"});
    world.api.edit(Kind::QlikContext, "a", "acme", label).unwrap();
    world.api.clear_log();
    world.api.delete(Kind::Secret, "a", "acme");
    pass(Duration::from_secs(10)).await;
    let reported = world.reported("a", "acme", "CredentialsAvailable");
    assert!(reported.starts_with("False/SecretNotFound"), "{reported}");
    assert!(requests(&world) <= 12, "{}", requests(&world));
}

#[tokio::test(start_paused = true)]
async fn a_context_that_was_reported_missing_by_mistake_is_served_again_when_something_changes() {
    let mut world = World::new();
    world.add("a", "acme", LIFE, &json!({}));
    let missing = Fault::Status { code: 404, reason: "NotFound", retry_after: None };
    world.api.script(Script::on(Verb::Patch, Kind::QlikContext, missing).status().once());
    world.start();
    pass(Duration::from_mins(1)).await;
    assert_eq!(world.ready("a", "acme"), "-/-");
    label(&world, "acme");
    pass(Duration::from_secs(5)).await;
    assert_eq!((world.ready("a", "acme").as_str(), world.issued()), ("True/TokenValid", 1));
}

#[tokio::test(start_paused = true)]
async fn without_streaming_lists_the_watch_lists_in_pages_and_misses_no_change() {
    for (scope, watches) in [("", 1), ("mark=yes", 2)] {
        let mut world = World::new();
        world.api.set_watch_list(false);
        for number in 0..25 {
            world.put_credential("a", &format!("stranger-{number}"), "stranger", "planted-stranger");
        }
        world.add("a", "acme", LIFE, &json!({}));
        label(&world, "acme");
        world.scope = Scope { credentials: selector::parse(scope).unwrap(), ..Scope::default() };
        world.start();
        pass(Duration::from_secs(10)).await;
        assert_eq!(world.ready("a", "acme"), "True/TokenValid");
        assert_eq!(world.api.watches(Kind::Secret), watches);
        let metrics = world.metrics.render(world.clock.now()).unwrap();
        let mut errors = metrics.lines().filter(|line| line.starts_with("qlik_context_watch_errors_total{"));
        assert!(errors.all(|line| line.ends_with(" 0")), "a refusal to stream is no failure: {metrics}");
        for round in 0..3 {
            let secret = format!("planted-client-secret-{round:04}-rotated");
            world.tenant.edit_client("acme", |client| client.secrets.push(secret.clone()));
            let rotate = |object: &mut serde_json::Value| object["stringData"] = json!({"client-secret": secret});
            world.api.edit(Kind::Secret, "a", "acme", rotate).unwrap();
            pass(Duration::from_secs(10)).await;
            assert_eq!(world.issued(), 2 + round, "a rotation is noticed");
            world.api.delete(Kind::Secret, "a", "acme-token");
            pass(Duration::from_secs(10)).await;
            assert!(world.token("a", "acme").is_some(), "a deletion is noticed");
            world.api.end_watches();
            world.api.compact();
            pass(Duration::from_mins(1)).await;
        }
    }
}
