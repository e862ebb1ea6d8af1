//! The transport over real sockets: reqwest on rustls, guarded.
//!
//! Only https. The address that was checked is the address that is connected to: the resolver below gives reqwest no other, and
//! an IP literal, for which reqwest calls no resolver, is checked before the call. No cookies, no decompression, no Referer. A
//! redirect changes neither the host nor the port. Header and body are bounded, and the whole call ends within 15 s. Only a
//! success needs its body: any other response is classified by its status, however its body ends.
//! A proxy comes from the operator's own environment only. It may be private, and behind it the addresses are unknown.

use std::error::Error as StdError;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dns_lookup::LookupErrorKind;
use futures::future::BoxFuture;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Proxy, Response, Url};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use url::Host;
use zeroize::Zeroizing;

use super::address::AddressPolicy;
use super::tenant::TenantUrl;
use super::transport::{Answer, Method, Request, Transport, TransportFailure, retry_after};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Shorter than the time to connect, so that a resolver that does not answer is distinguished from a tenant that does not.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(4);
/// Time to read the body of a failure.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: u32 = 32 * 1024;
const USER_AGENT: &str = concat!("qlik-context-operator/", env!("CARGO_PKG_VERSION"));

/// Turns a host name into addresses.
pub trait Resolver: Send + Sync + 'static {
    /// All addresses of the name. An empty list, or an error of the kind `NotFound`, means that there is no such name; any other
    /// error, that the look-up failed.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, std::io::Result<Vec<IpAddr>>>;
}

/// The system's resolver.
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, std::io::Result<Vec<IpAddr>>> {
        let host = host.to_owned();
        Box::pin(async move {
            let lookup = tokio::task::spawn_blocking(move || match dns_lookup::lookup_host(&host) {
                Ok(addresses) => Ok(addresses.collect()),
                Err(error) if is_no_such_name(error.kind()) => Err(ErrorKind::NotFound.into()),
                Err(error) => Err(error.into()),
            });
            lookup.await?
        })
    }
}

/// The answer of DNS about the name; anything else is a failure to reach DNS.
fn is_no_such_name(kind: LookupErrorKind) -> bool {
    matches!(kind, LookupErrorKind::NoName | LookupErrorKind::NoData)
}

/// A transport over TLS.
pub struct Https {
    direct: Client,
    proxied: Client,
    proxies: Arc<Matcher>,
    policy: AddressPolicy,
}

impl Https {
    /// With the proxy of the environment (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`), if there is one.
    ///
    /// `extra_roots`: PEM, trusted in addition to the system's CA certificates.
    pub fn new(
        resolver: impl Resolver,
        policy: AddressPolicy,
        extra_roots: Option<&[u8]>,
    ) -> Result<Self, reqwest::Error> {
        Self::through(Matcher::from_env(), resolver, policy, extra_roots)
    }

    /// With these proxies.
    pub fn through(
        proxies: Matcher,
        resolver: impl Resolver,
        policy: AddressPolicy,
        extra_roots: Option<&[u8]>,
    ) -> Result<Self, reqwest::Error> {
        let proxies = Arc::new(proxies);
        let roots = extra_roots.map(Certificate::from_pem_bundle).transpose()?.unwrap_or_default();
        let base = || {
            Client::builder()
                .https_only(true)
                .user_agent(USER_AGENT)
                .redirect(Policy::none())
                .referer(false)
                .connect_timeout(CONNECT_TIMEOUT)
                .http1_max_headers(MAX_HEADERS)
                .http2_max_header_list_size(MAX_HEADER_BYTES)
                // No limit on idle connections: the scheduler allows `--concurrency` requests at a time, and a handshake for each
                // request costs more CPU than everything else for a token.
                .pool_idle_timeout(Duration::from_secs(30))
                .tls_certs_merge(roots.clone())
        };
        let resolver = Guarded { resolver: Arc::new(resolver), policy };
        Ok(Self {
            direct: base().no_proxy().dns_resolver(resolver).build()?,
            proxied: base().proxy(proxy(proxies.clone())).build()?,
            proxies,
            policy,
        })
    }

    /// The client for this address, or an error if it is a literal that is not allowed.
    fn client(&self, tenant: &TenantUrl) -> Result<&Client, TransportFailure> {
        if intercept(&self.proxies, &tenant.to_string()).is_some() {
            return Ok(&self.proxied);
        }
        let literal = match tenant.host() {
            Host::Ipv4(address) => Some(IpAddr::V4(*address)),
            Host::Ipv6(address) => Some(IpAddr::V6(*address)),
            Host::Domain(_) => None,
        };
        match literal {
            Some(address) if !self.policy.allows(address) => Err(TransportFailure::AddressNotPublic),
            _ => Ok(&self.direct),
        }
    }

    async fn exchange(&self, request: Request) -> Result<Answer, TransportFailure> {
        let client = self.client(&request.tenant)?;
        let mut url: Url = request.tenant.join(&request.path).parse().map_err(|_| TransportFailure::Name)?;
        let mut hops = request.redirects;
        loop {
            let method = match request.method {
                Method::Get => reqwest::Method::GET,
                Method::Post => reqwest::Method::POST,
                Method::Patch => reqwest::Method::PATCH,
                Method::Delete => reqwest::Method::DELETE,
            };
            let mut call = client.request(method, url.clone()).header(ACCEPT, "application/json");
            if let Some(authorization) = &request.authorization {
                call = call.header(AUTHORIZATION, sensitive(authorization)?);
            }
            if let Some((name, value)) = &request.header {
                call = call.header(*name, value);
            }
            if let Some(body) = &request.body {
                call = call.header(CONTENT_TYPE, "application/json").body(body.expose_secret().to_owned());
            } else if request.method == Method::Post {
                // Servers may refuse a POST without a length (RFC 9110, sections 8.6 and 15.5.12).
                call = call.header(CONTENT_LENGTH, "0");
            }
            let response = call.send().await.map_err(|error| classify(&error))?;
            if !response.status().is_redirection() {
                return read(response, request.limit).await;
            }
            let target = location(&response, &url).ok_or(TransportFailure::Redirect)?;
            let stays = target.scheme() == "https"
                && target.host() == url.host()
                && target.port_or_known_default() == url.port_or_known_default();
            if request.redirects == 0 || !stays {
                return Err(TransportFailure::Redirect);
            }
            hops = hops.checked_sub(1).ok_or(TransportFailure::TooManyRedirects)?;
            url = target;
        }
    }
}

impl Transport for Https {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Answer, TransportFailure>> {
        Box::pin(async {
            let call = tokio::time::timeout(CALL_TIMEOUT, self.exchange(request));
            call.await.unwrap_or(Err(TransportFailure::Timeout))
        })
    }
}

/// True for a valid address of a proxy: an http or https URL, whose scheme may be left out, or an empty text.
pub fn is_proxy(value: &str) -> bool {
    let url = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let usable = |url: Url| {
        matches!(url.scheme(), "http" | "https")
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
    };
    value.is_empty() || !value.contains(char::is_whitespace) && url.parse().is_ok_and(usable)
}

/// The proxy for this URL.
fn intercept(proxies: &Matcher, url: &str) -> Option<Intercept> {
    proxies.intercept(&url.parse().ok()?)
}

/// The same proxies for reqwest: if it read the environment itself, it could choose another proxy than the guard.
fn proxy(proxies: Arc<Matcher>) -> Proxy {
    // There is one proxy for https, so its credentials are the same for every host that goes through it.
    let credentials = intercept(&proxies, "https://any.invalid").and_then(|proxy| proxy.basic_auth().cloned());
    let proxy = Proxy::custom(move |url| intercept(&proxies, url.as_str()).map(|proxy| proxy.uri().to_string()));
    match credentials {
        Some(credentials) => proxy.custom_http_auth(credentials),
        None => proxy,
    }
}

/// A header value that reqwest never prints.
fn sensitive(text: &SecretString) -> Result<HeaderValue, TransportFailure> {
    let mut value = HeaderValue::from_str(text.expose_secret()).map_err(|_| TransportFailure::Connection)?;
    value.set_sensitive(true);
    Ok(value)
}

fn location(response: &Response, base: &Url) -> Option<Url> {
    let target = base.join(response.headers().get(LOCATION)?.to_str().ok()?).ok()?;
    let anonymous = target.username().is_empty() && target.password().is_none();
    anonymous.then_some(target)
}

async fn read(mut response: Response, limit: usize) -> Result<Answer, TransportFailure> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let date = header(DATE).and_then(|date| httpdate::parse_http_date(date).ok());
    let retry_after = header(RETRY_AFTER).and_then(|value| retry_after(value, date));
    let status = response.status();
    // With the announced capacity, so that the buffer never grows and leaves a copy of a token behind.
    let length = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
    let mut body = Zeroizing::new(Vec::with_capacity(length.min(limit)));
    if status.is_success() {
        read_body(&mut response, limit, &mut body).await?;
    } else {
        // The part that was read is used: a gateway's page may be long, slow or incomplete, and only its status matters.
        let _ = tokio::time::timeout(REFUSAL_TIMEOUT, read_body(&mut response, limit, &mut body)).await;
    }
    let status = status.as_u16();
    Ok(Answer { status, date, retry_after, body: SecretSlice::from(std::mem::take(&mut *body)) })
}

async fn read_body(
    response: &mut Response,
    limit: usize,
    body: &mut Zeroizing<Vec<u8>>,
) -> Result<(), TransportFailure> {
    while let Some(chunk) = response.chunk().await.map_err(|error| classify(&error))? {
        if body.len() + chunk.len() > limit {
            return Err(TransportFailure::AnswerTooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(())
}

/// The resolver that reqwest uses: an address that it does not return cannot be connected to.
struct Guarded<R> {
    resolver: Arc<R>,
    policy: AddressPolicy,
}

#[derive(Debug, thiserror::Error)]
#[error("not a public address")]
struct NotPublic;

#[derive(Debug, thiserror::Error)]
#[error("the name does not resolve")]
struct Unresolved;

#[derive(Debug, thiserror::Error)]
#[error("the name cannot be looked up")]
struct NotLookedUp;

impl<R: Resolver> Resolve for Guarded<R> {
    fn resolve(&self, name: Name) -> Resolving {
        let (resolver, policy) = (self.resolver.clone(), self.policy);
        Box::pin(async move {
            let addresses = match tokio::time::timeout(RESOLVE_TIMEOUT, resolver.resolve(name.as_str())).await {
                Ok(Ok(addresses)) if !addresses.is_empty() => addresses,
                Ok(Ok(_)) => return Err(Unresolved.into()),
                Ok(Err(error)) if error.kind() == ErrorKind::NotFound => return Err(Unresolved.into()),
                Ok(Err(_)) | Err(_) => return Err(NotLookedUp.into()),
            };
            // One bad address excludes the name, because reqwest chooses which of several addresses is tried.
            if !addresses.iter().all(|address| policy.allows(*address)) {
                return Err(NotPublic.into());
            }
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

/// Finds the cause in reqwest's chain of errors; none of its text is kept, since that may contain URLs.
fn classify(error: &reqwest::Error) -> TransportFailure {
    let mut cause = error.source();
    while let Some(current) = cause {
        if current.is::<NotPublic>() {
            return TransportFailure::AddressNotPublic;
        }
        if current.is::<Unresolved>() {
            return TransportFailure::Name;
        }
        if current.is::<NotLookedUp>() {
            return TransportFailure::Resolver;
        }
        if let Some(tls) = current.downcast_ref::<rustls::Error>() {
            return certificate(tls);
        }
        if let Some(http) = current.downcast_ref::<hyper::Error>()
            && http.is_parse()
        {
            return TransportFailure::NotHttp;
        }
        // hyper-util keeps the type of this error to itself.
        match current.to_string().strip_prefix("tunnel error: ") {
            Some("proxy authorization required") => return TransportFailure::ProxyCredentials,
            Some(_) => return TransportFailure::Proxy,
            None => {}
        }
        // An io::Error skips its inner error in `source`.
        let inner = current.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = inner.map(|inner| inner as _).or_else(|| current.source());
    }
    if error.is_timeout() { TransportFailure::Timeout } else { TransportFailure::Connection }
}

fn certificate(error: &rustls::Error) -> TransportFailure {
    use rustls::CertificateError::*;
    match error {
        rustls::Error::InvalidCertificate(problem) => match problem {
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. } => {
                TransportFailure::CertificateExpired
            }
            NotValidForName | NotValidForNameContext { .. } => TransportFailure::CertificateName,
            Revoked | BadEncoding => TransportFailure::Tls,
            // Also the errors of a platform's own verifier, which have their own texts.
            _ => TransportFailure::CertificateAuthority,
        },
        _ => TransportFailure::Tls,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_does_not_exist_is_distinguished_from_a_resolver_that_fails() {
        use LookupErrorKind::*;
        assert!([NoName, NoData].into_iter().all(is_no_such_name));
        assert!(![Again, Fail, System, Memory, Unknown, IO].into_iter().any(is_no_such_name));
        assert!(SystemResolver.resolve("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
        // Which of the two it is depends on the machine's DNS; it is never an address (RFC 6761).
        assert!(SystemResolver.resolve("nobody.invalid").await.is_err());
    }

    #[test]
    fn an_invalid_address_of_a_proxy_is_distinguished_from_a_valid_one() {
        for proxy in
            ["", "http://proxy:3128", "https://proxy", "proxy:3128", "http://u:p%23@10.0.0.1:3128/", "[fd00::1]:8080"]
        {
            assert!(is_proxy(proxy), "{proxy}");
        }
        for other in [
            "ftp://proxy:3128",
            "socks5://proxy",
            "http://",
            "http://proxy:99999",
            "http://u:p#w@proxy",
            "a b",
            "http://proxy/path",
        ] {
            assert!(!is_proxy(other), "{other}");
        }
    }
}
