//! The cluster that the kubeconfig and the flags name.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use kube::api::Api;
use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};

use crate::args::ClusterFlags;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// A cluster, and the namespace that commands act in.
pub struct Cluster {
    pub client: Client,
    pub namespace: String,
    /// Where its API is.
    pub url: String,
    /// The flags that selected it, with a leading space, for commands in hints.
    pub flags: String,
}

impl Cluster {
    /// A client for the cluster; nothing is sent yet.
    pub async fn connect(flags: &ClusterFlags) -> anyhow::Result<Self> {
        let mut config = config(flags).await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        let namespace = flags.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let url = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::try_from(config).context("cannot use the kubeconfig")?;
        Ok(Self { client, namespace, url, flags: typed(flags) })
    }

    /// Objects of the namespace.
    pub fn objects<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// The flags as they were typed.
pub fn typed(flags: &ClusterFlags) -> String {
    let kubeconfig = flags.kubeconfig.as_ref().map(|path| path.display().to_string());
    let all = [("-n", &flags.namespace), ("--context", &flags.context), ("--kubeconfig", &kubeconfig)];
    let given = all.into_iter().filter_map(|(flag, value)| Some(format!(" {flag} {}", value.as_ref()?)));
    given.collect()
}

async fn config(flags: &ClusterFlags) -> anyhow::Result<Config> {
    let options = KubeConfigOptions { context: flags.context.clone(), ..KubeConfigOptions::default() };
    let kubeconfig = match &flags.kubeconfig {
        Some(path) => Some(Kubeconfig::read_from(path)),
        None => match Kubeconfig::from_env() {
            Ok(Some(kubeconfig)) => Some(Ok(kubeconfig)),
            Ok(None) if home().is_some_and(|home| home.join(".kube/config").exists()) => Some(Kubeconfig::read()),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        },
    };
    match kubeconfig {
        Some(Ok(kubeconfig)) if kubeconfig.current_context.is_none() && flags.context.is_none() => {
            bail!(
                "the kubeconfig has no current context: choose one with --context, or with kubectl config use-context"
            )
        }
        Some(Ok(kubeconfig)) => Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(|error| anyhow!("the kubeconfig: {error}")),
        Some(Err(KubeconfigError::ReadConfig(error, path))) => {
            Err(anyhow!("cannot read the kubeconfig {}: {error}", path.display()))
        }
        Some(Err(error)) => Err(anyhow!("the kubeconfig: {error}")),
        None if flags.context.is_some() => bail!("there is no kubeconfig, so no context {:?}", flags.context),
        None => Config::incluster().map_err(|_| {
            anyhow!("there is no kubeconfig: name one with --kubeconfig or KUBECONFIG, or put it at ~/.kube/config")
        }),
    }
}

/// The home folder of the user.
pub fn home() -> Option<PathBuf> {
    env::home_dir().filter(|home| !home.as_os_str().is_empty())
}
