//! `kill -9`, at any moment or at a request. Requests of a killed process are not delivered, and it gets no responses.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Kills one process.
#[derive(Debug, Default)]
pub struct KillSwitch {
    before: AtomicBool,
    after: AtomicBool,
    /// At any request, not only at a write or a request to the tenant.
    any: AtomicBool,
    dead: AtomicBool,
    killed: Notify,
}

impl KillSwitch {
    /// Kills it now.
    pub fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.killed.notify_one();
    }

    /// Kills it before its next write or request to the tenant, or after the response. `any`: at any request.
    pub fn at_next(&self, done: bool, any: bool) {
        let switch = if done { &self.after } else { &self.before };
        switch.store(true, Ordering::Relaxed);
        self.any.store(any, Ordering::Relaxed);
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

    /// Call it before a request. `acts`: it is a write or a request to the tenant.
    pub async fn before(&self, acts: bool) {
        self.pass(acts, &self.before).await;
    }

    /// Call it after a response.
    pub async fn after(&self, acts: bool) {
        self.pass(acts, &self.after).await;
    }

    async fn pass(&self, acts: bool, switch: &AtomicBool) {
        if switch.load(Ordering::Relaxed) && (acts || self.any.load(Ordering::Relaxed)) {
            self.kill();
        }
        if self.is_dead() {
            pending::<()>().await;
        }
    }
}
