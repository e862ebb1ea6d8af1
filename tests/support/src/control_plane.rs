//! A real Kubernetes control plane for demo, tests and benchmarks: etcd, kube-apiserver and
//! kube-controller-manager as plain processes on 127.0.0.1, no container engine, no kubelet (that is
//! [`crate::node`]).
//!
//! It promises a fresh, empty cluster for each boot, RBAC on, with garbage collection, namespace
//! deletion and service accounts at work, and that nothing of it outlives this process, however
//! that ends. It never touches the user's own kubeconfig or Helm settings, and never listens
//! beyond this machine.

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

/// Takes one line for people about work that lasts.
pub type Progress = dyn Fn(&str) + Send + Sync;

/// The [`Progress`] of tests: standard error, past the capture of the test harness, because
/// whoever waits for a first build wants to know why.
pub fn to_stderr(line: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// What a test may want different from the usual control plane.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Log every request (level Metadata, one line of JSON when it is answered) to
    /// [`ControlPlane::audit_log`].
    pub audit: bool,
    /// Admission plugins to enable beside the default ones.
    pub admission_plugins: Vec<String>,
    /// Feature gates of kube-apiserver to set, `Name=false`.
    pub feature_gates: Vec<String>,
    /// Helm commands to run before the controllers start, so that the garbage collector knows the
    /// kinds they install from its first look on.
    pub helm: Vec<Vec<String>>,
}

/// What a node needs of its control plane beside [`Options`].
#[derive(Clone, Debug)]
pub struct ForNode {
    /// Where the API is served: an address that Pods reach, too.
    pub address: Ipv4Addr,
    /// Further users: name, and groups separated by commas.
    pub users: Vec<(String, String)>,
}

/// A running control plane. Bound to no tokio runtime: tests with a runtime each can share it.
///
/// Kubernetes' garbage collector looks for new kinds every 30 s only: what an owner of a kind
/// younger than that leaves behind goes late, 40 s measured.
#[derive(Debug)]
pub struct ControlPlane {
    // Fields are dropped in this order: an API server that loses its etcd first hangs. All are
    // killed outright; what they would save is thrown away with the folder.
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

/// How a program that was killed is started again.
#[derive(Debug)]
struct Again {
    api_server: Vec<String>,
    etcd: Vec<String>,
}

impl ControlPlane {
    /// Boots with the default [`Options`]; some seconds.
    pub async fn start(programs: &Programs, progress: &Progress) -> anyhow::Result<Self> {
        Self::start_with(programs, &Options::default(), progress).await
    }

    /// Boots, and returns when the API answers and the controllers act.
    pub async fn start_with(programs: &Programs, options: &Options, progress: &Progress) -> anyhow::Result<Self> {
        boot::boot(programs, options, None, progress).await
    }

    /// Boots a control plane that nodes can join.
    pub async fn start_for_node(
        programs: &Programs,
        options: &Options,
        node: &ForNode,
        progress: &Progress,
    ) -> anyhow::Result<Self> {
        boot::boot(programs, options, Some(node), progress).await
    }

    /// The one control plane of this process, booted by whoever asks first and as they want it. It
    /// ends with the process. A failed boot is not tried again: every caller gets the same error
    /// at once.
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

    /// Where the API is served, `https://127.0.0.1:<port>`.
    pub fn url(&self) -> &str {
        &self.cluster.url
    }

    /// The process of kube-apiserver, for whoever measures it.
    pub fn api_server_pid(&self) -> u32 {
        self.api_server.pid()
    }

    /// Ends kube-apiserver as `kill -9` does.
    pub fn kill_api_server(&mut self) -> anyhow::Result<()> {
        self.api_server.kill().map(|_| ())
    }

    /// Starts it again where it was, and waits until it is ready.
    pub async fn restart_api_server(&mut self) -> anyhow::Result<()> {
        self.api_server = boot::spawn(self.folder.path(), &self.programs.kube_apiserver, &self.again.api_server)?;
        self.is_ready().await
    }

    /// Ends etcd as `kill -9` does.
    pub fn kill_etcd(&mut self) -> anyhow::Result<()> {
        self.etcd.kill().map(|_| ())
    }

    /// Starts it again with its data, and waits until the API server is ready.
    pub async fn restart_etcd(&mut self) -> anyhow::Result<()> {
        self.etcd = boot::spawn(self.folder.path(), &self.programs.etcd, &self.again.etcd)?;
        self.is_ready().await
    }

    async fn is_ready(&self) -> anyhow::Result<()> {
        boot::ready(&self.client()?).await
    }

    /// Where the audit log is, when [`Options::audit`] asked for one.
    pub fn audit_log(&self) -> &Path {
        &self.files.audit_log
    }

    /// The certificate by which the API server proves to kubelets who it is; they trust it and no other.
    pub fn kubelet_client_certificate(&self) -> &Path {
        &self.files.kubelet_client_certificate
    }

    /// Certificates, logs, kubeconfigs and data of this boot; gone with it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The programs it runs.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }
}
