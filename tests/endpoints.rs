//! The port that anyone in the cluster can reach: the memory that clients take is bounded, and no client blocks a
//! probe.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "sockets need real time")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use qlik_context_operator::clock::Clock;
use qlik_context_operator::health::Health;
use qlik_context_operator::metrics::Metrics;
use qlik_context_operator::run::server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::time::timeout;

const SECOND: Duration = Duration::from_secs(1);
/// The time for a connection, with a reserve for a busy machine.
const ENDS: Duration = Duration::from_secs(10 + 5);

/// One test at a time, because they measure the memory of the process.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Starts the operator's server.
async fn serve(metrics: Arc<Metrics>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(server::serve(listener, Arc::new(Health::new()), metrics, Clock::system()));
    address
}

/// Metrics of so many contexts that they do not fit into the buffer of a socket.
fn large() -> Arc<Metrics> {
    let (metrics, now) = (Arc::new(Metrics::new()), Clock::system().now());
    for n in 0..50_000 {
        metrics.context("team", &format!("context-with-a-name-of-some-length-{n}"), true, Some((now, now)), now);
    }
    metrics
}

/// Memory of this process, in MiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

async fn answer(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Writes repeatedly until the server closes the connection. Returns how long that took.
async fn until_ended(address: SocketAddr, head: &str, again: &[u8]) -> Duration {
    let begin = Instant::now();
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let ended = async {
        let mut answer = Vec::new();
        // A reset also closes the connection.
        let _ = reader.read_to_end(&mut answer).await;
    };
    let endless = async {
        if writer.write_all(head.as_bytes()).await.is_ok() {
            while !again.is_empty() && writer.write_all(again).await.is_ok() {
                tokio::task::yield_now().await;
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! { () = ended => {}, () = endless => {} }
    begin.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_endless_requests_are_closed_and_keep_no_memory() {
    let _alone = ALONE.lock().await;
    let address = serve(Arc::new(Metrics::new())).await;
    let before = memory();
    let kinds: [(&str, &[u8]); 5] = [
        ("", b""),
        ("GET /livez HTTP/1.1\r\nHost:", b""),
        ("GET /livez HTTP/1.1\r\n", b"X-Endless: planted\r\n"),
        ("GET /", b"planted-planted-planted"),
        ("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n", &[b'x'; 4096]),
    ];
    for (head, again) in kinds {
        let clients = (0..16).map(|_| timeout(ENDS, until_ended(address, head, again)));
        let ended = futures::future::join_all(clients).await;
        assert!(ended.iter().all(Result::is_ok), "{head:?}: the connection is never closed");
    }
    let after = memory();
    assert!(after < before + 32, "{before} MiB, then {after} MiB");
    assert!(answer(address, "/livez").await.ends_with("\r\n\r\nok"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_is_answered_while_hundreds_of_clients_hold_connections() {
    let _alone = ALONE.lock().await;
    let address = serve(Arc::new(Metrics::new())).await;
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    for _ in 0..5 {
        let answered = timeout(SECOND, answer(address, "/livez")).await;
        assert!(answered.is_ok_and(|answer| answer.ends_with("\r\n\r\nok")), "a probe is blocked");
    }
    let mut ended = 0;
    for stream in &mut idle {
        let mut byte = [0];
        ended += usize::from(timeout(Duration::from_millis(5), stream.read(&mut byte)).await.is_ok());
    }
    assert!(ended >= 300 - 64, "only {ended} connections were closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_request_metrics_and_do_not_read_take_the_memory_of_four_responses_at_most() {
    let _alone = ALONE.lock().await;
    let metrics = large();
    let begin = Instant::now();
    let size = metrics.render(Clock::system().now()).unwrap().len() as u64 / 1024 / 1024;
    // One task serves all connections, so a probe may wait while four responses are rendered. The time for that depends on the machine
    // and on what else runs on it.
    let limit = 2 * SECOND + 2 * 4 * begin.elapsed();
    assert!(size >= 10, "{size} MiB");
    let address = serve(metrics).await;
    let before = memory();
    let mut readers = Vec::new();
    for _ in 0..12 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        readers.push(stream);
    }
    let (mut most, begin) = (0, Instant::now());
    while begin.elapsed() < 5 * SECOND {
        most = most.max(memory());
        assert!(timeout(limit, answer(address, "/livez")).await.is_ok(), "a probe is blocked for {limit:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Four responses, each twice in memory while it is converted to the other format.
    assert!(most < before + 4 * 2 * size + 32, "{before} MiB, then {most} MiB, with responses of {size} MiB");
    drop(readers);
    let whole = timeout(ENDS, answer(address, "/metrics")).await.unwrap();
    assert!(whole.contains("context-with-a-name-of-some-length-49999"), "a client that reads gets the whole response");
}
