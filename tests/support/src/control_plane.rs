//! A real Kubernetes control plane for demo, tests and benchmarks: etcd, kube-apiserver and
//! kube-controller-manager as plain processes on 127.0.0.1, without a container engine and without a kubelet
//! (see [`crate::node`]).
//!
//! Each start gives a new, empty cluster with RBAC, garbage collection, namespace deletion and
//! service accounts. All of its processes end with this process, even if it is killed. It never
//! uses the user's own kubeconfig or Helm settings, and never listens on an address outside of this
//! machine.

mod access;
mod boot;
mod folder;
mod kubeconfig;
pub mod process;
pub mod programs;
mod tools;
mod wait;

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use tokio::sync::OnceCell;

use boot::Files;
pub use folder::Folder;
use kubeconfig::Cluster;
pub use process::Process;
pub use programs::{MonitoringPrograms, NodePrograms, Programs, Sources};

/// Receives one line for users about a long step.
pub type Progress = dyn Fn(&str) + Send + Sync;

/// The [`Progress`] of tests: standard error, past the capture of the test harness, because
/// a first build takes minutes and its progress has to be visible.
pub fn to_stderr(line: &str) {
    // If standard error is closed, there is no reader.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Options of a test for its control plane.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Log every request (level Metadata, one line of JSON at the response) to
    /// [`ControlPlane::audit_log`].
    pub audit: bool,
    /// Admission plugins to enable in addition to the default ones.
    pub admission_plugins: Vec<String>,
    /// Feature gates of kube-apiserver to set, `Name=false`.
    pub feature_gates: Vec<String>,
    /// Helm commands to run before the controllers start, so that the garbage collector knows the
    /// installed kinds from the start.
    pub helm: Vec<Vec<String>>,
}

/// What a node needs from its control plane in addition to [`Options`].
#[derive(Clone, Debug)]
pub struct ForNode {
    /// The address of the API, which Pods can reach, too.
    pub address: Ipv4Addr,
    /// Further users: name, and groups separated by commas.
    pub users: Vec<(String, String)>,
}

/// A running control plane. It is not bound to a tokio runtime, so tests with different runtimes can share it.
///
/// Kubernetes' garbage collector discovers new kinds only every 30 s. Dependents of an owner whose
/// kind is newer are deleted late, after 40 s as measured.
#[derive(Debug)]
pub struct ControlPlane {
    // Fields are dropped in this order, because an API server that loses its etcd first hangs. All are
    // killed with SIGKILL, because their data is deleted with the folder.
    _controller_manager: Process,
    api_server: Process,
    etcd: Process,
    again: Again,
    folder: Folder,
    programs: Programs,
    files: Files,
    cluster: Cluster,
    config: kube::Config,
}

/// The commands that restart a killed program.
#[derive(Debug)]
struct Again {
    api_server: Vec<String>,
    etcd: Vec<String>,
}

impl ControlPlane {
    /// Starts with the default [`Options`]. Takes some seconds.
    pub async fn start(programs: &Programs, progress: &Progress) -> anyhow::Result<Self> {
        Self::start_with(programs, &Options::default(), progress).await
    }

    /// Starts, and returns when the API responds and the controllers work.
    pub async fn start_with(programs: &Programs, options: &Options, progress: &Progress) -> anyhow::Result<Self> {
        boot::boot(programs, options, None, progress).await
    }

    /// Starts a control plane that nodes can join.
    pub async fn start_for_node(
        programs: &Programs,
        options: &Options,
        node: &ForNode,
        progress: &Progress,
    ) -> anyhow::Result<Self> {
        boot::boot(programs, options, Some(node), progress).await
    }

    /// The shared control plane of this process, started by the first caller with its options. It ends
    /// with the process. A failed start is not retried: every caller gets the same error at once.
    pub async fn shared(options: &Options) -> anyhow::Result<&'static Self> {
        static SHARED: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();
        let boot = async || {
            let programs = tokio::task::spawn_blocking(|| Programs::find(&to_stderr))
                .await
                .context("the search for the programs ended early")??;
            Self::start_with(&programs, options, &to_stderr).await
        };
        SHARED
            .get_or_init(async || boot().await.map_err(|error| format!("{error:#}")))
            .await
            .as_ref()
            .map_err(|error| anyhow!("no control plane to test with: {error}"))
    }

    /// The kubeconfig of a cluster administrator.
    pub fn admin_kubeconfig(&self) -> &Path {
        &self.files.admin_kubeconfig
    }

    /// The URL of the API, `https://127.0.0.1:<port>`.
    pub fn url(&self) -> &str {
        &self.cluster.url
    }

    /// The process of kube-apiserver, for measurements.
    pub fn api_server_pid(&self) -> u32 {
        self.api_server.pid()
    }

    /// Kills kube-apiserver with SIGKILL.
    pub fn kill_api_server(&mut self) -> anyhow::Result<()> {
        self.api_server.kill().map(|_| ())
    }

    /// Restarts it at the same address, and waits until it is ready.
    pub async fn restart_api_server(&mut self) -> anyhow::Result<()> {
        self.api_server = boot::spawn(self.folder.path(), &self.programs.kube_apiserver, &self.again.api_server)?;
        self.is_ready().await
    }

    /// Kills etcd with SIGKILL.
    pub fn kill_etcd(&mut self) -> anyhow::Result<()> {
        self.etcd.kill().map(|_| ())
    }

    /// Restarts it with its data, and waits until the API server is ready.
    pub async fn restart_etcd(&mut self) -> anyhow::Result<()> {
        self.etcd = boot::spawn(self.folder.path(), &self.programs.etcd, &self.again.etcd)?;
        self.is_ready().await
    }

    async fn is_ready(&self) -> anyhow::Result<()> {
        boot::ready(&self.client()?).await
    }

    /// The path of the audit log, if [`Options::audit`] is set.
    pub fn audit_log(&self) -> &Path {
        &self.files.audit_log
    }

    /// The client certificate of the API server towards kubelets. They trust only this one.
    pub fn kubelet_client_certificate(&self) -> &Path {
        &self.files.kubelet_client_certificate
    }

    /// The folder with certificates, logs, kubeconfigs and data. It is deleted with the control plane.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The programs that it runs.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }
}
