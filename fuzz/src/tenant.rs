//! A tenant's URL, and lists of hosts, in the flag and in a Secret. The input has both, one on each line.
//!
//! Every parser has to read the same host from the URL, and a host is allowed exactly if its labels match the list.

use qlik_context_operator::oauth::tenant::{AllowedHosts, TenantUrl};
use url::{Host, Url};

/// Parses the first line as a URL and the second as a list.
pub fn holds(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (address, list) = text.split_once('\n').unwrap_or((text, ""));
    let tenant = address.parse::<TenantUrl>().ok();
    let hosts = list.parse::<AllowedHosts>().ok();
    if let Some(tenant) = &tenant {
        is_canonical(tenant, address);
    }
    if let Some(hosts) = &hosts {
        assert_eq!(hosts.to_string().parse().as_ref(), Ok(hosts), "{list:?}");
    }
    if let (Some(tenant), Some(hosts)) = (tenant, hosts) {
        let listed = list.to_ascii_lowercase().split(',').any(|pattern| names(pattern.trim(), &tenant));
        assert_eq!(hosts.allows(&tenant), listed, "{tenant} and {list:?}");
    }
}

fn is_canonical(tenant: &TenantUrl, written: &str) {
    let text = tenant.to_string();
    assert!(text.starts_with("https://"));
    assert!(text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b":/.-[]".contains(&byte)));
    assert_eq!(text.parse().as_ref(), Ok(tenant));
    // Only the default port and one slash of the input can be missing.
    let rest = written.strip_prefix(&text).expect("it begins as it was written");
    assert!(["", "/", ":443", ":443/"].contains(&rest), "{written:?}");
    // Two independent parsers find the same host and port, and no other parts.
    let joined = tenant.join("/oauth/token");
    let url = Url::parse(&joined).expect("a URL");
    assert_eq!(url.host().map(|host| host.to_owned()).as_ref(), Some(tenant.host()));
    assert_eq!(url.port_or_known_default(), Some(tenant.port()));
    assert_eq!((url.username(), url.password(), url.path()), ("", None, "/oauth/token"));
    assert_eq!((url.query(), url.fragment()), (None, None));
    let uri: http::Uri = joined.parse().expect("a URI");
    assert_eq!(uri.host(), Some(tenant.host().to_string().as_str()));
    assert_eq!(uri.port_u16().unwrap_or(443), tenant.port());
}

/// A second implementation of patterns: compares label by label, from the right.
fn names(pattern: &str, tenant: &TenantUrl) -> bool {
    let pattern = pattern.strip_suffix('/').unwrap_or(pattern);
    let (name, port) = match pattern.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, port),
        _ => (pattern, "443"),
    };
    if port != tenant.port().to_string() {
        return false;
    }
    let host = tenant.host().to_string();
    let is_name = matches!(tenant.host(), Host::Domain(_));
    match name.strip_prefix("*.") {
        None if name == "*" => is_name,
        None => name == host,
        Some(suffix) => {
            let (mut wanted, mut labels) = (suffix.rsplit('.'), host.rsplit('.'));
            is_name && wanted.all(|label| labels.next() == Some(label)) && labels.next().is_some()
        }
    }
}
