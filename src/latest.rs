//! The status that this process wrote last, for as long as the watch has not shown it.
//!
//! A run may begin before the watch has delivered what the run before it wrote. Judged by the older status it would tell
//! the same transition twice and move its time. The status is ours alone, so what we wrote last is what stands.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::api::{QlikContext, QlikContextStatus};

/// Statuses that the watch has not shown yet, by uid.
#[derive(Default)]
pub struct Latest(Mutex<HashMap<String, QlikContextStatus>>);

impl Latest {
    /// The context with the status that stands.
    pub fn catch_up(&self, context: &QlikContext) -> QlikContext {
        let mut context = context.clone();
        let uid = context.metadata.uid.clone().unwrap_or_default();
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match written.get(&uid) {
            Some(status) if context.status.as_ref() == Some(status) => drop(written.remove(&uid)),
            Some(status) => context.status = Some(status.clone()),
            None => {}
        }
        context
    }

    /// This status was written.
    pub fn note(&self, context: &QlikContext, status: &QlikContextStatus) {
        let uid = context.metadata.uid.clone().unwrap_or_default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid, status.clone());
    }

    /// The context is gone.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}
