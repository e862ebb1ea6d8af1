//! The environment of every scenario: the control plane with the chart, the tenant, and a watch of all contexts.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use kube::Client;
use support::control_plane::{ControlPlane, Options, Programs};
use support::operator;

use super::bare::{self, Done};
use super::fleet;
use super::observer::Observer;
use super::operator::{Running, Settings};
use super::scale::Scale;
use super::tenant::Tenant;
use crate::screen::Screen;

/// Everything that runs except the operator.
pub struct Stage {
    // Dropped in this order.
    pub observer: Observer,
    pub client: Client,
    pub control_plane: ControlPlane,
    pub tenant: Tenant,
    pub scale: Scale,
    pub screen: Screen,
    program: PathBuf,
    authority: PathBuf,
}

impl Stage {
    /// Starts everything except the operator, which takes some seconds. With several instances the chart is installed
    /// once for each.
    pub async fn set(
        programs: &Programs,
        program: PathBuf,
        scale: Scale,
        instances: u16,
        screen: Screen,
    ) -> anyhow::Result<Self> {
        let tenant = Tenant::start().await?;
        let helm = if instances == 1 { vec![operator::install()] } else { (0..instances).map(install_shard).collect() };
        let options = Options { helm, ..Options::default() };
        let progress = move |line: &str| screen.progress(line);
        let control_plane = ControlPlane::start_with(programs, &options, &progress).await?;
        let authority = control_plane.folder().join("tenant-ca.pem");
        fs::write(&authority, &tenant.address.ca).context("cannot write the tenant's CA certificate")?;
        let client = control_plane.client()?;
        let observer = Observer::start(client.clone());
        Ok(Self { observer, client, control_plane, tenant, scale, screen, program, authority })
    }

    /// Starts the operator.
    pub async fn operator(&self, settings: &Settings) -> anyhow::Result<Running> {
        Running::start(&self.control_plane, &self.program, &self.tenant.address, &self.authority, settings).await
    }

    /// Runs the bare client over a namespace.
    pub async fn bare(&self, namespace: &str) -> anyhow::Result<Done> {
        let account = self.control_plane.kubeconfig_for_service_account(operator::NAMESPACE, operator::RELEASE).await?;
        bare::run(&account, namespace, &self.tenant.address.proxy, &self.authority).await
    }

    /// A new namespace.
    pub async fn namespace(&self, prefix: &str) -> anyhow::Result<String> {
        self.control_plane.namespace(prefix).await
    }

    /// Removes the objects of a scenario from a namespace, so that the next one starts with an empty cluster.
    pub async fn clear(&self, namespace: &str) -> anyhow::Result<()> {
        fleet::remove(&self.client, namespace).await
    }
}

/// The release of one instance of a fleet in shards: namespace and name.
pub fn shard(index: u16) -> (String, String) {
    (format!("shard-{index}"), operator::RELEASE.to_owned())
}

/// The Helm command that installs it.
fn install_shard(index: u16) -> Vec<String> {
    let (namespace, release) = shard(index);
    let chart = operator::repository().join("charts/qlik-context-operator");
    let selector = format!("contextSelector=shard={index}");
    let crds = format!("crds.enabled={}", index == 0);
    let chart = chart.to_string_lossy();
    let words = ["install", &release, &chart, "--namespace", &namespace, "--create-namespace", "--set", &selector];
    words.into_iter().chain(["--set", &crds]).map(str::to_owned).collect()
}
