//! A real Kubernetes node for tests: kubelet, containerd, runc and kube-proxy on this machine, with a scheduler and a
//! [`ControlPlane`], in their own namespaces. Pods really run.
//!
//! Needs root on Linux. [`sandbox::enter`] first moves the test program into a new network, mount and process
//! namespace. No address, route or rule of the machine is changed, and no traffic can leave. When the program ends in
//! any way, the kernel ends everything that it started.

pub mod dns;
mod files;
mod images;
mod network;
pub mod sandbox;
mod workload;

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::control_plane::{ControlPlane, ForNode, NodePrograms, Options, Process, Programs, Progress};
pub use workload::IMAGE as WORKLOAD;

/// The address of the node, at which Pods reach the API server, the resolver and the fake tenant.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
/// The name of the node.
pub const NAME: &str = "node1";

const USERS: [(&str, &str); 3] =
    [("system:node:node1", "system:nodes"), ("system:kube-scheduler", ""), ("system:kube-proxy", "")];
/// Much longer than each step takes on a busy machine.
const LIMIT: Duration = Duration::from_mins(2);

/// A node that is ready for Pods.
#[derive(Debug)]
pub struct Node {
    // Fields are dropped in this order.
    kubelet: Option<Process>,
    _proxy: Process,
    _scheduler: Process,
    _containerd: Process,
    /// The control plane of the node.
    pub control_plane: ControlPlane,
    programs: NodePrograms,
    folder: PathBuf,
}

impl Node {
    /// Starts the node, which takes about ten seconds. Only after [`sandbox::enter`].
    pub async fn start(programs: &Programs, node_programs: &NodePrograms, progress: &Progress) -> anyhow::Result<Self> {
        ensure!(sandbox::entered(), "a node is started inside of its sandbox only");
        network::set_up()?;
        files::shield_the_machine()?;
        let users = USERS.map(|(user, groups)| (user.to_owned(), groups.to_owned())).to_vec();
        let for_node = ForNode { address: ADDRESS, users };
        let control_plane = ControlPlane::start_for_node(programs, &Options::default(), &for_node, progress).await?;
        let folder = control_plane.folder().join("node");
        files::write(&folder, &control_plane)?;

        progress("starting containerd, kube-scheduler, kube-proxy and kubelet …");
        let spawn = |program: &Path, args: &[String]| {
            let name = program.file_name().unwrap_or_default();
            let log = folder.join(name).with_extension("log");
            Process::spawn(program, &log, |command| {
                command.args(args);
            })
        };
        let user = |name: &str| control_plane.folder().join(format!("{name}.kubeconfig")).display().to_string();
        let mut containerd =
            spawn("containerd".as_ref(), &["--config".to_owned(), files::containerd(&folder).display().to_string()])?;
        let scheduler = spawn(
            &node_programs.kube_scheduler,
            &[
                format!("--kubeconfig={}", user("system:kube-scheduler")),
                "--leader-elect=false".to_owned(),
                "--secure-port=0".to_owned(),
            ],
        )?;
        let proxy = spawn(
            &node_programs.kube_proxy,
            &[format!("--config={}", files::kube_proxy(&folder).display()), format!("--hostname-override={NAME}")],
        )?;
        until("containerd answers", || {
            containerd.check()?;
            Ok(images::ctr(&folder).arg("version").output().is_ok_and(|output| output.status.success()))
        })
        .await?;
        let mut node = Self {
            kubelet: None,
            _proxy: proxy,
            _scheduler: scheduler,
            _containerd: containerd,
            control_plane,
            programs: node_programs.clone(),
            folder,
        };
        node.load(&workload::build(&node.folder)?)?;
        node.start_kubelet("1s").await?;
        progress("the node is ready");
        Ok(node)
    }

    /// Loads the images of a Docker or OCI archive onto the node.
    pub fn load(&self, archive: &Path) -> anyhow::Result<()> {
        images::load(&self.folder, archive)
    }

    /// Restarts the kubelet with this `syncFrequency`. Pods continue to run.
    pub async fn restart_kubelet(&mut self, sync_frequency: &str) -> anyhow::Result<()> {
        self.kubelet.take();
        self.start_kubelet(sync_frequency).await
    }

    async fn start_kubelet(&mut self, sync_frequency: &str) -> anyhow::Result<()> {
        let configuration = files::kubelet(&self.folder, &self.control_plane, sync_frequency)?;
        let kubeconfig = self.control_plane.folder().join(format!("system:node:{NAME}.kubeconfig"));
        let mut kubelet = Process::spawn(&self.programs.kubelet, &self.folder.join("kubelet.log"), |kubelet| {
            kubelet
                .arg(format!("--config={}", configuration.display()))
                .arg(format!("--kubeconfig={}", kubeconfig.display()))
                .arg(format!("--root-dir={}", self.folder.join("kubelet").display()))
                .arg(format!("--cert-dir={}", self.folder.join("kubelet-certificates").display()))
                .arg(format!("--hostname-override={NAME}"))
                .arg(format!("--node-ip={ADDRESS}"));
        })?;
        let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        let begin = std::time::Instant::now();
        loop {
            kubelet.check()?;
            let ready = self.control_plane.kubectl(&["get", "node", NAME, "-o", path]).await;
            if ready.is_ok_and(|ready| ready == "True") {
                break;
            }
            ensure!(begin.elapsed() < LIMIT, "the node does not become ready; kubelet said:\n{}", kubelet.log_tail());
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        self.kubelet = Some(kubelet);
        Ok(())
    }

    /// The processes of this program that run in Pods.
    pub fn pids(&self, program: &str) -> Vec<u32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path == Path::new(program)))
            .collect()
    }

    /// The folder of the node's files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Runs a command to its end.
fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    Ok(())
}

async fn until(what: &str, mut holds: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let begin = std::time::Instant::now();
    while !holds()? {
        ensure!(begin.elapsed() < LIMIT, "timed out after {} s waiting until {what}", LIMIT.as_secs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
