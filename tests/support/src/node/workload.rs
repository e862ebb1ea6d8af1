//! The only other image: it is the pause container of Pods, and the workload that uses a token.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::run;

/// The name of the image on the node.
pub const IMAGE: &str = "localhost/workload:1";

/// Compiles the program of the image, and writes a Docker archive.
pub(super) fn build(folder: &Path) -> anyhow::Result<PathBuf> {
    let work = folder.join("workload");
    fs::create_dir_all(work.join("root"))?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("workload");
    run(Command::new("go")
        .current_dir(source)
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .args(["build", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w", "-o"])
        .arg(work.join("root/workload"))
        .arg("."))
    .context("the workload does not compile")?;
    let tar = |folder: &Path, archive: &str, names: &[&str]| {
        run(Command::new("tar")
            .args(["--owner=0", "--group=0", "--numeric-owner", "-C"])
            .arg(folder)
            .arg("-cf")
            .arg(work.join(archive))
            .args(names))
    };
    tar(&work.join("root"), "layer.tar", &["workload"])?;
    let sum = Command::new("sha256sum").arg(work.join("layer.tar")).output().context("cannot run sha256sum")?;
    let sum = String::from_utf8_lossy(&sum.stdout);
    let digest = sum.split_whitespace().next().context("sha256sum says nothing")?;
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = format!(
        r#"{{"architecture":"{architecture}","os":"linux","config":{{"Entrypoint":["/workload"]}},"rootfs":{{"type":"layers","diff_ids":["sha256:{digest}"]}}}}"#
    );
    fs::write(work.join("config.json"), config)?;
    let manifest = format!(r#"[{{"Config":"config.json","RepoTags":["{IMAGE}"],"Layers":["layer.tar"]}}]"#);
    fs::write(work.join("manifest.json"), manifest)?;
    tar(&work, "image.tar", &["manifest.json", "config.json", "layer.tar"])?;
    Ok(work.join("image.tar"))
}
