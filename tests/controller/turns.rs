//! What waiting for a turn must not cost: neither what was known, nor what is due meanwhile, nor anybody else's turn.

use std::time::Duration;

use serde_json::{Value, json};
use support::tenant::{Fault, RetryAfter, Route, Script};

use crate::world::{LIFE, World, pass};

const MINUTE: Duration = Duration::from_mins(1);

fn quiet() -> Value {
    json!({"verifyInterval": "0s"})
}

#[tokio::test(start_paused = true)]
async fn pauses_asked_of_one_namespace_time_and_again_let_no_token_of_another_lapse() {
    let mut world = World::new();
    for n in 0..20 {
        world.add("victim", &format!("victim-{n}"), Duration::from_mins(30), &quiet());
        world.add("hostile", &format!("own-{n}"), LIFE, &json!({"verifyInterval": "10s"}));
    }
    world.start();
    pass(2 * MINUTE).await;
    for n in 0..20 {
        let fault = Fault::RateLimited(RetryAfter::Seconds(300));
        world.cloud.script(Script::at(Route::UsersMe, fault).client(&format!("own-{n}")));
    }
    for minute in 0..2 * 60 {
        pass(MINUTE).await;
        for n in 0..20 {
            let name = format!("victim-{n}");
            assert!(world.expiry("victim", &name).unwrap() > world.clock.now(), "{name} lapsed in minute {minute}");
        }
    }
}
