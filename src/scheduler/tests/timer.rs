//! The timer, on tokio's clock.

#![expect(clippy::disallowed_methods, reason = "the timer runs beside the test")]

use super::*;

#[tokio::test(start_paused = true)]
async fn the_timer_wakes_parked_contexts_when_the_host_opens_and_sleeps_otherwise() {
    let world = World::new(limits(60));
    let scheduler = world.scheduler.clone();
    let timer = tokio::spawn(async move { scheduler.run().await });
    let asks: Vec<_> = (0..70).map(|n| ask(n, "a", Urgency::Routine)).collect();
    let sent = asks.iter().filter(|ask| world.send(ask, Instant::now()).is_ok()).count();
    assert_eq!(sent, 60);
    for ask in &asks[60..] {
        tokio::time::sleep(Duration::from_millis(1_050)).await;
        assert_eq!(world.woken(), [ask.n]);
        drop(world.send(ask, Instant::now()).unwrap());
    }
    // With the clock paused, time only passes while every task is idle: nothing else is scheduled in these days.
    let before = Instant::now();
    tokio::time::sleep(Duration::from_hours(72)).await;
    assert_eq!((world.woken(), Instant::now() - before), (vec![], Duration::from_hours(72)));
    assert_eq!(world.next_event(), None);
    timer.abort();
}

#[tokio::test(start_paused = true)]
async fn a_reserved_turn_lapses_by_itself() {
    let world = World::new(Limits { concurrency: 1, ..Limits::default() });
    let scheduler = world.scheduler.clone();
    let timer = tokio::spawn(async move { scheduler.run().await });
    tokio::task::yield_now().await;
    let first = world.ask(&ask(9, "a", Urgency::New), Instant::now()).unwrap();
    [0, 1].iter().for_each(|n| assert!(world.ask(&ask(*n, "a", Urgency::New), Instant::now()).is_err()));
    drop(first);
    assert_eq!(world.woken(), [0]);
    tokio::time::sleep(Duration::from_millis(4_900)).await;
    assert_eq!(world.woken(), [0; 0]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(world.woken(), [1]);
    timer.abort();
}
