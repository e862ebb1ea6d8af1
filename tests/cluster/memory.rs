//! Memory that large Secrets take in an operator that only watches them.

use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, ObjectMeta, PostParams};
use support::control_plane::{ControlPlane, Options, Programs, to_stderr};
use support::operator::{self, Operator};

use crate::world::PROGRAM;

const NAMESPACES: usize = 8;
const SECRETS: usize = 300;
/// The annotation in which `kubectl apply` keeps a copy of the Secret.
const LAST_APPLIED: usize = 150 * 1024;
const LIMIT_KIB: u64 = 8 * 1024;
/// Memory of an idle watch: a connection with TLS.
const WATCH_KIB: u64 = 128;

/// The peak memory of an operator with these flags, from its start until it is idle.
async fn peak_kib(control_plane: &ControlPlane, flags: &[&str]) -> u64 {
    let log = control_plane.folder().join("memory.log");
    let operator = Operator::start(control_plane, PROGRAM.as_ref(), &log, flags, &[]).await.unwrap();
    let status = format!("/proc/{}/status", operator.process.pid());
    let peak = || {
        let text = std::fs::read_to_string(&status).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    // The Lease of the previous operator has to expire first. A standby watches nothing.
    let begin = Instant::now();
    while !operator.get("/metrics").await.unwrap().lines().any(|line| line == "qlik_context_leader 1") {
        assert!(begin.elapsed() < Duration::from_mins(1), "the operator never became leader");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let (mut last, mut quiet) = (peak(), 0);
    while quiet < 16 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = peak();
        quiet = if now == last { quiet + 1 } else { 0 };
        last = now;
    }
    last
}

async fn put_secrets(control_plane: &ControlPlane) {
    let client = control_plane.client().unwrap();
    for number in 0..NAMESPACES {
        let metadata = ObjectMeta { name: Some(format!("large-{number}")), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    }
    for number in 0..SECRETS {
        let namespace = format!("large-{}", number % NAMESPACES);
        let applied = "kubectl.kubernetes.io/last-applied-configuration".to_owned();
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(format!("secret-{number}")),
                annotations: Some([(applied, "x".repeat(LAST_APPLIED))].into()),
                ..ObjectMeta::default()
            },
            data: Some([("data".to_owned(), ByteString(vec![0; 100 * 1024]))].into()),
            ..Secret::default()
        };
        Api::namespaced(client.clone(), &namespace).create(&PostParams::default(), &secret).await.unwrap();
    }
}

#[tokio::test]
async fn large_secrets_take_no_memory_with_and_without_streaming_lists_and_a_list_of_namespaces() {
    let programs = tokio::task::spawn_blocking(|| Programs::find(&to_stderr)).await.unwrap().unwrap();
    for gates in [vec![], vec!["WatchList=false".to_owned()]] {
        let options = Options { feature_gates: gates.clone(), helm: vec![operator::install()], ..Options::default() };
        let control_plane = ControlPlane::start_with(&programs, &options, &to_stderr).await.unwrap();
        let idle = peak_kib(&control_plane, &[]).await;
        put_secrets(&control_plane).await;
        let names: Vec<_> = (0..NAMESPACES).map(|number| format!("large-{number}")).collect();
        for flags in [vec![], vec!["--watch-namespaces".to_owned(), names.join(",")]] {
            let flags: Vec<_> = flags.iter().map(String::as_str).collect();
            let peak = peak_kib(&control_plane, &flags).await;
            to_stderr(&format!("{gates:?} {flags:?}: {idle} KiB idle, {peak} KiB at most"));
            // With a list of namespaces, each has a watch of QlikOAuthClients with its own connection.
            let watches = if flags.is_empty() { 0 } else { NAMESPACES as u64 };
            assert!(
                peak < idle + LIMIT_KIB + watches * WATCH_KIB,
                "{gates:?} {flags:?}: {idle} KiB idle, {peak} KiB at most"
            );
        }
    }
}
