//! The root file system of the image: every file, its mode and its content. Root owns everything, and no user may write
//! to it.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use support::operator::repository;
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

use super::{Architecture, NAME, sbom};

/// A file of the image.
#[derive(Debug)]
pub(super) struct File {
    /// The path, without a leading slash.
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) content: Vec<u8>,
    /// The file that changes with each build has its own layer.
    pub(super) program: bool,
}

const SBOM: &str = "usr/share/sbom/qlik-context-operator.cdx.json";
/// Name and number of the user as in distroless images.
const PASSWD: &str = "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnonroot:x:65532:\n";
/// Without it glibc asks DNS before /etc/hosts, and `hostAliases` would have no effect.
const NSSWITCH: &str = "hosts: files dns\n";

/// The files of an image with this program.
pub(super) fn files(program: &[u8], architecture: Architecture) -> anyhow::Result<Vec<File>> {
    let licence = fs::read(repository().join("LICENSE")).context("cannot read LICENSE")?;
    let data = |path: &str, content: Vec<u8>| File { path: path.to_owned(), mode: 0o444, content, program: false };
    Ok(vec![
        data("etc/group", GROUP.into()),
        data("etc/nsswitch.conf", NSSWITCH.into()),
        data("etc/passwd", PASSWD.into()),
        data("etc/ssl/certs/ca-certificates.crt", certificates()?.into_bytes()),
        data(&format!("usr/share/doc/{NAME}/LICENSE"), licence),
        File { path: NAME.to_owned(), mode: 0o555, content: program.to_owned(), program: true },
        File { program: true, ..data(SBOM, sbom::of(program, architecture)?.into_bytes()) },
    ])
}

/// The SBOM among these files.
pub(super) fn sbom(files: &[File]) -> anyhow::Result<&[u8]> {
    let file = files.iter().find(|file| file.path == SBOM).context("the image has no SBOM")?;
    Ok(&file.content)
}

/// Writes the files below a folder, which has to be empty.
pub(super) fn write(files: &[File], folder: &Path) -> anyhow::Result<()> {
    let context = || format!("cannot write below {}", folder.display());
    fs::create_dir_all(folder).with_context(context)?;
    ensure!(fs::read_dir(folder)?.next().is_none(), "{} is not empty", folder.display());
    for file in files {
        let path = folder.join(&file.path);
        fs::create_dir_all(path.parent().unwrap_or(folder)).with_context(context)?;
        fs::write(&path, &file.content).with_context(context)?;
        fs::set_permissions(&path, Permissions::from_mode(file.mode)).with_context(context)?;
    }
    Ok(())
}

/// Mozilla's list of CA certificates as PEM, from the crate that `Cargo.lock` pins: the same on every machine.
fn certificates() -> anyhow::Result<String> {
    let mut pem = String::new();
    for certificate in TLS_SERVER_ROOT_CERTS {
        pem += "-----BEGIN CERTIFICATE-----\n";
        let text = BASE64_STANDARD.encode(certificate);
        for line in text.as_bytes().chunks(64) {
            writeln!(pem, "{}", std::str::from_utf8(line)?)?;
        }
        pem += "-----END CERTIFICATE-----\n";
    }
    Ok(pem)
}
