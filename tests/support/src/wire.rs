//! A connection to a server that can be interrupted like an unplugged cable: no data passes, and no connection is
//! closed.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Forwards every connection to its own port on 127.0.0.1. After drop it accepts no new ones.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
    cut: watch::Sender<bool>,
    accepts: JoinHandle<()>,
}

impl Wire {
    /// A working wire to `server`.
    pub async fn to(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (cut, state) = watch::channel(false);
        let accepts = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let state = state.clone();
                tokio::spawn(async move {
                    let mut whole = state.clone();
                    if whole.wait_for(|cut| !cut).await.is_err() {
                        return;
                    }
                    // The server refused the connection, so the caller's connection is closed.
                    let Ok(far) = TcpStream::connect(server).await else { return };
                    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                    let there = carry(near_in, far_out, state.clone());
                    let back = carry(far_in, near_out, state);
                    tokio::select! { () = there => {}, () = back => {} }
                });
            }
        });
        Ok(Self { address, cut, accepts })
    }

    /// The address to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops the forwarding of data. Data that is sent meanwhile arrives after [`Wire::mend`].
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Resumes the forwarding of data.
    pub fn mend(&self) {
        self.cut.send_replace(false);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepts.abort();
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin + Send,
    mut to: impl AsyncWrite + Unpin + Send,
    mut state: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read) = from.read(&mut buffer).await {
        if state.wait_for(|cut| !cut).await.is_err() || read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
