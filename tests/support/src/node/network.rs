//! The network of a node: one bridge with the node's address and every Pod, without a connection to other networks.

use std::fs;
use std::process::Command;

use anyhow::Context as _;

use super::{ADDRESS, run};

/// The only device except loopback.
pub(super) const BRIDGE: &str = "pods0";
/// The addresses of Pods. The node has the first one.
pub(super) const PODS: &str = "10.244.0.0/24";

pub(super) fn set_up() -> anyhow::Result<()> {
    let ip = |args: &str| run(Command::new("ip").args(args.split_whitespace()));
    ip("link set lo up")?;
    ip(&format!("link add name {BRIDGE} type bridge"))?;
    ip(&format!("addr add {ADDRESS}/24 dev {BRIDGE}"))?;
    ip(&format!("link set {BRIDGE} up"))?;
    // kube-proxy needs a default route. This one reaches no other network.
    ip(&format!("route add default via {ADDRESS} dev {BRIDGE}"))?;
    // Applies only to this network namespace.
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot forward packets")
}

/// The CNI configuration, a list with one network.
pub(super) fn cni(ipam: &str) -> String {
    format!(
        r#"{{"cniVersion": "0.4.0", "name": "pods", "plugins": [{{
  "type": "bridge", "bridge": "{BRIDGE}", "isDefaultGateway": true, "hairpinMode": true,
  "ipam": {{"type": "host-local", "dataDir": "{ipam}", "ranges": [[{{"subnet": "{PODS}", "gateway": "{ADDRESS}"}}]]}}
}}]}}"#
    )
}
