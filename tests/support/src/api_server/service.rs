//! The HTTP interface of the store.

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::anyhow;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::{Value, json};
use tower::BoxError;

use super::ApiServer;
use super::call::{Call, Verb, not_allowed};
use super::faults::{Fault, take};
use super::form::Shown;
use super::kind::Kind;
use super::list::Listing;
use super::ownership::Writer;
use super::refusal::Refusal;
use super::selector::Selector;
use super::store::Store;
use super::watch::{WatchRequest, watch};
use super::write::Write;

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Handles a request, including faults.
pub(super) async fn handle(server: ApiServer, request: Request<Body>) -> Result<Answer, BoxError> {
    let call = match Call::read(request).await? {
        Ok(call) => Arc::new(call),
        Err(refusal) => return Ok(refused(&refusal)),
    };
    let (id, fault) = {
        let mut server = server.lock();
        let intercepted = server.interceptor.clone().and_then(|intercept| intercept(&call));
        (server.log.begin(call.clone()), intercepted.or_else(|| take(&mut server.scripts, &call)))
    };
    if let Some(refusal) = fault.as_ref().and_then(|fault| fault.refusal(&call)) {
        return Ok(logged(&server, id, refused(&refusal)));
    }
    match fault {
        Some(Fault::Silence) => return std::future::pending().await,
        Some(Fault::Broken) => return Err(broken()),
        Some(Fault::Malformed) => return Ok(logged(&server, id, json_body(200, "{\"kind\":".into()))),
        Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
        _ => {}
    }
    let answer = logged(&server, id, answer(&server, &call).unwrap_or_else(|refusal| refused(&refusal)));
    match fault {
        Some(Fault::DoneThenSilence) => std::future::pending().await,
        Some(Fault::DoneThenBroken) => Err(broken()),
        _ => Ok(answer),
    }
}

fn broken() -> BoxError {
    anyhow!("scripted: the connection broke").into()
}

fn logged(server: &ApiServer, id: u64, answer: Answer) -> Answer {
    server.lock().log.end(id, answer.status().as_u16());
    answer
}

fn answer(server: &ApiServer, call: &Call) -> Result<Answer, Refusal> {
    let mut state = server.lock();
    let store = &mut state.store;
    match call.verb {
        Verb::Get => {
            let key = (call.namespace.clone().unwrap_or_default(), call.name.clone().unwrap_or_default());
            let object = store.get(call.kind, &key).ok_or_else(|| Refusal::not_found(call.kind, &key.1))?;
            Ok(object_body(200, call, object))
        }
        Verb::List => {
            let listing = Listing {
                kind: call.kind,
                namespace: call.namespace.as_deref(),
                selector: selector(call)?,
                limit: call.number("limit").filter(|limit| *limit > 0).and_then(|limit| limit.try_into().ok()),
                token: call.parameter("continue"),
                form: call.form,
            };
            listing.page(store).map(|page| json_body(200, page))
        }
        Verb::Watch => begin_watch(server, store, call),
        Verb::DeleteCollection => Err(not_allowed()),
        Verb::Create | Verb::Update | Verb::Patch | Verb::Delete => write(store, call),
    }
}

fn selector(call: &Call) -> Result<Selector, Refusal> {
    Selector::read(call.parameter("labelSelector"), call.parameter("fieldSelector"))
}

/// Validates a watch that starts with a list, as the API server does.
fn check_initial_events(store: &Store, call: &Call) -> Result<(), Refusal> {
    const NOT_OLDER_THAN: &str = "NotOlderThan";
    let (wanted, matching) = (call.parameter("sendInitialEvents").is_some(), call.parameter("resourceVersionMatch"));
    let mut forbidden = Vec::new();
    if wanted && matching != Some(NOT_OLDER_THAN) {
        forbidden
            .push(("resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"));
    }
    if wanted && !store.watch_list {
        let why = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
        forbidden.push(("sendInitialEvents", why));
    }
    if !wanted && matching.is_some() {
        let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        forbidden.push(("resourceVersionMatch", why));
    }
    if forbidden.is_empty() { Ok(()) } else { Err(Refusal::forbidden_options(&forbidden)) }
}

fn begin_watch(server: &ApiServer, store: &mut Store, call: &Call) -> Result<Answer, Refusal> {
    check_initial_events(store, call)?;
    let wanted = WatchRequest {
        kind: call.kind,
        namespace: call.namespace.clone(),
        selector: selector(call)?,
        form: call.form,
        from: call.number("resourceVersion"),
        timeout: call.timeout(),
        bookmarks: call.flag("allowWatchBookmarks"),
        initial_events: call.flag("sendInitialEvents"),
    };
    Ok(stream_body(watch(wanted, store, server.clone())))
}

fn write(store: &mut Store, call: &Call) -> Result<Answer, Refusal> {
    let body = match call.json() {
        Some(body) => body,
        None if call.verb == Verb::Delete => json!({}),
        None => return Err(Refusal::bad_request("the object provided is unrecognized: it is no JSON")),
    };
    let write = Write {
        store,
        kind: call.kind,
        key: (call.namespace.clone().unwrap_or_default(), call.name.clone().unwrap_or_default()),
        writer: Writer { manager: call.field_manager.clone(), subresource: call.subresource.clone() },
    };
    let (code, object) = match (call.verb, call.content_type.as_str()) {
        (Verb::Create, _) => write.create(body),
        (Verb::Update, _) => write.replace(body),
        (Verb::Delete, _) => write.delete(&body["preconditions"]),
        (_, "application/apply-patch+yaml") if call.parameter("fieldManager").is_none() => {
            Err(Refusal::missing_field_manager())
        }
        (_, "application/apply-patch+yaml") => write.apply(body, call.flag("force")),
        // The patched maps have no merge keys, so both kinds of patch have the same result.
        (_, "application/merge-patch+json" | "application/strategic-merge-patch+json") => write.merge(&body),
        _ => Err(Refusal::new(415, "UnsupportedMediaType", "this server does not know the patch's media type")),
    }?;
    Ok(object_body(code, call, &object))
}

fn object_body(code: u16, call: &Call, object: &Value) -> Answer {
    // A `Status` is never converted to metadata.
    let is_object = object["kind"] == call.kind.name();
    let form = if is_object { call.form } else { super::form::Form::Full };
    let shown = Shown { form, object, is_bare: false };
    // Values of JSON always serialize.
    json_body(code, serde_json::to_vec(&shown).unwrap_or_default().into())
}

fn refused(refusal: &Refusal) -> Answer {
    let mut answer = json_body(refusal.code, refusal.status().to_string().into());
    if let Some(seconds) = refusal.retry_after {
        answer.headers_mut().insert(http::header::RETRY_AFTER, seconds.into());
    }
    answer
}

fn json_body(code: u16, body: Bytes) -> Answer {
    respond(code, Full::new(body).boxed_unsync())
}

fn stream_body(lines: impl Stream<Item = Bytes> + Send + 'static) -> Answer {
    respond(200, StreamBody::new(lines.map(|line| Ok(Frame::data(line)))).boxed_unsync())
}

fn respond(code: u16, body: UnsyncBoxBody<Bytes, Infallible>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    let json = http::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(http::header::CONTENT_TYPE, json);
    answer
}

/// The kind in an object's own fields.
pub(super) fn kind_of(object: &Value) -> Option<Kind> {
    let api_version = object["apiVersion"].as_str()?;
    Kind::find(api_version, |kind| object["kind"] == kind.name())
}
