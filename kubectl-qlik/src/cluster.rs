//! The cluster that the kubeconfig and the flags name.

use std::env;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
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
    let Some(kubeconfig) = kubeconfig(flags)? else {
        return Config::incluster().map_err(|_| {
            anyhow!("there is no kubeconfig: name one with --kubeconfig or KUBECONFIG, or put it at ~/.kube/config")
        });
    };
    let Some(wanted) = flags.context.as_ref().or(kubeconfig.current_context.as_ref()) else {
        bail!("the kubeconfig has no current context: choose one with --context, or with kubectl config use-context")
    };
    let names: Vec<_> = kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect();
    if !names.contains(&wanted.as_str()) {
        let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        bail!("the kubeconfig has no context {wanted:?}: choose one of these with --context: {there}");
    }
    let options = KubeConfigOptions { context: flags.context.clone(), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| anyhow!("the kubeconfig: {error}"))
}

/// The kubeconfig where kubectl looks for it; `None` when there is nothing in any of the usual places.
pub fn kubeconfig(flags: &ClusterFlags) -> anyhow::Result<Option<Kubeconfig>> {
    if let Some(path) = &flags.kubeconfig {
        return read(path).map(Some);
    }
    let value = env::var_os("KUBECONFIG").unwrap_or_default();
    let named: Vec<_> = env::split_paths(&value).filter(|path| !path.as_os_str().is_empty()).collect();
    if named.is_empty() {
        let usual = home().map(|home| home.join(".kube/config")).filter(|path| path.exists());
        return usual.map(|path| read(&path)).transpose();
    }
    // As kubectl does it: one of a list may be missing.
    let there: Vec<_> = named.iter().filter(|path| path.exists()).collect();
    if there.is_empty() {
        return read(&named[0]).map(Some);
    }
    let merged = there.into_iter().try_fold(Kubeconfig::default(), |all, path| {
        all.merge(read(path)?).map_err(|error| anyhow!("the files of KUBECONFIG: {error}"))
    })?;
    Ok(Some(merged))
}

fn read(path: &Path) -> anyhow::Result<Kubeconfig> {
    let shown = path.display();
    Kubeconfig::read_from(path).map_err(|error| match error {
        KubeconfigError::ReadConfig(error, _) if error.kind() == ErrorKind::NotFound => anyhow!(
            "there is no kubeconfig {shown}: name another file with --kubeconfig or KUBECONFIG, or ask an administrator of the \
             cluster for one"
        ),
        KubeconfigError::ReadConfig(error, _) => anyhow!("cannot read the kubeconfig {shown}: {error}"),
        // What the parser says has lines of the file in it, and those have keys and tokens.
        KubeconfigError::Parse(error) => {
            let place = place(&error.to_string()).map(|place| format!(" (see {place})")).unwrap_or_default();
            anyhow!("the kubeconfig {shown} cannot be understood{place}: correct it, or name another file with --kubeconfig")
        }
        other => anyhow!("the kubeconfig {shown}: {other}"),
    })
}

/// "line 3 column 7", where the parser names it.
fn place(text: &str) -> Option<String> {
    let words: Vec<_> = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let is_number = |word: &str| word.chars().all(|c| c.is_ascii_digit());
    words.windows(4).find_map(|words| match words {
        ["line", line, "column", column] if is_number(line) && is_number(column) => {
            Some(format!("line {line} column {column}"))
        }
        _ => None,
    })
}

/// The home folder of the user.
pub fn home() -> Option<PathBuf> {
    env::home_dir().filter(|home| !home.as_os_str().is_empty())
}
