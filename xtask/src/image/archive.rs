//! The OCI archive: layers, configuration, manifest and index (OCI image specification 1.1), and beside them the file
//! that `docker load` reads.
//!
//! The same content gives the same bytes: files in order, one date, root as the only owner.

use std::collections::BTreeMap;
use std::io::{self, Write};

use aws_lc_rs::digest::{SHA256, digest};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use tar::{EntryType, Header};

use super::root::File;
use super::{Architecture, NAME, VERSION};

/// The labels and dates of an image.
#[derive(Debug)]
pub(super) struct Labels {
    seconds: u64,
    labels: Value,
}

impl Labels {
    /// Labels of the OCI specification (<https://specs.opencontainers.org/image-spec/annotations/>).
    pub(super) fn of_this_version(seconds: u64, revision: Option<String>) -> Self {
        let mut labels = json!({
            "org.opencontainers.image.title": NAME,
            "org.opencontainers.image.description": "Keeps a verified Qlik Cloud access token fresh in a Secret",
            "org.opencontainers.image.version": VERSION,
            "org.opencontainers.image.licenses": "Apache-2.0",
            "org.opencontainers.image.created": rfc3339(seconds),
        });
        if let Some(revision) = revision {
            labels["org.opencontainers.image.revision"] = revision.into();
        }
        if let Some(source) = std::env::var("IMAGE_SOURCE").ok().filter(|text| !text.is_empty()) {
            labels["org.opencontainers.image.source"] = source.into();
        }
        Self { seconds, labels }
    }
}

/// How large the layers of one platform are, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    pub(super) unpacked: usize,
    pub(super) compressed: usize,
}

/// An archive under construction, to which platforms are added.
#[derive(Debug)]
pub(super) struct Archive {
    name: String,
    labels: Labels,
    /// By SHA-256.
    blobs: BTreeMap<String, Vec<u8>>,
    manifests: Vec<Value>,
    docker: Vec<Value>,
}

impl Archive {
    pub(super) fn new(name: &str, labels: Labels) -> Self {
        Self { name: name.to_owned(), labels, blobs: BTreeMap::new(), manifests: Vec::new(), docker: Vec::new() }
    }

    /// Adds the image of one platform, in two layers: the files that seldom change, and the program.
    pub(super) fn add(&mut self, architecture: Architecture, files: &[File]) -> anyhow::Result<Sizes> {
        let mut sizes = Sizes::default();
        let (mut diffs, mut layers, mut history) = (Vec::new(), Vec::new(), Vec::new());
        for (program, what) in [(false, "CA certificates, user, licence"), (true, "program, SBOM")] {
            let mut chosen: Vec<_> = files.iter().filter(|file| file.program == program).collect();
            chosen.sort_by(|a, b| a.path.cmp(&b.path));
            let layer = layer(&chosen, self.labels.seconds)?;
            let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
            gzip.write_all(&layer)?;
            let compressed = gzip.finish()?;
            sizes.unpacked += layer.len();
            sizes.compressed += compressed.len();
            diffs.push(format!("sha256:{}", sha256(&layer)));
            layers.push(self.blob("application/vnd.oci.image.layer.v1.tar+gzip", compressed));
            let created = rfc3339(self.labels.seconds);
            history.push(json!({"created": created, "created_by": "cargo xtask image", "comment": what}));
        }
        let config = json!({
            "architecture": architecture.to_string(),
            "os": "linux",
            "created": rfc3339(self.labels.seconds),
            "config": {
                "User": "65532:65532",
                "Env": ["PATH=/"],
                "Entrypoint": [format!("/{NAME}")],
                "WorkingDir": "/",
                "ExposedPorts": {"8080/tcp": {}},
                "Labels": self.labels.labels,
            },
            "rootfs": {"type": "layers", "diff_ids": diffs},
            "history": history,
        });
        let config = self.blob("application/vnd.oci.image.config.v1+json", config.to_string().into());
        // Docker's own names one file of an archive for each part; the name of the image is given to one platform only.
        let path = |blob: &Value| blob["digest"].as_str().unwrap_or_default().replace("sha256:", "blobs/sha256/");
        if self.docker.is_empty() {
            let layers: Vec<_> = layers.iter().map(path).collect();
            let tag = self.name.trim_start_matches("docker.io/library/");
            self.docker.push(json!({"Config": path(&config), "RepoTags": [tag], "Layers": layers}));
        }
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": layers,
            "annotations": self.labels.labels,
        });
        let mut manifest = self.blob("application/vnd.oci.image.manifest.v1+json", manifest.to_string().into());
        manifest["platform"] = json!({"architecture": architecture.to_string(), "os": "linux"});
        self.manifests.push(manifest);
        Ok(sizes)
    }

    /// The archive as one file.
    pub(super) fn finish(mut self) -> anyhow::Result<Vec<u8>> {
        let mut top = match &self.manifests[..] {
            [only] => only.clone(),
            all => {
                let index = json!({
                    "schemaVersion": 2,
                    "mediaType": "application/vnd.oci.image.index.v1+json",
                    "manifests": all,
                    "annotations": self.labels.labels,
                });
                self.blob("application/vnd.oci.image.index.v1+json", index.to_string().into())
            }
        };
        // containerd takes the name of an imported image from the second one.
        top["annotations"] =
            json!({"org.opencontainers.image.ref.name": VERSION, "io.containerd.image.name": self.name});
        let index = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [top],
        });
        let mut tar = tar::Builder::new(Vec::new());
        let seconds = self.labels.seconds;
        append(&mut tar, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#, seconds)?;
        append(&mut tar, "index.json", 0o644, index.to_string().as_bytes(), seconds)?;
        append(&mut tar, "manifest.json", 0o644, json!(self.docker).to_string().as_bytes(), seconds)?;
        directory(&mut tar, "blobs", seconds)?;
        directory(&mut tar, "blobs/sha256", seconds)?;
        for (digest, blob) in &self.blobs {
            append(&mut tar, &format!("blobs/sha256/{digest}"), 0o644, blob, seconds)?;
        }
        Ok(tar.into_inner()?)
    }

    /// Adds a blob, and returns its descriptor.
    fn blob(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = sha256(&bytes);
        let descriptor = json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len()});
        self.blobs.insert(digest, bytes);
        descriptor
    }
}

/// A layer: the files and their folders.
fn layer(files: &[&File], seconds: u64) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut known = Vec::new();
    for file in files {
        for (at, _) in file.path.match_indices('/') {
            let folder = &file.path[..at];
            if !known.contains(&folder) {
                directory(&mut tar, folder, seconds)?;
                known.push(folder);
            }
        }
        append(&mut tar, &file.path, file.mode, &file.content, seconds)?;
    }
    tar.into_inner()
}

fn directory(tar: &mut tar::Builder<Vec<u8>>, path: &str, seconds: u64) -> io::Result<()> {
    let mut header = header(0o755, 0, seconds);
    header.set_entry_type(EntryType::Directory);
    tar.append_data(&mut header, format!("{path}/"), io::empty())
}

fn append(tar: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, content: &[u8], seconds: u64) -> io::Result<()> {
    tar.append_data(&mut header(mode, content.len() as u64, seconds), path, content)
}

fn header(mode: u32, size: u64, seconds: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header.set_mtime(seconds);
    header
}

/// In hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn rfc3339(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| k8s_openapi::jiff::Timestamp::from_second(seconds).ok());
    time.unwrap_or_default().to_string()
}
