//! The network of a node: one bridge, with the node's address and every Pod on it, and no way out.

use std::fs;
use std::process::Command;

use anyhow::Context as _;

use super::{ADDRESS, run};

/// The one device beside loopback.
pub(super) const BRIDGE: &str = "pods0";
/// Where Pods get their addresses from; the node has the first.
pub(super) const PODS: &str = "10.244.0.0/24";

pub(super) fn set_up() -> anyhow::Result<()> {
    let ip = |args: &str| run(Command::new("ip").args(args.split_whitespace()));
    ip("link set lo up")?;
    ip(&format!("link add name {BRIDGE} type bridge"))?;
    ip(&format!("addr add {ADDRESS}/24 dev {BRIDGE}"))?;
    ip(&format!("link set {BRIDGE} up"))?;
    // kube-proxy looks for one; it leads nowhere.
    ip(&format!("route add default via {ADDRESS} dev {BRIDGE}"))?;
    // A setting of this network namespace alone.
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot forward packets")
}

/// For the CNI plugins, as a list of one.
pub(super) fn cni(ipam: &str) -> String {
    format!(
        r#"{{"cniVersion": "0.4.0", "name": "pods", "plugins": [{{
  "type": "bridge", "bridge": "{BRIDGE}", "isDefaultGateway": true, "hairpinMode": true,
  "ipam": {{"type": "host-local", "dataDir": "{ipam}", "ranges": [[{{"subnet": "{PODS}", "gateway": "{ADDRESS}"}}]]}}
}}]}}"#
    )
}
