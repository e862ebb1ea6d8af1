//! The environment of the demo: the fake Qlik Cloud, the control plane with the chart, the operator.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs, io};

use anyhow::{Context as _, ensure};
use support::control_plane::{ControlPlane, Options, Programs};
use support::operator::{self, Operator};
use support::tenant::{Client, QlikCloud};

use super::manifests::{CLIENT_ID, CLIENT_SECRET, HOST};
use crate::screen::Screen;

/// Longer than the operator takes to finish reconciliations in progress.
const GRACE: Duration = Duration::from_secs(30);

/// All processes.
pub struct Stage {
    // Dropped in this order.
    pub operator: Operator,
    pub control_plane: ControlPlane,
    pub cloud: QlikCloud,
    /// The folder of `kubectl-qlik`, where kubectl has to find it.
    plugin: PathBuf,
}

impl Stage {
    /// Starts everything, which takes some seconds.
    pub async fn set(programs: &Programs, program: &Path, plugin: &Path, screen: Screen) -> anyhow::Result<Self> {
        screen.progress(&format!("starting a fake Qlik Cloud with https://{HOST} …"));
        let cloud = QlikCloud::start().await?;
        let mut client = Client::new(CLIENT_ID).secret(CLIENT_SECRET);
        "acme-automation".clone_into(&mut client.name);
        cloud.tenant(HOST).add_client(client);

        let install = operator::install();
        let options = Options { helm: vec![install.clone()], ..Options::default() };
        let progress = move |line: &str| screen.progress(line);
        let control_plane = ControlPlane::start_with(programs, &options, &progress).await?;
        let here = format!("{}/", operator::repository().display());
        let helm = install.join(" ").replace(&here, "");
        screen.progress(&format!("installed: helm {helm}"));

        screen.progress("starting the operator with the permissions of the chart's ServiceAccount …");
        let authority = control_plane.folder().join("tenant-ca.pem");
        cloud.write_ca(&authority)?;
        let flags = ["--oauth-clients", "--tenant-ca-file", &authority.to_string_lossy()];
        // Resolves the name of the tenant: DNS has another address for it, or none.
        let proxy = cloud.proxy_url();
        let environment = [("HTTPS_PROXY", proxy.as_str())];
        let log = control_plane.folder().join("operator.log");
        let operator = Operator::start(&control_plane, program, &log, &flags, &environment).await;
        let operator = operator.context("the operator does not start")?;
        screen.progress("the operator is ready");
        screen.progress(&format!(
            "from another terminal: export KUBECONFIG={}",
            control_plane.admin_kubeconfig().display()
        ));
        let plugin = plugin.parent().context("the plugin has no folder")?.to_owned();
        Ok(Self { operator, control_plane, cloud, plugin })
    }

    /// The folder of the plugin.
    pub fn plugin(&self) -> &Path {
        &self.plugin
    }

    /// Where kubectl looks for its plugins.
    fn path(&self) -> anyhow::Result<OsString> {
        let before = env::var_os("PATH").unwrap_or_default();
        env::join_paths([self.plugin.clone()].into_iter().chain(env::split_paths(&before)))
            .context("PATH cannot be extended")
    }

    /// Runs `kubectl qlik` with these words, through kubectl. Returns what it printed, and whether its status was 0.
    pub fn qlik(&self, args: &[&str]) -> anyhow::Result<(String, bool)> {
        // One pipe for both, as on a terminal.
        let (mut output, input) = io::pipe().context("no pipe")?;
        let mut kubectl = Command::new(&self.control_plane.programs().kubectl);
        kubectl
            .arg("qlik")
            .args(args)
            .env("PATH", self.path()?)
            .env("KUBECONFIG", self.control_plane.admin_kubeconfig());
        kubectl.stdin(Stdio::null()).stdout(input.try_clone()?).stderr(input);
        let mut child = kubectl.spawn().context("kubectl does not run")?;
        // It holds our ends of the pipe. They have to be closed before the reader gets the end of the output.
        drop(kubectl);
        let mut printed = String::new();
        output.read_to_string(&mut printed).context("kubectl prints no text")?;
        let status = child.wait().context("kubectl does not end")?;
        Ok((printed, status.success()))
    }

    /// Writes a file that goes with the demo.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.control_plane.folder().join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Returns when the operator has ended unexpectedly.
    pub async fn operator_ends(&mut self) -> anyhow::Error {
        loop {
            if let Err(error) = self.operator.process.check() {
                return error;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Stops everything gracefully, in order.
    pub async fn strike(mut self, screen: Screen) -> anyhow::Result<()> {
        let status = self.operator.process.stop(GRACE).await?;
        screen.progress(&format!("the operator ended with {status}"));
        let Self { control_plane, .. } = self;
        drop(control_plane);
        screen.progress("the control plane has ended");
        ensure!(status.success(), "the operator ended with {status} when told to stop");
        Ok(())
    }
}
