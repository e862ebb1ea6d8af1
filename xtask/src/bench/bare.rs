//! The bare client, whose rate is the ceiling. For each context it gets the credential, requests a token, verifies it,
//! applies the Secret and applies the status, and nothing else: no watch, no decision, no memory, no retry.
//!
//! It is a separate process, with the operator's permissions, the same client crates and the same concurrency. Its
//! objects have the same size as the operator's. It is not an operator: any failure ends it.

use std::collections::BTreeMap;
use std::env;
use std::io::{Write as _, stdout};
use std::path::{Path, PathBuf};
use std::process::{Stdio, id};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::process::Command;

use super::fleet::{self, text_of};
use super::machine;

/// The operator's `--concurrency` by default.
const CONCURRENCY: usize = 32;

/// Its inputs.
#[derive(clap::Args, Clone, Debug)]
pub struct Job {
    kubeconfig: PathBuf,
    namespace: String,
    proxy: String,
    ca: PathBuf,
}

/// Its result.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Done {
    /// Contexts.
    pub contexts: usize,
    /// Its CPU time in milliseconds.
    pub cpu_ms: f64,
    /// Its peak memory, in MiB.
    pub peak_mib: f64,
}

/// Runs the bare client over every context of a namespace, and returns what it did.
pub async fn run(kubeconfig: &Path, namespace: &str, proxy: &str, ca: &Path) -> anyhow::Result<Done> {
    let output = Command::new(env::current_exe()?)
        .args(["bench-role", "bare"])
        .arg(kubeconfig)
        .args([namespace, proxy])
        .arg(ca)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot start the bare client")?;
    ensure!(output.status.success(), "the bare client failed");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The client's side.
pub async fn work(job: &Job) -> anyhow::Result<()> {
    let config = Kubeconfig::read_from(&job.kubeconfig)?;
    let mut config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    config.proxy_url = None;
    let client = kube::Client::try_from(config)?;
    let authority = std::fs::read(&job.ca)?;
    let tenant = reqwest::Client::builder()
        .proxy(reqwest::Proxy::all(&job.proxy)?)
        .tls_certs_only([reqwest::Certificate::from_pem(&authority)?])
        .timeout(Duration::from_secs(15))
        .build()?;
    let bare = Arc::new(Bare {
        contexts: Api::namespaced_with(client.clone(), &job.namespace, &fleet::kind()),
        secrets: Api::namespaced(client, &job.namespace),
        tenant,
    });
    let contexts = bare.contexts.list(&ListParams::default()).await?.items;
    let count = contexts.len();
    stream::iter(contexts)
        .map(|context| {
            let bare = Arc::clone(&bare);
            tokio::spawn(async move { bare.serve(&context).await })
        })
        .buffer_unordered(CONCURRENCY)
        .map(|served| served.context("a task of the bare client ended early")?)
        .try_collect::<()>()
        .await?;
    let usage = machine::usage(id()).unwrap_or_default();
    let done = Done { contexts: count, cpu_ms: usage.cpu.as_secs_f64() * 1000.0, peak_mib: usage.peak_mib };
    writeln!(stdout(), "{}", serde_json::to_string(&done)?)?;
    Ok(())
}

struct Bare {
    contexts: Api<DynamicObject>,
    secrets: Api<Secret>,
    tenant: reqwest::Client,
}

impl Bare {
    async fn serve(&self, context: &DynamicObject) -> anyhow::Result<()> {
        let name = context.metadata.name.as_deref().context("a context without a name")?;
        let spec = &context.data["spec"];
        let reference = spec["auth"]["clientSecret"]["secretRef"]["name"].as_str().context("no reference")?;
        let url = spec["tenantUrl"].as_str().context("no tenant")?;

        let credential = self.secrets.get(reference).await?;
        let (id, secret) = (text_of(&credential, "client-id")?, text_of(&credential, "client-secret")?);
        let issued = Timestamp::now();
        let ask = json!({"grant_type": "client_credentials", "client_id": id, "client_secret": secret});
        let request = self.tenant.post(format!("{url}/oauth/token")).header("content-type", "application/json");
        let answer = request.body(ask.to_string()).send().await?.error_for_status()?.bytes().await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        let token = answer["access_token"].as_str().context("no token")?;
        let question =
            self.tenant.get(format!("{url}/api/v1/users/me")).header("authorization", format!("Bearer {token}"));
        let user = question.send().await?.error_for_status()?.bytes().await?;
        let user: Value = serde_json::from_slice(&user)?;
        ensure!(user["status"] == "active", "the user is not active");

        let life = SignedDuration::from_secs(answer["expires_in"].as_i64().context("no lifetime")?);
        let times = Times { issued, expires: issued + life, renewal: issued + life * 2 / 3 };
        // Like the operator: with this version an apply can only create.
        let params = PatchParams::apply("bare-client").force();
        let wanted = derived(context, name, url, token, &times);
        self.secrets.patch(&format!("{name}-token"), &params, &Patch::Apply(wanted)).await?;
        let status = status(context, name, &user, &times);
        self.contexts.patch_status(name, &params, &Patch::Apply(status)).await?;
        Ok(())
    }
}

struct Times {
    issued: Timestamp,
    expires: Timestamp,
    renewal: Timestamp,
}

/// The Secret with the operator's default keys, labels and annotations.
fn derived(context: &DynamicObject, name: &str, url: &str, token: &str, times: &Times) -> Value {
    let host = url.trim_start_matches("https://");
    let expires = seconds(times.expires);
    let contexts_yml = format!(
        "current-context: {name}\ncontexts:\n  {name}:\n    auth-type: api-key\n    server: {url}\n    server-type: cloud\n    \
         headers:\n      Authorization: Bearer {token}\n"
    );
    let data = BTreeMap::from([
        ("token", token.to_owned()),
        ("authorization", format!("Bearer {token}")),
        ("tenant-url", url.to_owned()),
        ("host", host.to_owned()),
        ("expires-at", expires.clone()),
        ("contexts.yml", contexts_yml),
    ]);
    let encode = |text: String| k8s_openapi::ByteString(text.into_bytes());
    let data: BTreeMap<_, _> = data.into_iter().map(|(key, text)| (key, encode(text))).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": format!("{name}-token"),
            "resourceVersion": "1",
            "labels": {"app.kubernetes.io/managed-by": "bare-client", "qlikcontext.dev/context": name},
            "annotations": {
                "qlikcontext.dev/issued-at": seconds(times.issued),
                "qlikcontext.dev/expires-at": expires,
                // As long as a binding.
                "qlikcontext.dev/token-binding": format!("v1.{0}.{0}", "0".repeat(43)),
            },
            "ownerReferences": [{
                "apiVersion": fleet::API_VERSION, "kind": fleet::KIND, "name": name,
                "uid": context.metadata.uid, "controller": true,
            }],
        },
        "type": "Opaque",
        "data": data,
    })
}

/// A status as large as that of a context that is ready.
fn status(context: &DynamicObject, name: &str, user: &Value, times: &Times) -> Value {
    let generation = context.metadata.generation;
    let condition = |kind: &str, reason: &str, message: String| {
        json!({
            "type": kind, "status": "True", "reason": reason, "message": message,
            "lastTransitionTime": seconds(times.issued), "observedGeneration": generation,
        })
    };
    let valid = format!("The token is valid until {}.", seconds(times.expires));
    json!({
        "apiVersion": fleet::API_VERSION,
        "kind": fleet::KIND,
        "metadata": {"resourceVersion": context.metadata.resource_version},
        "status": {
            "observedGeneration": generation,
            "conditions": [
                condition("CredentialsAvailable", "CredentialsFound", "The credential was read.".into()),
                condition("TokenIssued", "TokenIssued", "The tenant issued a token.".into()),
                condition("Verified", "IdentityConfirmed", format!("The tenant confirmed the token of {}.", user["name"])),
                condition("SecretSynced", "SecretPublished", format!("The token is in Secret {name}-token.")),
                condition("Ready", "TokenValid", valid),
            ],
            "identity": {
                "userId": user["id"], "name": user["name"], "subject": user["subject"],
                "clientId": user["clientId"], "tenantId": user["tenantId"],
            },
            "token": {
                "issuedAt": seconds(times.issued), "expiresAt": seconds(times.expires),
                "renewalTime": seconds(times.renewal), "scopes": ["user_default"],
            },
            "target": {"name": format!("{name}-token")},
        },
    })
}

fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
