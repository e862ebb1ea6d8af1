//! promtool, and a Prometheus that scrapes.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::control_plane::{Folder, MonitoringPrograms, Process, to_stderr};
use support::port;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

static PROGRAMS: LazyLock<MonitoringPrograms> = LazyLock::new(|| MonitoringPrograms::find(&to_stderr).unwrap());

/// Runs promtool with this on its standard input.
pub fn promtool(args: &[&str], folder: &Path, input: &str) -> Output {
    let mut command = Command::new(&PROGRAMS.promtool);
    command.args(args).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Fails with what promtool said unless it is content.
pub fn assert_content(output: &Output) {
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
}

/// A Prometheus of its own on 127.0.0.1.
pub struct Prometheus {
    process: Process,
    address: SocketAddr,
    _folder: Folder,
}

impl Prometheus {
    /// Scrapes `target` every second, asking for these formats in order of preference.
    pub async fn scraping(target: SocketAddr, protocols: &[&str]) -> Self {
        let folder = Folder::new().unwrap();
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_protocols": protocols},
            "scrape_configs": [{
                "job_name": "qlik-context-operator", "honor_labels": true,
                "static_configs": [{"targets": [target.to_string()]}],
            }],
        });
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config.to_string()).unwrap();
        let [address] = port::free().unwrap();
        let process = Process::spawn(&PROGRAMS.prometheus, &folder.path().join("prometheus.log"), |command| {
            command.current_dir(folder.path()).env_clear();
            command.arg(format!("--config.file={}", file.display()));
            command.arg(format!("--web.listen-address={address}"));
            command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        });
        let mut prometheus = Self { process: process.unwrap(), address, _folder: folder };
        prometheus
            .until("two scrapes", async |prometheus| {
                let scrapes = prometheus.query("count_over_time(up[1m]) >= 2 and up == 1").await;
                !scrapes.is_empty()
            })
            .await;
        prometheus
    }

    async fn until(&mut self, what: &str, holds: impl AsyncFn(&Self) -> bool) {
        let begin = Instant::now();
        while !holds(self).await {
            self.process.check().unwrap();
            assert!(begin.elapsed() < Duration::from_mins(1), "no {what}:\n{}", self.process.log_tail());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// What an instant query finds; a query that is refused fails.
    pub async fn query(&self, query: &str) -> Vec<Value> {
        let Some(answer) = self.post("/api/v1/query", query).await else { return Vec::new() };
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        match &answer["data"]["result"] {
            Value::Array(found) => found.clone(),
            other => vec![other.clone()],
        }
    }

    /// What is known of the targets.
    pub async fn targets(&self) -> Value {
        self.post("/api/v1/targets", "").await.unwrap()["data"]["activeTargets"].clone()
    }

    /// `None` while it does not listen yet.
    async fn post(&self, path: &str, query: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(self.address).await.ok()?;
        let encoded = percent_encoding::utf8_percent_encode(query, percent_encoding::NON_ALPHANUMERIC);
        let path = if query.is_empty() { path.to_owned() } else { format!("{path}?query={encoded}") };
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        // It listens before it is ready.
        (!head.contains(" 503 ")).then(|| serde_json::from_str(body).unwrap_or_else(|_| panic!("{path}: {answer}")))
    }
}
