//! The programs, and the pinned Go module from which each is built. The versions are only in the
//! modules' `go.mod` files.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// A Go program.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) package: &'static str,
    pub(super) module: &'static Module,
}

/// One of our Go modules: it pins one upstream module and its dependencies.
#[derive(Debug)]
pub(super) struct Module {
    name: &'static str,
    go_mod: &'static str,
    pinned: &'static str,
    /// The value of `go build -tags`.
    pub(super) tags: &'static str,
    linker_flags: fn(version: &str) -> String,
}

static ETCD_MODULE: Module = Module {
    name: "etcd",
    go_mod: include_str!("../../../control-plane/etcd/go.mod"),
    pinned: "go.etcd.io/etcd/server/v3",
    tags: "",
    linker_flags: |_| SMALL.to_owned(),
};

static KUBERNETES_MODULE: Module = Module {
    name: "kubernetes",
    go_mod: include_str!("../../../control-plane/kubernetes/go.mod"),
    pinned: "k8s.io/kubernetes",
    tags: "",
    linker_flags: kubernetes_linker_flags,
};

static HELM_MODULE: Module = Module {
    name: "helm",
    go_mod: include_str!("../../../control-plane/helm/go.mod"),
    pinned: "helm.sh/helm/v4",
    tags: "",
    linker_flags: |_| SMALL.to_owned(),
};

static PROMETHEUS_MODULE: Module = Module {
    name: "prometheus",
    go_mod: include_str!("../../../control-plane/prometheus/go.mod"),
    pinned: "github.com/prometheus/prometheus",
    // Without service discovery for clouds, because targets are static.
    tags: "remove_all_sd",
    linker_flags: |_| SMALL.to_owned(),
};

pub(super) static ETCD: Program = Program { name: "etcd", package: "go.etcd.io/etcd/server/v3", module: &ETCD_MODULE };

pub(super) static KUBE_APISERVER: Program =
    Program { name: "kube-apiserver", package: "k8s.io/kubernetes/cmd/kube-apiserver", module: &KUBERNETES_MODULE };

pub(super) static KUBE_CONTROLLER_MANAGER: Program = Program {
    name: "kube-controller-manager",
    package: "k8s.io/kubernetes/cmd/kube-controller-manager",
    module: &KUBERNETES_MODULE,
};

pub(super) static KUBECTL: Program =
    Program { name: "kubectl", package: "k8s.io/kubernetes/cmd/kubectl", module: &KUBERNETES_MODULE };

pub(super) static KUBELET: Program =
    Program { name: "kubelet", package: "k8s.io/kubernetes/cmd/kubelet", module: &KUBERNETES_MODULE };

pub(super) static KUBE_PROXY: Program =
    Program { name: "kube-proxy", package: "k8s.io/kubernetes/cmd/kube-proxy", module: &KUBERNETES_MODULE };

pub(super) static KUBE_SCHEDULER: Program =
    Program { name: "kube-scheduler", package: "k8s.io/kubernetes/cmd/kube-scheduler", module: &KUBERNETES_MODULE };

pub(super) static HELM: Program = Program { name: "helm", package: "helm.sh/helm/v4/cmd/helm", module: &HELM_MODULE };

pub(super) static ALL: [&Program; 5] = [&ETCD, &KUBE_APISERVER, &KUBE_CONTROLLER_MANAGER, &KUBECTL, &HELM];

/// The additional programs of a node.
pub(super) static NODE: [&Program; 3] = [&KUBE_SCHEDULER, &KUBE_PROXY, &KUBELET];

pub(super) static PROMETHEUS: Program = Program {
    name: "prometheus",
    package: "github.com/prometheus/prometheus/cmd/prometheus",
    module: &PROMETHEUS_MODULE,
};

pub(super) static PROMTOOL: Program =
    Program { name: "promtool", package: "github.com/prometheus/prometheus/cmd/promtool", module: &PROMETHEUS_MODULE };

/// The programs that read metrics, alerts and dashboards.
pub(super) static MONITORING: [&Program; 2] = [&PROMTOOL, &PROMETHEUS];

/// Without symbols and debug information.
const SMALL: &str = "-s -w";

impl Module {
    /// The folder with its `go.mod` and `go.sum`.
    pub(super) fn folder(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("control-plane").join(self.name)
    }

    /// Name and version, `kubernetes-v1.2.3`.
    pub(super) fn versioned(&self) -> anyhow::Result<String> {
        Ok(format!("{}-{}", self.name, self.version(self.pinned)?))
    }

    /// The oldest Go that builds it, `1.2.3`.
    pub(super) fn oldest_go(&self) -> anyhow::Result<&'static str> {
        self.version("go")
    }

    /// The value of `go build -ldflags`.
    pub(super) fn linker_flags(&self) -> anyhow::Result<String> {
        Ok((self.linker_flags)(self.version(self.pinned)?))
    }

    /// The version of `what` in `go.mod`.
    fn version(&self, what: &str) -> anyhow::Result<&'static str> {
        let mut lines = self.go_mod.lines();
        let version = lines.find_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [word, version, ..] | ["require", word, version, ..] if word == what => Some(version),
            _ => None,
        });
        version.with_context(|| format!("{}/go.mod does not pin {what}", self.folder().display()))
    }
}

/// Without these flags a Kubernetes program reports the version v0.0.0-master.
fn kubernetes_linker_flags(version: &str) -> String {
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let base = "k8s.io/component-base/version";
    format!(
        "{SMALL} -X {base}.gitVersion={version} -X {base}.gitMajor={major} -X {base}.gitMinor={minor} \
         -X k8s.io/client-go/pkg/version.gitVersion={version}"
    )
}
