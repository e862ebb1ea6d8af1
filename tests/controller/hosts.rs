//! A credential Secret that lists the hosts to which it can be sent: `qlikcontext.dev/allowed-hosts`.

use std::time::Duration;

use serde_json::{Value, json};
use support::api_server::Kind;
use support::tenant::{Client, Route};

use crate::world::{CLIENT_SECRET, HOUR, LIFE, World, pass};

/// The host of the tenant in these tests.
const HERE: &str = "acme.eu.qlikcloud.com";

fn allow_only(world: &World, secret: &str, hosts: &str) {
    let annotate =
        |secret: &mut Value| secret["metadata"]["annotations"]["qlikcontext.dev/allowed-hosts"] = hosts.into();
    world.api.edit(Kind::Secret, "a", secret, annotate).unwrap();
}

fn requests(world: &World) -> u64 {
    world.cloud.ledger(|ledger| ledger.requests)
}

#[tokio::test(start_paused = true)]
async fn the_list_has_the_syntax_of_the_operators_flag_and_an_empty_or_invalid_one_allows_no_host() {
    for (list, allowed) in [
        (HERE, true),
        ("ACME.eu.qlikcloud.com", true),
        ("*.eu.qlikcloud.com", true),
        ("*.qlikcloud.com", true),
        ("*", true),
        ("other.example, acme.eu.qlikcloud.com ,", true),
        ("acme.eu.qlikcloud.com:443", true),
        ("", false),
        (" ", false),
        (",", false),
        ("other.eu.qlikcloud.com", false),
        ("eu.qlikcloud.com", false),
        ("*.acme.eu.qlikcloud.com", false),
        ("*.other.com", false),
        ("acme.eu.qlikcloud.com:8443", false),
        ("acme.eu.qlikcloud.com.", false),
        ("acme.eu.qlikcloud.com/", false),
        ("https://acme.eu.qlikcloud.com", false),
        ("acme.eu.qlikcloud.com, b a d", false),
        ("acme.eu.qlikcloud.com; other.example", false),
        ("*qlikcloud.com", false),
        ("acme.*.qlikcloud.com", false),
        ("*.*", false),
        ("**", false),
        (".qlikcloud.com", false),
        ("127.0.0.1", false),
        ("\u{430}cme.eu.qlikcloud.com", false),
    ] {
        let mut world = World::new();
        world.add("a", "acme", LIFE, &json!({}));
        allow_only(&world, "acme", list);
        world.start();
        pass(Duration::from_secs(5)).await;
        let ready = if allowed { "True/TokenValid" } else { "False/HostNotAllowedBySecret" };
        assert_eq!(world.ready("a", "acme"), ready, "{list:?}");
        assert_eq!(requests(&world) > 0, allowed, "{list:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_published_token_is_verified_at_no_other_host_and_stays_published() {
    let mut world = World::new();
    world.add("a", "acme", LIFE, &json!({"verifyInterval": "1m"}));
    world.start();
    pass(Duration::from_secs(5)).await;
    let token = world.token("a", "acme");
    allow_only(&world, "acme", "elsewhere.eu.qlikcloud.com");
    pass(Duration::from_secs(5)).await;
    let before = requests(&world);
    pass(HOUR).await;
    assert_eq!(requests(&world), before, "no verification and no token request");
    assert_eq!((world.ready("a", "acme").as_str(), world.token("a", "acme")), ("True/RenewalFailing", token));
    let context = world.api.get(Kind::QlikContext, "a", "acme").unwrap();
    let reasons: Vec<_> = context["status"]["conditions"].as_array().unwrap().iter().map(|c| &c["reason"]).collect();
    assert!(reasons.contains(&&json!("HostNotAllowedBySecret")), "{reasons:?}");
    // After a restart the token is read from the Secret. The same list applies.
    world.start();
    pass(HOUR).await;
    assert_eq!(requests(&world), before);
    allow_only(&world, "acme", HERE);
    pass(Duration::from_secs(5)).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
}

#[tokio::test(start_paused = true)]
async fn a_credential_is_not_sent_to_another_tenant_after_an_edit_of_the_spec() {
    let mut world = World::new();
    let other = world.cloud.tenant("other.eu.qlikcloud.com");
    other.add_client(Client::new("acme").secret(CLIENT_SECRET));
    world.add("a", "acme", LIFE, &json!({"verifyInterval": "1m"}));
    allow_only(&world, "acme", HERE);
    world.start();
    pass(Duration::from_secs(5)).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
    let turn = |context: &mut Value| context["spec"]["tenantUrl"] = other.url().into();
    world.api.edit(Kind::QlikContext, "a", "acme", turn).unwrap();
    pass(HOUR).await;
    assert_eq!(world.ready("a", "acme"), "False/HostNotAllowedBySecret");
    assert_eq!(world.cloud.ledger(|ledger| ledger.hosts.get("other.eu.qlikcloud.com").copied()), None);
}

#[tokio::test(start_paused = true)]
async fn an_api_key_is_sent_to_no_host_that_its_secret_does_not_list() {
    let mut world = World::new();
    world.tenant.add_user("auth0|ada", "Ada");
    let key = world.tenant.api_key("auth0|ada", LIFE);
    let metadata = json!({"name": "k", "namespace": "a"});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"api-key": key}});
    world.api.put(secret).unwrap();
    allow_only(&world, "k", "elsewhere.eu.qlikcloud.com");
    let auth = json!({"apiKey": {"secretRef": {"name": "k"}}});
    world.put_context("a", "acme", "k", &json!({ "auth": auth, "verifyInterval": "1m" }));
    world.start();
    pass(HOUR).await;
    assert_eq!((world.ready("a", "acme").as_str(), requests(&world)), ("False/HostNotAllowedBySecret", 0));
    allow_only(&world, "k", HERE);
    pass(Duration::from_mins(2)).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
    assert!(world.cloud.ledger(|ledger| ledger.at(Route::UsersMe)) > 1);
}
