//! How the process is: what each task and watch told last, and what `/livez` and `/readyz` make of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A task that was not polled for this long is stuck; nothing else would show it.
const WEDGED: Duration = Duration::from_mins(1);
/// A watch is begun again every five minutes, and one whose connection is dead within another five.
const WATCH_WEDGED: Duration = Duration::from_mins(15);
/// Of a task that does not run.
const NEVER: u64 = u64::MAX;
/// Failures of the Kubernetes API that last longer than this make the instance unready.
const FAILING: Duration = Duration::from_mins(1);

/// A task that has to go on while the process lives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Task {
    /// The controller's loop.
    Loop,
    /// The election, where there is one.
    Lease,
}

/// How the process is.
pub struct Health {
    begun: Instant,
    /// Seconds after `begun` at which each task was last polled.
    beats: [AtomicU64; 2],
    /// When each watch was last begun, or the list that it begins with.
    watches: Mutex<HashMap<String, Instant>>,
    ready: AtomicBool,
    /// Since when every call of the Kubernetes API has failed; `None`: the last one was answered.
    failing: Mutex<Option<Instant>>,
}

impl Health {
    /// Alive from now, not ready.
    pub fn new() -> Self {
        Self {
            begun: Instant::now(),
            beats: [AtomicU64::new(0), AtomicU64::new(NEVER)],
            watches: Mutex::default(),
            ready: AtomicBool::new(false),
            failing: Mutex::new(None),
        }
    }

    /// The task was polled.
    pub fn beat(&self, task: Task) {
        self.beats[task as usize].store(self.begun.elapsed().as_secs(), Ordering::Relaxed);
    }

    /// A watch of these objects is begun. From now on it has to be begun again and again, until none is to go on any more.
    pub fn watch_begun(&self, objects: String) {
        self.watches.lock().insert(objects, Instant::now());
    }

    /// Objects were listed, which a watch does that is on its way to begin again.
    pub fn listed(&self, objects: &str) {
        if let Some(begun) = self.watches.lock().get_mut(objects) {
            *begun = Instant::now();
        }
    }

    /// The controller ended, and its watches with it.
    pub fn watches_ended(&self) {
        self.watches.lock().clear();
    }

    /// Beats while no loop runs that could.
    pub async fn beat_alone(&self) {
        let mut interval = tokio::time::interval(WEDGED / 6);
        loop {
            interval.tick().await;
            self.beat(Task::Loop);
        }
    }

    /// Every context is known.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// Another instance leads: there is nothing to know, and what failed before is no matter of ours any more.
    pub fn stand_by(&self) {
        self.kubernetes_answered();
        self.set_ready();
    }

    /// A call of the Kubernetes API failed.
    pub fn kubernetes_failed(&self) {
        self.failing.lock().get_or_insert_with(Instant::now);
    }

    /// A call of the Kubernetes API was answered.
    pub fn kubernetes_answered(&self) {
        *self.failing.lock() = None;
    }

    /// Everything is known, and the Kubernetes API has not failed for so long that the status may be untrue.
    pub fn readiness(&self) -> Result<(), &'static str> {
        if !self.ready.load(Ordering::Relaxed) {
            return Err("the contexts are not known yet");
        }
        match *self.failing.lock() {
            Some(since) if since.elapsed() >= FAILING => {
                Err("the Kubernetes API does not take what the operator writes")
            }
            _ => Ok(()),
        }
    }

    /// Every task goes on, and every watch.
    pub fn liveness(&self) -> Result<(), &'static str> {
        let now = self.begun.elapsed().as_secs();
        let goes_on = |task: Task| match self.beats[task as usize].load(Ordering::Relaxed) {
            NEVER => true,
            beat => now.saturating_sub(beat) < WEDGED.as_secs(),
        };
        if !goes_on(Task::Loop) {
            return Err("the controller loop is stuck");
        }
        if !goes_on(Task::Lease) {
            return Err("the leader election is stuck");
        }
        if self.watches.lock().values().any(|begun| begun.elapsed() >= WATCH_WEDGED) {
            return Err("a watch is stuck");
        }
        Ok(())
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}
