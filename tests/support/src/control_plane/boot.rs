//! The start: the order of the three programs, and when each counts as started.

mod files;
mod flags;

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::kubeconfig::Cluster;
use super::wait::until;
use super::{Again, ControlPlane, Folder, ForNode, Options, Process, Programs, Progress, access, tools};
use crate::port;
pub(super) use files::Files;
use files::Tokens;

/// Much longer than a start takes on a busy machine.
const LIMIT: Duration = Duration::from_mins(2);

pub(super) async fn boot(
    programs: &Programs,
    options: &Options,
    node: Option<&ForNode>,
    progress: &Progress,
) -> anyhow::Result<ControlPlane> {
    progress("starting etcd, kube-apiserver and kube-controller-manager …");
    let begin = Instant::now();
    let mut attempts = 1;
    loop {
        match attempt(programs, options, node).await {
            Err(error) if attempts < port::ATTEMPTS && port::was_taken(&error) => attempts += 1,
            Err(error) => return Err(error.context("the control plane does not start")),
            Ok(control_plane) => {
                let seconds = begin.elapsed().as_secs_f32();
                progress(&format!("the control plane answers after {seconds:.1} s"));
                return Ok(control_plane);
            }
        }
    }
}

async fn attempt(programs: &Programs, options: &Options, node: Option<&ForNode>) -> anyhow::Result<ControlPlane> {
    let folder = Folder::new()?;
    let files = Files::in_folder(folder.path());
    let tokens = Tokens::random(node)?;
    let address = node.map_or(Ipv4Addr::LOCALHOST, |node| node.address);
    files.write(&tokens)?;
    let [client_port, peer_port, port] =
        port::free().context("no free port on 127.0.0.1")?.map(|address| address.port());
    let again = Again {
        etcd: flags::etcd(&files, client_port, peer_port),
        api_server: flags::kube_apiserver(&files, client_port, (address, port), &tokens, options, node),
    };
    let mut etcd = spawn(folder.path(), &programs.etcd, &again.etcd)?;
    let mut api_server = spawn(folder.path(), &programs.kube_apiserver, &again.api_server)?;
    let mut both_run = || etcd.check().and_then(|()| api_server.check());

    let authority = until("kube-apiserver to listen", LIMIT, async || {
        both_run()?;
        // It creates its own serving certificate before it listens.
        let listens = TcpStream::connect((address, port)).is_ok();
        Ok(listens.then(|| fs::read(&files.certificate).ok()).flatten())
    })
    .await?;
    let url = format!("https://{address}:{port}");
    let cluster = Cluster { url, authority };
    cluster.write_kubeconfig(&files.admin_kubeconfig, &tokens.admin, "default")?;
    let config = config(&files.admin_kubeconfig).await?;
    let client = kube::Client::try_from(config.clone())?;
    until("kube-apiserver to be ready", LIMIT, async || {
        both_run()?;
        let request = http::Request::get("/readyz").body(Vec::new())?;
        Ok(client.request_text(request).await.ok())
    })
    .await?;

    for args in &options.helm {
        tools::helm(programs, folder.path(), &files.admin_kubeconfig, args).await?;
    }

    for (user, token) in &tokens.users {
        cluster.write_kubeconfig(&folder.path().join(format!("{user}.kubeconfig")), token, "default")?;
    }
    let kubeconfig = &files.controller_manager_kubeconfig;
    cluster.write_kubeconfig(kubeconfig, &tokens.controller_manager, "default")?;
    let flags = flags::kube_controller_manager(&files);
    let mut controller_manager = spawn(folder.path(), &programs.kube_controller_manager, &flags)?;
    until("kube-controller-manager to act", LIMIT, async || {
        controller_manager.check()?;
        access::default_service_account(&client, "default").await
    })
    .await?;
    Ok(ControlPlane {
        _controller_manager: controller_manager,
        api_server,
        etcd,
        again,
        folder,
        files,
        programs: programs.clone(),
        cluster,
        config,
    })
}

/// Starts a program with its log in the folder.
pub(super) fn spawn(folder: &Path, program: &Path, flags: &[String]) -> anyhow::Result<Process> {
    let name = program.file_name().unwrap_or_default();
    Process::spawn(program, &folder.join(name).with_extension("log"), |command| {
        command.args(flags);
    })
}

/// Waits until kube-apiserver reports that it is ready.
pub(super) async fn ready(client: &kube::Client) -> anyhow::Result<()> {
    until("kube-apiserver to be ready", LIMIT, async || {
        let request = http::Request::get("/readyz").body(Vec::new())?;
        Ok(client.request_text(request).await.ok())
    })
    .await
    .map(|_| ())
}

/// The client configuration of the administrator.
async fn config(kubeconfig: &Path) -> anyhow::Result<kube::Config> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let options = KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    // A proxy from the environment cannot reach 127.0.0.1.
    config.proxy_url = None;
    Ok(config)
}
