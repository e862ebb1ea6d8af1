//! Who waits for the Lease, and who cannot even look at it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kube::api::Api;
use qlik_context_operator::lease::Election;
use serde_json::json;
use support::api_server::{Fault, Kind, Script, Verb};

use crate::world::{World, pass};

#[tokio::test(start_paused = true)]
async fn who_cannot_get_the_lease_is_no_standby_and_who_sees_another_holding_it_is() {
    let world = World::new();
    world.api.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}})).unwrap();
    let candidate = |identity: &str| {
        let leases = Api::namespaced(world.api.kube_client(), "a");
        Election::new(leases, "qlik-context-operator", identity.to_owned(), world.clock.clone())
    };
    let (mut first, mut second) = (candidate("first"), candidate("second"));
    let stands_by = AtomicBool::new(false);
    world.api.script(Script::on(Verb::Get, Kind::Lease, Fault::Forbidden));
    tokio::select! {
        () = second.acquire(|| stands_by.store(true, Ordering::Relaxed)) => panic!("without the right to"),
        () = pass(Duration::from_mins(1)) => {}
    }
    assert!(!stands_by.load(Ordering::Relaxed));
    world.api.clear_scripts();
    tokio::time::timeout(Duration::from_mins(1), first.acquire(|| ())).await.unwrap();
    tokio::select! {
        () = second.acquire(|| stands_by.store(true, Ordering::Relaxed)) => panic!("beside the other"),
        () = pass(Duration::from_secs(5)) => {}
    }
    assert!(stands_by.load(Ordering::Relaxed));
}
