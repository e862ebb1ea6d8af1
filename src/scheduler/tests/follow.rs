//! What a run sends after its first request: charged like any other, and waiting for no turn.

use super::*;

fn working(n: usize) -> Ask {
    ask(n, "a", Urgency::Routine)
}

/// Sends the first request of a run.
fn first(world: &World, n: usize) -> Permit {
    world.send(&working(n), world.begin).unwrap()
}

/// How long somebody else has to wait now.
fn wait(world: &World, n: usize) -> Option<(WaitReason, u64)> {
    let entered = world.ask(&working(n), world.begin);
    world.scheduler.leave(&n.to_string(), world.begin);
    entered.err().map(|wait| (wait.reason, wait.expected.as_secs()))
}

#[tokio::test(start_paused = true)]
async fn what_follows_is_charged_to_the_host_and_those_who_come_next_wait_for_it() {
    let world = World::new(limits(4));
    let permit = first(&world, 0);
    for spent in 2..=4 {
        assert_eq!(wait(&world, 1), None, "{} of 4 are spent", spent - 1);
        assert_eq!(permit.follow(key(0), RequestKind::Token, true, world.begin), Ok(()));
    }
    assert_eq!(wait(&world, 1), Some((WaitReason::Budget, 15)));
    // A run is not cut off in the middle: what is too much is taken from the time to come.
    assert_eq!(permit.follow(key(0), RequestKind::Token, true, world.begin), Ok(()));
    assert_eq!(wait(&world, 1), Some((WaitReason::Budget, 30)));
}

#[tokio::test(start_paused = true)]
async fn what_follows_is_charged_to_its_own_key() {
    let world = World::new(Limits { key_tokens_per_minute: 2, ..limits(100) });
    let permit = first(&world, 0);
    assert_eq!(permit.follow(key(0), RequestKind::Token, true, world.begin), Ok(()));
    drop(permit);
    assert_eq!(wait(&world, 0), Some((WaitReason::Budget, 30)), "the key has spent its two");
    assert_eq!(wait(&world, 1), None, "and no other key pays for it");
}

#[tokio::test(start_paused = true)]
async fn what_only_reads_spends_no_token_request() {
    let world = World::new(limits(2));
    let permit = first(&world, 0);
    for _ in 0..20 {
        assert_eq!(permit.follow(key(0), RequestKind::Check, true, world.begin), Ok(()));
    }
    assert_eq!(wait(&world, 1), None);
    assert_eq!(permit.follow(key(0), RequestKind::Token, true, world.begin), Ok(()));
    assert_eq!(wait(&world, 1), Some((WaitReason::Budget, 30)));
}

#[tokio::test(start_paused = true)]
async fn nothing_follows_while_the_host_requires_a_pause_and_the_rest_of_it_is_reported() {
    let world = World::new(limits(100));
    let permit = first(&world, 0);
    permit.ended(paused(20), world.begin);
    let later = world.begin + 5 * SECOND;
    assert_eq!(permit.follow(key(0), RequestKind::Check, true, later), Err(15 * SECOND));
    assert_eq!(permit.follow(key(0), RequestKind::Token, true, later), Err(15 * SECOND));
    assert_eq!(permit.follow(key(0), RequestKind::Token, true, world.begin + 20 * SECOND), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_what_followed_counts_for_the_host_as_that_of_the_first() {
    let world = World::new(limits(100));
    let permit = first(&world, 0);
    permit.ended(UP, world.begin);
    permit.follow(key(0), RequestKind::Token, true, world.begin).unwrap();
    permit.ended(paused(20), world.begin);
    assert_eq!(wait(&world, 1).map(|(reason, _)| reason), Some(WaitReason::Pause));
    // A pause is taken once: the request that it answered has ended.
    permit.ended(paused(60), world.begin);
    assert_eq!(world.scheduler.paused(HOST, world.begin), Some(20 * SECOND));
}
