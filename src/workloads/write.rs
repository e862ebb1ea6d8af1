//! The two writes: an annotation of a Pod, and annotations in the Pod template of a workload, together at most 20 per
//! second.
//!
//! They have preconditions: the uid of the Pod, the version of the workload.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, DynamicObject, PartialObjectMeta, Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::{Instant, sleep_until, timeout};

use super::list::resource;
use super::pods::Reader;
use super::rollout::{RESTARTED_AT_ANNOTATION, Workload};
use crate::api::{FIELD_MANAGER, RESTARTED_FOR_ANNOTATION, TOKEN_ISSUED_AT_ANNOTATION};
use crate::clock::Timestamp;
use crate::error::Error;

/// The time between two writes.
const PACE: Duration = Duration::from_millis(50);
/// Longer than an admission webhook can take.
const TIMEOUT: Duration = Duration::from_secs(34);

/// Limits writes to 20 per second.
#[derive(Default)]
pub struct Pace(Mutex<Option<Instant>>);

impl Pace {
    /// Returns when the next write may begin.
    pub async fn turn(&self) {
        let at = {
            let (mut next, now) = (self.0.lock(), Instant::now());
            let at = next.map_or(now, |next| next.max(now));
            *next = Some(at + PACE);
            at
        };
        sleep_until(at).await;
    }
}

/// Annotates a Pod, so that its kubelet updates its volumes.
pub async fn refresh(client: &Client, namespace: &str, pod: &Reader, token: &str) -> Result<(), Error> {
    let pods: Api<PartialObjectMeta<Pod>> = Api::namespaced(client.clone(), namespace);
    let patch = json!({ "metadata": { "uid": pod.uid, "annotations": { TOKEN_ISSUED_AT_ANNOTATION: token } } });
    let (params, patch) = (params(), Patch::Merge(patch));
    let write = pods.patch_metadata(&pod.name, &params, &patch);
    let written = timeout(TIMEOUT, write).await.map_err(|_| Error::Deadline(TIMEOUT))?;
    written.map(drop).map_err(Error::kubernetes("annotating a Pod"))
}

/// Restarts a workload as `kubectl rollout restart` does, and annotates it with the token's time.
pub async fn restart(
    client: &Client,
    namespace: &str,
    workload: &Workload,
    token: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let annotations = json!({ RESTARTED_AT_ANNOTATION: now.to_string(), RESTARTED_FOR_ANNOTATION: token });
    let patch = json!({
        "metadata": { "resourceVersion": workload.resource_version },
        "spec": { "template": { "metadata": { "annotations": annotations } } },
    });
    let all: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource(workload.name.kind));
    let (params, patch) = (params(), Patch::Merge(patch));
    let write = all.patch_metadata(&workload.name.name, &params, &patch);
    let written = timeout(TIMEOUT, write).await.map_err(|_| Error::Deadline(TIMEOUT))?;
    written.map(drop).map_err(Error::kubernetes("restarting a workload"))
}

fn params() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() }
}
