//! A listener that counts connections, for tests in which no connection must be made.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// Listens until it is dropped.
pub struct Door {
    address: SocketAddr,
    knocks: Arc<AtomicUsize>,
    heard: Arc<Mutex<String>>,
    task: AbortHandle,
}

impl Door {
    /// Closes every connection at once.
    pub async fn open() -> Self {
        Self::saying("").await
    }

    /// Reads one request and sends this response.
    pub async fn saying(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (knocks, heard) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(String::new())));
        let (counted, written) = (knocks.clone(), heard.clone());
        let task = tokio::spawn(async move {
            while let Ok((guest, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                if !answer.is_empty() {
                    let request = serve(guest, answer).await;
                    written.lock().unwrap().push_str(&request);
                }
            }
        });
        Self { address, knocks, heard, task: task.abort_handle() }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The text of the requests.
    pub fn heard(&self) -> String {
        self.heard.lock().unwrap().clone()
    }

    /// The number of connections so far. Waits a moment for one that is being made.
    pub async fn knocks(&self) -> usize {
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.knocks.load(Ordering::SeqCst)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut guest: TcpStream, answer: &str) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match guest.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    // A client that has already disconnected needs no response.
    let _ = guest.write_all(answer.as_bytes()).await;
    String::from_utf8_lossy(&head).into_owned()
}
