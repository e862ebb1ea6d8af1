//! `kill -9`, at any moment or at a request. Requests of a killed process are not delivered, and it gets no responses.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Kills one process.
#[derive(Debug, Default)]
pub struct KillSwitch {
    before: AtomicBool,
    after: AtomicBool,
    dead: AtomicBool,
    killed: Notify,
}

impl KillSwitch {
    /// Kills it now.
    pub fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.killed.notify_one();
    }

    /// Kills it before its next write or request to the tenant, or after the response.
    pub fn at_next(&self, done: bool) {
        let switch = if done { &self.after } else { &self.before };
        switch.store(true, Ordering::Relaxed);
    }

    /// Does not kill it at its next request any more.
    pub fn disarm(&self) {
        self.before.store(false, Ordering::Relaxed);
        self.after.store(false, Ordering::Relaxed);
    }

    /// Whether the process is killed.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Returns when the process is killed.
    pub async fn killed(&self) {
        self.killed.notified().await;
    }

    /// Call it before a request. `counts`: the process can be killed at this request.
    pub async fn before(&self, counts: bool) {
        self.pass(counts && self.before.load(Ordering::Relaxed)).await;
    }

    /// Call it after a response.
    pub async fn after(&self, counts: bool) {
        self.pass(counts && self.after.load(Ordering::Relaxed)).await;
    }

    async fn pass(&self, dies: bool) {
        if dies {
            self.kill();
        }
        if self.is_dead() {
            pending::<()>().await;
        }
    }
}
