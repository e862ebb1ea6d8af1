//! Tests of the control plane: it is a real one, and it leaves no process or folder behind.

#![expect(clippy::unwrap_used, reason = "the shared code of the tests fails by panicking, too")]
#![expect(clippy::disallowed_methods, reason = "real processes need real time")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use support::control_plane::process::Signal;
use support::control_plane::{ControlPlane, Folder, Options, Process, Programs, Sources, to_stderr};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_control_plane_works_and_garbage_collects_dependents() {
    let cluster = ControlPlane::shared(&Options::default()).await.unwrap();
    let namespace = cluster.namespace("owner").await.unwrap();
    let named = |kind: &str, uid: &str| {
        let owner = match uid {
            "" => String::new(),
            uid => format!("ownerReferences: [{{apiVersion: v1, kind: ConfigMap, name: a, uid: {uid}}}]"),
        };
        format!("{{apiVersion: v1, kind: {kind}, metadata: {{name: a, {owner}}}}}")
    };
    let in_it = async |args: &[&str], input: &str| {
        let args = [&["--namespace", &namespace], args].concat();
        cluster.kubectl_with_input(&args, input).await
    };
    in_it(&["apply", "-f", "-"], &named("ConfigMap", "")).await.unwrap();
    let uid = in_it(&["get", "configmap", "a", "-o", "jsonpath={.metadata.uid}"], "").await.unwrap();
    in_it(&["apply", "-f", "-"], &named("Secret", &uid)).await.unwrap();
    in_it(&["delete", "configmap", "a"], "").await.unwrap();
    in_it(&["wait", "--for=delete", "--timeout=30s", "secret/a"], "").await.unwrap();

    let version = cluster.client().unwrap().apiserver_version().await.unwrap();
    assert!(!version.git_version.starts_with("v0.0.0"), "{}", version.git_version);
}

#[tokio::test]
async fn a_service_account_has_only_its_own_permissions() {
    let cluster = ControlPlane::shared(&Options::default()).await.unwrap();
    let namespace = cluster.namespace("rights").await.unwrap();
    let path = cluster.kubeconfig_for_service_account(&namespace, "default").await.unwrap();
    let kubeconfig = format!("--kubeconfig={}", path.display());
    let name = "jsonpath={.status.userInfo.username}";
    let who = cluster.kubectl(&[&kubeconfig, "auth", "whoami", "-o", name]).await.unwrap();
    assert_eq!(who, format!("system:serviceaccount:{namespace}:default"));
    let refused = cluster.kubectl(&[&kubeconfig, "get", "secrets"]).await.unwrap_err();
    assert!(refused.to_string().contains("Forbidden"), "{refused}");
}

#[tokio::test]
async fn helm_finds_the_cluster() {
    let cluster = ControlPlane::shared(&Options::default()).await.unwrap();
    let releases = cluster.helm(&["list", "--all-namespaces", "--output", "json"]).await.unwrap();
    assert_eq!(releases.trim(), "[]");
}

#[tokio::test]
async fn a_dropped_control_plane_leaves_neither_process_nor_folder() {
    let programs = Programs::find(&to_stderr).unwrap();
    let options = Options { audit: true, ..Options::default() };
    let cluster = ControlPlane::start_with(&programs, &options, &to_stderr).await.unwrap();
    let audit = fs::read_to_string(cluster.audit_log()).unwrap();
    assert!(audit.contains(r#""stage":"ResponseComplete""#), "{audit}");
    let folder = cluster.folder().to_owned();
    assert!(!processes_about(&folder).is_empty());
    let begin = Instant::now();
    drop(cluster);
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert!(!folder.exists());
    nothing_is_left(&folder);
}

/// The parent is this test in a second process, because it has to be killed.
#[tokio::test]
async fn a_killed_parent_leaves_no_process_behind() {
    const PARENT: &str = "SUPPORT_TEST_PARENT";
    if let Some(report) = env::var_os(PARENT) {
        let cluster = ControlPlane::shared(&Options::default()).await.unwrap();
        fs::write(&report, cluster.folder().as_os_str().as_encoded_bytes()).unwrap();
        // Waits until it is killed, or until its parent is gone.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        return;
    }
    let folder = Folder::new().unwrap();
    let report = folder.path().join("report");
    let mut parent = Command::new(env::current_exe().unwrap())
        .args(["--exact", "a_killed_parent_leaves_no_process_behind"])
        .env(PARENT, &report)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let theirs = loop {
        match fs::read_to_string(&report) {
            Ok(theirs) if !theirs.is_empty() => break theirs,
            _ => assert_eq!(parent.try_wait().unwrap(), None),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(processes_about(theirs.as_ref()).len() >= 3);
    parent.kill().unwrap();
    parent.wait().unwrap();
    nothing_is_left(theirs.as_ref());
}

#[tokio::test]
async fn a_process_gets_sigterm_first_and_its_children_end_with_it() {
    let folder = Folder::new().unwrap();
    let log = folder.path().join("log");
    let run = |script: &str| {
        let mark = folder.path().to_owned();
        Process::spawn("sh", &log, |sh| {
            sh.args(["-c", script, "sh"]).arg(mark).env("WORD", "ready");
        })
        .unwrap()
    };
    let ready = async || {
        while !fs::read_to_string(&log).unwrap().contains("ready") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        fs::write(&log, "").unwrap();
    };

    let mut polite = run("trap 'exit 7' TERM; echo $WORD; while :; do sleep 0.01; done");
    ready().await;
    assert!(polite.exited().is_none());
    assert_eq!(polite.stop(SOON).await.unwrap().code(), Some(7));
    assert!(polite.signal(Signal::TERM).unwrap_err().to_string().contains("already"));

    let mut deaf = run("trap '' TERM; (sleep 1000; : $1) & echo $WORD; while :; do sleep 0.01; done");
    ready().await;
    let status = deaf.stop(Duration::from_millis(100)).await.unwrap();
    assert!(status.to_string().contains("SIGKILL"), "{status}");

    let mut loud = run("echo 'something is wrong' >&2; exit 3");
    assert_eq!(loud.exits_within(SOON).await.unwrap().code(), Some(3));
    assert!(loud.check().unwrap_err().to_string().contains("something is wrong"));
    nothing_runs_about(folder.path(), 1);
}

#[test]
fn without_go_or_programs_the_error_names_all_three_ways() {
    let folder = Folder::new().unwrap();
    let cache = folder.path().join("cache");
    let sources = Sources { assets: None, cache: cache.clone(), go: "no-such-go".into() };
    let error = Programs::find_in(&sources, &|_| {}).unwrap_err().to_string();
    for way in ["KUBEBUILDER_ASSETS", "QLIK_CONTEXT_TEST_CACHE", "install Go 1.26", "/kube-apiserver"] {
        assert!(error.contains(way), "{way} is not in: {error}");
    }
    assert!(!cache.exists());
}

#[test]
fn a_failed_build_reports_the_output_of_go_and_leaves_no_program() {
    let folder = Folder::new().unwrap();
    let sources = with_go(folder.path(), "echo 'go: go.mod requires go >= 1.26'; exit 1");
    let error = Programs::find_in(&sources, &|_| {}).unwrap_err().to_string();
    assert!(error.contains("cannot build etcd"), "{error}");
    assert!(error.contains("requires go >= 1.26"), "{error}");
}

/// The lock belongs to the open file, so two threads compete for it like two processes.
#[test]
fn two_concurrent_callers_build_a_program_once() {
    static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let folder = Folder::new().unwrap();
    let sources = with_go(folder.path(), r#"sleep 0.1; while [ "$1" != -o ]; do shift; done; : >"$2""#);
    let note = |line: &str| LINES.lock().unwrap().push(line.to_owned());
    let find = || Programs::find_in(&sources, &note).unwrap();
    let (one, other) = thread::scope(|scope| {
        let other = scope.spawn(find);
        (find(), other.join().unwrap())
    });
    assert_eq!(one.helm, other.helm);
    assert!(one.helm.is_file());
    let lines = LINES.lock().unwrap();
    let built = lines.iter().filter(|line| line.starts_with("built")).count();
    assert_eq!(built, 5, "{lines:?}");
}

#[test]
fn programs_are_taken_from_the_assets_first() {
    let folder = Folder::new().unwrap();
    let assets = folder.path().join("assets");
    fs::create_dir(&assets).unwrap();
    fs::write(assets.join("kubectl"), "").unwrap();
    let build = r#"while [ "$1" != -o ]; do shift; done; : >"$2""#;
    let sources = Sources { assets: Some(assets.clone()), ..with_go(folder.path(), build) };
    let programs = Programs::find_in(&sources, &|_| {}).unwrap();
    assert_eq!(programs.kubectl, assets.join("kubectl"));
    assert!(programs.etcd.starts_with(&sources.cache));
}

/// A cache in `folder`, with `script` as a substitute for `go build`.
fn with_go(folder: &Path, script: &str) -> Sources {
    let go = folder.join("go");
    let script = format!("#!/bin/sh\n[ $1 = version ] && exit\n{script}\n");
    // Written by another process: a concurrent test can start a child while the file is open for
    // writing here, and a file that is open for writing cannot be executed.
    let write = r#"printf %s "$2" >"$1" && chmod +x "$1""#;
    let mut sh = Command::new("sh");
    sh.args(["-c", write, "sh"]).arg(&go).arg(script);
    assert!(sh.status().unwrap().success());
    Sources { assets: None, cache: folder.join("cache"), go: go.into() }
}

/// The command lines of all processes that contain `folder`.
fn processes_about(folder: &Path) -> Vec<String> {
    let ps = Command::new("ps").args(["-A", "-ww", "-o", "args="]).output().unwrap();
    let text = String::from_utf8_lossy(&ps.stdout).into_owned();
    let folder = folder.to_string_lossy();
    text.lines().filter(|line| line.contains(&*folder)).map(str::to_owned).collect()
}

fn nothing_runs_about(folder: &Path, but: usize) {
    let begin = Instant::now();
    while processes_about(folder).len() > but {
        assert!(begin.elapsed() < SOON, "still there: {:#?}", processes_about(folder));
        thread::sleep(Duration::from_millis(50));
    }
}

fn nothing_is_left(folder: &Path) {
    nothing_runs_about(folder, 0);
    assert!(!folder.exists(), "{} still exists", folder.display());
}
