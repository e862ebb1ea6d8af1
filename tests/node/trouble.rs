//! Failures of a Pod on a node: SIGKILL, and an OOM kill.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, json};
use support::operator::{NAMESPACE, RELEASE};

use crate::stage::{HOST, PROGRAM, Stage, TEAM, context, until};

/// A field of the container status of the only Pod.
async fn last(stage: &Stage, field: &str) -> String {
    let path = format!("jsonpath={{.items[0].status.containerStatuses[0].{field}}}");
    stage.kubectl(&["get", "pods", "-n", NAMESPACE, "-o", &path]).await
}

pub async fn killed(stage: &mut Stage) {
    stage.helm(&json!({})).await;
    stage.rolled_out(NAMESPACE, RELEASE).await;
    let before = stage.issued();
    let old = stage.pid();
    kill_process(Pid::from_raw(i32::try_from(old).unwrap()).unwrap(), Signal::KILL).unwrap();
    until("the container is restarted", async || stage.node.pids(PROGRAM).iter().any(|pid| *pid != old)).await;
    until("the kubelet reports the exit code", async || last(stage, "lastState.terminated.exitCode").await == "137")
        .await;
    assert_eq!(last(stage, "restartCount").await, "1");
    // After the Lease of its predecessor has expired.
    stage.works("acme").await;
    assert_eq!(stage.issued(), before, "the token was read from its Secret");

    let old = stage.pid();
    squeeze(old);
    // The operator needs more memory than its limit.
    let mut count = 0;
    until("the container is OOM-killed", async || {
        count += 1;
        large_context(stage, count).await;
        last(stage, "lastState.terminated.reason").await == "OOMKilled"
    })
    .await;
    stage.kubectl(&["delete", "qctx", "-n", TEAM, "-l", "large=true"]).await;
    stage.works("acme").await;
    assert_ne!(stage.pid(), old);
    assert_eq!(last(stage, "restartCount").await, "2");
    assert_eq!(stage.issued(), before, "and again");
}

/// A context of the largest size that the schema allows, which causes no request.
async fn large_context(stage: &Stage, number: usize) {
    let data: Map<_, _> = (0..31).map(|key| (format!("KEY_{key}"), "x".repeat(8 << 10).into())).collect();
    let [_, mut context] = context(&format!("large-{number}"), HOST, "nobody");
    context["metadata"]["labels"] = json!({"large": "true"});
    context["spec"]["suspend"] = json!(true);
    context["spec"]["target"] = json!({"data": data});
    // Not with apply, which would store a copy of it in an annotation.
    let create = ["create", "-n", TEAM, "-f", "-"];
    stage.node.control_plane.kubectl_with_input(&create, &context.to_string()).await.unwrap();
}

/// Lowers the memory limit of a running container, as far as the kernel allows.
fn squeeze(pid: u32) {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let group = |controller: &str| groups.lines().find_map(|line| line.split_once(controller).map(|(_, path)| path));
    match (group(":memory:"), group("0::")) {
        (Some(path), _) => {
            // cgroup v1 rejects a limit that it cannot reach by reclaiming memory, so the lowest one that it accepts is
            // used.
            let file = format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes");
            let taken = (1..128).rev().take_while(|steps| fs::write(&file, (steps * (128 << 10)).to_string()).is_ok());
            assert!(taken.count() > 0, "{file} accepts no limit");
        }
        (None, Some(path)) => fs::write(format!("/sys/fs/cgroup{path}/memory.max"), "1M").unwrap(),
        (None, None) => panic!("no cgroup with memory: {groups}"),
    }
}
