//! The status that this process wrote last, for as long as the watch has not shown it.
//!
//! A run may begin before the watch has delivered what the run before it wrote. Judged by the older status it would tell
//! the same transition twice and move its time. The status is ours alone, so what we wrote last is what stands.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::api::{QlikContext, QlikContextStatus};

/// Statuses that the watch has not shown yet, by uid.
#[derive(Default)]
pub struct Latest(Mutex<HashMap<String, Written>>);

struct Written {
    status: QlikContextStatus,
    /// The version of the object that the write made.
    version: Option<String>,
    /// The versions before it: while the watch shows one of them, it has not caught up.
    before: Vec<Option<String>>,
}

impl Latest {
    /// The context with the status that stands, and the version that has it.
    pub fn catch_up(&self, context: &QlikContext) -> QlikContext {
        let mut context = context.clone();
        let uid = context.metadata.uid.clone().unwrap_or_default();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get(&uid) {
            Some(written) if written.before.contains(&context.metadata.resource_version) => {
                context.status = Some(written.status.clone());
                context.metadata.resource_version.clone_from(&written.version);
            }
            // Caught up, or somebody else has written since.
            Some(_) => drop(all.remove(&uid)),
            None => {}
        }
        context
    }

    /// This status was written over the version that was judged, and made this one.
    pub fn note(&self, context: &QlikContext, status: &QlikContextStatus, version: Option<String>) {
        let uid = context.metadata.uid.clone().unwrap_or_default();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = all.remove(&uid).map(|written| written.before).unwrap_or_default();
        before.push(context.metadata.resource_version.clone());
        all.insert(uid, Written { status: status.clone(), version, before });
    }

    /// The context is gone, or somebody else has changed it.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}
