//! A running fake of Qlik Cloud: one TLS port, its control interface and proxy, and any number of
//! tenants.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::{Request, Response};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use super::Tenant;
use super::authority::{Authority, Handshake};
use super::clock::Clock;
use super::delivery::{ReplyBody, deliver};
use super::faults::Script;
use super::ledger::Ledger;
use super::origin::Origin;
use super::reply::Reply;
use super::{control, proxy, server};

/// A handle to the running fake. Dropping the last one stops it and closes its connections.
#[derive(Clone, Debug)]
pub struct QlikCloud(Arc<Running>);

struct Running {
    origin: Arc<Origin>,
    authority: Arc<Authority>,
    tls: SocketAddr,
    control: SocketAddr,
    proxy: SocketAddr,
    tasks: Vec<AbortHandle>,
}

impl Drop for Running {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("QlikCloud");
        shown.field("tls", &self.tls).field("control", &self.control).field("proxy", &self.proxy);
        shown.finish_non_exhaustive()
    }
}

/// The addresses and the clock of a new fake.
#[derive(Clone, Copy, Debug)]
pub struct Builder {
    tls: SocketAddr,
    control: SocketAddr,
    proxy: SocketAddr,
    clock: Clock,
    seed: Option<u64>,
}

impl Builder {
    /// The TLS port. Default: a free one on 127.0.0.1.
    #[must_use]
    pub fn tls(mut self, address: SocketAddr) -> Self {
        self.tls = address;
        self
    }

    /// The port of the control interface. Default: a free one.
    #[must_use]
    pub fn control(mut self, address: SocketAddr) -> Self {
        self.control = address;
        self
    }

    /// The port of the CONNECT proxy. Default: a free one.
    #[must_use]
    pub fn proxy(mut self, address: SocketAddr) -> Self {
        self.proxy = address;
        self
    }

    /// The tenants' clock. Default: the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The seed of tokens and trace ids: two fakes with the same seed issue the same. Random by default.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Starts the fake on the runtime of the caller.
    pub async fn start(self) -> Result<QlikCloud> {
        let (tls, tls_at) = listen(self.tls).await?;
        let (control, control_at) = listen(self.control).await?;
        let (proxy, proxy_at) = listen(self.proxy).await?;
        let origin = Origin::new(tls_at.port(), self.clock, self.seed)?;
        let authority = Authority::new(tls_at.ip())?;
        let acceptor = TlsAcceptor::from(authority.server_config()?);
        let here = format!("http://{control_at}");
        let router = control::router(Arc::clone(&origin), Arc::clone(&authority), here);
        let tasks = vec![
            tokio::spawn(server::serve(tls, Arc::clone(&origin), Arc::clone(&authority), acceptor)).abort_handle(),
            tokio::spawn(axum::serve(control, router).into_future()).abort_handle(),
            tokio::spawn(proxy::serve(proxy, Arc::clone(&origin), tls_at)).abort_handle(),
        ];
        Ok(QlikCloud(Arc::new(Running { origin, authority, tls: tls_at, control: control_at, proxy: proxy_at, tasks })))
    }

    /// The same without sockets or tasks. Send requests with [`QlikCloud::handle`] and
    /// [`QlikCloud::exchange`].
    ///
    /// Its addresses are only placeholders: 127.0.0.1:443, and port 0 for missing parts.
    pub fn without_sockets(self) -> Result<QlikCloud> {
        let (tls, nowhere) = (loopback(443), loopback(0));
        Ok(QlikCloud(Arc::new(Running {
            origin: Origin::new(tls.port(), self.clock, self.seed)?,
            authority: Authority::new(tls.ip())?,
            tls,
            control: nowhere,
            proxy: nowhere,
            tasks: Vec::new(),
        })))
    }
}

impl QlikCloud {
    /// A builder for a fake.
    pub fn builder() -> Builder {
        Builder { tls: loopback(0), control: loopback(0), proxy: loopback(0), clock: Clock::default(), seed: None }
    }

    /// A fake on free ports of 127.0.0.1.
    pub async fn start() -> Result<Self> {
        Self::builder().start().await
    }

    /// The tenant with this host name. It is created if it does not exist.
    ///
    /// A name can have a port. 443 and the TLS port are omitted.
    pub fn tenant(&self, host: &str) -> Tenant {
        self.0.origin.with_account(host, |_| ());
        Tenant { host: self.0.origin.name_of(host), cloud: self.clone() }
    }

    /// The address of the TLS port.
    pub fn address(&self) -> SocketAddr {
        self.0.tls
    }

    /// The address of the control interface.
    pub fn control_url(&self) -> String {
        format!("http://{}", self.0.control)
    }

    /// The address of the CONNECT proxy.
    pub fn proxy_url(&self) -> String {
        format!("http://{}", self.0.proxy)
    }

    /// The CA certificate to trust.
    pub fn ca_pem(&self) -> String {
        self.0.authority.pem()
    }

    /// Writes the CA certificate to a file.
    pub fn write_ca(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        std::fs::write(path, self.ca_pem()).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Responds to a request without a socket. The caller applies the reply's pacing.
    pub fn handle(&self, request: &Request<Bytes>) -> Reply {
        self.0.origin.handle(request)
    }

    /// Responds to a request without a socket, with the reply's pacing and on tokio's time.
    ///
    /// The error stands for a closed connection.
    pub async fn exchange(&self, request: &Request<Bytes>) -> io::Result<Response<ReplyBody>> {
        deliver(self.handle(request)).await
    }

    /// Queues a fault.
    pub fn script(&self, script: Script) {
        self.0.origin.scripts().push(script);
    }

    /// Removes every queued fault.
    pub fn clear_scripts(&self) {
        self.0.origin.scripts().clear();
    }

    /// Sets the TLS handshake, and closes the connections that were made with another one.
    pub fn show(&self, handshake: Handshake) {
        self.0.authority.show(handshake);
        self.cut_connections();
    }

    /// Closes every open connection, also during a request.
    pub fn cut_connections(&self) {
        self.0.origin.cut.send_replace(());
    }

    /// Reads the ledger.
    pub fn ledger<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        self.0.origin.books.read(look)
    }

    /// Clears the ledger. Open connections and requests in flight stay counted.
    pub fn clear_ledger(&self) {
        self.0.origin.books.clear();
    }

    /// Waits until the ledger satisfies a condition. The error contains the counts.
    pub async fn wait_for(&self, holds: impl Fn(&Ledger) -> bool, within: Duration) -> Result<()> {
        self.0.origin.books.wait_for(holds, within).await
    }

    /// The time of the tenants' clock.
    pub fn now(&self) -> SystemTime {
        self.0.origin.clock.now()
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.0.origin
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    ensure!(address.ip().is_loopback(), "{address} is not on loopback");
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
