//! Where etcd, kube-apiserver, kube-controller-manager, kubectl and helm are, for a node kubelet, kube-proxy and
//! kube-scheduler, and for monitoring prometheus and promtool.
//!
//! Each is taken from the folder `KUBEBUILDER_ASSETS` (envtest's convention), else from the
//! user's cache, else it is built into that cache from the Go modules pinned beside this crate:
//! once for each version, whoever asks first. Nothing else on the machine is looked at or changed.

mod build;
mod pins;

use std::env;
use std::ffi::OsString;
use std::path::{self, PathBuf};

use anyhow::Context as _;

use super::Progress;
use pins::Program;

/// Ready programs.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each is the path of the program of its name")]
pub struct Programs {
    pub etcd: PathBuf,
    pub kube_apiserver: PathBuf,
    pub kube_controller_manager: PathBuf,
    pub kubectl: PathBuf,
    pub helm: PathBuf,
}

impl Programs {
    /// Finds or builds the programs as the environment says. Blocks; some minutes when they have
    /// to be built.
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

/// Ready programs of a node, beside those of the control plane.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each is the path of the program of its name")]
pub struct NodePrograms {
    pub kubelet: PathBuf,
    pub kube_proxy: PathBuf,
    pub kube_scheduler: PathBuf,
}

impl NodePrograms {
    /// Finds or builds the programs as the environment says. Blocks; some minutes when they have
    /// to be built.
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

/// Ready programs of monitoring.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each is the path of the program of its name")]
pub struct MonitoringPrograms {
    pub prometheus: PathBuf,
    pub promtool: PathBuf,
}

impl MonitoringPrograms {
    /// Finds or builds the programs as the environment says. Blocks; some minutes when they have
    /// to be built.
    pub fn find(progress: &Progress) -> anyhow::Result<Self> {
        let sources = Sources::from_environment()?;
        let path = sources.all(&pins::MONITORING, progress)?;
        Ok(Self { prometheus: path(&pins::PROMETHEUS)?, promtool: path(&pins::PROMTOOL)? })
    }
}

/// The places where programs come from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// A folder with ready programs, `KUBEBUILDER_ASSETS`; what it lacks comes from the cache.
    pub assets: Option<PathBuf>,
    /// Where built programs are kept, in one folder for each version; safe to delete.
    pub cache: PathBuf,
    /// The `go` command.
    pub go: OsString,
}

impl Sources {
    /// As the environment says: `KUBEBUILDER_ASSETS`, `QLIK_CONTEXT_TEST_CACHE`, `go` from `PATH`.
    pub fn from_environment() -> anyhow::Result<Self> {
        Ok(Self {
            assets: folder("KUBEBUILDER_ASSETS"),
            cache: cache().context("no cache folder: set QLIK_CONTEXT_TEST_CACHE or HOME")?,
            go: "go".into(),
        })
    }

    /// Builds what is missing of these programs; says where each is.
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

    /// Where the program is, if it is there.
    fn find(&self, program: &Program) -> anyhow::Result<Option<PathBuf>> {
        let given = self.assets.as_ref().map(|assets| assets.join(program.name));
        let mut places = given.into_iter().chain([self.built(program)?]);
        Ok(places.find(|path| path.is_file()))
    }

    /// Where the program is kept once it is built: a new version gets a new place.
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

/// The folder that an environment variable names; an empty one counts as unset.
fn folder(variable: &str) -> Option<PathBuf> {
    path::absolute(env::var_os(variable)?).ok()
}
