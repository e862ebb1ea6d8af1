//! A tenant's address, and the host names that a credential may be sent to.
//!
//! [`TenantUrl`] can only hold `https`, one canonical host and a port. A text that another parser could read as another host
//! (octal addresses, upper case, user names, trailing dots, IDN) does not parse.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

const HTTPS_PORT: u16 = 443;

/// `https://host[:port]` of a tenant (<https://qlik.dev/manage/tenants/>).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct TenantUrl {
    host: Host,
    port: u16,
}

/// Why a text is not a tenant's address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an https address of a host in canonical form, such as https://acme.eu.qlikcloud.com")]
pub struct NotATenantUrl;

impl TenantUrl {
    /// The host, without brackets or port.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, 443 unless named.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host`, or `host:port` when the port is not 443.
    pub fn authority(&self) -> String {
        match self.port {
            HTTPS_PORT => self.host.to_string(),
            port => format!("{}:{port}", self.host),
        }
    }

    /// An absolute URL on this tenant; `path` begins with a slash.
    pub fn join(&self, path: &str) -> String {
        format!("{self}{path}")
    }
}

impl fmt::Display for TenantUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

impl FromStr for TenantUrl {
    type Err = NotATenantUrl;

    fn from_str(text: &str) -> Result<Self, NotATenantUrl> {
        let url = Url::parse(text).map_err(|_| NotATenantUrl)?;
        let host = url.host().ok_or(NotATenantUrl)?.to_owned();
        let tenant = Self { host, port: url.port_or_known_default().ok_or(NotATenantUrl)? };
        // The comparison with the original text refuses every spelling that the parser had to normalise.
        let written = text.strip_suffix('/').unwrap_or(text);
        let written = written.strip_suffix(":443").unwrap_or(written);
        if written != tenant.to_string() || !is_plain(&tenant.host) || tenant.port == 0 {
            return Err(NotATenantUrl);
        }
        Ok(tenant)
    }
}

/// An address, or a name of letters, digits and hyphens without empty labels (RFC 1123): URLs allow more.
fn is_plain(host: &Host) -> bool {
    let Host::Domain(name) = host else {
        return true;
    };
    let plain = |label: &str| label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    name.split('.').all(|label| !label.is_empty() && plain(label))
}

/// The hosts a credential may be sent to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AllowedHosts(Vec<HostPattern>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct HostPattern {
    name: Name,
    port: u16,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Name {
    /// `*`: every host name, but no IP address.
    Any,
    /// `*.suffix`: one or more labels before the suffix. Kept with its leading dot.
    Under(String),
    Exactly(Host),
}

/// Why a list of hosts is not valid.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is not a host: write *.example.com, host.example.com, host.example.com:8443, an address, or * alone")]
pub struct NotAHost(String);

impl AllowedHosts {
    /// True when the list names this host and port.
    pub fn allows(&self, tenant: &TenantUrl) -> bool {
        self.0.iter().any(|pattern| pattern.port == tenant.port && pattern.name.matches(&tenant.host))
    }
}

impl FromStr for AllowedHosts {
    type Err = NotAHost;

    /// Comma-separated patterns; an empty list allows nothing.
    fn from_str(text: &str) -> Result<Self, NotAHost> {
        let patterns = text.split(',').map(str::trim).filter(|pattern| !pattern.is_empty());
        patterns.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for AllowedHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns = self.0.iter().map(|pattern| {
            let name = match &pattern.name {
                Name::Any => "*".into(),
                Name::Under(suffix) => format!("*{suffix}"),
                Name::Exactly(host) => host.to_string(),
            };
            if pattern.port == HTTPS_PORT { name } else { format!("{name}:{}", pattern.port) }
        });
        f.write_str(&patterns.collect::<Vec<_>>().join(", "))
    }
}

impl Name {
    fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, Host::Domain(_)) => true,
            (Self::Under(suffix), Host::Domain(name)) => {
                name.strip_suffix(suffix.as_str()).is_some_and(|labels| !labels.is_empty())
            }
            (Self::Exactly(allowed), host) => allowed == host,
            _ => false,
        }
    }
}

impl FromStr for HostPattern {
    type Err = NotAHost;

    fn from_str(text: &str) -> Result<Self, NotAHost> {
        let refused = || NotAHost(text.to_owned());
        // A placeholder label lets the parser of hosts check patterns, too.
        let (stand_in, wild) = match text.strip_prefix('*') {
            Some(rest) if rest.is_empty() || rest.starts_with(':') => (format!("any{rest}"), Some("any")),
            Some(rest) if rest.starts_with('.') => (format!("any{rest}"), Some("any.")),
            Some(_) => return Err(refused()),
            None => (text.to_owned(), None),
        };
        // A tenant's URL may end with a slash; here a slash is a mistake like any other path.
        if text.contains('/') {
            return Err(refused());
        }
        let TenantUrl { host, port } =
            format!("https://{}", stand_in.to_ascii_lowercase()).parse().map_err(|_| refused())?;
        let name = match (wild, host) {
            (Some("any"), Host::Domain(_)) => Name::Any,
            (Some(_), Host::Domain(name)) => Name::Under(name.trim_start_matches("any").to_owned()),
            (None, host) => Name::Exactly(host),
            _ => return Err(refused()),
        };
        Ok(Self { name, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tenant_is_a_canonical_https_host() {
        for (text, authority) in [
            ("https://acme.eu.qlikcloud.com", "acme.eu.qlikcloud.com"),
            ("https://acme.eu.qlikcloud.com/", "acme.eu.qlikcloud.com"),
            ("https://acme.eu.qlikcloud.com:443", "acme.eu.qlikcloud.com"),
            ("https://acme.eu.qlikcloud.com:8443/", "acme.eu.qlikcloud.com:8443"),
            ("https://127.0.0.1:8443", "127.0.0.1:8443"),
            ("https://[2001:db8::1]", "[2001:db8::1]"),
        ] {
            let tenant: TenantUrl = text.parse().unwrap();
            assert_eq!(tenant.authority(), authority);
            assert_eq!(tenant.to_string(), format!("https://{authority}"));
        }
    }

    #[test]
    fn what_another_parser_could_read_as_another_host_is_refused() {
        for text in [
            "http://acme.eu.qlikcloud.com",
            "https://ACME.eu.qlikcloud.com",
            "https://acme.eu.qlikcloud.com/path",
            "https://acme.eu.qlikcloud.com//",
            "https://acme.eu.qlikcloud.com?x",
            "https://acme.eu.qlikcloud.com#x",
            "https://user@acme.eu.qlikcloud.com",
            "https://acme.eu.qlikcloud.com@evil.example",
            "https://acme.eu.qlikcloud.com.",
            "https://2130706433",
            "https://0x7f.1",
            "https://0177.0.0.1",
            "https://127.1",
            "https://*.eu.qlikcloud.com",
            "https://acme..qlikcloud.com",
            "https://ácme.eu.qlikcloud.com",
            "https://acme.eu.qlikcloud.com\\@evil.example",
            " https://acme.eu.qlikcloud.com",
            "https://acme.eu.qlikcloud.com\n",
            "https://[::ffff:127.0.0.1]",
            "https://[fe80::1%25eth0]",
            "https://acme.eu.qlikcloud.com%2eevil.example",
            "https://acme.eu.qlikcloud.com:443@evil.example",
            "https://acme.eu.qlikcloud.com:0443",
            "https://acme.eu.qlikcloud.com:",
            "https://acme.eu.qlikcloud.com:443:443",
            "https://acme.eu.qlikcloud.com/:443",
            "https://acme。eu。qlikcloud。com",
            "https:acme.eu.qlikcloud.com",
            "https:///acme.eu.qlikcloud.com",
            "HTTPS://acme.eu.qlikcloud.com",
            "https://",
            "https://:443",
            "https://acme.eu.qlikcloud.com:0",
            "acme.eu.qlikcloud.com",
            "",
        ] {
            assert_eq!(text.parse::<TenantUrl>(), Err(NotATenantUrl), "{text:?}");
        }
    }

    #[test]
    fn a_pattern_allows_what_it_names_and_nothing_else() {
        for (list, tenant, allowed) in [
            ("*.qlikcloud.com", "https://acme.eu.qlikcloud.com", true),
            ("*.qlikcloud.com", "https://acme.qlikcloud.com", true),
            ("*.qlikcloud.com", "https://qlikcloud.com", false),
            ("*.qlikcloud.com", "https://evilqlikcloud.com", false),
            ("*.qlikcloud.com", "https://acme.qlikcloud.com.evil.example", false),
            ("*.qlikcloud.com", "https://acme.eu.qlikcloud.com:8443", false),
            ("*.qlikcloud.com:8443", "https://acme.eu.qlikcloud.com:8443", true),
            ("acme.example", "https://acme.example", true),
            ("acme.example", "https://sub.acme.example", false),
            ("a.example, b.example", "https://b.example", true),
            ("*", "https://anything.example", true),
            ("*", "https://anything.example:8443", false),
            ("*:8443", "https://anything.example:8443", true),
            ("*", "https://192.0.2.1", false),
            ("192.0.2.1", "https://192.0.2.1", true),
            ("[2001:db8::1]:8443", "https://[2001:db8::1]:8443", true),
            ("ACME.example", "https://acme.example", true),
            ("", "https://acme.example", false),
        ] {
            let hosts: AllowedHosts = list.parse().unwrap();
            assert_eq!(hosts.allows(&tenant.parse().unwrap()), allowed, "{list} and {tenant}");
        }
    }

    proptest! {
        // Below reqwest the host is parsed once more, by the grammar of RFC 3986; here it was parsed by that of WHATWG.
        #[test]
        fn what_passes_is_the_same_host_to_another_parser(
            left in r"[a-z0-9]{1,5}(\.[a-z0-9]{1,5}){0,2}", odd in r"[.:@%#?/\\\[\]_*-]{0,2}",
            right in r"[a-z0-9]{1,5}(\.[a-z0-9]{1,5}){0,2}", end in r"(:[0-9]{1,5})?/?"
        ) {
            let text = format!("https://{left}{odd}{right}{end}");
            if let Ok(tenant) = text.parse::<TenantUrl>() {
                let other: http::Uri = text.parse().unwrap();
                prop_assert_eq!(other.scheme_str(), Some("https"));
                prop_assert_eq!(other.host().map(str::to_owned), Some(tenant.host().to_string()));
                prop_assert_eq!(other.port_u16().unwrap_or(443), tenant.port());
                prop_assert!(!text.contains('@') && !text.contains('\\'));
                prop_assert_eq!(tenant.to_string().parse::<TenantUrl>(), Ok(tenant));
            }
        }

        #[test]
        fn no_name_of_another_domain_is_under_a_pattern(name in "[a-z0-9-]{1,9}(\\.[a-z0-9-]{1,9}){0,3}") {
            let hosts: AllowedHosts = "*.qlikcloud.com".parse().unwrap();
            for text in [name.clone(), format!("{name}qlikcloud.com"), format!("qlikcloud.com.{name}")] {
                let allowed = format!("https://{text}").parse().is_ok_and(|tenant| hosts.allows(&tenant));
                prop_assert_eq!(allowed, text.ends_with(".qlikcloud.com"), "{}", text);
            }
        }
    }

    #[test]
    fn a_list_with_a_mistake_is_refused_as_a_whole() {
        for list in
            ["*acme.example", "a.*.example", "https://acme.example", "acme.example/x", "acme.example/", "a b", "*.*"]
        {
            assert!(list.parse::<AllowedHosts>().is_err(), "{list}");
        }
    }

    /// Texts that may be an address, or only look like one.
    const NEARLY_AN_ADDRESS: &str =
        r"(https?://|HTTPS:/)?([a-zA-Z0-9._-]{0,12}|\PC{0,6}|\[[0-9a-f:]{2,9}\])(@|:[0-9]{0,6})?[a-z0-9./?#]{0,6}";

    /// One to three labels.
    const LABELS: &str = "[a-z]{1,4}([.][a-z]{1,4}){0,2}";

    proptest! {
        #[test]
        fn whatever_parses_is_written_as_it_is_shown(text in NEARLY_AN_ADDRESS) {
            if let Ok(tenant) = text.parse::<TenantUrl>() {
                let shown = tenant.to_string();
                prop_assert!(["", "/", ":443", ":443/"].iter().any(|rest| text == format!("{shown}{rest}")), "{shown}");
                prop_assert!(shown.bytes().all(|byte| !byte.is_ascii_uppercase() && byte.is_ascii_graphic()));
                prop_assert!(!shown["https://".len()..].contains(['/', '@', '?', '#', '\\']));
                prop_assert_eq!(shown.parse(), Ok(tenant));
            }
        }

        #[test]
        fn a_suffix_covers_whole_labels_alone(labels in LABELS, glue in "[.-]?", suffix in LABELS) {
            let hosts: AllowedHosts = format!("*.{suffix}").parse().unwrap();
            let tenant: TenantUrl = format!("https://{labels}{glue}{suffix}").parse().unwrap();
            prop_assert_eq!(hosts.allows(&tenant), tenant.host().to_string().ends_with(&format!(".{suffix}")));
            prop_assert!(glue != "." || hosts.allows(&tenant));
        }

        #[test]
        fn a_list_means_the_same_after_it_was_shown(list in "([*]?[.]?[a-z.]{0,6}(:[0-9]{1,4})?[, ]{0,2}){0,4}") {
            if let Ok(hosts) = list.parse::<AllowedHosts>() {
                prop_assert_eq!(hosts.to_string().parse(), Ok(hosts));
            }
        }
    }

    #[test]
    fn what_is_asked_of_a_tenant_goes_to_its_host_and_port() {
        for (text, port, joined) in [
            ("https://acme.example", 443, "https://acme.example/oauth/token"),
            ("https://acme.example:8443/", 8443, "https://acme.example:8443/oauth/token"),
        ] {
            let tenant: TenantUrl = text.parse().unwrap();
            assert_eq!((tenant.port(), tenant.join("/oauth/token").as_str()), (port, joined));
        }
        let hosts: AllowedHosts = "*.a.example,b.example:8443 ,*,192.0.2.1".parse().unwrap();
        assert_eq!(hosts.to_string(), "*.a.example, b.example:8443, *, 192.0.2.1");
    }
}
