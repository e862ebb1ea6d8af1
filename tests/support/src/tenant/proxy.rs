//! A CONNECT proxy (RFC 9110 section 9.3.6), so that a tenant is reached by a realistic host name.
//!
//! It connects only to the fake, for the hosts of its tenants. Any other host gets 502.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::origin::Origin;

/// Accepts connections until the task is aborted. That also closes them.
pub(super) async fn serve(listener: TcpListener, origin: Arc<Origin>, tls: SocketAddr) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => {
                    connections.spawn(connection(tcp, Arc::clone(&origin), tls));
                }
                // Possibly out of file descriptors, which is temporary.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(tcp: TcpStream, origin: Arc<Origin>, tls: SocketAddr) {
    // The tunnel runs in this task and not in the service, so that it ends with the task.
    let (tunnel, mut tunnels) = tokio::sync::mpsc::channel(1);
    let service = service_fn(move |request| {
        let (origin, tunnel) = (Arc::clone(&origin), tunnel.clone());
        async move {
            let target = target(&request).filter(|host| origin.knows(host));
            let upstream = match target {
                Some(_) => TcpStream::connect(tls).await.ok(),
                None => None,
            };
            let status = if let Some(upstream) = upstream {
                origin.books.write(|ledger| ledger.tunnels += 1);
                // Fails only if this connection already has a tunnel, which cannot happen after
                // CONNECT.
                let _ = tunnel.try_send((hyper::upgrade::on(request), upstream));
                StatusCode::OK
            } else {
                origin.books.write(|ledger| ledger.refused_tunnels += 1);
                StatusCode::BAD_GATEWAY
            };
            let mut response = Response::new(Full::<Bytes>::default());
            *response.status_mut() = status;
            Ok::<_, Infallible>(response)
        }
    });
    let http = http1::Builder::new().serve_connection(TokioIo::new(tcp), service);
    if http.with_upgrades().await.is_err() {
        return;
    }
    if let Ok((upgrade, mut upstream)) = tunnels.try_recv()
        && let Ok(client) = upgrade.await
    {
        // Either side can close the tunnel.
        let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut upstream).await;
    }
}

/// The host of `CONNECT host:443`; `None` for another method or port.
fn target(request: &Request<Incoming>) -> Option<String> {
    let authority = request.uri().authority().filter(|_| request.method() == Method::CONNECT)?;
    (authority.port_u16() == Some(443)).then(|| authority.host().to_owned())
}
