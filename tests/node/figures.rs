//! Measurements, only on request: the resources of the Pod, and how long a workload waits for a new token.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;
use support::control_plane::to_stderr;
use support::operator::{NAMESPACE, RELEASE};
use support::tenant::Client;

use crate::stage::{CLIENT_SECRET, Stage, TEAM, context, until};
use crate::workloads;

const CONTEXTS: usize = 200;
/// Several tenants, because one allows 100 token requests a minute.
const TENANTS: usize = 4;
const WINDOW: Duration = Duration::from_mins(1);

/// Resident memory and its peak, in MiB.
fn memory(pid: u32) -> (f64, f64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib = |field: &str| -> f64 {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    (kib("VmRSS:") / 1024.0, kib("VmHWM:") / 1024.0)
}

/// CPU time so far, in milliseconds: proc(5), with its usual hundred ticks a second.
fn cpu(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10
}

async fn takes(stage: &Stage, what: &str) {
    let pid = stage.pid();
    let before = cpu(pid);
    tokio::time::sleep(WINDOW).await;
    let (resident, peak) = memory(pid);
    let used = cpu(pid) - before;
    to_stderr(&format!(
        "{what}: {resident:.1} MiB resident, {peak:.1} MiB peak, {used} ms of CPU in {} s",
        WINDOW.as_secs()
    ));
}

pub async fn all(stage: &mut Stage) {
    stage.kubectl(&["delete", "qctx", "--all", "-n", TEAM]).await;
    stage.helm(&json!({"replicaCount": 0})).await;
    stage.rolled_out(NAMESPACE, RELEASE).await;
    stage.helm(&json!({})).await;
    stage.rolled_out(NAMESPACE, RELEASE).await;
    takes(stage, "idle").await;

    let before = cpu(stage.pid());
    let begin = Instant::now();
    let mut objects = Vec::new();
    for index in 0..CONTEXTS {
        let (host, client) = (format!("t{}.eu.qlikcloud.com", index % TENANTS), format!("client-{index}"));
        stage.cloud.tenant(&host).add_client(Client::new(&client).secret(CLIENT_SECRET));
        objects.extend(context(&format!("many-{index}"), &host, &client));
    }
    stage.apply(TEAM, &objects).await;
    until("all are ready", async || {
        let path = "jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].status}";
        let ready = stage.kubectl(&["get", "qctx", "-n", TEAM, "-o", path]).await;
        ready.split_whitespace().filter(|status| *status == "True").count() == CONTEXTS
    })
    .await;
    let used = cpu(stage.pid()) - before;
    to_stderr(&format!("{CONTEXTS} contexts ready after {:.1} s, {used} ms of CPU", begin.elapsed().as_secs_f32()));
    takes(stage, "with 200 contexts").await;

    stage.put("acme", crate::stage::HOST).await;
    stage.wait_for("acme", "TokenValid").await;
    for (frequency, rounds) in [("1s", 3), ("1m", 3)] {
        stage.node.restart_kubelet(frequency).await.unwrap();
        workloads::mounted(stage, &format!("paced-{frequency}")).await;
        for _ in 0..rounds {
            let delay = workloads::delay(stage, &format!("paced-{frequency}")).await;
            to_stderr(&format!("syncFrequency {frequency}: new token in the file after {:.1} s", delay.as_secs_f32()));
        }
    }
}
