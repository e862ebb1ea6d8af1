//! The operator as a scenario runs it: with the arguments of the chart's Deployment, and with the chart's permissions.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use support::control_plane::ControlPlane;
use support::operator::Operator;
use tokio::task::AbortHandle;

use super::machine::{self, Usage};
use super::tenant::Address;

/// Longer than the operator takes to finish reconciliations in progress.
const GRACE: Duration = Duration::from_secs(30);
/// How often memory is sampled.
const PACE: Duration = Duration::from_millis(200);

/// The budgets towards tenants.
const LIMITS: [&str; 3] = [
    "QLIK_CONTEXT_HOST_TOKEN_REQUESTS_PER_MINUTE",
    "QLIK_CONTEXT_HOST_API_REQUESTS_PER_MINUTE",
    "QLIK_CONTEXT_KEY_TOKEN_REQUESTS_PER_MINUTE",
];

/// The settings of a scenario that differ.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether the operator has its default budgets for tenants. Otherwise requests are not limited.
    pub budgets: bool,
    /// Namespaces to watch, separated by commas; empty: all.
    pub namespaces: String,
    /// Namespace and name of the release.
    pub release: (String, String),
}

impl Default for Settings {
    fn default() -> Self {
        let release = (support::operator::NAMESPACE.to_owned(), support::operator::RELEASE.to_owned());
        Self { budgets: false, namespaces: String::new(), release }
    }
}

/// A running operator, since its start.
pub struct Running {
    operator: Operator,
    /// Just before its process started.
    pub started: Instant,
    /// When it reported that it is ready.
    pub ready: Instant,
}

impl Running {
    /// Starts it, and returns when it is ready.
    pub async fn start(
        control_plane: &ControlPlane,
        program: &Path,
        tenant: &Address,
        authority: &Path,
        settings: &Settings,
    ) -> anyhow::Result<Self> {
        let log = control_plane.folder().join("operator.log");
        let mut environment = vec![
            ("HTTPS_PROXY", tenant.proxy.clone()),
            ("QLIK_CONTEXT_TENANT_CA_FILE", authority.to_string_lossy().into_owned()),
            ("QLIK_CONTEXT_WATCH_NAMESPACES", settings.namespaces.clone()),
        ];
        if !settings.budgets {
            environment.extend(LIMITS.map(|limit| (limit, "0".to_owned())));
        }
        let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let release = (settings.release.0.as_str(), settings.release.1.as_str());
        let started = Instant::now();
        let operator = Operator::start_as_deployed(control_plane, release, program, &log, &environment).await;
        let operator = operator.context("the operator does not start")?;
        Ok(Self { operator, started, ready: Instant::now() })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.operator.process.pid()
    }

    /// Its CPU time and memory; zeros if the system does not provide them.
    pub fn usage(&self) -> Usage {
        machine::usage(self.pid()).unwrap_or_default()
    }

    /// Samples its memory from now on.
    pub fn memory(&self) -> Memory {
        Memory::sample(self.pid(), self.started)
    }

    /// A response of the operator's port.
    pub async fn get(&self, path: &str) -> anyhow::Result<String> {
        self.operator.get(path).await
    }

    /// The number of contexts that have a series in its metrics.
    pub async fn known(&self) -> anyhow::Result<usize> {
        let metrics = self.get("/metrics").await?;
        Ok(metrics.lines().filter(|line| line.starts_with("qlik_context_ready{")).count())
    }

    /// The value of a metric without labels.
    pub async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let metrics = self.get("/metrics").await?;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.with_context(|| format!("the operator has no metric {name}"))
    }

    /// Waits for a result of this operator. Returns an error if the operator ends meanwhile.
    pub async fn during<T>(&mut self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let ends = async {
            loop {
                if let Err(error) = self.operator.process.check() {
                    return error;
                }
                tokio::time::sleep(PACE).await;
            }
        };
        tokio::select! {
            done = work => done,
            error = ends => Err(error),
        }
    }

    /// Shuts it down cleanly.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let status = self.operator.process.stop(GRACE).await?;
        ensure!(status.success(), "the operator ended with {status}:\n{}", self.operator.process.log_tail());
        Ok(())
    }

    /// Kills it with SIGKILL.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.operator.process.kill().map(|_| ())
    }
}

/// The memory of a process over time.
pub struct Memory {
    points: Arc<Mutex<Vec<(f64, f64)>>>,
    task: AbortHandle,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Memory {
    fn sample(pid: u32, since: Instant) -> Self {
        let points = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&points);
        let task = tokio::spawn(async move {
            while let Some(usage) = machine::usage(pid) {
                let point = (since.elapsed().as_secs_f64(), usage.rss_mib);
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(point);
                tokio::time::sleep(PACE).await;
            }
        });
        Self { points, task: task.abort_handle() }
    }

    /// Seconds since the start of the process, and MiB then.
    pub fn points(&self) -> Vec<(f64, f64)> {
        self.points.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
