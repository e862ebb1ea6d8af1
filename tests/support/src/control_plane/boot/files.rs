//! The files of one start, and its secrets. Each start has new ones.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

use super::super::ForNode;

/// One line for each request, at the response and not also at its arrival.
const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{ level: Metadata }]
";

/// The paths of the files.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) admin_kubeconfig: PathBuf,
    pub(crate) audit_log: PathBuf,
    pub(super) audit_policy: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) certificates: PathBuf,
    pub(super) controller_manager_kubeconfig: PathBuf,
    pub(super) data: PathBuf,
    pub(crate) kubelet_client_certificate: PathBuf,
    pub(super) kubelet_client_key: PathBuf,
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
            // kube-apiserver chooses this name.
            certificate: certificates.join("apiserver.crt"),
            certificates,
            controller_manager_kubeconfig: folder.join("controller-manager.kubeconfig"),
            data: folder.join("data"),
            kubelet_client_certificate: folder.join("kubelet-client.crt"),
            kubelet_client_key: folder.join("kubelet-client.key"),
            service_account_key: folder.join("service-account.key"),
            service_account_public_key: folder.join("service-account.pub"),
            tokens: folder.join("tokens.csv"),
        }
    }

    /// Writes the files that the programs read at their start.
    pub(super) fn write(&self, tokens: &Tokens) -> anyhow::Result<()> {
        let key = KeyPair::generate().context("no key to sign the tokens of service accounts")?;
        let write =
            |path: &Path, text: &str| fs::write(path, text).with_context(|| format!("cannot write {}", path.display()));
        write(&self.service_account_key, &key.serialize_pem())?;
        write(&self.service_account_public_key, &key.public_key_pem())?;
        write(&self.tokens, &tokens.csv())?;
        let (certificate, key) = kubelet_client().context("no certificate for the API server towards kubelets")?;
        write(&self.kubelet_client_certificate, &certificate)?;
        write(&self.kubelet_client_key, &key)?;
        write(&self.audit_policy, AUDIT_POLICY)
    }
}

/// A self-signed client certificate. Kubelets trust only this one and allow it everything.
fn kubelet_client() -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:masters");
    params.distinguished_name.push(DnType::CommonName, "apiserver-to-kubelet");
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// The tokens of the first users, and the prefix of the data in etcd.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) admin: String,
    pub(super) controller_manager: String,
    pub(super) etcd_prefix: String,
    /// The users of a node: name, groups and token.
    groups: Vec<String>,
    pub(super) users: Vec<(String, String)>,
}

impl Tokens {
    pub(super) fn random(node: Option<&ForNode>) -> anyhow::Result<Self> {
        let random = || -> std::io::Result<String> {
            let mut bytes = [0; 24];
            File::open("/dev/urandom")?.read_exact(&mut bytes)?;
            Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
        };
        let wanted = node.map(|node| &node.users[..]).unwrap_or_default();
        let all = || -> std::io::Result<_> {
            Ok(Self {
                admin: random()?,
                controller_manager: random()?,
                etcd_prefix: random()?,
                groups: wanted.iter().map(|(_, groups)| groups.clone()).collect(),
                users: wanted.iter().map(|(user, _)| Ok((user.clone(), random()?))).collect::<std::io::Result<_>>()?,
            })
        };
        all().context("cannot read /dev/urandom")
    }

    fn csv(&self) -> String {
        let (admin, manager) = (&self.admin, &self.controller_manager);
        let mut csv = format!("{admin},admin,admin,system:masters\n{manager},system:kube-controller-manager,manager\n");
        for ((user, token), groups) in self.users.iter().zip(&self.groups) {
            let _ = writeln!(csv, "{token},{user},{user},\"{groups}\"");
        }
        csv
    }
}
