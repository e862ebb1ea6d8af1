//! An instance that watches only some namespaces, contexts or Secrets.

use std::time::Duration;

use qlik_context_operator::controller::control;
use qlik_context_operator::controller::scope::{Scope, selector};
use qlik_context_operator::lease::Leadership;
use serde_json::json;
use support::api_server::{Fault, Kind, Script, Verb};
use tokio_util::sync::CancellationToken;

use crate::world::{HOUR, LIFE, World, pass};

const CONTEXTS: [(&str, &str); 4] = [("a", "one"), ("a", "two"), ("b", "one"), ("c", "one")];

/// Contexts in three namespaces, and a controller that watches two of them.
fn world_of_two_namespaces() -> World {
    let mut world = World::new();
    for (namespace, name) in CONTEXTS {
        world.add(namespace, name, LIFE, &json!({}));
    }
    world.scope = Scope { namespaces: "a,b".parse().unwrap(), ..Scope::default() };
    world.start();
    world
}

/// Whether the metric `qlik_context_ready` has a series for the context.
fn is_known(world: &World, namespace: &str, name: &str) -> bool {
    let metrics = world.metrics.render(world.clock.now()).unwrap();
    metrics.contains(&format!("qlik_context_ready{{namespace=\"{namespace}\",name=\"{name}\"}}"))
}

fn label(world: &World, name: &str, shard: &str) {
    let label = |context: &mut serde_json::Value| context["metadata"]["labels"] = json!({"shard": shard});
    world.api.edit(Kind::QlikContext, "a", name, label).unwrap();
}

#[tokio::test(start_paused = true)]
async fn only_the_listed_namespaces_are_served_without_cluster_wide_requests() {
    let world = world_of_two_namespaces();
    pass(LIFE).await;
    let ready = CONTEXTS.map(|(namespace, name)| world.ready(namespace, name));
    assert_eq!(ready, ["True/TokenValid", "True/TokenValid", "True/TokenValid", "-/-"]);
    world.api.log(|log| {
        let elsewhere = log.records.iter().find(|record| !matches!(record.call.namespace.as_deref(), Some("a" | "b")));
        assert!(elsewhere.is_none(), "{elsewhere:?}");
    });
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_cannot_be_read_delays_no_other_and_is_served_once_it_can_be_read() {
    let mut world = World::new();
    for kind in [Kind::QlikContext, Kind::Secret] {
        for verb in [Verb::List, Verb::Watch] {
            world.api.script(Script::on(verb, kind, Fault::Forbidden).namespace("b"));
        }
    }
    for (namespace, name) in CONTEXTS {
        world.add(namespace, name, LIFE, &json!({}));
    }
    world.scope = Scope { namespaces: "a,b".parse().unwrap(), ..Scope::default() };
    world.start();
    pass(Duration::from_secs(2)).await;
    assert_eq!((world.ready("a", "one").as_str(), world.ready("b", "one").as_str()), ("True/TokenValid", "-/-"));
    let metrics = world.metrics.render(world.clock.now()).unwrap();
    assert!(metrics.contains("watch_errors_total{watch=\"Contexts\"}"), "{metrics}");
    pass(HOUR).await;
    world.api.clear_scripts();
    pass(Duration::from_mins(1)).await;
    assert_eq!(world.ready("b", "one"), "True/TokenValid");
    assert!(is_known(&world, "a", "one") && is_known(&world, "a", "two"));
    assert_eq!(world.issued(), 2, "contexts of the same name share a client");
}

#[tokio::test(start_paused = true)]
async fn a_context_deleted_during_a_gap_of_its_watch_is_forgotten_and_other_namespaces_are_kept() {
    let world = world_of_two_namespaces();
    pass(Duration::from_secs(5)).await;
    for _ in 0..3 {
        for verb in [Verb::List, Verb::Watch] {
            world.api.script(Script::on(verb, Kind::QlikContext, Fault::unavailable()).namespace("a"));
        }
        world.api.end_watches();
        world.api.delete(Kind::QlikContext, "a", "two");
        // The history is dropped, so that a later watch cannot report the deletion.
        world.api.compact();
        pass(Duration::from_mins(1)).await;
        world.api.clear_scripts();
        pass(Duration::from_mins(20)).await;
        let known =
            [("a", "one"), ("a", "two"), ("b", "one")].map(|(namespace, name)| is_known(&world, namespace, name));
        assert_eq!(known, [true, false, true]);
    }
    let tokens = [world.token("a", "one"), world.token("b", "one")];
    pass(LIFE).await;
    assert!(tokens[0] != world.token("a", "one") && tokens[1] != world.token("b", "one"), "both are still renewed");
}

#[tokio::test(start_paused = true)]
async fn a_context_that_is_no_longer_selected_is_ignored_and_another_instance_continues_with_its_token() {
    let shard = |name: &str| Scope { contexts: selector::parse(&format!("shard={name}")).unwrap(), ..Scope::default() };
    let mut world = World::new();
    for name in ["one", "two", "other", "unlabelled"] {
        world.add("a", name, LIFE, &json!({}));
    }
    for (name, of) in [("one", "x"), ("two", "x"), ("other", "y")] {
        label(&world, name, of);
    }
    world.scope = shard("x");
    world.start();
    pass(Duration::from_secs(5)).await;
    let ready = ["one", "two", "other", "unlabelled"].map(|name| world.ready("a", name));
    assert_eq!(ready, ["True/TokenValid", "True/TokenValid", "-/-", "-/-"]);

    label(&world, "two", "y");
    pass(Duration::from_secs(5)).await;
    assert!(is_known(&world, "a", "one") && !is_known(&world, "a", "two"));
    world.api.clear_log();
    let token = world.token("a", "two");
    pass(HOUR).await;
    world.put_credential("a", "two", "two", "planted-wrong-secret");
    pass(HOUR).await;
    assert_eq!((world.token("a", "two"), world.ready("a", "two").as_str()), (token.clone(), "True/TokenValid"));
    world.api.log(|log| {
        let about = |record: &&support::api_server::Record| {
            record.call.name.as_deref().is_some_and(|name| name.starts_with("two"))
        };
        assert_eq!(log.records.iter().filter(about).count(), 0, "no request is sent for it");
    });

    world.put_credential("a", "two", "two", crate::world::CLIENT_SECRET);
    world.scope = shard("y");
    world.start();
    pass(Duration::from_secs(5)).await;
    assert_eq!(
        (world.issued(), world.ready("a", "other").as_str()),
        (3, "True/TokenValid"),
        "one token for the new context"
    );
    assert_eq!((world.token("a", "two"), is_known(&world, "a", "two")), (token, true));
}

#[tokio::test(start_paused = true)]
async fn a_context_that_another_shard_served_meanwhile_keeps_its_newer_token() {
    let shard = |name: &str| Scope { contexts: selector::parse(&format!("shard={name}")).unwrap(), ..Scope::default() };
    let mut world = World::new();
    world.add("a", "one", LIFE, &json!({}));
    world.put_context("a", "two", "one", &json!({}));
    ["one", "two"].iter().for_each(|name| label(&world, name, "x"));
    world.scope = shard("y");
    let other = world.parts(Leadership::undisputed());
    #[expect(clippy::disallowed_methods, reason = "the other shard runs concurrently")]
    tokio::spawn(control(other, CancellationToken::new()));
    world.scope = shard("x");
    world.start();
    pass(HOUR).await;
    assert_eq!(world.issued(), 1, "the two contexts share a token");

    label(&world, "two", "y");
    let refresh = |context: &mut serde_json::Value| {
        context["metadata"]["annotations"]["qlikcontext.dev/refresh-requested-at"] = "now".into();
    };
    world.api.edit(Kind::QlikContext, "a", "two", refresh).unwrap();
    pass(Duration::from_mins(1)).await;
    let (token, issued, writes) = (world.token("a", "two"), world.issued(), world.secret_writes());
    assert_ne!(token, world.token("a", "one"));

    label(&world, "two", "x");
    pass(HOUR / 2).await;
    assert_eq!((world.token("a", "two"), world.issued(), world.secret_writes()), (token, issued, writes));
}

#[tokio::test(start_paused = true)]
async fn a_context_that_is_selected_again_is_reconciled_again() {
    let mut world = World::new();
    world.add("a", "one", LIFE, &json!({}));
    label(&world, "one", "x");
    world.scope = Scope { contexts: selector::parse("shard=x").unwrap(), ..Scope::default() };
    world.start();
    pass(Duration::from_secs(5)).await;
    for away in [Duration::from_secs(5), HOUR] {
        label(&world, "one", "y");
        pass(away).await;
        assert!(!is_known(&world, "a", "one"));
        label(&world, "one", "x");
        pass(Duration::from_secs(5)).await;
        assert!(is_known(&world, "a", "one"), "after {away:?}");
    }
    let token = world.token("a", "one");
    pass(LIFE).await;
    assert_ne!(world.token("a", "one"), token, "renewed");
}

#[tokio::test(start_paused = true)]
async fn with_a_credential_selector_a_labelled_secret_triggers_a_reconciliation_and_others_are_read_at_the_next_one() {
    let mut world = World::new();
    for name in ["labelled", "plain"] {
        world.add("a", name, LIFE, &json!({}));
    }
    let label = |secret: &mut serde_json::Value| secret["metadata"]["labels"] = json!({"qlik": "credential"});
    world.api.edit(Kind::Secret, "a", "labelled", label).unwrap();
    world.scope = Scope { credentials: selector::parse("qlik=credential").unwrap(), ..Scope::default() };
    world.start();
    pass(Duration::from_secs(5)).await;
    assert_eq!(world.issued(), 2, "both credentials are read");
    for (name, issued) in [("labelled", 3), ("plain", 3)] {
        let secret = format!("planted-client-secret-{name}-rotated");
        world.tenant.edit_client(name, |client| client.secrets.push(secret.clone()));
        let rotate = |object: &mut serde_json::Value| object["stringData"] = json!({"client-secret": secret});
        world.api.edit(Kind::Secret, "a", name, rotate).unwrap();
        pass(Duration::from_secs(5)).await;
        assert_eq!(world.issued(), issued, "{name}");
    }
    // The next verification of the token.
    pass(Duration::from_mins(16)).await;
    assert_eq!(world.issued(), 4);
    world.api.log(|log| {
        let watches =
            log.records.iter().filter(|record| (record.call.verb, record.call.kind) == (Verb::Watch, Kind::Secret));
        let mut selectors: Vec<_> = watches.map(|watch| watch.call.parameters["labelSelector"].as_str()).collect();
        selectors.sort_unstable();
        selectors.dedup();
        assert_eq!(selectors, ["app.kubernetes.io/managed-by=qlik-context-operator", "qlik=credential"]);
    });
}
