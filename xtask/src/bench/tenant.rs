//! The fake Qlik Cloud as a separate process, so that its CPU time is measured separately.
//!
//! It takes one command per line of JSON on standard input, answers each with one line, and ends with its input, so
//! that it cannot outlive the bench.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{Write as _, stdin, stdout};
use std::process::Stdio;
use std::time::Duration;
use std::{env, thread};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use support::tenant::{Client, QlikCloud, Route, Script};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Mutex, mpsc};

/// The commands of the tenant.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Order {
    /// Registers the clients `<prefix>-0` to `<prefix>-<count - 1>`, each with its own secret. Repeated, it changes the
    /// lifetime.
    Clients { host: String, prefix: String, count: usize, lifetime: u64 },
    /// A fault.
    Script(Script),
    /// Clears all faults.
    Clear,
    /// The requests so far.
    Counts,
}

/// The addresses of the tenant.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Address {
    /// The CONNECT proxy through which its hosts are reached.
    pub proxy: String,
    /// The certificate authority to trust, in PEM.
    pub ca: String,
}

/// The requests to a tenant so far.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Token requests.
    pub token: u64,
    /// Issued tokens.
    pub issued: u64,
    /// Requests to users/me. Each redirects to one more request.
    pub users_me: u64,
}

impl Counts {
    /// The requests since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            token: self.token - earlier.token,
            issued: self.issued - earlier.issued,
            users_me: self.users_me - earlier.users_me,
        }
    }
}

/// The id and the secret of a client. They have no text in common, because the operator rejects a response that
/// contains a secret.
pub fn credential(prefix: &str, index: usize) -> (String, String) {
    let mut hasher = DefaultHasher::new();
    (prefix, index).hash(&mut hasher);
    let half = hasher.finish();
    (format!("{prefix}-{index}"), format!("{half:016x}{:016x}", half.rotate_left(7) ^ 0x5eed_5eed_5eed_5eed))
}

/// The tenant's side: serves until its input ends.
pub async fn serve() -> anyhow::Result<()> {
    let cloud = QlikCloud::start().await?;
    say(&Address { proxy: cloud.proxy_url(), ca: cloud.ca_pem() })?;
    // Standard input blocks, so it has its own thread.
    let (sender, mut orders) = mpsc::unbounded_channel();
    thread::spawn(move || stdin().lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    while let Some(line) = orders.recv().await {
        match serde_json::from_str(&line).context("not a command")? {
            Order::Clients { host, prefix, count, lifetime } => {
                let tenant = cloud.tenant(&host);
                for index in 0..count {
                    let (id, secret) = credential(&prefix, index);
                    tenant.add_client(Client::new(&id).secret(&secret).lifetime(Duration::from_secs(lifetime)));
                }
            }
            Order::Script(script) => cloud.script(script),
            Order::Clear => cloud.clear_scripts(),
            Order::Counts => {}
        }
        say(&cloud.ledger(|ledger| Counts {
            token: ledger.at(Route::Token),
            issued: ledger.issued,
            users_me: ledger.at(Route::UsersMe),
        }))?;
    }
    Ok(())
}

fn say(answer: &impl Serialize) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{}", serde_json::to_string(answer)?)?;
    Ok(out.flush()?)
}

/// The bench's side: the running tenant.
pub struct Tenant {
    child: Child,
    pipes: Mutex<(ChildStdin, Lines<BufReader<ChildStdout>>)>,
    /// Its addresses.
    pub address: Address,
}

impl Tenant {
    /// Starts it.
    pub async fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .args(["bench-role", "tenant"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the fake tenant")?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("the fake tenant has no pipes");
        };
        let mut lines = BufReader::new(stdout).lines();
        let line = lines.next_line().await?.context("the fake tenant does not start")?;
        let address = serde_json::from_str(&line)?;
        Ok(Self { child, pipes: Mutex::new((stdin, lines)), address })
    }

    /// Its process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Registers clients whose tokens have this lifetime.
    pub async fn clients(&self, host: &str, prefix: &str, count: usize, lifetime: Duration) -> anyhow::Result<()> {
        let (host, prefix) = (host.to_owned(), prefix.to_owned());
        self.order(&Order::Clients { host, prefix, count, lifetime: lifetime.as_secs() }).await.map(|_| ())
    }

    /// Queues a fault.
    pub async fn script(&self, script: Script) -> anyhow::Result<()> {
        self.order(&Order::Script(script)).await.map(|_| ())
    }

    /// Ends every fault.
    pub async fn clear(&self) -> anyhow::Result<()> {
        self.order(&Order::Clear).await.map(|_| ())
    }

    /// The requests so far.
    pub async fn counts(&self) -> anyhow::Result<Counts> {
        self.order(&Order::Counts).await
    }

    async fn order(&self, order: &Order) -> anyhow::Result<Counts> {
        let mut pipes = self.pipes.lock().await;
        let (stdin, lines) = &mut *pipes;
        stdin.write_all((serde_json::to_string(order)? + "\n").as_bytes()).await?;
        let line = lines.next_line().await?.context("the fake tenant has ended")?;
        Ok(serde_json::from_str(&line)?)
    }
}
