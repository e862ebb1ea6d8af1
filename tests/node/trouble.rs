//! What a node does to a Pod: SIGKILL, and the end of its memory.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, json};
use support::operator::{NAMESPACE, RELEASE};

use crate::stage::{HOST, PROGRAM, Stage, TEAM, context, until};

/// Of the only Pod's last end.
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
    until("it was started anew", async || stage.node.pids(PROGRAM).iter().any(|pid| *pid != old)).await;
    until("kubelet tells why", async || last(stage, "lastState.terminated.exitCode").await == "137").await;
    assert_eq!(last(stage, "restartCount").await, "1");
    // After the lease of its predecessor has ended.
    stage.works("acme").await;
    assert_eq!(stage.issued(), before, "the token was found in its Secret");

    let old = stage.pid();
    squeeze(old);
    // What the operator has to remember is more than it may.
    let mut count = 0;
    until("it ran out of memory", async || {
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

/// A context that is as large as the schema lets it be, and asks for nothing.
async fn large_context(stage: &Stage, number: usize) {
    let data: Map<_, _> = (0..31).map(|key| (format!("KEY_{key}"), "x".repeat(8 << 10).into())).collect();
    let [_, mut context] = context(&format!("large-{number}"), HOST, "nobody");
    context["metadata"]["labels"] = json!({"large": "true"});
    context["spec"]["suspend"] = json!(true);
    context["spec"]["target"] = json!({"data": data});
    // Not by apply, which would repeat all of it in an annotation.
    let create = ["create", "-n", TEAM, "-f", "-"];
    stage.node.control_plane.kubectl_with_input(&create, &context.to_string()).await.unwrap();
}

/// Takes the memory of a running container away, as far as the kernel lets it go.
fn squeeze(pid: u32) {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let group = |controller: &str| groups.lines().find_map(|line| line.split_once(controller).map(|(_, path)| path));
    match (group(":memory:"), group("0::")) {
        (Some(path), _) => {
            // Version 1 refuses a limit that it cannot reach by giving memory back: the least that it takes.
            let file = format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes");
            let taken = (1..128).rev().take_while(|steps| fs::write(&file, (steps * (128 << 10)).to_string()).is_ok());
            assert!(taken.count() > 0, "{file} takes no limit");
        }
        (None, Some(path)) => fs::write(format!("/sys/fs/cgroup{path}/memory.max"), "1M").unwrap(),
        (None, None) => panic!("no cgroup with memory: {groups}"),
    }
}
