//! Access of a test to the API: as an administrator, or as a service account with its own
//! permissions. Also creates namespaces.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Api, ObjectMeta, PostParams};

use super::ControlPlane;
use super::wait::until;

/// Longer than any demo or test.
const TOKEN_SECONDS: i64 = 24 * 60 * 60;

impl ControlPlane {
    /// A client with all permissions, for the runtime of the caller.
    pub fn client(&self) -> anyhow::Result<kube::Client> {
        kube::Client::try_from(self.config.clone()).context("no client for the control plane")
    }

    /// A kubeconfig file for this service account: a program that uses it has only the account's
    /// permissions and its namespace, as in a Pod. The token is valid for a day.
    pub async fn kubeconfig_for_service_account(&self, namespace: &str, name: &str) -> anyhow::Result<PathBuf> {
        let accounts = Api::<ServiceAccount>::namespaced(self.client()?, namespace);
        let spec = TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .with_context(|| format!("no token for the service account {namespace}/{name}"))?;
        let token = answer.status.and_then(|status| status.token);
        let token = token.context("the answer holds no token")?;
        let path = self.folder().join(format!("{namespace}.{name}.kubeconfig"));
        self.cluster.write_kubeconfig(&path, &token, namespace)?;
        Ok(path)
    }

    /// A new namespace `<prefix>-<random>`, ready for Pods and tokens: its default service
    /// account exists.
    pub async fn namespace(&self, prefix: &str) -> anyhow::Result<String> {
        let client = self.client()?;
        let metadata = ObjectMeta { generate_name: Some(format!("{prefix}-")), ..ObjectMeta::default() };
        let wanted = Namespace { metadata, ..Namespace::default() };
        let made = Api::<Namespace>::all(client.clone())
            .create(&PostParams::default(), &wanted)
            .await
            .with_context(|| format!("cannot create a namespace {prefix}-…"))?;
        let name = made.metadata.name.context("a namespace without a name")?;
        let what = format!("the default service account of the namespace {name}");
        until(&what, Duration::from_secs(30), async || default_service_account(&client, &name).await).await?;
        Ok(name)
    }
}

/// The default service account of the namespace, once the controllers have created it.
pub(super) async fn default_service_account(
    client: &kube::Client,
    namespace: &str,
) -> anyhow::Result<Option<ServiceAccount>> {
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    accounts.get_opt("default").await.with_context(|| format!("cannot read the service accounts of {namespace}"))
}
