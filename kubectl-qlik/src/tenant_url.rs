//! Corrects the address of a tenant: an address from a browser with a path, a host without a scheme, upper case.

use qlik_context_operator::oauth::tenant::TenantUrl;
use url::Url;

/// The end of the message about an address that cannot be used.
const EXAMPLE: &str = "An example: https://acme.eu.qlikcloud.com";

/// `https://host[:port]`, or what is wrong. Scheme, path and query of a pasted address are corrected; a user name and an
/// incomplete host name are not guessed at.
pub fn repaired(text: &str) -> Result<TenantUrl, String> {
    let text = text.trim().trim_matches(['"', '\'', '<', '>']);
    if text.is_empty() {
        return Err(format!("The tenant URL is empty. {EXAMPLE}."));
    }
    let text = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let url: Url = text.parse().map_err(|_| format!("This is not an address. {EXAMPLE}."))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("A tenant is reached by https. {EXAMPLE}."));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("The address holds a user name or password: leave that out.".into());
    }
    let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    if !host.contains(['.', ':']) {
        return Err(format!("This is not a whole host name. {EXAMPLE}."));
    }
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("https://{host}{port}").parse().map_err(|_| format!("Not the address of a tenant. {EXAMPLE}."))
}

/// True for the hosts to which the operator sends credentials unless its `--allowed-tenant-hosts` says otherwise.
pub fn is_usual(tenant: &TenantUrl) -> bool {
    let host = tenant.authority();
    [".qlikcloud.com", ".qlikcloudgov.com"].iter().any(|suffix| host.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_paste_becomes_the_address_of_the_tenant() {
        for pasted in [
            "https://acme.eu.qlikcloud.com",
            "https://acme.eu.qlikcloud.com/",
            " https://acme.eu.qlikcloud.com/hub/home?spaceId=1#top \n",
            "http://acme.eu.qlikcloud.com",
            "acme.eu.qlikcloud.com",
            "ACME.eu.QlikCloud.com/console",
            "https://acme.eu.qlikcloud.com:443/api/v1/users/me",
            "<https://acme.eu.qlikcloud.com>",
            "https://acme.eu.qlikcloud.com.",
        ] {
            assert_eq!(
                repaired(pasted).map(|url| url.to_string()).as_deref(),
                Ok("https://acme.eu.qlikcloud.com"),
                "{pasted}"
            );
        }
        assert_eq!(repaired("127.0.0.1:8443/x").map(|url| url.to_string()).as_deref(), Ok("https://127.0.0.1:8443"));
    }

    #[test]
    fn what_cannot_be_guessed_is_refused_in_a_sentence() {
        for text in [
            "",
            "  ",
            "acme",
            "https://",
            "ftp://acme.eu.qlikcloud.com",
            "https://me:pw@acme.eu.qlikcloud.com",
            "two words.com",
            "https://acme_x.eu.qlikcloud.com",
            "https://[::1",
        ] {
            let problem = repaired(text).expect_err(text);
            assert!(problem.ends_with('.') && !problem.contains("pw"), "{text}: {problem}");
            assert!(problem.len() <= 78, "a prompt does not fold it: {problem}");
        }
    }
}
