//! The files of one boot, and its secrets, which no other boot has.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rcgen::KeyPair;

/// One line for each request: when it is answered, not when it comes as well.
const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{ level: Metadata }]
";

/// Where the files are.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) admin_kubeconfig: PathBuf,
    pub(crate) audit_log: PathBuf,
    pub(super) audit_policy: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) certificates: PathBuf,
    pub(super) controller_manager_kubeconfig: PathBuf,
    pub(super) data: PathBuf,
    pub(super) service_account_key: PathBuf,
    pub(super) service_account_public_key: PathBuf,
    pub(super) tokens: PathBuf,
}

impl Files {
    pub(super) fn in_folder(folder: &Path) -> Self {
        let certificates = folder.join("certificates");
        Self {
            admin_kubeconfig: folder.join("admin.kubeconfig"),
            audit_log: folder.join("audit.log"),
            audit_policy: folder.join("audit-policy.yaml"),
            // The name is kube-apiserver's.
            certificate: certificates.join("apiserver.crt"),
            certificates,
            controller_manager_kubeconfig: folder.join("controller-manager.kubeconfig"),
            data: folder.join("data"),
            service_account_key: folder.join("service-account.key"),
            service_account_public_key: folder.join("service-account.pub"),
            tokens: folder.join("tokens.csv"),
        }
    }

    /// Writes what the programs read at their start.
    pub(super) fn write(&self, tokens: &Tokens) -> anyhow::Result<()> {
        let key = KeyPair::generate().context("no key to sign the tokens of service accounts")?;
        let write =
            |path: &Path, text: &str| fs::write(path, text).with_context(|| format!("cannot write {}", path.display()));
        write(&self.service_account_key, &key.serialize_pem())?;
        write(&self.service_account_public_key, &key.public_key_pem())?;
        write(&self.tokens, &tokens.csv())?;
        write(&self.audit_policy, AUDIT_POLICY)
    }
}

/// What the first users prove themselves with, and where in etcd the data lives.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) admin: String,
    pub(super) controller_manager: String,
    pub(super) etcd_prefix: String,
}

impl Tokens {
    pub(super) fn random() -> anyhow::Result<Self> {
        let random = || -> std::io::Result<String> {
            let mut bytes = [0; 24];
            File::open("/dev/urandom")?.read_exact(&mut bytes)?;
            Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
        };
        let all = || -> std::io::Result<_> {
            Ok(Self { admin: random()?, controller_manager: random()?, etcd_prefix: random()? })
        };
        all().context("cannot read /dev/urandom")
    }

    fn csv(&self) -> String {
        let (admin, manager) = (&self.admin, &self.controller_manager);
        format!("{admin},admin,admin,system:masters\n{manager},system:kube-controller-manager,manager\n")
    }
}
