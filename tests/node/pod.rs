//! The operator's Pod, as the chart renders it with its defaults and the node runs it.

use std::fs;
use std::time::Instant;

use serde_json::{Value, json};
use support::control_plane::to_stderr;
use support::operator::{NAMESPACE, RELEASE};

use crate::stage::{HOST, PROGRAM, Stage, get, until};

pub async fn install(stage: &mut Stage) {
    let begin = Instant::now();
    stage.helm(&json!({"networkPolicy": {"enabled": true}})).await;
    stage.put("acme", HOST).await;
    stage.wait_for("acme", "TokenValid").await;
    to_stderr(&format!("from helm install to a ready context: {:.1} s", begin.elapsed().as_secs_f32()));
    assert_eq!(stage.issued(), 1);
    let image = &stage.pod().await["spec"]["containers"][0]["image"];
    assert_eq!(*image, format!("qlik-context-operator:{}", env!("CARGO_PKG_VERSION")), "the chart's default image");
    stage.rolled_out(NAMESPACE, RELEASE).await;
    let policy = stage.kubectl(&["get", "networkpolicy", RELEASE, "-n", NAMESPACE, "-o", "json"]).await;
    let policy: Value = serde_json::from_str(&policy).unwrap();
    let ports = |rule: &Value| -> Vec<u64> {
        rule["ports"].as_array().unwrap().iter().filter_map(|port| port["port"].as_u64()).collect()
    };
    let egress: Vec<_> = policy["spec"]["egress"].as_array().unwrap().iter().map(ports).collect();
    assert_eq!(egress, [vec![53, 53], vec![443, 6443]], "as docs/install.md says");
}

/// A field of a process in /proc.
fn status(pid: u32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').split_whitespace().next().unwrap().to_owned()
}

pub async fn restricted(stage: &mut Stage) {
    let labels = stage.kubectl(&["get", "namespace", NAMESPACE, "-o", "jsonpath={.metadata.labels}"]).await;
    assert!(labels.contains(r#""pod-security.kubernetes.io/enforce":"restricted""#), "{labels}");
    let root = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root"},
        "spec": {"containers": [{"name": "root", "image": support::node::WORKLOAD}]},
    });
    let create = ["create", "-n", NAMESPACE, "-f", "-"];
    let refused = stage.node.control_plane.kubectl_with_input(&create, &root.to_string()).await.unwrap_err();
    assert!(refused.to_string().contains("violates PodSecurity"), "it is enforced: {refused:#}");

    let pid = stage.pid();
    assert_eq!(status(pid, "Uid"), "65532");
    assert_eq!(status(pid, "Gid"), "65532");
    assert_eq!(status(pid, "CapEff"), "0000000000000000");
    assert_eq!(status(pid, "CapBnd"), "0000000000000000");
    assert_eq!(status(pid, "NoNewPrivs"), "1");
    assert_eq!(status(pid, "Seccomp"), "2", "a filter");
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    for line in mounts.lines() {
        let fields: Vec<_> = line.split(' ').collect();
        let (point, options) = (fields[4], fields[5]);
        // File systems of the kernel and those of every container. None of them is a disk to which this user can write.
        let usual = ["/proc", "/dev", "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
        let kernels = usual.iter().any(|usual| point == *usual || point.starts_with(&format!("{usual}/")));
        assert!(kernels || options.starts_with("ro"), "{point} is writable: {options}");
    }
}

pub async fn as_shipped(stage: &mut Stage) {
    let pod = stage.pod().await;
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["resources"]["limits"], json!({"memory": "64Mi"}));
    assert_eq!(container["resources"]["requests"], json!({"cpu": "10m", "memory": "32Mi"}));
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/livez");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    assert_eq!(container["command"], Value::Null, "the container uses the entry point of the image");
    let address = pod["status"]["podIP"].as_str().unwrap().to_owned();
    for path in ["/livez", "/readyz"] {
        assert!(get(&address, 8080, path).await.is_ok(), "{path}");
    }
    assert!(get(&address, 8080, "/metrics").await.unwrap().contains("qlik_context_leader 1"));

    // A process that hangs is no longer ready, and is restarted after the liveness probe has failed three times. This
    // test does not wait for that.
    let (pid, before) = (stage.pid(), stage.issued());
    let stop = |signal: rustix::process::Signal| {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    };
    stop(rustix::process::Signal::STOP);
    let ready = async || {
        let ready = "jsonpath={.items[0].status.conditions[?(@.type==\"Ready\")].status}";
        stage.kubectl(&["get", "pods", "-n", NAMESPACE, "-o", ready]).await
    };
    until("a hanging Pod is not ready", async || ready().await == "False").await;
    stop(rustix::process::Signal::CONT);
    until("it is ready again", async || ready().await == "True").await;
    stage.works("acme").await;
    assert_eq!(stage.issued(), before, "no token was requested");
    assert_eq!(stage.node.pids(PROGRAM), [pid]);
}
