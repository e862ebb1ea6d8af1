//! The status that this process wrote last, for as long as the watch has not shown it.
//!
//! A run may begin before the watch has delivered what the run before it wrote. Judged by the older status it would tell
//! the same transition twice and move its time. The status is ours alone, so what we wrote last is what stands.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::api::{QlikContext, QlikContextStatus};

/// Statuses that the watch has not shown yet, by uid, each with the version of the object that it made.
#[derive(Default)]
pub struct Latest(Mutex<HashMap<String, (QlikContextStatus, Option<String>)>>);

impl Latest {
    /// The context with the status that stands, and the version that has it.
    pub fn catch_up(&self, context: &QlikContext) -> QlikContext {
        let mut context = context.clone();
        let uid = context.metadata.uid.clone().unwrap_or_default();
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match written.get(&uid) {
            Some((status, _)) if context.status.as_ref() == Some(status) => drop(written.remove(&uid)),
            Some((status, version)) => {
                context.status = Some(status.clone());
                context.metadata.resource_version.clone_from(version);
            }
            None => {}
        }
        context
    }

    /// This status was written, and made this version.
    pub fn note(&self, context: &QlikContext, status: &QlikContextStatus, version: Option<String>) {
        let uid = context.metadata.uid.clone().unwrap_or_default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid, (status.clone(), version));
    }

    /// The context is gone, or somebody else has changed it.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}
