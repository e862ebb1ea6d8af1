//! `cargo xtask image`: the operator's image as an OCI archive, made without a container engine and without a registry.
//!
//! The image holds one static program, CA certificates, the licence and an SBOM: no shell, no package manager, no
//! library, and no path that its user may write. The same program, version and date give the same archive, to the byte.
//! The program is never run, so one machine can put the programs of several platforms into one archive.
//! `deploy/Dockerfile` takes the root file system from here (`--rootfs`), so that both give the same image.

mod archive;
mod program;
mod root;
mod sbom;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use support::operator::repository;

use crate::screen::Screen;
use archive::Labels;

/// Name of program and image.
pub const NAME: &str = "qlik-context-operator";
/// Version of program and image.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Flags of `image`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Args {
    /// Where to write the archive; default: target/image/qlik-context-operator.tar.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A program to use instead of building one, as ARCHITECTURE=FILE; several give one archive for several platforms.
    #[arg(long = "binary", value_name = "ARCHITECTURE=FILE")]
    binaries: Vec<Binary>,
    /// Name of the image in the archive; default: qlik-context-operator:VERSION, as Docker Hub's default name for it.
    #[arg(long)]
    name: Option<String>,
    /// Write the root file system of the image into this empty folder, and no archive.
    #[arg(long, value_name = "FOLDER", conflicts_with = "output")]
    rootfs: Option<PathBuf>,
    /// Date of everything in the image, in seconds since 1970; default: that of the commit.
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH")]
    date: Option<u64>,
    /// Commit that the image is labelled with; default: the one that is checked out.
    #[arg(long, value_name = "COMMIT")]
    revision: Option<String>,
}

/// Processor architecture, as OCI and Kubernetes name it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::Display, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum Architecture {
    /// `x86_64`.
    Amd64,
    /// `aarch64`.
    Arm64,
}

/// A static Linux program, and its architecture.
#[derive(Clone, Debug)]
pub struct Binary {
    architecture: Architecture,
    path: PathBuf,
}

impl FromStr for Binary {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (architecture, path) = text.split_once('=').ok_or("write ARCHITECTURE=FILE, such as amd64=target/…")?;
        let architecture = architecture.parse().map_err(|_| format!("{architecture} is neither amd64 nor arm64"))?;
        Ok(Self { architecture, path: path.into() })
    }
}

/// The reason why this machine cannot build the image of this source; `None` if it can.
pub fn obstacle() -> Option<String> {
    program::obstacle()
}

/// Builds the image, and prints its size.
pub fn run(args: &Args, screen: Screen) -> anyhow::Result<()> {
    if let Some(folder) = &args.rootfs {
        let [binary] = &binaries(args, screen)?[..] else { bail!("--rootfs takes one program") };
        let root = root::files(&binary.load()?, binary.architecture)?;
        return root::write(&root, folder);
    }
    let archive = make(args, screen)?;
    screen.gap();
    for command in ["kind load image-archive", "k3d image import", "minikube image load"] {
        screen.command(&format!("{command} {}", archive.display()));
    }
    screen.command(&format!("skopeo copy --all oci-archive:{} docker://REGISTRY/{NAME}:{VERSION}", archive.display()));
    Ok(())
}

/// Builds the image; returns the path of the archive. The SBOM is beside it.
pub fn make(args: &Args, screen: Screen) -> anyhow::Result<PathBuf> {
    let root = repository().canonicalize().context("there is no repository")?;
    let output = args.output.clone().unwrap_or_else(|| root.join("target/image").join(format!("{NAME}.tar")));
    let name = args.name.clone().unwrap_or_else(|| format!("docker.io/library/{NAME}:{VERSION}"));
    let date = args.date.unwrap_or_else(date_of_commit);
    let revision = args.revision.clone().or_else(|| git(&["rev-parse", "HEAD"]));
    let mut archive = archive::Archive::new(&name, Labels::of_this_version(date, revision));
    for binary in binaries(args, screen)? {
        let program = binary.load()?;
        let root = root::files(&program, binary.architecture)?;
        let sizes = archive.add(binary.architecture, &root)?;
        screen.progress(&format!(
            "linux/{}: program {:.1} MiB, layers {:.1} MiB, compressed {:.1} MiB",
            binary.architecture,
            mebibytes(program.len()),
            mebibytes(sizes.unpacked),
            mebibytes(sizes.compressed)
        ));
        let sbom = output.with_file_name(format!("{NAME}-{}.cdx.json", binary.architecture));
        save(&sbom, root::sbom(&root)?)?;
        screen.progress(&format!("written: {}", sbom.display()));
    }
    save(&output, &archive.finish()?)?;
    screen.progress(&format!("written: {}", output.display()));
    Ok(output)
}

fn binaries(args: &Args, screen: Screen) -> anyhow::Result<Vec<Binary>> {
    if args.binaries.is_empty() { Ok(vec![program::build(screen)?]) } else { Ok(args.binaries.clone()) }
}

impl Binary {
    /// The program's bytes, after a check that it starts in an image without any other file.
    fn load(&self) -> anyhow::Result<Vec<u8>> {
        let bytes = fs::read(&self.path).with_context(|| format!("cannot read {}", self.path.display()))?;
        program::check(&bytes, self.architecture).with_context(|| self.path.display().to_string())?;
        Ok(bytes)
    }
}

/// The time of the current commit, in seconds since 1970; 0 without one.
fn date_of_commit() -> u64 {
    git(&["log", "-1", "--format=%ct"]).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).current_dir(repository()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Writes a file atomically.
fn save(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let new = path.with_extension("new");
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&new, bytes))
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[expect(clippy::cast_precision_loss, reason = "the size is printed, so precision does not matter")]
fn mebibytes(bytes: usize) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
