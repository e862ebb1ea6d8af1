//! The TLS port: HTTP/1.1 over TLS in front of the origin.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::authority::{Authority, Handshake};
use super::delivery::{ReplyBody, deliver};
use super::origin::{LONGEST_BODY, Origin};

/// Accepts connections until the task is aborted. That also closes them.
pub(super) async fn serve(
    listener: TcpListener,
    origin: Arc<Origin>,
    authority: Arc<Authority>,
    acceptor: TlsAcceptor,
) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => {
                    let (origin, acceptor) = (Arc::clone(&origin), acceptor.clone());
                    let handshake = authority.handshake();
                    connections.spawn(connection(tcp, origin, acceptor, handshake));
                }
                // Possibly out of file descriptors, which is temporary.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(tcp: TcpStream, origin: Arc<Origin>, acceptor: TlsAcceptor, handshake: Handshake) {
    let _open = origin.books.connection_opens();
    let mut cut = origin.cut.subscribe();
    tokio::select! {
        _ = cut.changed() => {}
        () = greet(tcp, Arc::clone(&origin), acceptor, handshake) => {}
    }
}

async fn greet(mut tcp: TcpStream, origin: Arc<Origin>, acceptor: TlsAcceptor, handshake: Handshake) {
    match handshake {
        Handshake::Silent => std::future::pending().await,
        Handshake::Hangup => reset(&tcp),
        Handshake::Garbage => {
            // The response of a plain HTTP server to a TLS client. A client that has disconnected needs none.
            let _ = tcp.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        }
        Handshake::Valid | Handshake::Expired | Handshake::WrongName | Handshake::UnknownAuthority => {
            let accepted = acceptor.accept(tcp).await;
            origin.books.write(|ledger| match accepted {
                Ok(_) => ledger.handshakes += 1,
                Err(_) => ledger.failed_handshakes += 1,
            });
            let Ok(tls) = accepted else { return };
            let service = service_fn(move |request| exchange(Arc::clone(&origin), request));
            let mut http = http1::Builder::new().serve_connection(TokioIo::new(tls), service);
            if (&mut http).await.is_err() {
                reset(http.into_parts().io.inner().get_ref().0);
            }
        }
    }
}

/// Makes closing the connection a reset.
fn reset(tcp: &TcpStream) {
    // A closed socket cannot be reset.
    let _ = tcp.set_zero_linger();
}

async fn exchange(origin: Arc<Origin>, request: Request<Incoming>) -> io::Result<Response<ReplyBody>> {
    let (parts, body) = request.into_parts();
    let body = read(body).await?;
    deliver(origin.handle(&Request::from_parts(parts, body))).await
}

/// Reads the body. Of one that is too long, reads just enough to notice that.
async fn read(mut body: Incoming) -> io::Result<Bytes> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
            whole.extend_from_slice(&data);
        }
        if whole.len() > LONGEST_BODY {
            break;
        }
    }
    Ok(whole.into())
}
