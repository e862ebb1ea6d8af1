//! Sends the same requests to the fake and to a real control plane, and compares every response exactly.

use std::path::Path;
use std::sync::LazyLock;

use futures::TryStreamExt as _;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::api::{Api, PartialObjectMeta, WatchEvent, WatchParams};
use kube::client::Body;
use serde_json::{Value, json};
use support::api_server::ApiServer;
use support::control_plane::{ControlPlane, Options, Programs, to_stderr};
use tokio::sync::OnceCell;

/// One side of a comparison: a namespace of an API server, and all of its responses so far.
pub struct Session {
    client: Client,
    namespace: String,
    uids: Vec<String>,
    versions: Vec<String>,
    transcript: Vec<String>,
}

/// A response: its code and its unchanged JSON.
pub struct Answer {
    pub code: u16,
    pub json: Value,
}

/// Runs the same session on both servers, and fails at the first response that differs.
pub async fn agree(scenario: impl AsyncFn(&mut Session)) {
    let cluster = ControlPlane::shared(&Options::default()).await.unwrap();
    install_crd(cluster).await;
    agree_with(&ApiServer::new(), cluster, scenario).await;
}

/// The same with servers without streaming lists.
pub async fn agree_without_watch_list(scenario: impl AsyncFn(&mut Session)) {
    let fake = ApiServer::new();
    fake.set_watch_list(false);
    let programs = tokio::task::spawn_blocking(|| Programs::find(&to_stderr)).await.unwrap().unwrap();
    let options = Options { feature_gates: vec!["WatchList=false".to_owned()], ..Options::default() };
    let cluster = ControlPlane::start_with(&programs, &options, &to_stderr).await.unwrap();
    agree_with(&fake, &cluster, scenario).await;
}

async fn agree_with(fake: &ApiServer, cluster: &ControlPlane, scenario: impl AsyncFn(&mut Session)) {
    fake.add_namespace("agree");
    let mut ours = Session::new(fake.kube_client(), "agree".into());
    scenario(&mut ours).await;

    let namespace = cluster.namespace("agree").await.unwrap();
    let mut theirs = Session::new(cluster.client().unwrap(), namespace);
    scenario(&mut theirs).await;

    for (ours, theirs) in ours.transcript.iter().zip(&theirs.transcript) {
        assert!(ours == theirs, "the response of the fake:\n{ours}\nthe response of a real server:\n{theirs}");
    }
    assert_eq!(ours.transcript.len(), theirs.transcript.len());
}

async fn install_crd(cluster: &ControlPlane) {
    static INSTALLED: LazyLock<OnceCell<()>> = LazyLock::new(OnceCell::new);
    let install = async || {
        let crd = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds/qlikcontexts.yaml");
        cluster.kubectl(&["apply", "--server-side", "-f", &crd.to_string_lossy()]).await.unwrap();
        cluster.kubectl(&["wait", "--for=condition=Established", "crd/qlikcontexts.qlikcontext.dev"]).await.unwrap();
        // The condition Established is true a second too early: the new endpoint responds with 404 until its handler
        // exists.
        let mut tries = 0;
        while cluster.kubectl(&["get", "qlikcontexts"]).await.is_err() {
            tries += 1;
            assert!(tries < 50, "the API of the CRD is not served");
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    INSTALLED.get_or_init(install).await;
}

impl Session {
    fn new(client: Client, namespace: String) -> Self {
        Self { client, namespace, uids: Vec::new(), versions: Vec::new(), transcript: Vec::new() }
    }

    /// Applies a Secret or context, `secrets/a` or `qlikcontexts/a/status`.
    pub async fn apply(&mut self, manager: &str, path: &str, object: Value) -> Answer {
        self.applied(manager, path, object, false).await
    }

    /// The same with force.
    pub async fn force(&mut self, manager: &str, path: &str, object: Value) -> Answer {
        self.applied(manager, path, object, true).await
    }

    async fn applied(&mut self, manager: &str, path: &str, mut object: Value, force: bool) -> Answer {
        let parts: Vec<_> = path.split('/').collect();
        let (api_version, kind) = match parts[0] {
            "secrets" => ("v1", "Secret"),
            _ => ("qlikcontext.dev/v1alpha1", "QlikContext"),
        };
        object["apiVersion"] = json!(api_version);
        object["kind"] = json!(kind);
        object["metadata"]["name"] = json!(parts[1]);
        let path = format!("{path}?fieldManager={manager}&force={force}");
        self.send(Method::PATCH, &path, "application/apply-patch+yaml", object).await
    }

    /// A merge patch.
    pub async fn merge(&mut self, manager: &str, path: &str, change: Value) -> Answer {
        self.send(Method::PATCH, &format!("{path}?fieldManager={manager}"), "application/merge-patch+json", change)
            .await
    }

    pub async fn create(&mut self, manager: &str, kind: &str, object: Value) -> Answer {
        self.send(Method::POST, &format!("{kind}?fieldManager={manager}"), "application/json", object).await
    }

    pub async fn replace(&mut self, manager: &str, path: &str, object: Value) -> Answer {
        self.send(Method::PUT, &format!("{path}?fieldManager={manager}"), "application/json", object).await
    }

    pub async fn delete(&mut self, path: &str, preconditions: Value) -> Answer {
        self.send(Method::DELETE, path, "application/json", json!({ "preconditions": preconditions })).await
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send(Method::GET, path, "application/json", Value::Null).await
    }

    /// The same, metadata only.
    pub async fn get_metadata(&mut self, path: &str) -> Answer {
        let list = if path.contains('/') { "" } else { "List" };
        let accept = format!("application/json;as=PartialObjectMetadata{list};g=meta.k8s.io;v=v1");
        self.exchange(Method::GET, path, "application/json", Value::Null, &accept).await
    }

    async fn send(&mut self, method: Method, path: &str, content_type: &str, body: Value) -> Answer {
        self.exchange(method, path, content_type, body, "application/json").await
    }

    async fn exchange(&mut self, method: Method, path: &str, content_type: &str, body: Value, accept: &str) -> Answer {
        let api = if path.starts_with("qlikcontexts") { "apis/qlikcontext.dev/v1alpha1" } else { "api/v1" };
        let request = Request::builder()
            .method(&method)
            .uri(format!("/{api}/namespaces/{}/{path}", self.namespace))
            .header("content-type", content_type)
            .header("accept", accept)
            .body(if body.is_null() { Body::empty() } else { Body::from(body.to_string().into_bytes()) })
            .unwrap();
        let answer = self.client.send(request).await.unwrap();
        let code = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        let json: Value = serde_json::from_slice(&bytes).unwrap();
        let (asked, answered) = (self.plain(body), self.plain(json.clone()));
        self.transcript.push(format!("{method} {path} {asked}: {code} {answered}"));
        Answer { code, json }
    }

    /// The first `count` events of a watch of Secrets.
    pub async fn watch(&mut self, params: &WatchParams, from: &str, count: usize) -> Vec<String> {
        use k8s_openapi::api::core::v1::Secret;
        let secrets: Api<PartialObjectMeta<Secret>> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut events = Box::pin(secrets.watch(params, from).await.unwrap());
        let mut seen = Vec::new();
        while seen.len() < count {
            let event = events.try_next().await.unwrap().unwrap();
            let (what, secret) = match event {
                WatchEvent::Added(secret) => ("added", secret),
                WatchEvent::Modified(secret) => ("modified", secret),
                WatchEvent::Deleted(secret) => ("deleted", secret),
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(status) => panic!("{status}"),
            };
            let name = secret.metadata.name.unwrap();
            let labels = serde_json::to_string(&secret.metadata.labels.unwrap_or_default()).unwrap();
            seen.push(format!("{what} {name} {labels}"));
        }
        self.transcript.push(seen.join("\n"));
        seen
    }

    /// The first events of a watch of metadata, up to the one that ends the list, unchanged.
    pub async fn watch_list(&mut self, parameters: &str) -> Vec<Value> {
        let path = format!("secrets?watch=true&timeoutSeconds=20&{parameters}");
        let request = Request::get(format!("/api/v1/namespaces/{}/{path}", self.namespace))
            .header("accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
            .body(Body::empty())
            .unwrap();
        let mut body = self.client.send(request).await.unwrap().into_body();
        let (mut text, mut events) = (Vec::new(), Vec::<Value>::new());
        let ends = |event: &Value| event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"].is_string();
        while !events.last().is_some_and(ends) {
            text.extend_from_slice(&body.frame().await.unwrap().unwrap().into_data().unwrap());
            events = text
                .split_inclusive(|byte| *byte == b'\n')
                .filter_map(|line| serde_json::from_slice(line).ok())
                .collect();
        }
        for event in &events {
            let event = self.plain(event.clone());
            self.transcript.push(format!("{path}: {event}"));
        }
        events
    }

    /// Replaces values that always differ between two servers: namespace, uids, versions, times.
    fn plain(&mut self, mut json: Value) -> String {
        self.note(&mut json);
        let mut text = json.to_string().replace(&self.namespace, "NAMESPACE");
        for (number, uid) in self.uids.iter().enumerate() {
            text = text.replace(uid, &format!("UID-{number}"));
        }
        for version in &self.versions {
            text = text.replace(&format!("record ({version})"), "record (VERSION)");
        }
        // The real server names its storage here.
        if let (Some(begin), Some(end)) = (text.find("StorageError"), text.find("Precondition failed")) {
            text.replace_range(begin..end, "");
        }
        text
    }

    fn note(&mut self, value: &mut Value) {
        let Value::Object(fields) = value else {
            value.as_array_mut().into_iter().flatten().for_each(|item| self.note(item));
            return;
        };
        let is_list = fields.contains_key("items");
        for (name, value) in fields {
            match (name.as_str(), value.as_str().map(str::to_owned)) {
                ("uid", Some(uid)) if uid.len() == 36 && !self.uids.contains(&uid) => self.uids.push(uid),
                ("resourceVersion", Some(version)) => {
                    let known = self.versions.iter().position(|known| *known == version);
                    let number = known.unwrap_or(self.versions.len());
                    if known.is_none() {
                        self.versions.push(version);
                    }
                    *value = json!(format!("VERSION-{number}"));
                }
                ("time" | "creationTimestamp" | "deletionTimestamp", Some(_)) => *value = json!("TIME"),
                ("continue", Some(_)) => *value = json!("TOKEN"),
                ("metadata", None) if is_list => {
                    // The version of a list depends on all other changes on a server.
                    if let Some(list) = value.as_object_mut() {
                        list.remove("resourceVersion");
                    }
                    self.note(value);
                }
                ("managedFields", None) => {
                    // The order depends on the time, which can be the same second or not.
                    let key =
                        |entry: &Value| format!("{}{}{}", entry["operation"], entry["manager"], entry["subresource"]);
                    value.as_array_mut().unwrap().sort_by_key(key);
                    self.note(value);
                }
                _ => self.note(value),
            }
        }
    }
}

impl Session {
    /// The names on the next page of a list. Each server has its own continue token.
    pub async fn page(&mut self, token: &str) -> Vec<String> {
        let before = self.transcript.len();
        let page = self.get(&format!("secrets?limit=2&continue={token}")).await.json;
        self.transcript.truncate(before);
        let items = page["items"].as_array().unwrap().iter();
        let names: Vec<_> = items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect();
        self.transcript.push(names.join(" "));
        names
    }
}
