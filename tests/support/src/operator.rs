//! The operator as a user runs it: installed by the chart, running with the rights of the chart's
//! ServiceAccount and no others.
//!
//! There is no kubelet, so the Deployment's Pod never starts; the same program runs beside the
//! control plane in its place.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::control_plane::{ControlPlane, Process};

/// Namespace and name of the release.
pub const NAMESPACE: &str = "qlik-system";
/// Name of the release, and so of the ServiceAccount.
pub const RELEASE: &str = "qlik-context-operator";

/// The Helm command that installs the chart; see [`crate::control_plane::Options::helm`].
pub fn install() -> Vec<String> {
    let chart = repository().join("charts/qlik-context-operator");
    let words = ["install", RELEASE, &chart.to_string_lossy(), "--namespace", NAMESPACE, "--create-namespace"];
    words.map(str::to_owned).into()
}

/// The root of this repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A running operator.
#[derive(Debug)]
pub struct Operator {
    /// Its process, for signals and logs.
    pub process: Process,
    listen: SocketAddr,
}

impl Operator {
    /// Starts `program run` with the chart's rights and waits until it is ready.
    ///
    /// `environment` is all it gets beside its kubeconfig; `log` is appended to.
    pub async fn start(
        control_plane: &ControlPlane,
        program: &Path,
        log: &Path,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let kubeconfig = control_plane.kubeconfig_for_service_account(NAMESPACE, RELEASE).await?;
        let listen = free_address()?;
        let process = Process::spawn(program, log, |command| {
            command.env_clear().env("KUBECONFIG", &kubeconfig).envs(environment.iter().copied());
            command
                .args(["run", "--listen", &listen.to_string()])
                .args(["--leader-elect", "--lease-name", RELEASE])
                .args(["--lease-namespace", NAMESPACE])
                .args(flags);
        })?;
        let mut operator = Self { process, listen };
        operator.wait_until_ready().await?;
        Ok(operator)
    }

    /// The body of a GET on its own port, when it answers 200.
    pub async fn get(&self, path: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(self.listen).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.listen);
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        if !head.starts_with("HTTP/1.1 200") {
            bail!("{path} answers {}: {body}", head.lines().next().unwrap_or_default());
        }
        Ok(body.to_owned())
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let begin = Instant::now();
        loop {
            self.process.check()?;
            match self.get("/readyz").await {
                Ok(_) => return Ok(()),
                Err(error) if begin.elapsed() > Duration::from_secs(30) => {
                    return Err(error.context("the operator does not become ready"));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?)
}
