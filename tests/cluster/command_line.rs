//! The start of the program: its command line, its kubeconfig and the files that its flags name.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;
use support::control_plane::Folder;
use support::operator::Operator;

use crate::world::{PROGRAM, world};

fn said(args: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = Command::new(PROGRAM).args(args).env_clear().envs(environment.iter().copied()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_wrong_flag_points_to_the_help_that_lists_it() {
    for (args, help) in
        [(&["run", "--bogus"][..], "run --help"), (&["crd", "x"], "crd --help"), (&[], "operator --help")]
    {
        let (code, said) = said(args, &[]);
        assert_eq!((code, said.lines().count()), (Some(2), 1), "{args:?}: {said}");
        assert!(said.starts_with("error: ") && said.contains(help), "{args:?}: {said}");
    }
}

#[test]
fn a_closed_stdout_or_stderr_is_no_error() {
    for (args, code) in [(&["run", "--help"][..], 0), (&["--version"], 0), (&["crd"], 0), (&["run", "--bogus"], 2)] {
        // Both ends are closed before anything is written.
        let (reader, writer) = std::io::pipe().unwrap();
        let (errors, stderr) = std::io::pipe().unwrap();
        drop(reader);
        let mut child = Command::new(PROGRAM).args(args).env_clear().stdout(writer).stderr(stderr).spawn().unwrap();
        let mut said = String::new();
        let mut errors = BufReader::new(errors);
        if code == 2 {
            drop(errors);
        } else {
            errors.read_to_string(&mut said).unwrap();
        }
        assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(code), ""), "{args:?}");
    }
}

#[test]
fn a_ca_file_with_any_unusable_part_is_rejected_in_one_line_at_start() {
    let folder = Folder::new().unwrap();
    let path = folder.path().join("ca.pem");
    let kubeconfig = world().control_plane.admin_kubeconfig();
    let good = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/certificate.pem")).unwrap();
    for (text, says) in [
        (good.replace("CERTIFICATE", "TRUSTED CERTIFICATE"), "BEGIN TRUSTED CERTIFICATE"),
        (good.replace("CERTIFICATE", "PKCS7"), "PKCS#7"),
        (good.replace("CERTIFICATE", "PUBLIC KEY"), "only blocks of another kind"),
        (format!("\u{feff}{good}"), "byte order mark"),
        (good.replace("MII", "AAA"), "damaged or cut off, number 1"),
        (String::new(), "no PEM certificate"),
    ] {
        fs::write(&path, text).unwrap();
        let file = path.to_str().unwrap();
        let (code, said) = said(&["run", "--tenant-ca-file", file], &[("KUBECONFIG", kubeconfig.to_str().unwrap())]);
        let errors: Vec<_> = said.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!((code, errors.len()), (Some(1), 1), "{says}: {said}");
        assert!(errors[0].contains("--tenant-ca-file") && errors[0].contains(says), "{says}: {said}");
    }
}

/// Tunnels every connection, and records its destination.
fn proxy() -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (report, seen) = mpsc::channel();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, report) = (client.unwrap(), report.clone());
            std::thread::spawn(move || {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if client.read(&mut byte).unwrap_or_default() == 0 {
                        return;
                    }
                    head.push(byte[0]);
                }
                let head = String::from_utf8(head).unwrap();
                let target = head.split(' ').nth(1).unwrap().to_owned();
                report.send(head).unwrap();
                let mut server = TcpStream::connect(target).unwrap();
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut from_server, &mut to_client));
                let _ = std::io::copy(&mut client, &mut server);
            });
        }
    });
    (address, seen)
}

#[test]
fn the_proxy_of_the_kubeconfig_is_used_for_the_kubernetes_api() {
    let folder = Folder::new().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let admin = fs::read_to_string(world().control_plane.admin_kubeconfig()).unwrap();
    let (address, seen) = proxy();
    let write = |proxy: &str| {
        let mut config: Value = serde_saphyr::from_str(&admin).unwrap();
        config["clusters"][0]["cluster"]["proxy-url"] = proxy.into();
        fs::write(&kubeconfig, config.to_string()).unwrap();
    };
    write(&format!("http://user:p%40ss@{address}"));
    // Watches an unused namespace, so that it does not reconcile the contexts of other tests.
    let mut child = Command::new(PROGRAM)
        .args(["run", "--listen", "127.0.0.1:0", "--watch-namespaces", "nobodys-namespace"])
        .env_clear()
        .env("KUBECONFIG", &kubeconfig)
        // The proxy of the environment is for tenants. kubectl ignores NO_PROXY for a proxy that the kubeconfig names.
        .envs([("HTTPS_PROXY", "http://127.0.0.1:9"), ("NO_PROXY", "*")])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let started = log.any(|line| line.is_ok_and(|line| line.contains("started")));
    child.kill().unwrap();
    child.wait().unwrap();
    let head = seen.recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(started, "the operator did not connect through the proxy");
    assert!(head.starts_with("CONNECT 127.0.0.1:") && head.contains("dXNlcjpwQHNz"), "{head}");

    for (url, says) in [("socks5://user:planted@127.0.0.1:1080", "proxy-url"), ("127.0.0.1:3128", "proxy-url")] {
        write(url);
        let (code, said) = said(&["run"], &[("KUBECONFIG", kubeconfig.to_str().unwrap())]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(says) && !said.contains("planted"), "{said}");
    }
}

#[tokio::test]
async fn an_operator_whose_port_another_process_took_is_started_again_on_another_port() {
    let folder = Folder::new().unwrap();
    let log = folder.path().join("log");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let script = format!(
        "mkdir '{}' 2>/dev/null && export QLIK_CONTEXT_LISTEN={}
        exec '{PROGRAM}' run --watch-namespaces nobodys-namespace",
        folder.path().join("started-before").display(),
        taken.local_addr().unwrap(),
    );
    let kubeconfig = tokio::task::spawn_blocking(|| world().control_plane.admin_kubeconfig()).await.unwrap();
    let operator = Operator::launch(kubeconfig, "/bin/sh".as_ref(), &log, &["-c", &script], &[]).await.unwrap();
    assert!(operator.get("/livez").await.is_ok());
    let log = fs::read_to_string(&log).unwrap();
    assert_eq!(log.matches("use another --listen").count(), 1, "{log}");
}
