//! A kill at every single request to the tenant or to the API server.
//!
//! Each scenario runs once to count its requests. Then it runs again for each request: the controller is killed at that
//! request, once after the server processed it and once before it arrived, and is started again. In every case there is
//! one client for one object, the credential in the Secret always works, the next reconciliation leaves nothing behind,
//! and the scenario completes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use support::api_server::Kind;
use support::tenant::SecretBesideKey;

use super::{MINUTE, world};
use crate::world::{Killer, World, pass};

/// The actions of the scenario after the admin context is ready.
type Begin = fn(&World);

/// Runs a scenario with this killer and checks the Secret every second.
async fn tell(world: &mut World, killer: Arc<Killer>, begin: Begin, secret: bool) {
    world.killer = Some(killer.clone());
    world.start();
    // After the restart the controller reads its state before the scenario begins.
    pass(Duration::from_secs(5)).await;
    killer.watch(&world.api);
    begin(world);
    for _ in 0..100 {
        tokio::select! {
            () = killer.killed() => break,
            () = pass(Duration::from_secs(1)) => {}
        }
        if secret {
            world.secret_works("reporting");
        }
    }
    world.api.intercept(None);
    world.killer = None;
    world.start();
    for _ in 0..100 {
        pass(Duration::from_secs(1)).await;
        if secret {
            world.secret_works("reporting");
        }
    }
}

/// Runs a scenario with every kill. `before` prepares it, `end` checks the result.
async fn enumerate(before: Begin, begin: Begin, secret: bool, end: impl Fn(&World, &str)) {
    let prepared = async || {
        let world = world().await;
        before(&world);
        pass(MINUTE).await;
        world
    };
    let mut unharmed = prepared().await;
    let counter = Killer::at(0, false);
    tell(&mut unharmed, counter.clone(), begin, secret).await;
    end(&unharmed, "never killed");
    let requests = counter.count();
    assert!(requests > 5, "the scenario has only {requests} requests");
    for at in 1..=requests {
        for done in [false, true] {
            let mut world = prepared().await;
            let killer = Killer::at(at, done);
            tell(&mut world, killer, begin, secret).await;
            end(&world, &format!("killed at request {at} of {requests}, processed: {done}"));
        }
    }
}

/// There is one client, the status lists each of its credentials, and the credential in the Secret works.
fn one_client(world: &World, when: &str) {
    assert_eq!(world.client_ready("reporting"), "True/ClientReady", "{when}");
    let client = world.only();
    assert_eq!(world.reported_credentials("reporting"), World::credentials_of(&client), "{when}");
    assert_eq!(world.declared("reporting")["status"]["clientId"], client.client_id.as_str(), "{when}");
    world.secret_works("reporting");
}

#[tokio::test(start_paused = true)]
async fn a_creation_with_a_secret_survives_a_kill_at_every_request() {
    enumerate(
        |_| {},
        |world| world.declare("reporting", &json!({})),
        true,
        |world, when| {
            one_client(world, when);
            assert_eq!(world.only().secrets.len(), 1, "{when}");
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_creation_with_a_key_survives_a_kill_at_every_request() {
    let declare: Begin = |world| {
        world.tenant.choose(|api| api.secret_beside_key = SecretBesideKey::Made);
        world.declare("reporting", &json!({"authMethod": "PrivateKeyJwt"}));
    };
    enumerate(
        |_| {},
        declare,
        true,
        |world, when| {
            one_client(world, when);
            assert_eq!((world.only().secrets.len(), world.only().public_keys.len()), (0, 1), "{when}");
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_rotation_survives_a_kill_at_every_request() {
    for method in ["ClientSecret", "PrivateKeyJwt"] {
        let declare: Begin = match method {
            "ClientSecret" => |world| world.declare("reporting", &json!({"rotation": {"overlap": "20s"}})),
            _ => |world| {
                world.declare("reporting", &json!({"rotation": {"overlap": "20s"}, "authMethod": "PrivateKeyJwt"}));
            },
        };
        enumerate(
            declare,
            |world| world.rotate("reporting", "now"),
            true,
            |world, when| {
                one_client(world, when);
                assert_eq!(World::credentials_of(&world.only()).len(), 1, "{method}: {when}");
                assert_eq!(world.declared("reporting")["status"]["lastHandledRotateRequest"], "now", "{when}");
            },
        )
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_adoption_survives_a_kill_at_every_request() {
    let there: Begin = |world| {
        world.tenant.add_client(support::tenant::Client::new("old").secret("planted-1").secret("planted-2"));
    };
    let adopt: Begin = |world| world.declare("reporting", &json!({"adopt": {"clientId": "old"}}));
    enumerate(there, adopt, true, |world, when| {
        assert_eq!(world.client_ready("reporting"), "True/ClientReady", "{when}");
        let secrets = world.only().secrets;
        assert!(secrets.len() == 3 && secrets.contains(&"planted-1".into()), "{when}: {}", secrets.len());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_created_again_survives_a_kill_at_every_request() {
    let gone: Begin = |world| world.declare("reporting", &json!({}));
    let again: Begin = |world| {
        world.tenant.remove_client(&world.only().client_id);
        world.rotate("reporting", "again");
    };
    // Until the client is created again, the Secret contains a credential of the deleted client, as the status says.
    enumerate(gone, again, false, |world, when| {
        one_client(world, when);
        assert_eq!(world.only().secrets.len(), 1, "{when}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_deletion_survives_a_kill_at_every_request() {
    let declare: Begin = |world| world.declare("reporting", &json!({"deletionPolicy": "Delete"}));
    let delete: Begin = |world| {
        world.api.delete(Kind::QlikOAuthClient, "a", "reporting");
    };
    enumerate(declare, delete, false, |world, when| {
        assert_eq!(world.made().len(), 0, "{when}");
        assert!(world.declared("reporting").is_null(), "{when}");
    })
    .await;
}
