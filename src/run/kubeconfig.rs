//! Which Kubernetes cluster, and how to reach it: the kubeconfig, else the Pod's own ServiceAccount.
//!
//! A proxy to the API server is one that the kubeconfig names (`proxy-url`), as for kubectl. The proxy of the environment is for
//! tenants; a Pod calls its API server directly.

use anyhow::{Context as _, anyhow, ensure};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::oauth::https::is_proxy;

/// The configuration to make a client of.
pub async fn config() -> anyhow::Result<Config> {
    let mut config = match Config::from_kubeconfig(&KubeConfigOptions::default()).await {
        Ok(mut config) => {
            // kube would also use a proxy from the environment, and ignore this one if NO_PROXY names the proxy itself.
            let proxy = Kubeconfig::read().ok().as_ref().and_then(proxy_url).map(str::to_owned);
            config.proxy_url = proxy.as_deref().map(parse).transpose()?;
            config
        }
        Err(kubeconfig) => Config::incluster().map_err(|in_cluster| {
            let problem = format!("kubeconfig: {kubeconfig}; in a cluster: {in_cluster}").replace('\n', " ");
            anyhow!(
                "no usable Kubernetes configuration; run inside a cluster, or set KUBECONFIG to a file that names one ({problem})"
            )
        })?,
    };
    config.apply_debug_overrides();
    Ok(config)
}

/// `proxy-url` of the cluster of the current context.
fn proxy_url(file: &Kubeconfig) -> Option<&str> {
    let current = file.current_context.as_ref()?;
    let context = file.contexts.iter().find(|context| &context.name == current)?.context.as_ref()?;
    let cluster = file.clusters.iter().find(|cluster| cluster.name == context.cluster)?.cluster.as_ref()?;
    cluster.proxy_url.as_deref().filter(|proxy| !proxy.is_empty())
}

/// It may hold a password, so the error does not repeat it; kube's own error would.
fn parse(proxy: &str) -> anyhow::Result<http::Uri> {
    let refused = "the kubeconfig's proxy-url is not the address of an HTTP proxy; write http://HOST:PORT, with user and \
                   password percent-encoded (SOCKS is not supported)";
    ensure!(is_proxy(proxy) && proxy.contains("://"), refused);
    proxy.parse().ok().context(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(proxy: &str) -> Kubeconfig {
        let yaml = format!(
            "current-context: b\ncontexts: [{{name: a, context: {{cluster: a}}}}, {{name: b, context: {{cluster: c}}}}]\n\
             clusters: [{{name: a, cluster: {{server: 'https://a', proxy-url: 'http://other'}}}}, \
             {{name: c, cluster: {{server: 'https://c', {proxy}}}}}]"
        );
        Kubeconfig::from_yaml(&yaml).unwrap()
    }

    #[test]
    fn the_proxy_is_that_of_the_current_contexts_cluster() {
        assert_eq!(proxy_url(&file("proxy-url: 'http://proxy:3128'")), Some("http://proxy:3128"));
        assert_eq!(proxy_url(&file("proxy-url: ''")), None);
        assert_eq!(proxy_url(&file("tls-server-name: c")), None);
    }

    #[test]
    fn what_is_no_http_proxy_is_refused_without_its_password() {
        assert_eq!(parse("http://user:p%40ss@proxy:3128").unwrap().port_u16(), Some(3128));
        for proxy in
            ["socks5://user:planted@proxy:1080", "proxy:3128", "ftp://user:planted@proxy", "http://", "http://a b"]
        {
            let problem = parse(proxy).unwrap_err().to_string();
            assert!(!problem.contains("planted") && problem.contains("http://HOST:PORT"), "{problem}");
        }
    }
}
