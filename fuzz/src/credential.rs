//! The value of a client secret in a Secret: it is sent as written without invisible characters around it, or it is
//! rejected.
//!
//! No message about a value contains a part of it, even after a tenant has rejected it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qlik_context_operator::desired::Desired;
use qlik_context_operator::oauth::leak::Secrets;
use qlik_context_operator::oauth::refusal::Refusal;
use qlik_context_operator::oauth::token_endpoint::TokenRequestError;
use qlik_context_operator::oauth::transport::Answer;
use qlik_context_operator::secret::{Credential, SealedSecret};
use qlik_context_operator::tenant_failure;
use secrecy::{ExposeSecret as _, SecretSlice};
use serde_json::json;

use super::answer::{CLIENT_SECRET, is_fit_to_be_shown};

/// Uses the input as the value, alone and followed by the planted secret.
pub fn holds(input: &[u8]) {
    for value in [input.to_vec(), [input, CLIENT_SECRET.as_bytes()].concat()] {
        let (credential, spec) = read(&value);
        match credential {
            Ok(credential) => {
                assert_eq!(credential.sent.len(), 1, "the client id is in the spec");
                let sent = credential.sent.first().expect("there is one");
                is_what_was_written(sent.expose_secret(), &value, credential.trimmed);
                let refused = Answer { status: 401, date: None, retry_after: None, body: SecretSlice::default() };
                let refused = TokenRequestError::Refused(Refusal::read(&refused, &Secrets::new()));
                is_fit_to_be_shown(&tenant_failure::of_token_request(&credential.request, refused));
            }
            Err(failure) => is_fit_to_be_shown(&failure),
        }
        assert_eq!(spec.credential_secret, "oauth");
    }
}

fn read(value: &[u8]) -> (Result<Credential, qlik_context_operator::error::Failure>, Desired) {
    let auth = json!({"clientSecret": {"clientId": "id", "secretRef": {"name": "oauth"}}});
    let context = json!({
        "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext", "metadata": {"name": "acme"},
        "spec": {"tenantUrl": "https://acme.eu.qlikcloud.com", "auth": auth}
    });
    let context = serde_json::from_value(context).expect("it is a context");
    let desired = Desired::parse(&context).expect("it is a good one");
    let data = json!({"client-secret": STANDARD.encode(value), "client-id": STANDARD.encode("id")});
    let secret = json!({"metadata": {"name": "oauth"}, "data": data});
    let secret: SealedSecret = serde_json::from_value(secret).expect("it is a Secret");
    (secret.credential(&desired), desired)
}

fn is_what_was_written(sent: &str, value: &[u8], trimmed: bool) {
    assert!(!sent.is_empty() && sent.len() <= 16 * 1024);
    assert!(!sent.chars().any(|c| c.is_whitespace() || c.is_control()), "{sent:?}");
    assert!(
        !sent.contains(['\u{feff}', '\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}', '\u{ad}', '\u{202e}']),
        "{sent:?}"
    );
    let written = match value {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        value => String::from_utf8(value.to_vec()).expect("else it is refused"),
    };
    assert!(written.contains(sent), "{sent:?} was never written");
    // No visible character is lost.
    let seen = |text: &str| text.chars().filter(char::is_ascii_graphic).collect::<String>();
    assert_eq!(seen(sent), seen(&written));
    assert_eq!(trimmed, sent.as_bytes() != value);
}

fn wide(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units: Vec<_> = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
    String::from_utf16(&units).expect("else it is refused")
}
