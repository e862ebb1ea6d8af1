//! A tenant that gives one response, and checks of messages about it.
//!
//! An input is a response as text: `<status> [<Date, in seconds> [<Retry-After, in seconds>]]`, a line break, the body.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use futures::future::BoxFuture;
use qlik_context_operator::error::Failure;
use qlik_context_operator::oauth::request::{Credential, Grant, TokenRequest};
use qlik_context_operator::oauth::transport::{Answer, Request, Transport, TransportFailure};
use secrecy::SecretSlice;

/// The client secret of the request, which no message may contain. It differs in every encoding.
pub const CLIENT_SECRET: &str = "planted+s3cret/value=0123";

/// The request to the tenant.
pub fn request() -> TokenRequest {
    let credential =
        Credential::ClientSecret { client_id: "planted-client-id".into(), client_secret: CLIENT_SECRET.into() };
    let tenant = "https://acme.eu.qlikcloud.com".parse().expect("it is an address");
    TokenRequest { tenant, grant: Grant::ClientCredentials, scopes: ["user_default".to_owned()].into(), credential }
}

/// A tenant that gives the same response to every request.
pub struct Tenant {
    /// The HTTP status.
    pub status: u16,
    date: Option<SystemTime>,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

impl Tenant {
    /// Parses an input.
    pub fn read(input: &[u8]) -> Self {
        let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
        let (head, body) = input.split_at(end);
        let head = String::from_utf8_lossy(head);
        let mut numbers = head.split(' ').map(|word| word.parse::<u64>().ok());
        let status = numbers.next().flatten().and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
        let seconds = |number: Option<Option<u64>>| number.flatten().map(Duration::from_secs);
        let date = seconds(numbers.next()).and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
        let retry_after = seconds(numbers.next());
        Self { status, date, retry_after, body: body.get(1..).unwrap_or_default().to_vec() }
    }
}

impl Transport for Tenant {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Answer, TransportFailure>> {
        Box::pin(async move {
            let Self { status, date, retry_after, ref body } = *self;
            if status == 200 && body.len() > request.limit {
                return Err(TransportFailure::AnswerTooLarge);
            }
            // The body of any other response is truncated to the limit, as in the real transport.
            let body = body[..body.len().min(request.limit)].to_vec();
            Ok(Answer { status, date, retry_after, body: SecretSlice::from(body) })
        })
    }
}

/// Checks that a failure can be shown: limited in length, on one line, in sentences, and without a part of the secret.
pub fn is_fit_to_be_shown(failure: &Failure) {
    let Failure { message, trace_id, .. } = failure;
    assert!(message.chars().count() <= 512, "too long: {message}");
    assert!(message.ends_with('.') && !message.chars().any(char::is_control), "{message:?}");
    assert!(message.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "not plain: {message:?}");
    repeats_nothing(message);
    if let Some(id) = trace_id {
        assert!(!id.is_empty() && id.len() <= 64, "{id}");
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)), "{id:?}");
        repeats_nothing(id);
    }
}

/// Checks that the text contains no eight characters of the secret, plain or in base64.
pub fn repeats_nothing(text: &str) {
    let phases = (0..3).map(|skip| STANDARD_NO_PAD.encode(&CLIENT_SECRET[skip..]));
    phases.chain([CLIENT_SECRET.to_owned()]).for_each(|spelling| repeats_no_part(text, &spelling));
}

/// Checks that the text contains no eight characters of an ASCII secret.
pub fn repeats_no_part(text: &str, secret: &str) {
    let mut parts = (8..=secret.len()).map(|end| &secret[end - 8..end]);
    assert_eq!(parts.find(|part| text.contains(part)), None, "repeated in {text}");
}
