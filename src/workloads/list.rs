//! Lists Pods and workloads on demand and in pages, without a watch. Only the fields and objects that are needed are
//! parsed and kept. The contexts of a namespace share lists.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ApiResource, ListParams};
use kube::core::Object;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::pods::{Owner, PodSpec, PodStatus, Reader, reader};
use super::rollout::{Workload, WorkloadName, WorkloadSpec, WorkloadStatus, workload};
use super::shared::Shared;
use crate::api::WorkloadKind;
use crate::error::Error;

/// Objects in one response. A Pod has about 10 KiB.
const PAGE: u32 = 100;
/// Longer than a healthy API server needs for a page.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Excludes Pods that have ended.
const NOT_ENDED: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// The parts of a Pod that are parsed.
type PodObject = Object<PodSpec, PodStatus>;
/// The parts of a workload that are parsed.
type WorkloadObject = Object<WorkloadSpec, WorkloadStatus>;

/// The newest lists of each namespace.
#[derive(Default)]
pub struct Listings {
    pods: Shared<String, PodObject>,
    workloads: Shared<(String, WorkloadKind), WorkloadObject>,
}

impl Listings {
    /// Removes lists that are too old.
    pub fn sweep(&self) {
        self.pods.sweep();
        self.workloads.sweep();
    }

    /// The Pods of a namespace that read this Secret, from a list that began after this time.
    pub async fn readers(
        &self,
        client: &Client,
        namespace: &str,
        secret: &str,
        moment: Instant,
    ) -> Result<Vec<Reader>, Error> {
        let list = async {
            let pods: Api<PodObject> = Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<Pod>(&()));
            let params = ListParams::default().fields(NOT_ENDED);
            pages(&pods, params, "listing Pods", |pod| pod.spec.reads_any_secret()).await
        };
        let pods = self.pods.after(moment, namespace.to_owned(), list).await?;
        Ok(pods.iter().filter_map(|pod| reader(pod, secret)).collect())
    }

    /// The workloads of a namespace whose Pod templates read this Secret from the environment, of the kinds that own
    /// such Pods.
    pub async fn workloads(
        &self,
        client: &Client,
        namespace: &str,
        readers: &[Reader],
        secret: &str,
        moment: Instant,
    ) -> Result<Vec<Workload>, Error> {
        let owners = readers.iter().filter(|reader| reader.environment).filter_map(|reader| match &reader.owner {
            Owner::Workload(name) => Some(name.kind),
            _ => None,
        });
        let mut found = Vec::new();
        for kind in owners.collect::<BTreeSet<_>>() {
            let list = async {
                let all = api(client, namespace, kind);
                pages(&all, ListParams::default(), "listing workloads", |object| object.spec.pods().reads_any_secret())
                    .await
            };
            let all = self.workloads.after(moment, (namespace.to_owned(), kind), list).await?;
            found.extend(all.iter().filter_map(|object| workload(kind, object, secret)));
        }
        Ok(found)
    }
}

/// Reads a workload.
pub async fn read(
    client: &Client,
    namespace: &str,
    name: &WorkloadName,
    secret: &str,
) -> Result<Option<Workload>, Error> {
    let all = api(client, namespace, name.kind);
    let read = tokio::time::timeout(TIMEOUT, all.get_opt(&name.name)).await.map_err(|_| Error::Deadline(TIMEOUT))?;
    let read = read.map_err(Error::kubernetes("reading a workload"))?;
    Ok(read.and_then(|object| workload(name.kind, &object, secret)))
}

fn api(client: &Client, namespace: &str, kind: WorkloadKind) -> Api<WorkloadObject> {
    Api::namespaced_with(client.clone(), namespace, &resource(kind))
}

/// The resource of a kind.
pub fn resource(kind: WorkloadKind) -> ApiResource {
    match kind {
        WorkloadKind::Deployment => ApiResource::erase::<Deployment>(&()),
        WorkloadKind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        WorkloadKind::DaemonSet => ApiResource::erase::<DaemonSet>(&()),
    }
}

/// Lists all objects, and keeps those that match the filter.
async fn pages<K: Clone + Debug + DeserializeOwned + Resource>(
    api: &Api<K>,
    params: ListParams,
    doing: &'static str,
    keep: impl Fn(&K) -> bool,
) -> Result<Vec<K>, Error> {
    let mut params = params.limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = tokio::time::timeout(TIMEOUT, api.list(&params)).await.map_err(|_| Error::Deadline(TIMEOUT))?;
        let page = page.map_err(Error::kubernetes(doing))?;
        found.extend(page.items.into_iter().filter(&keep).map(|mut object| {
            object.meta_mut().managed_fields = None;
            object
        }));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(found),
        }
    }
}
