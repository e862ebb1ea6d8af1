//! The configuration files of a node's programs, in one folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::network::{self, PODS};
use super::{ADDRESS, run};
use crate::control_plane::ControlPlane;

/// The search domain in the node's resolv.conf, which Pods with `dnsPolicy: ClusterFirst` inherit.
pub(super) const SEARCH: &str = "corp.example.com";

/// Sysctls that the kubelet would write for the whole machine. It gets files in their place.
const SYSCTLS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Folders in which the programs always write. Empty folders are mounted over them.
const SCRATCH: [&str; 3] = ["/run", "/var/log", "/var/lib/cni"];

/// Mounts our own files and folders over those of the machine, only in this mount namespace.
pub(super) fn shield_the_machine() -> anyhow::Result<()> {
    let own = std::env::temp_dir().join("sysctl");
    fs::create_dir_all(&own)?;
    for (index, (name, value)) in SYSCTLS.iter().enumerate() {
        let file = own.join(index.to_string());
        fs::write(&file, format!("{value}\n"))?;
        run(Command::new("mount").arg("--bind").arg(file).arg(format!("/proc/sys/{name}")))?;
    }
    for folder in SCRATCH {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {folder}"))?;
        run(Command::new("mount").args(["-t", "tmpfs", "tmpfs", folder]))?;
    }
    Ok(())
}

/// Writes the files that do not change while the node runs.
pub(super) fn write(folder: &Path, control_plane: &ControlPlane) -> anyhow::Result<()> {
    let text = |path: PathBuf, text: String| {
        let parent = path.parent().map(fs::create_dir_all).transpose();
        parent.and_then(|_| fs::write(&path, text)).with_context(|| format!("cannot write {}", path.display()))
    };
    let shown = folder.display();
    text(folder.join("resolv.conf"), format!("nameserver {ADDRESS}\nsearch {SEARCH}\n"))?;
    text(folder.join("cni/pods.conflist"), network::cni(&format!("{shown}/cni-addresses")))?;
    text(
        containerd(folder),
        format!(
            r#"version = 2
root = "{shown}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "{}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{}"
  # Without CAP_SYS_RESOURCE no process can lower oom_score_adj to the value for a sandbox.
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{shown}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"#,
            socket(folder).display(),
            super::WORKLOAD,
        ),
    )?;
    let kubeconfig = control_plane.folder().join("system:kube-proxy.kubeconfig");
    text(
        kube_proxy(folder),
        format!(
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
bindAddress: {ADDRESS}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
clientConnection: {{kubeconfig: \"{}\"}}
clusterCIDR: {PODS}
# These would be written for the whole machine.
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
",
            kubeconfig.display()
        ),
    )
}

/// The kubelet's configuration with this `syncFrequency`. The default is 1 min.
pub(super) fn kubelet(folder: &Path, control_plane: &ControlPlane, sync_frequency: &str) -> anyhow::Result<PathBuf> {
    let path = folder.join("kubelet.yaml");
    let shown = folder.display();
    let text = format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {ADDRESS}
healthzPort: 0
failCgroupV1: false
cgroupDriver: cgroupfs
clusterDNS: [{ADDRESS}]
clusterDomain: cluster.local
containerRuntimeEndpoint: \"unix://{}\"
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: \"{}\"}}}}
authorization: {{mode: Webhook}}
evictionHard: {{memory.available: 50Mi, nodefs.available: 10Mi, imagefs.available: 10Mi}}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
failSwapOn: false
makeIPTablesUtilChains: false
oomScoreAdj: 0
podLogsDir: \"{shown}/pod-logs\"
resolvConf: \"{shown}/resolv.conf\"
volumePluginDir: \"{shown}/volume-plugins\"
syncFrequency: {sync_frequency}
",
        socket(folder).display(),
        control_plane.kubelet_client_certificate().display(),
    );
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

pub(super) fn socket(folder: &Path) -> PathBuf {
    folder.join("containerd.sock")
}

pub(super) fn containerd(folder: &Path) -> PathBuf {
    folder.join("containerd.toml")
}

pub(super) fn kube_proxy(folder: &Path) -> PathBuf {
    folder.join("kube-proxy.yaml")
}
