//! Images of a node: loaded from archives, never pulled.

use std::path::Path;
use std::process::Command;

use super::{files, run};

/// containerd's own client, for the namespace that the kubelet uses.
pub(super) fn ctr(folder: &Path) -> Command {
    let mut ctr = Command::new("ctr");
    ctr.arg("--address").arg(files::socket(folder)).args(["--namespace", "k8s.io"]);
    ctr
}

pub(super) fn load(folder: &Path, archive: &Path) -> anyhow::Result<()> {
    run(ctr(folder).args(["images", "import", "--snapshotter", "overlayfs"]).arg(archive))
}
