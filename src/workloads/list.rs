//! Listing, on demand and in pages: no watch, and of each page only what is needed is parsed and kept.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ApiResource, ListParams};
use kube::core::Object;
use serde::de::DeserializeOwned;

use super::pods::{Owner, PodSpec, PodStatus, Reader, reader};
use super::rollout::{Workload, WorkloadName, WorkloadSpec, WorkloadStatus, workload};
use crate::api::WorkloadKind;
use crate::error::Error;

/// Objects in one answer: a Pod is some 10 KiB.
const PAGE: u32 = 100;
/// Longer than an API server that is well needs for a page.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Those that have ended read nothing any more.
const NOT_ENDED: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// What is asked of a workload.
type Workloads = Api<Object<WorkloadSpec, WorkloadStatus>>;

/// The Pods of a namespace that read this Secret.
pub async fn readers(client: &Client, namespace: &str, secret: &str) -> Result<Vec<Reader>, Error> {
    let pods: Api<Object<PodSpec, PodStatus>> =
        Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<Pod>(&()));
    let mut found = Vec::new();
    let params = ListParams::default().fields(NOT_ENDED);
    pages(&pods, params, "listing Pods", |pod| found.extend(reader(pod, secret))).await?;
    Ok(found)
}

/// The workloads of a namespace whose Pod templates read this Secret from the environment, of the kinds that own such Pods.
pub async fn workloads(
    client: &Client,
    namespace: &str,
    readers: &[Reader],
    secret: &str,
) -> Result<Vec<Workload>, Error> {
    let owners = readers.iter().filter(|reader| reader.environment).filter_map(|reader| match &reader.owner {
        Owner::Workload(name) => Some(name.kind),
        _ => None,
    });
    let mut found = Vec::new();
    for kind in owners.collect::<BTreeSet<_>>() {
        let all = api(client, namespace, kind);
        let add = |object: &_| found.extend(workload(kind, object, secret));
        pages(&all, ListParams::default(), "listing workloads", add).await?;
    }
    Ok(found)
}

/// The workload as it is now.
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

fn api(client: &Client, namespace: &str, kind: WorkloadKind) -> Workloads {
    Api::namespaced_with(client.clone(), namespace, &resource(kind))
}

/// Where a kind is.
pub fn resource(kind: WorkloadKind) -> ApiResource {
    match kind {
        WorkloadKind::Deployment => ApiResource::erase::<Deployment>(&()),
        WorkloadKind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        WorkloadKind::DaemonSet => ApiResource::erase::<DaemonSet>(&()),
    }
}

async fn pages<K: Clone + DeserializeOwned + Debug>(
    api: &Api<K>,
    params: ListParams,
    doing: &'static str,
    mut each: impl FnMut(&K),
) -> Result<(), Error> {
    let mut params = params.limit(PAGE);
    loop {
        let page = tokio::time::timeout(TIMEOUT, api.list(&params)).await.map_err(|_| Error::Deadline(TIMEOUT))?;
        let page = page.map_err(Error::kubernetes(doing))?;
        page.items.iter().for_each(&mut each);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(()),
        }
    }
}
