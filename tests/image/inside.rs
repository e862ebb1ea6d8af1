//! The contents of the image, and their permissions.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use support::control_plane::Folder;

use crate::archive::{Image, program_of};

/// Every file of the image. A new one needs a reason.
const FILES: [&str; 7] = [
    "etc/group",
    "etc/nsswitch.conf",
    "etc/passwd",
    "etc/ssl/certs/ca-certificates.crt",
    "qlik-context-operator",
    "usr/share/doc/qlik-context-operator/LICENSE",
    "usr/share/sbom/qlik-context-operator.cdx.json",
];

pub fn files(image: &Image) {
    let mut files: Vec<_> = image.files.iter().filter(|file| file.kind.is_file()).map(|file| &*file.path).collect();
    let mut wanted = FILES;
    files.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(files, wanted);
    // There is no other kind of entry: no link, no device, no whiteout.
    assert!(image.files.iter().all(|file| file.kind.is_file() || file.kind.is_dir()));
    let programs: Vec<_> = image.files.iter().filter(|file| file.content.starts_with(b"\x7fELF")).collect();
    assert_eq!(programs.len(), 1, "one program");
    assert!(image.files.iter().all(|file| !file.content.starts_with(b"#!")), "no script");
}

pub fn modes(image: &Image) {
    for file in &image.files {
        assert_eq!(file.owner, (0, 0), "{}", file.path);
        assert_eq!(file.mode & 0o022, 0, "{} is writable by group or others: {:o}", file.path, file.mode);
        assert_eq!(file.mode & 0o7000, 0, "{} has a special bit: {:o}", file.path, file.mode);
        // File capabilities are an extended attribute.
        assert!(file.extensions.is_empty(), "{}: {:?}", file.path, file.extensions);
        let executable = file.mode & 0o111 != 0;
        assert_eq!(executable, file.kind.is_dir() || file.path == "qlik-context-operator", "{}", file.path);
    }
}

pub fn configuration(image: &Image) {
    let config = &image.config["config"];
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], json!(["/qlik-context-operator"]));
    assert!(config["Volumes"].is_null() && config["Cmd"].is_null(), "{config}");
    assert_eq!(image.config["os"], "linux");
    let labels = &config["Labels"];
    let label = |name: &str| labels[format!("org.opencontainers.image.{name}")].as_str().unwrap_or_default();
    assert_eq!(label("title"), "qlik-context-operator");
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(label("licenses"), "Apache-2.0");
    assert_eq!(label("created"), image.config["created"]);
    assert!(label("description").contains("Qlik Cloud"));
    let passwd = String::from_utf8_lossy(&image.file("etc/passwd").content).into_owned();
    assert!(passwd.contains("\nnonroot:x:65532:65532:"), "{passwd}");
}

pub fn certificates(image: &Image) {
    let pem = String::from_utf8_lossy(&image.file("etc/ssl/certs/ca-certificates.crt").content).into_owned();
    let mut roots = rustls::RootCertStore::empty();
    let blocks = pem.split("-----BEGIN CERTIFICATE-----\n").skip(1);
    let certificates: Vec<_> = blocks.map(|block| block.split("-----END").next().unwrap().replace('\n', "")).collect();
    for certificate in &certificates {
        let der = BASE64_STANDARD.decode(certificate).unwrap();
        roots.add(der.into()).unwrap();
    }
    assert!(certificates.len() > 100, "{}", certificates.len());
}

pub fn program(image: &Image) {
    let folder = Folder::new().unwrap();
    let (_, path) = program_of(image, folder.path());
    let here = env!("CARGO_MANIFEST_DIR");
    let home = std::env::home_dir().unwrap();
    let text = String::from_utf8_lossy(image.program());
    for place in [here, &format!("{}/.cargo", home.display())] {
        assert!(!text.contains(place), "{place} is named in the program");
    }
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    // With an empty environment, as in the image.
    let version = Command::new(&path).arg("--version").env_clear().output().unwrap();
    let said = String::from_utf8_lossy(&version.stdout);
    assert_eq!(said.trim(), format!("qlik-context-operator {}", env!("CARGO_PKG_VERSION")));
    let crds = Command::new(&path).arg("crd").env_clear().output().unwrap();
    assert!(String::from_utf8_lossy(&crds.stdout).contains("qlikcontexts.qlikcontext.dev"));
}
