//! The time from the write of a Secret until running Pods have the new token in their files.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use serde_json::{Value, json};
use support::control_plane::to_stderr;
use support::tenant::Client;

use crate::fresh::{LIFE, switched_on};
use crate::stage::{CLIENT_SECRET, HOST, Stage, TEAM, context, get};
use crate::workloads::deploy;

/// Longer than a kubelet with its defaults takes.
const PATIENCE: Duration = Duration::from_mins(3);
/// The interval at which an application calls the tenant with the token from its file.
const CALL: Duration = Duration::from_millis(500);
/// The shortest lifetime that is measured.
pub const SHORT: Duration = Duration::from_mins(1);

/// Creates a Deployment that mounts the token Secret of the context with the same name.
pub async fn mount(stage: &Stage, name: &str) {
    let env = json!([{"name": "TOKEN_FILE", "value": "/qlik/token"}]);
    let mount = json!({"name": "qlik", "mountPath": "/qlik", "readOnly": true});
    let volume = json!({"name": "qlik", "secret": {"secretName": format!("{name}-token")}});
    deploy(stage, name, env, &[mount], &[volume]).await;
}

/// Creates a context and its credential, with tokens of this lifetime.
pub async fn with_lifetime(stage: &Stage, name: &str, lifetime: Duration, workloads: &Value) {
    stage.tenant.add_client(Client::new(name).secret(CLIENT_SECRET).lifetime(lifetime));
    let mut objects = context(name, HOST, name);
    if !workloads.is_null() {
        objects[1]["spec"]["workloads"] = workloads.clone();
    }
    stage.apply(TEAM, &objects).await;
    stage.wait_for(name, "TokenValid").await;
}

/// The addresses of the Pods of a Deployment.
async fn addresses(stage: &Stage, name: &str) -> Vec<String> {
    let path = "jsonpath={.items[*].status.podIP}";
    let pods = stage.kubectl(&["get", "pods", "-n", TEAM, "-l", &format!("app={name}"), "-o", path]).await;
    pods.split_whitespace().map(str::to_owned).collect()
}

async fn state_of(address: &str) -> Value {
    serde_json::from_str(&get(address, 8080, "/").await.unwrap()).unwrap()
}

/// Waits for the next write of the Secret and returns its time.
async fn written(stage: &Stage, name: &str) -> SystemTime {
    let secrets: Api<Secret> = Api::namespaced(stage.node.control_plane.client().unwrap(), TEAM);
    let version = async || secrets.get_metadata(name).await.unwrap().metadata.resource_version;
    let before = version().await;
    let begin = Instant::now();
    while version().await == before {
        assert!(begin.elapsed() < PATIENCE, "{name} is not written");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    SystemTime::now()
}

/// Requests a new token. Returns how long each Pod of the Deployment with the same name took to have it in its file,
/// shortest first.
pub async fn arrivals(stage: &Stage, name: &str) -> Vec<Duration> {
    let pods = addresses(stage, name).await;
    let before = join_all(pods.iter().map(|address| state_of(address))).await;
    let secret = format!("{name}-token");
    let (written, ()) = futures::join!(written(stage, &secret), stage.refresh(name));
    let mut took = Vec::new();
    for (address, before) in pods.iter().zip(before) {
        let seen = loop {
            let now = state_of(address).await;
            if now["file"] != before["file"] {
                break UNIX_EPOCH + Duration::from_millis(now["fileSince"].as_u64().unwrap());
            }
            assert!(written.elapsed().unwrap() < PATIENCE, "{address} has no new token");
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        took.push(seen.duration_since(written).unwrap_or_default());
    }
    took.sort_unstable();
    took
}

/// The tenant's responses to an application.
#[derive(Debug, Default, PartialEq)]
pub struct Answers {
    pub calls: usize,
    pub unauthorized: usize,
    pub others: usize,
    pub tokens: usize,
}

/// Lets the application of this Deployment call the tenant, at least for this time and until `end` is set.
pub async fn calls(stage: &Stage, name: &str, time: Duration, end: &AtomicBool) -> Answers {
    let address = addresses(stage, name).await.pop().unwrap();
    let (begin, mut answers, mut last) = (Instant::now(), Answers::default(), Value::Null);
    while begin.elapsed() < time || !end.load(Ordering::Relaxed) {
        let now = state_of(&address).await;
        answers.calls += 1;
        match now["fileStatus"].as_u64() {
            Some(200) => {}
            Some(401) => answers.unauthorized += 1,
            _ => answers.others += 1,
        }
        answers.tokens += usize::from(now["file"] != last);
        last = now["file"].clone();
        tokio::time::sleep(CALL).await;
    }
    answers
}

fn print_spread(what: &str, took: &[Duration]) {
    let at = |index: usize| took[index].as_secs_f32();
    to_stderr(&format!(
        "{what}: {} Pods, {:.1} s at least, {:.1} s in the middle, {:.1} s at most",
        took.len(),
        at(0),
        at(took.len() / 2),
        at(took.len() - 1)
    ));
}

/// Measures with the kubelet's defaults, for docs/workloads.md.
pub async fn figures(stage: &mut Stage) {
    stage.node.restart_kubelet("1m").await.unwrap();
    switched_on(stage).await;
    let stage = &*stage;
    for (name, lifetime, workloads) in [
        ("woken", LIFE, json!({})),
        ("unwoken", LIFE, Value::Null),
        ("short-woken", SHORT, json!({})),
        ("short-unwoken", SHORT, Value::Null),
    ] {
        with_lifetime(stage, name, lifetime, &workloads).await;
        mount(stage, name).await;
    }
    // The calls run while the arrivals are measured.
    let (time, end) = (Duration::from_mins(10), AtomicBool::new(true));
    let (woken, unwoken, ()) = futures::join!(
        calls(stage, "short-woken", time, &end),
        calls(stage, "short-unwoken", time, &end),
        spreads(stage)
    );
    to_stderr(&format!("tokens of 60 s, ten minutes, with refreshVolumes: {woken:?}"));
    to_stderr(&format!("tokens of 60 s, ten minutes, without refreshVolumes: {unwoken:?}"));
}

async fn spreads(stage: &Stage) {
    const WITH: &str = "with refreshVolumes";
    const WITHOUT: &str = "without refreshVolumes";
    for _ in 0..3 {
        let (woken, unwoken) = futures::join!(arrivals(stage, "woken"), arrivals(stage, "unwoken"));
        print_spread(WITH, &woken);
        print_spread(WITHOUT, &unwoken);
    }
    for (name, what) in [("woken", WITH), ("unwoken", WITHOUT)] {
        let deployment = format!("deployment/{name}");
        stage.kubectl(&["scale", "-n", TEAM, &deployment, "--replicas=50"]).await;
        stage.kubectl(&["rollout", "status", &deployment, "-n", TEAM, "--timeout=10m"]).await;
        for _ in 0..2 {
            print_spread(what, &arrivals(stage, name).await);
        }
        stage.kubectl(&["scale", "-n", TEAM, &deployment, "--replicas=0"]).await;
    }
}
