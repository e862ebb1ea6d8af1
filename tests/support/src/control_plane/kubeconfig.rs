//! Kubeconfig files for one cluster: an address, a CA certificate and a token.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use base64::{Engine as _, prelude::BASE64_STANDARD};

/// The address of a cluster and its CA certificate.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) url: String,
    /// PEM.
    pub(super) authority: Vec<u8>,
}

impl Cluster {
    /// Writes the kubeconfig `path` for the user with `token` and the default namespace `namespace`. Only
    /// the owner can read the file, because Helm warns otherwise.
    pub(super) fn write_kubeconfig(&self, path: &Path, token: &str, namespace: &str) -> anyhow::Result<()> {
        let url = &self.url;
        let authority = BASE64_STANDARD.encode(&self.authority);
        let text = format!(
            "apiVersion: v1
kind: Config
current-context: test
contexts:
  - name: test
    context: {{ cluster: test, user: test, namespace: {namespace} }}
clusters:
  - name: test
    cluster:
      server: {url}
      certificate-authority-data: {authority}
users:
  - name: test
    user:
      token: {token}
"
        );
        let mut options = fs::File::options();
        options.create(true).truncate(true).write(true).mode(0o600);
        options
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}
