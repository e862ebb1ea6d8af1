//! The health of the process: the last sign of life of each task and watch, and the answers of `/livez` and `/readyz`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A task that was not polled for this long is stuck. No other check detects that.
const WEDGED: Duration = Duration::from_mins(1);
/// A watch is restarted every five minutes, and one with a dead connection within another five.
const WATCH_WEDGED: Duration = Duration::from_mins(15);
/// For a task that does not run.
const NEVER: u64 = u64::MAX;
/// Failures of the Kubernetes API that last longer than this make the instance unready.
const FAILING: Duration = Duration::from_mins(1);

/// A task that has to run as long as the process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Task {
    /// The controller's loop.
    Loop,
    /// Leader election, if enabled.
    Lease,
}

/// The health of the process.
pub struct Health {
    begun: Instant,
    /// Seconds after `begun` at which each task was last polled.
    beats: [AtomicU64; 2],
    /// When each watch, or its initial list, was last started.
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

    /// A watch of these objects is started. From now on it has to be restarted periodically, until the controller ends.
    pub fn watch_begun(&self, objects: String) {
        self.watches.lock().insert(objects, Instant::now());
    }

    /// Objects were listed, which shows that a watch is being restarted.
    pub fn listed(&self, objects: &str) {
        if let Some(begun) = self.watches.lock().get_mut(objects) {
            *begun = Instant::now();
        }
    }

    /// The controller and its watches have ended.
    pub fn watches_ended(&self) {
        self.watches.lock().clear();
    }

    /// Records a beat while no loop runs that could.
    pub async fn beat_alone(&self) {
        let mut interval = tokio::time::interval(WEDGED / 6);
        loop {
            interval.tick().await;
            self.beat(Task::Loop);
        }
    }

    /// Every context was listed.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// Another instance leads: this one has nothing to list, and earlier failures no longer count.
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

    /// Everything was listed, and the Kubernetes API has not failed for so long that the status may be outdated.
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

    /// Every task and every watch is alive.
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
