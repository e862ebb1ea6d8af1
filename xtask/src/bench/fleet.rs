//! Many QlikContexts at once, each with a credential Secret.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, PostParams};
use serde_json::{Value, json};

use super::tenant::{Tenant, credential};

/// Of a QlikContext.
pub const API_VERSION: &str = "qlikcontext.dev/v1alpha1";
/// Of a QlikContext.
pub const KIND: &str = "QlikContext";
/// The lifetime of a token unless a scenario wants another: Qlik's own.
pub const SIX_HOURS: Duration = Duration::from_hours(6);
/// Concurrent writes while a fleet is created.
const WRITES: usize = 32;
/// Attempts to create one object.
const ATTEMPTS: usize = 10;
const PATIENCE: Duration = Duration::from_mins(5);

/// Contexts of one namespace and one tenant.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// The namespace of the contexts.
    pub namespace: String,
    /// The number of contexts.
    pub size: usize,
    /// Their tenant.
    pub host: String,
    /// The prefix of the ids of their OAuth clients.
    pub clients: String,
    /// Whether all of them have the first client's credential.
    pub shared: bool,
    /// The lifetime of their tokens.
    pub lifetime: Duration,
    /// Labels of the contexts.
    pub labels: Value,
}

impl Fleet {
    /// Contexts with a client each, at a tenant that no other namespace uses.
    pub fn new(namespace: &str, size: usize) -> Self {
        Self {
            namespace: namespace.to_owned(),
            size,
            host: format!("{namespace}.eu.qlikcloud.com"),
            clients: namespace.to_owned(),
            shared: false,
            lifetime: SIX_HOURS,
            labels: json!({}),
        }
    }

    /// Registers the clients, and creates all Secrets, then all contexts.
    pub async fn create(&self, client: &Client, tenant: &Tenant) -> anyhow::Result<()> {
        self.register(tenant).await?;
        self.credentials(client, 0..self.size).await?;
        self.contexts(client, 0..self.size).await
    }

    /// Registers the clients at the tenant, or changes the lifetime of their next tokens.
    pub async fn register(&self, tenant: &Tenant) -> anyhow::Result<()> {
        tenant.clients(&self.host, &self.clients, self.size, self.lifetime).await
    }

    /// Creates the Secrets of these contexts.
    pub async fn credentials(&self, client: &Client, which: std::ops::Range<usize>) -> anyhow::Result<()> {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &self.namespace);
        create(&secrets, which.map(|index| self.credential(index))).await
    }

    /// Creates these contexts.
    pub async fn contexts(&self, client: &Client, which: std::ops::Range<usize>) -> anyhow::Result<()> {
        let contexts = Api::namespaced_with(client.clone(), &self.namespace, &kind());
        create::<DynamicObject>(&contexts, which.map(|index| self.context(index))).await
    }

    /// The credential Secret of a context.
    pub fn credential(&self, index: usize) -> Value {
        let (id, secret) = credential(&self.clients, if self.shared { 0 } else { index });
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("{}-oauth", name(index))},
            "type": "Opaque", "stringData": {"client-id": id, "client-secret": secret},
        })
    }

    /// A context.
    pub fn context(&self, index: usize) -> Value {
        let reference = json!({"name": format!("{}-oauth", name(index))});
        json!({
            "apiVersion": API_VERSION, "kind": KIND,
            "metadata": {"name": name(index), "labels": self.labels},
            "spec": {
                "tenantUrl": format!("https://{}", self.host),
                "auth": {"clientSecret": {"secretRef": reference}},
            },
        })
    }
}

/// The name of a context of any fleet.
pub fn name(index: usize) -> String {
    format!("context-{index:05}")
}

/// The resource of a QlikContext in the API server.
pub fn kind() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("qlikcontext.dev", "v1alpha1", KIND), "qlikcontexts")
}

/// A value of a Secret as text.
pub fn text_of(secret: &Secret, key: &str) -> anyhow::Result<String> {
    let value = secret.data.as_ref().and_then(|data| data.get(key)).with_context(|| format!("no key {key}"))?;
    Ok(String::from_utf8(value.0.clone())?)
}

/// Creates objects, many at once.
pub async fn create<K>(api: &Api<K>, manifests: impl Iterator<Item = Value>) -> anyhow::Result<()>
where
    K: Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let create = async |manifest: Value| -> anyhow::Result<()> {
        let object: K = serde_json::from_value(manifest)?;
        let mut attempts = 1;
        loop {
            match api.create(&PostParams::default(), &object).await {
                Ok(_) => return Ok(()),
                // On a busy machine an admission plugin of the API server can time out.
                Err(kube::Error::Api(status)) if status.code >= 500 && attempts < ATTEMPTS => {
                    attempts += 1;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                // An attempt that failed may have created it.
                Err(kube::Error::Api(status)) if status.is_already_exists() && attempts > 1 => return Ok(()),
                Err(error) => return Err(error).context("cannot create an object of a fleet"),
            }
        }
    };
    stream::iter(manifests).map(create).buffer_unordered(WRITES).try_collect().await
}

/// Deletes the contexts and Secrets of a namespace, and waits until they are gone.
pub async fn remove(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let contexts: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind());
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let (delete, list) = (DeleteParams::default(), ListParams::default());
    let begin = Instant::now();
    loop {
        // Repeated: the API server ends a request after a minute, and the operator may have written a Secret meanwhile.
        let contexts_deleted = contexts.delete_collection(&delete, &list).await;
        let secrets_deleted = secrets.delete_collection(&delete, &list).await;
        let first = ListParams::default().limit(1);
        let left =
            [contexts.list_metadata(&first).await?.items.len(), secrets.list_metadata(&first).await?.items.len()];
        if left == [0, 0] {
            return Ok(());
        }
        if begin.elapsed() > PATIENCE {
            contexts_deleted.context("cannot delete contexts")?;
            secrets_deleted.context("cannot delete Secrets")?;
            bail!("objects of the namespace {namespace} do not go away");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
