//! The interface between requests to a tenant and the network.
//!
//! Above it: requests and responses as values, and an enum of transport failures. Below it ([`super::https`]): sockets, TLS,
//! redirects, the address guard. Tests replace this layer to run on virtual time.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use secrecy::{ExposeSecret, SecretSlice, SecretString};

use super::tenant::TenantUrl;

/// Longest accepted `Retry-After`; a longer one is treated as this, or one response could let a token expire.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// The HTTP methods in use (RFC 9110, section 9; RFC 5789); each displays as it is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, strum::Display)]
#[strum(serialize_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Post,
    Patch,
    Delete,
}

/// One call to a tenant.
pub struct Request {
    /// The tenant.
    pub tenant: TenantUrl,
    /// The method.
    pub method: Method,
    /// Path on the tenant, with its leading slash, and the query, if any. Values in it are encoded.
    pub path: Cow<'static, str>,
    /// Value of the `Authorization` header.
    pub authorization: Option<SecretString>,
    /// One more header, which is not secret.
    pub header: Option<(&'static str, String)>,
    /// JSON.
    pub body: Option<SecretString>,
    /// Maximum length of the body that is read, in bytes; for a success, a longer body is a failure.
    pub limit: usize,
    /// How many redirects are followed; only https, and only to the same host and port.
    pub redirects: u8,
}

/// The tenant's response, bounded.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The tenant's clock (`Date`).
    pub date: Option<SystemTime>,
    /// `Retry-After`, as a wait from now.
    pub retry_after: Option<Duration>,
    /// Sealed: it may hold a token, or echo a credential. It may be truncated if the response is not a success.
    pub body: SecretSlice<u8>,
}

impl Answer {
    /// The body without a byte order mark, which RFC 8259 lets a reader ignore; empty unless it is a JSON object. (serde would
    /// accept a list as the fields of an object, one after the other.)
    pub fn object(&self) -> &[u8] {
        let body = self.body.expose_secret();
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        if body.trim_ascii_start().starts_with(b"{") { body } else { &[] }
    }
}

/// Why there is no response.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TransportFailure {
    /// The name or literal leads to an address that the policy refuses.
    #[error("the host leads to an address that is not public")]
    AddressNotPublic,
    /// A success with more bytes than the limit.
    #[error("the answer is too large")]
    AnswerTooLarge,
    /// The server's certificate is not signed by a trusted CA.
    #[error("the server's certificate is not signed by a trusted CA")]
    CertificateAuthority,
    /// The server's certificate is not valid now.
    #[error("the server's certificate is expired or not yet valid")]
    CertificateExpired,
    /// The server's certificate names another host.
    #[error("the server's certificate is for another host name")]
    CertificateName,
    /// No connection, or it ended before the response did.
    #[error("the connection was refused or broke off")]
    Connection,
    /// The host has no address: DNS says that there is no such name.
    #[error("the host name does not resolve")]
    Name,
    /// The server speaks TLS, but not HTTP, or sends more headers than are read.
    #[error("what answers is not HTTP")]
    NotHttp,
    /// The proxy refused or failed.
    #[error("there is no connection through the proxy")]
    Proxy,
    /// The proxy requires credentials.
    #[error("the proxy wants credentials")]
    ProxyCredentials,
    /// DNS fails or does not answer, so it is unknown whether the name exists.
    #[error("the host name cannot be looked up: DNS gave an error, or no answer in time")]
    Resolver,
    /// A redirect to another host or port, to plain http, or on a request that follows none.
    #[error("the tenant redirects to another place")]
    Redirect,
    /// No response in time.
    #[error("no answer in time")]
    Timeout,
    /// TLS failed for another reason.
    #[error("the TLS handshake failed")]
    Tls,
    /// More redirects than allowed.
    #[error("the tenant redirects in a circle")]
    TooManyRedirects,
}

/// Carries a request to a tenant.
pub trait Transport: Send + Sync {
    /// Sends it and reads the whole response, within the call's deadline.
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Answer, TransportFailure>>;
}

/// Reads `Retry-After`: seconds or an HTTP date (RFC 9110, section 10.2.3).
///
/// A date is one of the sender's clock, so it is compared with the `Date` of the same response; without that it is ignored.
pub fn retry_after(value: &str, date: Option<SystemTime>) -> Option<Duration> {
    let value = value.trim();
    let number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let pause = match value.parse() {
        Ok(seconds) if number => Duration::from_secs(seconds),
        // More than an integer can hold.
        Err(_) if number => LONGEST_PAUSE,
        _ => httpdate::parse_http_date(value).ok()?.duration_since(date?).unwrap_or_default(),
    };
    Some(pause.min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let now = httpdate::parse_http_date("Sun, 22 Nov 2026 12:00:00 GMT").unwrap();
        for (value, expected) in [
            ("13", Some(13)),
            (" 0 ", Some(0)),
            ("Sun, 22 Nov 2026 12:00:30 GMT", Some(30)),
            ("Sun, 22 Nov 2026 11:00:00 GMT", Some(0)),
            ("99999999999", Some(300)),
            ("999999999999999999999999", Some(300)),
            ("Sun, 22 Nov 2099 12:00:00 GMT", Some(300)),
            ("-1", None),
            ("+5", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(value, Some(now)), expected.map(Duration::from_secs), "{value}");
        }
        assert_eq!(retry_after("13", None), Some(Duration::from_secs(13)));
        assert_eq!(retry_after("Sun, 22 Nov 2026 12:00:30 GMT", None), None, "by nobody's clock");
    }
}
