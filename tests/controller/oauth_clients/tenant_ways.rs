//! Behaviour of tenants that the documentation leaves open. Every variant leads to a working client.

use std::time::Duration;

use serde_json::json;
use support::tenant::{ConsentAtCreation, KeysTaken, Route, SecretBesideKey};

use super::{MINUTE, world};
use crate::world::{World, pass};

const METHODS: [&str; 2] = ["ClientSecret", "PrivateKeyJwt"];

/// The client is created, rotated and used by a context, and the status lists each of its credentials.
async fn works(world: &World, method: &str) {
    world.declare("reporting", &json!({"authMethod": method}));
    let auth = match method {
        "ClientSecret" => json!({"clientSecret": {"secretRef": {"name": "reporting-oauth"}}}),
        _ => json!({"privateKeyJwt": {"secretRef": {"name": "reporting-oauth"}}}),
    };
    world.put_context("a", "reports", "unused", &json!({ "auth": auth }));
    for request in ["1", "2"] {
        pass(2 * MINUTE).await;
        assert_eq!(world.client_ready("reporting"), "True/ClientReady", "{method}");
        assert_eq!(world.ready("a", "reports"), "True/TokenValid", "{method}");
        assert_eq!(world.reported_credentials("reporting"), World::credentials_of(&world.only()), "{method}");
        world.secret_works("reporting");
        world.rotate("reporting", request);
    }
}

#[tokio::test(start_paused = true)]
async fn both_methods_lead_to_a_token() {
    for method in METHODS {
        works(&world().await, method).await;
    }
}

#[tokio::test(start_paused = true)]
async fn consent_that_is_refused_or_ignored_at_creation_is_set_afterwards() {
    for consent in [ConsentAtCreation::Refused, ConsentAtCreation::Ignored] {
        for method in METHODS {
            let world = world().await;
            world.tenant.choose(|api| api.consent_at_creation = consent);
            works(&world, method).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_of_a_client_with_a_key_is_removed() {
    for beside in [SecretBesideKey::Absent, SecretBesideKey::Empty, SecretBesideKey::Made] {
        let world = world().await;
        world.tenant.choose(|api| api.secret_beside_key = beside);
        works(&world, "PrivateKeyJwt").await;
        assert_eq!(world.only().secrets.len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_rotated_in_every_format_that_a_tenant_accepts() {
    for keys in [KeysTaken::AsObjects, KeysTaken::AsTexts, KeysTaken::AsBoth] {
        let world = world().await;
        world.tenant.choose(|api| api.keys_taken = keys);
        works(&world, "PrivateKeyJwt").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_hint_that_is_missing_at_creation_is_read_afterwards() {
    let world = world().await;
    world.tenant.choose(|api| api.tells_hint_at_creation = false);
    works(&world, "ClientSecret").await;
    assert_eq!(world.cloud.ledger(|ledger| ledger.at(Route::AddSecret)), 1, "the first secret is still used");
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_works_only_after_a_delay_is_written_after_that_delay() {
    for (seconds, method) in [(5, METHODS[0]), (5, METHODS[1]), (100, METHODS[0]), (100, METHODS[1])] {
        let world = world().await;
        world.tenant.choose(|api| api.propagation = Duration::from_secs(seconds));
        world.declare("reporting", &json!({"authMethod": method}));
        pass(Duration::from_secs(seconds / 2)).await;
        assert!(world.credential("reporting", "client-id").is_none(), "{seconds} s, {method}");
        pass(3 * MINUTE).await;
        assert_eq!(world.client_ready("reporting"), "True/ClientReady", "{seconds} s, {method}");
        let made = world.cloud.ledger(|ledger| ledger.at(Route::AddSecret));
        assert_eq!(
            (World::credentials_of(&world.only()).len(), made),
            (1, 0),
            "{seconds} s, {method}: the same credential"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_rotation_waits_until_the_new_credential_works_and_the_old_one_is_used_meanwhile() {
    for method in METHODS {
        for seconds in [5, 100] {
            let world = world().await;
            world.declare("reporting", &json!({"authMethod": method, "rotation": {"overlap": "10m"}}));
            pass(MINUTE).await;
            let key = if method == METHODS[0] { "client-secret" } else { "private-key" };
            let old = world.credential("reporting", key).unwrap();
            world.tenant.choose(|api| api.propagation = Duration::from_secs(seconds));
            world.rotate("reporting", "now");
            for _ in 0..seconds {
                assert_eq!(world.credential("reporting", key).as_ref(), Some(&old), "{seconds} s, {method}");
                assert!(world.client_ready("reporting").starts_with("True/"), "{seconds} s, {method}");
                pass(Duration::from_secs(1)).await;
            }
            pass(3 * MINUTE).await;
            assert_ne!(world.credential("reporting", key), Some(old), "{seconds} s, {method}");
            assert_eq!(
                World::credentials_of(&world.only()).len(),
                2,
                "{seconds} s, {method}: the same credential during the wait"
            );
            pass(11 * MINUTE).await;
            assert_eq!(World::credentials_of(&world.only()).len(), 1, "{seconds} s, {method}");
            assert_eq!(world.client_ready("reporting"), "True/ClientReady", "{seconds} s, {method}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_is_never_accepted_is_replaced() {
    let world = world().await;
    world.tenant.choose(|api| api.propagation = Duration::from_hours(2));
    world.declare("reporting", &json!({}));
    pass(Duration::from_mins(30)).await;
    assert_eq!(world.client_ready("reporting"), "False/CredentialNotAccepted");
    assert!(world.only().secrets.len() <= 2);
    world.tenant.choose(|api| api.propagation = Duration::ZERO);
    pass(Duration::from_mins(20)).await;
    assert_eq!(world.client_ready("reporting"), "True/ClientReady");
    assert_eq!(world.only().secrets.len(), 1);
}
