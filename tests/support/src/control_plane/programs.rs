//! Finds etcd, kube-apiserver, kube-controller-manager, kubectl and helm; for a node also kubelet, kube-proxy and
//! kube-scheduler; and for monitoring prometheus and promtool.
//!
//! Each is taken from the folder `KUBEBUILDER_ASSETS` (envtest's convention), else from the
//! user's cache. Otherwise it is built into that cache from the Go modules that this crate pins,
//! once for each version. Nothing else on the machine is read or changed.

mod build;
mod pins;

use std::env;
use std::ffi::OsString;
use std::path::{self, PathBuf};

use anyhow::Context as _;

use super::Progress;
use pins::Program;

/// The programs of a control plane.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is the path of the program of its name")]
pub struct Programs {
    pub etcd: PathBuf,
    pub kube_apiserver: PathBuf,
    pub kube_controller_manager: PathBuf,
    pub kubectl: PathBuf,
    pub helm: PathBuf,
}

impl Programs {
    /// Finds or builds the programs with the places from the environment. Blocks for some minutes if they
    /// have to be built.
    pub fn find(progress: &Progress) -> anyhow::Result<Self> {
        Self::find_in(&Sources::from_environment()?, progress)
    }

    /// Finds or builds the programs in these places.
    pub fn find_in(sources: &Sources, progress: &Progress) -> anyhow::Result<Self> {
        let path = sources.all(&pins::ALL, progress)?;
        Ok(Self {
            etcd: path(&pins::ETCD)?,
            kube_apiserver: path(&pins::KUBE_APISERVER)?,
            kube_controller_manager: path(&pins::KUBE_CONTROLLER_MANAGER)?,
            kubectl: path(&pins::KUBECTL)?,
            helm: path(&pins::HELM)?,
        })
    }
}

/// The programs of a node, in addition to those of the control plane.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is the path of the program of its name")]
pub struct NodePrograms {
    pub kubelet: PathBuf,
    pub kube_proxy: PathBuf,
    pub kube_scheduler: PathBuf,
}

impl NodePrograms {
    /// Finds or builds the programs with the places from the environment. Blocks for some minutes if they
    /// have to be built.
    pub fn find(progress: &Progress) -> anyhow::Result<Self> {
        let sources = Sources::from_environment()?;
        let path = sources.all(&pins::NODE, progress)?;
        Ok(Self {
            kubelet: path(&pins::KUBELET)?,
            kube_proxy: path(&pins::KUBE_PROXY)?,
            kube_scheduler: path(&pins::KUBE_SCHEDULER)?,
        })
    }
}

/// The programs for monitoring.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is the path of the program of its name")]
pub struct MonitoringPrograms {
    pub prometheus: PathBuf,
    pub promtool: PathBuf,
}

impl MonitoringPrograms {
    /// Finds or builds the programs with the places from the environment. Blocks for some minutes if they
    /// have to be built.
    pub fn find(progress: &Progress) -> anyhow::Result<Self> {
        let sources = Sources::from_environment()?;
        let path = sources.all(&pins::MONITORING, progress)?;
        Ok(Self { prometheus: path(&pins::PROMETHEUS)?, promtool: path(&pins::PROMTOOL)? })
    }
}

/// The places where programs come from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// A folder with built programs, `KUBEBUILDER_ASSETS`. Missing ones are taken from the cache.
    pub assets: Option<PathBuf>,
    /// The folder of built programs, with a folder for each version. It can be deleted.
    pub cache: PathBuf,
    /// The `go` command.
    pub go: OsString,
}

impl Sources {
    /// The places from the environment: `KUBEBUILDER_ASSETS`, `QLIK_CONTEXT_TEST_CACHE`, `go` from `PATH`.
    pub fn from_environment() -> anyhow::Result<Self> {
        Ok(Self {
            assets: folder("KUBEBUILDER_ASSETS"),
            cache: cache().context("no cache folder: set QLIK_CONTEXT_TEST_CACHE or HOME")?,
            go: "go".into(),
        })
    }

    /// Builds missing programs and returns the path of each.
    fn all(
        &self,
        wanted: &[&'static Program],
        progress: &Progress,
    ) -> anyhow::Result<impl Fn(&Program) -> anyhow::Result<PathBuf>> {
        if !self.missing(wanted)?.is_empty() {
            build::missing(self, wanted, progress)?;
        }
        Ok(|program: &Program| {
            let found = self.find(program)?;
            found.with_context(|| format!("{} was there a moment ago", program.name))
        })
    }

    /// The path of the program, if it exists.
    fn find(&self, program: &Program) -> anyhow::Result<Option<PathBuf>> {
        let given = self.assets.as_ref().map(|assets| assets.join(program.name));
        let mut places = given.into_iter().chain([self.built(program)?]);
        Ok(places.find(|path| path.is_file()))
    }

    /// The path of the built program. A new version has a new path.
    fn built(&self, program: &Program) -> anyhow::Result<PathBuf> {
        Ok(self.cache.join(program.module.versioned()?).join(program.name))
    }

    fn missing(&self, wanted: &[&'static Program]) -> anyhow::Result<Vec<&'static Program>> {
        let mut missing = Vec::new();
        for program in wanted.iter().copied() {
            if self.find(program)?.is_none() {
                missing.push(program);
            }
        }
        Ok(missing)
    }
}

fn cache() -> Option<PathBuf> {
    let own = |caches: PathBuf| caches.join("qlik-context-operator");
    let usual = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
    folder("QLIK_CONTEXT_TEST_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(own))
        .or_else(|| env::home_dir().map(|home| own(home.join(usual))))
}

/// The folder in an environment variable. An empty value counts as unset.
fn folder(variable: &str) -> Option<PathBuf> {
    path::absolute(env::var_os(variable)?).ok()
}
