//! Sends a reply with its pacing, on tokio's time: over a socket or in memory.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Frame;

use super::reply::{Pacing, Reply};

/// The body of a reply. It ends with an error where the connection would break.
pub type ReplyBody = UnsyncBoxBody<Bytes, io::Error>;

/// Applies the pacing. An error closes the connection, also in the middle of a response.
pub(super) async fn deliver(reply: Reply) -> io::Result<Response<ReplyBody>> {
    match reply.pacing {
        Pacing::Late { millis } => tokio::time::sleep(Duration::from_millis(millis)).await,
        Pacing::Silent => std::future::pending().await,
        Pacing::Hangup => return Err(broken()),
        _ => {}
    }
    let mut response = Response::new(());
    *response.status_mut() = reply.status;
    response.headers_mut().clone_from(&reply.headers);
    // A response without content has no content length (RFC 9110, section 8.6).
    if reply.pacing != Pacing::Endless && reply.status != StatusCode::NO_CONTENT {
        let length = HeaderValue::from(reply.body.len());
        response.headers_mut().insert(CONTENT_LENGTH, length);
    }
    // The stream owns the reply, which counts the request as in flight.
    let frames = stream::try_unfold((reply, 0), |(reply, sent)| async move {
        let next = piece(&reply, sent).await?;
        Ok::<_, io::Error>(next.map(|data| {
            let sent = sent + data.len();
            (Frame::data(data), (reply, sent))
        }))
    });
    Ok(response.map(|()| UnsyncBoxBody::new(StreamBody::new(frames))))
}

/// The next bytes of the body.
async fn piece(reply: &Reply, sent: usize) -> io::Result<Option<Bytes>> {
    let rest = reply.body.slice(sent.min(reply.body.len())..);
    match reply.pacing {
        Pacing::Endless => Ok(Some(Bytes::from_static(&[b' '; 4096]))),
        Pacing::Reset { after } if sent >= after.min(reply.body.len()) => {
            // Time to flush the buffers.
            tokio::time::sleep(Duration::from_millis(20)).await;
            Err(broken())
        }
        Pacing::Reset { after } => Ok(Some(rest.slice(..(after - sent).min(rest.len())))),
        _ if rest.is_empty() => Ok(None),
        Pacing::Trickle { bytes, millis } => {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok(Some(rest.slice(..bytes.clamp(1, rest.len()))))
        }
        _ => Ok(Some(rest)),
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "as scripted")
}
