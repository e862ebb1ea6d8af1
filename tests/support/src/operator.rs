//! The operator as a user runs it: installed by the chart, with only the permissions of the chart's
//! ServiceAccount.
//!
//! There is no kubelet, so the Deployment's Pod never starts. The same program runs as a local
//! process in its place.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, ListParams};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::control_plane::{ControlPlane, Process};
use crate::port;

/// The namespace of the release.
pub const NAMESPACE: &str = "qlik-system";
/// The name of the release, and of its ServiceAccount.
pub const RELEASE: &str = "qlik-context-operator";

/// The Helm command that installs the chart. See [`crate::control_plane::Options::helm`].
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
    /// The process, for signals and logs.
    pub process: Process,
    listen: SocketAddr,
}

impl Operator {
    /// Starts `program run` with the chart's permissions and waits until it is ready.
    ///
    /// It gets only `environment` and its kubeconfig. Its output is appended to `log`.
    pub async fn start(
        control_plane: &ControlPlane,
        program: &Path,
        log: &Path,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let kubeconfig = control_plane.kubeconfig_for_service_account(NAMESPACE, RELEASE).await?;
        let lease = ["run", "--leader-elect", "--lease-name", RELEASE, "--lease-namespace", NAMESPACE];
        let words: Vec<_> = lease.iter().chain(flags).collect();
        Self::launch(&kubeconfig, program, log, &words, environment).await
    }

    /// Starts `program` as the Deployment of this release would: with its arguments and its ServiceAccount. Call it
    /// again where a rollout would restart the Pod.
    pub async fn start_as_deployed(
        control_plane: &ControlPlane,
        (namespace, release): (&str, &str),
        program: &Path,
        log: &Path,
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let deployments: Api<Deployment> = Api::namespaced(control_plane.client()?, namespace);
        let ours = ListParams::default().labels(&format!("app.kubernetes.io/instance={release}"));
        let deployment = deployments.list(&ours).await?.items.pop();
        let pod = deployment.and_then(|deployment| deployment.spec.template.spec);
        let pod = pod.with_context(|| format!("the release {namespace}/{release} has no Deployment"))?;
        let account = pod.service_account_name.context("the Deployment names no ServiceAccount")?;
        let kubeconfig = control_plane.kubeconfig_for_service_account(namespace, &account).await?;
        let words = pod.containers.into_iter().find_map(|container| container.args).unwrap_or_default();
        Self::launch(&kubeconfig, program, log, &words, environment).await
    }

    /// Starts `program` with these arguments and this kubeconfig, and waits until it is ready.
    pub async fn launch(
        kubeconfig: &Path,
        program: &Path,
        log: &Path,
        words: &[impl AsRef<OsStr>],
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let mut attempts = 1;
        loop {
            let [listen] = port::free().context("no free port on 127.0.0.1")?;
            let process = Process::spawn(program, log, |command| {
                command.env_clear().env("KUBECONFIG", kubeconfig).envs(environment.iter().copied());
                command.env("QLIK_CONTEXT_LISTEN", listen.to_string()).args(words);
            })?;
            let mut operator = Self { process, listen };
            match operator.wait_until_ready().await {
                Err(error) if attempts < port::ATTEMPTS && port::was_taken(&error) => attempts += 1,
                ready => return ready.map(|()| operator),
            }
        }
    }

    /// The body of a GET request to the operator's port, if the response is 200.
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
