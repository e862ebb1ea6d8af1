//! A node, a fake Qlik Cloud that Pods reach under realistic host names, and the helper functions of these tests.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use support::control_plane::{NodePrograms, Programs, to_stderr};
use support::node::dns::{Resolver, Zone};
use support::node::{self, Node};
use support::operator::{NAMESPACE, RELEASE, repository};
use support::tenant::{Client, QlikCloud, Tenant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub const CLIENT_ID: &str = "82e0c353eca9a5d849c74d7e98f13f7e";
pub const CLIENT_SECRET: &str = "planted-client-secret-0123456789abcdef";
/// The namespace of workloads and contexts.
pub const TEAM: &str = "team";
pub const HOST: &str = "acme.eu.qlikcloud.com";
/// A path in the file system of the Pods.
pub const PROGRAM: &str = "/qlik-context-operator";

/// Longer than any step takes that works.
const LIMIT: Duration = Duration::from_secs(90);

/// The state of a Pod of the operator, from its metrics. A Pod that does not respond counts as `Follows`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Standing {
    LeadsAndFoundReady,
    Leads,
    Follows,
}

pub struct Stage {
    _resolver: Resolver,
    pub node: Node,
    pub cloud: QlikCloud,
    pub tenant: Tenant,
}

impl Stage {
    /// Starts everything except the operator.
    pub async fn set(image: &Path) -> anyhow::Result<Self> {
        let find = || anyhow::Ok((Programs::find(&to_stderr)?, NodePrograms::find(&to_stderr)?));
        let (programs, node_programs) = tokio::task::spawn_blocking(find).await??;
        let node = Node::start(&programs, &node_programs, &to_stderr).await?;
        node.load(image).context("the image cannot be loaded")?;
        let at = |port| SocketAddr::from((node::ADDRESS, port));
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 443));
        let cloud = QlikCloud::builder().tls(loopback).start().await?;
        forward(at(443), loopback).await?;
        let zones = vec![
            // The search domain resolves every name, before the real name is looked up. No process listens at its
            // address.
            Zone { suffix: "corp.example.com", address: Ipv4Addr::new(10, 244, 0, 250) },
            Zone { suffix: "qlikcloud.com", address: node::ADDRESS },
        ];
        let resolver = Resolver::start(at(53), zones).await?;
        let tenant = cloud.tenant(HOST);
        tenant.add_client(Client::new(CLIENT_ID).secret(CLIENT_SECRET));
        let stage = Self { _resolver: resolver, node, cloud, tenant };
        for namespace in [NAMESPACE, TEAM] {
            let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
            let metadata = json!({"name": namespace, "labels": labels});
            let namespace_object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
            stage.node.control_plane.kubectl_with_input(&["create", "-f", "-"], &namespace_object.to_string()).await?;
            let authority = stage.node.folder().join("tenant-ca.pem");
            stage.cloud.write_ca(&authority)?;
            let file = format!("--from-file=ca.crt={}", authority.display());
            stage.node.control_plane.kubectl(&["create", "configmap", "tenant-ca", "-n", namespace, &file]).await?;
        }
        Ok(stage)
    }

    /// `helm upgrade --install` of the unchanged chart, with these values and those for the fake tenant.
    pub async fn helm(&self, values: &Value) {
        let mut all = json!({
            "tenantCA": {"configMap": {"name": "tenant-ca"}},
            "allowPrivateAddresses": true,
            // The real name is looked up first, because the node's search domain resolves every name.
            "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
        });
        for (name, value) in values.as_object().unwrap() {
            all[name] = value.clone();
        }
        let file = self.node.folder().join("values.json");
        fs::write(&file, all.to_string()).unwrap();
        let chart = repository().join("charts/qlik-context-operator");
        let words = ["upgrade", "--install", RELEASE, &chart.to_string_lossy(), "--namespace", NAMESPACE];
        self.node.control_plane.helm(&[&words[..], &["--values", &file.to_string_lossy()]].concat()).await.unwrap();
        self.kubectl(&["wait", "--for=condition=Established", "crd/qlikcontexts.qlikcontext.dev", "--timeout=30s"])
            .await;
    }

    /// Waits until the rollout of the Deployment is complete and the old Pods are gone.
    pub async fn rolled_out(&self, namespace: &str, deployment: &str) {
        let name = format!("deployment/{deployment}");
        let rolled =
            self.node.control_plane.kubectl(&["rollout", "status", &name, "-n", namespace, "--timeout=90s"]).await;
        if let Err(error) = rolled {
            let pods = self.kubectl(&["describe", "pods", "-n", namespace]).await;
            panic!("{error:#}\n{pods}");
        }
        let wanted: u64 =
            self.kubectl(&["get", &name, "-n", namespace, "-o", "jsonpath={.spec.replicas}"]).await.parse().unwrap();
        until("old Pods are gone", async || self.pods(namespace).await.len() as u64 == wanted || namespace == TEAM)
            .await;
    }

    pub async fn kubectl(&self, args: &[&str]) -> String {
        self.node.control_plane.kubectl(args).await.unwrap()
    }

    pub async fn apply(&self, namespace: &str, objects: &[Value]) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        self.node.control_plane.kubectl_with_input(&["apply", "-n", namespace, "-f", "-"], &list).await.unwrap();
    }

    /// Creates a credential and a context that uses it, both with this name.
    pub async fn put(&self, name: &str, host: &str) {
        self.apply(TEAM, &context(name, host, CLIENT_ID)).await;
    }

    /// Waits until the `Ready` condition of a context has this status and reason.
    pub async fn wait_for(&self, name: &str, reason: &str) {
        let path = format!("--for=jsonpath={{.status.conditions[?(@.type==\"Ready\")].reason}}={reason}");
        let waited = self
            .node
            .control_plane
            .kubectl(&["wait", "-n", TEAM, &path, &format!("qctx/{name}"), "--timeout=60s"])
            .await;
        if let Err(error) = waited {
            let status = self.kubectl(&["get", "qctx", name, "-n", TEAM, "-o", "jsonpath={.status}"]).await;
            let log = self.kubectl(&["logs", "-n", NAMESPACE, "deployment/qlik-context-operator", "--tail=20"]).await;
            panic!("{error:#}\n{status}\n{log}");
        }
    }

    /// Requests a new token and waits until it is in the Secret. Returns the value of the annotation.
    pub async fn refresh(&self, name: &str) {
        let value = format!("{:?}", Instant::now()).chars().filter(char::is_ascii_digit).collect::<String>();
        let annotation = format!("qlikcontext.dev/refresh-requested-at={value}");
        self.kubectl(&["annotate", "--overwrite", "-n", TEAM, &format!("qctx/{name}"), &annotation]).await;
        let path = format!("--for=jsonpath={{.status.lastHandledRefreshRequest}}={value}");
        // A credential gets one token a minute on request.
        self.kubectl(&["wait", "-n", TEAM, &path, &format!("qctx/{name}"), "--timeout=90s"]).await;
    }

    pub fn issued(&self) -> u64 {
        self.cloud.ledger(|ledger| ledger.issued)
    }

    /// Waits until the operator's only Pod leads and has found this context ready.
    pub async fn works(&self, name: &str) {
        until("the operator's Pod leads, and the context is ready", async || {
            self.standings(name).await == [Standing::LeadsAndFoundReady]
        })
        .await;
    }

    /// The state of each of the operator's Pods, and whether the leader reports this context as ready.
    pub async fn standings(&self, name: &str) -> Vec<Standing> {
        let ready = format!("qlik_context_ready{{namespace=\"{TEAM}\",name=\"{name}\"}} 1\n");
        let mut standings = Vec::new();
        for pod in self.pods(NAMESPACE).await {
            let address = pod["status"]["podIP"].as_str().unwrap_or_default().to_owned();
            let metrics = get(&address, 8080, "/metrics").await.unwrap_or_default();
            standings.push(match (metrics.contains("qlik_context_leader 1\n"), metrics.contains(&ready)) {
                (true, true) => Standing::LeadsAndFoundReady,
                (true, false) => Standing::Leads,
                (false, _) => Standing::Follows,
            });
        }
        standings.sort_unstable();
        standings
    }

    /// The Pods of a namespace.
    pub async fn pods(&self, namespace: &str) -> Vec<Value> {
        let list = self.kubectl(&["get", "pods", "-n", namespace, "-o", "json"]).await;
        let list: Value = serde_json::from_str(&list).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// The operator's only Pod.
    pub async fn pod(&self) -> Value {
        let mut pods = self.pods(NAMESPACE).await;
        assert_eq!(pods.len(), 1, "one Pod: {pods:?}");
        pods.remove(0)
    }

    /// The process id of the operator's only Pod.
    pub fn pid(&self) -> u32 {
        match self.node.pids(PROGRAM)[..] {
            [pid] => pid,
            ref pids => panic!("{} processes of the operator", pids.len()),
        }
    }
}

/// The manifests of a credential and of a context that uses it.
pub fn context(name: &str, host: &str, client_id: &str) -> [Value; 2] {
    let data = json!({"client-id": client_id, "client-secret": CLIENT_SECRET});
    let credential = format!("{name}-oauth");
    let secret_ref = json!({"secretRef": {"name": credential}});
    let spec = json!({"tenantUrl": format!("https://{host}"), "auth": {"clientSecret": secret_ref}});
    [
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": credential}, "stringData": data}),
        json!({"apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext", "metadata": {"name": name}, "spec": spec}),
    ]
}

/// The response body of a GET request to a Pod.
pub async fn get(address: &str, port: u16, path: &str) -> anyhow::Result<String> {
    let talk = async {
        let mut stream = TcpStream::connect((address, port)).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).context("no HTTP answer")
    };
    tokio::time::timeout(Duration::from_secs(15), talk).await.context("no response in time")?
}

/// Waits until `holds` returns true.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !holds().await {
        assert!(begin.elapsed() < LIMIT, "timed out waiting for: {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Makes the port of the fake tenant, which listens on loopback, reachable for Pods.
async fn forward(from: SocketAddr, to: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(from).await.with_context(|| format!("cannot listen at {from}"))?;
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                // Either side can close the connection.
                let Ok(mut server) = TcpStream::connect(to).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    Ok(())
}
