//! The format of the archive: parts, digests, platforms.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use aws_lc_rs::digest::{SHA256, digest};
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use support::control_plane::Folder;

/// An image for one platform, unpacked.
pub struct Image {
    parts: BTreeMap<String, Vec<u8>>,
    pub config: Value,
    pub files: Vec<File>,
    path: PathBuf,
}

/// A file or folder of a layer.
pub struct File {
    pub path: String,
    pub mode: u32,
    pub owner: (u64, u64),
    pub kind: tar::EntryType,
    /// Names of extended attributes and other headers.
    pub extensions: Vec<String>,
    pub content: Vec<u8>,
}

impl Image {
    pub fn read(path: &Path) -> Self {
        let parts = unpack(&fs::read(path).unwrap()).into_iter().map(|file| (file.path, file.content)).collect();
        let mut image = Self { parts, config: Value::Null, files: Vec::new(), path: path.to_owned() };
        let manifest = Self::json(image.part("index.json"))["manifests"][0].clone();
        let manifest = Self::json(image.blob(&manifest));
        image.config = Self::json(image.blob(&manifest["config"]));
        for layer in manifest["layers"].as_array().unwrap() {
            let mut tar = Vec::new();
            GzDecoder::new(image.blob(layer)).read_to_end(&mut tar).unwrap();
            image.files.extend(unpack(&tar));
        }
        image
    }

    pub fn file(&self, path: &str) -> &File {
        self.files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("no {path}"))
    }

    pub fn program(&self) -> &[u8] {
        &self.file("qlik-context-operator").content
    }

    fn part(&self, name: &str) -> &[u8] {
        self.parts.get(name).unwrap_or_else(|| panic!("no {name}"))
    }

    /// The blob of a descriptor, checked against its digest and size.
    fn blob(&self, descriptor: &Value) -> &[u8] {
        let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let part = self.part(&format!("blobs/sha256/{digest}"));
        assert_eq!(descriptor["size"], part.len());
        part
    }

    fn json(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }
}

/// The entries of a tar file.
pub fn unpack(bytes: &[u8]) -> Vec<File> {
    let mut archive = tar::Archive::new(bytes);
    let mut files = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let extensions = entry.pax_extensions().unwrap().into_iter().flatten();
        let extensions = extensions.map(|extension| extension.unwrap().key().unwrap().to_owned()).collect();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let header = entry.header();
        files.push(File {
            path: entry.path().unwrap().to_string_lossy().trim_start_matches("./").trim_end_matches('/').to_owned(),
            mode: header.mode().unwrap(),
            owner: (header.uid().unwrap(), header.gid().unwrap()),
            kind: header.entry_type(),
            extensions,
            content,
        });
    }
    files
}

pub fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Runs `cargo xtask image` with the date and the commit of this image.
pub fn xtask(image: &Image, args: &[&str]) {
    let labels = &image.config["config"]["Labels"];
    let created: qlik_context_operator::clock::Timestamp = image.config["created"].as_str().unwrap().parse().unwrap();
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["run", "--quiet", "--package", "xtask", "--", "image"])
        .args(args)
        // Not with SOURCE_DATE_EPOCH, because build scripts that compile C would run again, and with them half of the
        // workspace.
        .args(["--date", &created.as_second().to_string()])
        .args(labels["org.opencontainers.image.revision"].as_str().map(|revision| format!("--revision={revision}")))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The architecture of this image, and its program in a file.
pub fn program_of(image: &Image, folder: &Path) -> (String, PathBuf) {
    let path = folder.join("program");
    fs::write(&path, image.program()).unwrap();
    (image.config["architecture"].as_str().unwrap().to_owned(), path)
}

pub fn digests(image: &Image) {
    assert_eq!(Image::json(image.part("oci-layout")), json!({"imageLayoutVersion": "1.0.0"}));
    let blobs = image.parts.iter().filter_map(|(name, part)| Some((name.strip_prefix("blobs/sha256/")?, part)));
    let mut count = 0;
    for (digest, part) in blobs {
        assert_eq!(sha256(part), digest);
        count += 1;
    }
    assert_eq!(count, 4, "two layers, a configuration and a manifest");
    // Docker's manifest describes the same image.
    let docker = &Image::json(image.part("manifest.json"))[0];
    assert_eq!(Image::json(image.part(docker["Config"].as_str().unwrap())), image.config);
    assert_eq!(docker["RepoTags"], json!([format!("qlik-context-operator:{}", env!("CARGO_PKG_VERSION"))]));
}

pub fn reproducible(image: &Image) {
    let folder = Folder::new().unwrap();
    let (architecture, program) = program_of(image, folder.path());
    let again = folder.path().join("again.tar");
    xtask(image, &["--binary", &format!("{architecture}={}", program.display()), "--output", &again.to_string_lossy()]);
    assert!(fs::read(again).unwrap() == fs::read(&image.path).unwrap());
}

pub fn two_platforms(image: &Image) {
    let folder = Folder::new().unwrap();
    let (architecture, program) = program_of(image, folder.path());
    // A program whose header says that it is for the other processor. It is not run.
    let (other, machine) = if architecture == "amd64" { ("arm64", 183_u16) } else { ("amd64", 62) };
    let mut bytes = image.program().to_owned();
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    let second = folder.path().join("other");
    fs::write(&second, bytes).unwrap();
    let both = folder.path().join("both.tar");
    let binaries = [format!("{architecture}={}", program.display()), format!("{other}={}", second.display())];
    xtask(image, &["--binary", &binaries[0], "--binary", &binaries[1], "--output", &both.to_string_lossy()]);

    let files: BTreeMap<_, _> =
        unpack(&fs::read(both).unwrap()).into_iter().map(|file| (file.path, file.content)).collect();
    let parse = |name: &str| -> Value { serde_json::from_slice(&files[name]).unwrap() };
    let index = parse("index.json")["manifests"][0].clone();
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    let index = parse(&index["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/"));
    let platforms: Vec<_> =
        index["manifests"].as_array().unwrap().iter().map(|manifest| &manifest["platform"]).collect();
    assert_eq!(
        json!(platforms),
        json!([
            {"architecture": architecture, "os": "linux"}, {"architecture": other, "os": "linux"},
        ])
    );
}
