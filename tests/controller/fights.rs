//! Another controller that keeps changing the token Secret.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use support::api_server::{ApiServer, Kind, Verb};
use tokio::task::AbortHandle;

use crate::world::{HOUR, LIFE, World, pass};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

/// The change that the other controller makes.
type Change = fn(&mut Value);

const CHANGES: [(&str, Change); 4] = [
    ("a label", |secret| secret["metadata"]["labels"]["qlikcontext.dev/context"] = "other".into()),
    ("an annotation", |secret| secret["metadata"]["annotations"]["qlikcontext.dev/token-binding"] = "other".into()),
    ("the token", |secret| secret["data"]["token"] = STANDARD.encode("other").into()),
    ("all keys", |secret| secret["data"] = json!({"token": STANDARD.encode("other")})),
];

/// Makes the change again, shortly after each repair.
fn fight(api: &ApiServer, change: Change) -> AbortHandle {
    let api = api.clone();
    #[expect(clippy::disallowed_methods, reason = "another client runs beside the test")]
    let task = tokio::spawn(async move {
        loop {
            pass(Duration::from_millis(50)).await;
            let Some(secret) = api.get(Kind::Secret, "a", "acme-token") else { continue };
            let mut wanted = secret.clone();
            change(&mut wanted);
            if wanted != secret {
                api.put(wanted).unwrap();
            }
        }
    });
    task.abort_handle()
}

async fn ready(life: Duration) -> World {
    let mut world = World::new();
    world.add("a", "acme", life, &json!({"verifyInterval": "0s"}));
    world.start();
    pass(5 * SECOND).await;
    assert_eq!(world.ready("a", "acme"), "True/TokenValid");
    world.api.clear_log();
    world
}

/// The number of other contexts in [`waiting`].
const OTHERS: usize = 60;

/// Its token is published, and then others use up the request budget of the host for minutes.
async fn waiting() -> World {
    let mut world = World::new();
    world.limits.host_requests_per_minute = 8;
    world.add("a", "acme", LIFE, &json!({"verifyInterval": "0s"}));
    world.start();
    pass(5 * MINUTE).await;
    for n in 0..OTHERS {
        world.add("a", &format!("other-{n}"), LIFE, &json!({"verifyInterval": "0s"}));
    }
    pass(10 * SECOND).await;
    world
}

/// The tokens that the operator wrote.
fn written_tokens(world: &World) -> BTreeSet<String> {
    world.api.log(|log| {
        let writes =
            log.records.iter().filter(|record| record.call.verb == Verb::Patch && record.call.kind == Kind::Secret);
        let token = |body: Value| {
            let bytes = STANDARD.decode(body["data"]["token"].as_str().unwrap()).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        writes.map(|record| token(record.call.json().unwrap())).collect()
    })
}

fn requests(world: &World) -> usize {
    world.api.log(|log| log.count_if(|call| !matches!(call.verb, Verb::List | Verb::Watch)))
}

#[tokio::test(start_paused = true)]
async fn repairs_back_off_and_one_event_names_the_other_manager() {
    for (what, change) in CHANGES {
        let world = ready(LIFE).await;
        let token = world.token("a", "acme").unwrap();
        let fighter = fight(&world.api, change);
        pass(MINUTE).await;
        let first = world.secret_writes();
        assert!((2..=7).contains(&first), "{first} writes in the first minute, {what}");
        pass(9 * MINUTE).await;
        let ten = world.secret_writes();
        assert!(ten <= 11, "{ten} writes in ten minutes, {what}");
        let (writes, all) = (world.secret_writes(), requests(&world));
        pass(HOUR).await;
        let later = world.secret_writes() - writes;
        assert!((11..=13).contains(&later), "{later} writes in an hour, {what}");
        assert!(requests(&world) - all <= 10 * 13, "{} requests in an hour, {what}", requests(&world) - all);
        assert_eq!(written_tokens(&world), BTreeSet::from([token.clone()]), "{what}");
        assert_eq!(world.issued(), 1, "{what}");
        let notes = world.notes("SecretContested");
        assert_eq!(notes.len(), 1, "{what}: {notes:?}");
        assert!(notes[0].contains("Field managers seen in it: test."), "{what}: {}", notes[0]);
        fighter.abort();
        // After the other controller has stopped, the next repair is final.
        pass(6 * MINUTE).await;
        assert_eq!((world.ready("a", "acme").as_str(), world.token("a", "acme")), ("True/TokenValid", Some(token)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_context_is_not_ready_while_its_secret_does_not_contain_our_token() {
    let (_, change) = CHANGES[2];
    let world = ready(LIFE).await;
    let token = world.token("a", "acme").unwrap();
    let _fighter = fight(&world.api, change);
    pass(2 * MINUTE).await;
    for second in 0..600 {
        pass(SECOND).await;
        let holds = world.token("a", "acme").as_ref() == Some(&token);
        assert!(holds || !world.ready("a", "acme").starts_with("True/"), "second {second}");
    }
    assert_eq!(world.ready("a", "acme"), "False/SecretContested");
    assert!(world.reported("a", "acme", "Ready").contains("Another program keeps changing the token"));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_is_not_delayed_by_a_client_that_keeps_changing_the_secret() {
    for (what, change) in CHANGES {
        let world = ready(HOUR).await;
        let first = world.token("a", "acme").unwrap();
        let status = world.api.get(Kind::QlikContext, "a", "acme").unwrap()["status"].clone();
        let renewal: k8s_openapi::jiff::Timestamp = status["token"]["renewalTime"].as_str().unwrap().parse().unwrap();
        let _fighter = fight(&world.api, change);
        let left = Duration::try_from(renewal.duration_since(world.clock.now())).unwrap();
        pass(left - 2 * SECOND).await;
        world.api.clear_log();
        pass(7 * SECOND).await;
        assert_eq!(world.issued(), 2, "{what}");
        let written = written_tokens(&world);
        assert!(written.iter().any(|token| *token != first), "{what}: the new token was not written");
        // From then on only the new token is written.
        world.api.clear_log();
        pass(10 * MINUTE).await;
        assert!(!written_tokens(&world).contains(&first), "{what}");
        assert_eq!(world.issued(), 2, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_changes_the_secret_continuously_causes_a_bounded_number_of_requests() {
    let world = ready(LIFE).await;
    let api = world.api.clone();
    #[expect(clippy::disallowed_methods, reason = "another client runs beside the test")]
    let churn = tokio::spawn(async move {
        for n in 0_u64.. {
            pass(Duration::from_millis(20)).await;
            let touch = |secret: &mut Value| secret["data"]["token"] = STANDARD.encode(format!("other-{n}")).into();
            api.edit(Kind::Secret, "a", "acme-token", touch).unwrap();
        }
    });
    pass(10 * MINUTE).await;
    world.api.clear_log();
    pass(10 * MINUTE).await;
    assert!(world.secret_writes() <= 3, "{} writes in ten minutes", world.secret_writes());
    let per_minute = requests(&world) / 10;
    assert!(per_minute <= 2 * 1200, "{per_minute} requests in a minute");
    assert_eq!((world.issued(), world.notes("SecretContested").len()), (1, 1));
    churn.abort();
}

#[tokio::test(start_paused = true)]
async fn a_changed_secret_is_repaired_while_the_request_budget_of_its_host_is_used_up() {
    let world = waiting().await;
    let token = world.token("a", "acme");
    for (what, change) in CHANGES {
        world.api.edit(Kind::Secret, "a", "acme-token", change).unwrap();
        pass(SECOND).await;
        let secret = world.api.get(Kind::Secret, "a", "acme-token").unwrap();
        let mut changed = secret.clone();
        change(&mut changed);
        assert_ne!(secret, changed, "{what} was not repaired");
        assert_eq!(world.token("a", "acme"), token, "{what}");
        pass(14 * SECOND).await;
    }
    assert!((0..OTHERS).any(|n| world.token("a", &format!("other-{n}")).is_none()), "the budget is not used up");
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_another_client_fights_over_is_never_reported_as_good_during_a_long_wait() {
    let world = waiting().await;
    let token = world.token("a", "acme");
    let (_, change) = CHANGES[2];
    let _fighter = fight(&world.api, change);
    world.api.clear_log();
    for second in 0..240 {
        pass(SECOND).await;
        let holds = world.token("a", "acme") == token;
        assert!(holds || !world.ready("a", "acme").starts_with("True/"), "second {second}");
    }
    // Repairs after 1, 2, 4 … 128 s, and the first token of each other context.
    assert!(world.secret_writes() <= 9 + OTHERS, "{} writes", world.secret_writes());
}

#[tokio::test(start_paused = true)]
async fn a_single_change_is_repaired_at_once_each_day() {
    let world = ready(Duration::from_hours(24 * 7)).await;
    for day in 0..4 {
        for (what, change) in CHANGES {
            world.api.edit(Kind::Secret, "a", "acme-token", change).unwrap();
            let before = world.secret_writes();
            pass(SECOND).await;
            assert_eq!(world.secret_writes(), before + 1, "{what} on day {day}");
            pass(HOUR).await;
        }
        pass(20 * HOUR).await;
    }
    assert_eq!(world.notes("SecretContested").len(), 0);
    assert_eq!(world.issued(), 1);
}
