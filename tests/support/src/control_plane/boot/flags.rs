//! The flags of the three programs.

use std::net::Ipv4Addr;

use super::files::{Files, Tokens};
use super::{ForNode, Options};

pub(super) fn etcd(files: &Files, client_port: u16, peer_port: u16) -> Vec<String> {
    let client = format!("http://127.0.0.1:{client_port}");
    let peer = format!("http://127.0.0.1:{peer_port}");
    vec![
        format!("--data-dir={}", files.data.display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--log-level=error".to_owned(),
        // The data does not have to survive a power failure, and tests write a lot.
        "--unsafe-no-fsync".to_owned(),
    ]
}

pub(super) fn kube_apiserver(
    files: &Files,
    etcd_port: u16,
    (address, port): (Ipv4Addr, u16),
    tokens: &Tokens,
    options: &Options,
    node: Option<&ForNode>,
) -> Vec<String> {
    let mut plugins = options.admission_plugins.clone();
    let mut flags = vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        // If the etcd of another start uses our port, this API server does not write into its data.
        format!("--etcd-prefix=/{}", tokens.etcd_prefix),
        format!("--bind-address={address}"),
        format!("--secure-port={port}"),
        format!("--cert-dir={}", files.certificates.display()),
        format!("--token-auth-file={}", files.tokens.display()),
        format!("--authorization-mode={}", if node.is_some() { "Node,RBAC" } else { "RBAC" }),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-signing-key-file={}", files.service_account_key.display()),
        format!("--service-account-key-file={}", files.service_account_public_key.display()),
        "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
    ];
    if options.audit {
        flags.push(format!("--audit-policy-file={}", files.audit_policy.display()));
        flags.push(format!("--audit-log-path={}", files.audit_log.display()));
    }
    if node.is_some() {
        // The endpoint of the Service `kubernetes`.
        flags.push(format!("--advertise-address={address}"));
        flags.push(format!("--kubelet-client-certificate={}", files.kubelet_client_certificate.display()));
        flags.push(format!("--kubelet-client-key={}", files.kubelet_client_key.display()));
        flags.push("--kubelet-preferred-address-types=InternalIP".to_owned());
        plugins.push("NodeRestriction".to_owned());
    }
    if !plugins.is_empty() {
        flags.push(format!("--enable-admission-plugins={}", plugins.join(",")));
    }
    if !options.feature_gates.is_empty() {
        flags.push(format!("--feature-gates={}", options.feature_gates.join(",")));
    }
    flags
}

pub(super) fn kube_controller_manager(files: &Files) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", files.controller_manager_kubeconfig.display()),
        format!("--service-account-private-key-file={}", files.service_account_key.display()),
        format!("--root-ca-file={}", files.certificate.display()),
        format!("--cert-dir={}", files.certificates.display()),
        "--use-service-account-credentials=true".to_owned(),
        "--leader-elect=false".to_owned(),
        // With the default of 20 requests a second the start takes three times as long.
        "--kube-api-qps=500".to_owned(),
        "--kube-api-burst=500".to_owned(),
        // No client uses this port.
        "--secure-port=0".to_owned(),
    ]
}
