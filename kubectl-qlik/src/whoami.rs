//! `whoami`: the identity of a token, in the format of `qlik user me`.

use std::fs;

use anyhow::{Context as _, anyhow, bail};
use qlik_context_operator::api::QlikContext;
use qlik_context_operator::oauth::address::AddressPolicy;
use qlik_context_operator::oauth::https::{Https, SystemResolver};
use qlik_context_operator::oauth::tenant::TenantUrl;
use qlik_context_operator::oauth::transport::{Method, Request, Transport as _, TransportFailure};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::args::{ClusterFlags, WhoamiArgs};
use crate::cluster::Cluster;
use crate::{document, object, token};

const BODY_LIMIT: usize = 256 * 1024;
/// One redirect is documented: from `users/me` to `users/{id}`.
const REDIRECTS: u8 = 3;

/// Runs the command.
pub async fn run(flags: &ClusterFlags, args: &WhoamiArgs) -> anyhow::Result<()> {
    let cluster = Cluster::connect(flags).await?;
    let context = object::read(&cluster, &args.name).await?;
    let user = if args.live {
        let roots = args
            .tenant_ca_file
            .as_ref()
            .map(|path| fs::read(path).with_context(|| format!("cannot read {}", path.display())));
        let published = token::published(&cluster, &context).await?;
        ask(&args.name, published.tenant, &published.token, roots.transpose()?.as_deref()).await?
    } else {
        identity(&context)?
    };
    document::print(&user, args.output)
}

/// The identity that the operator saw when it verified the published token.
pub fn identity(context: &QlikContext) -> anyhow::Result<Value> {
    let name = context.metadata.name.as_deref().unwrap_or_default();
    let identity = context.status.as_ref().and_then(|status| status.identity.as_ref());
    let identity = identity.ok_or_else(|| {
        anyhow!("{name} has no verified token yet, so its identity is unknown; `kubectl qlik status {name}` says why")
    })?;
    let mut user = json!({
        "id": identity.user_id,
        "name": identity.name,
        "subject": identity.subject,
        "tenantId": identity.tenant_id,
    });
    if let Some(client_id) = &identity.client_id {
        user["clientId"] = json!(client_id);
    }
    Ok(user)
}

/// Asks the tenant whose the token is: the operator's own way to a tenant, from this machine.
async fn ask(name: &str, tenant: TenantUrl, token: &SecretString, roots: Option<&[u8]>) -> anyhow::Result<Value> {
    // A person's machine may be behind a VPN: the addresses that are never a tenant's stay refused.
    let https = Https::new(SystemResolver, AddressPolicy::PrivateToo, roots);
    let https = https.map_err(|_| anyhow!("cannot use the CA certificates of --tenant-ca-file: it must be PEM"))?;
    let host = tenant.authority();
    let request = Request {
        tenant,
        method: Method::Get,
        path: "/api/v1/users/me".into(),
        authorization: Some(format!("Bearer {}", token.expose_secret()).into()),
        header: None,
        body: None,
        limit: BODY_LIMIT,
        redirects: REDIRECTS,
    };
    let answer = https.send(request).await.map_err(|failure| unreachable(&host, failure))?;
    match answer.status {
        200 => serde_json::from_slice(answer.body.expose_secret())
            .map_err(|_| anyhow!("{host} answers, but not with a user: check that it is a tenant of Qlik Cloud")),
        401 => bail!(
            "{host} does not accept the token of the Secret (HTTP 401): it has expired or was revoked. `kubectl qlik refresh {name} \
             --wait` gets a new one"
        ),
        429 => bail!("{host} limits the rate of requests (HTTP 429): try again later"),
        status => bail!("{host} answers HTTP {status}"),
    }
}

fn unreachable(host: &str, failure: TransportFailure) -> anyhow::Error {
    let advice = match failure {
        TransportFailure::CertificateAuthority => "Name your own CA certificates with --tenant-ca-file",
        TransportFailure::Proxy | TransportFailure::ProxyCredentials => "Check HTTPS_PROXY",
        _ => "This machine may reach the network in another way than the cluster; check the network, and HTTPS_PROXY",
    };
    anyhow!("{host} cannot be asked from this machine: {failure}. {advice}")
}
