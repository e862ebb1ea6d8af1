//! What a node does to a Pod: SIGKILL, and the end of its memory.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use support::operator::{NAMESPACE, RELEASE};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::stage::{PROGRAM, Stage, until};

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
    let address = stage.pod().await["status"]["podIP"].as_str().unwrap().to_owned();
    squeeze(old);
    // It has to do something to need memory.
    let mut requests = Vec::new();
    until("it ran out of memory", async || {
        requests.extend(endless_request(&address).await);
        last(stage, "lastState.terminated.reason").await == "OOMKilled"
    })
    .await;
    drop(requests);
    stage.works("acme").await;
    assert_ne!(stage.pid(), old);
    assert_eq!(last(stage, "restartCount").await, "2");
    assert_eq!(stage.issued(), before, "and again");
}

/// A request that the operator keeps in memory, since its end is not there yet; nothing if it was not taken.
async fn endless_request(address: &str) -> Option<TcpStream> {
    let send = async {
        let mut stream = TcpStream::connect((address, 8080)).await?;
        let header = "x".repeat(256 << 10);
        stream.write_all(format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nX-Long: {header}").as_bytes()).await?;
        std::io::Result::Ok(stream)
    };
    tokio::time::timeout(Duration::from_secs(1), send).await.ok()?.ok()
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
