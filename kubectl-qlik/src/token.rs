//! `token`: prints the token, for a pipe. Besides `export` the only command that outputs a secret.

use std::io::{IsTerminal as _, stdout};

use anyhow::{anyhow, bail};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::Api;
use qlik_context_operator::api::{EXPIRES_AT_ANNOTATION, QlikContext};
use qlik_context_operator::oauth::tenant::TenantUrl;
use secrecy::{ExposeSecret as _, SecretString};

use crate::args::{ClusterFlags, TokenArgs};
use crate::cluster::Cluster;
use crate::problem::Explain as _;
use crate::{age, object, screen};

/// A token in its Secret.
pub struct Published {
    pub token: SecretString,
    /// The tenant of the token.
    pub tenant: TenantUrl,
    pub expires_at: Option<Timestamp>,
}

/// Runs the command.
pub async fn run(flags: &ClusterFlags, args: &TokenArgs) -> anyhow::Result<()> {
    if stdout().is_terminal() && !args.yes {
        bail!("the token would be shown on your terminal: pipe it into a program, or give --yes");
    }
    let cluster = Cluster::connect(flags).await?;
    let context = object::read(&cluster, &args.name).await?;
    let published = published(&cluster, &context).await?;
    screen::result(published.token.expose_secret());
    Ok(())
}

/// The token that the operator published for this context: one of another owner, or one that has expired, is an error.
pub async fn published(cluster: &Cluster, context: &QlikContext) -> anyhow::Result<Published> {
    let (name, secret_name) = (context.name_any(), context.target_name());
    let secrets: Api<Secret> = cluster.objects();
    let secret = secrets.get_opt(&secret_name).await.explain(format_args!("cannot read Secret {secret_name}"))?;
    let more = format!("`kubectl qlik status {name}{}` says why", cluster.flags);
    let secret = secret.ok_or_else(|| anyhow!("{name} has no token yet; {more}"))?;
    let owned = secret.owner_references().iter().any(|owner| Some(&owner.uid) == context.metadata.uid.as_ref());
    if !owned {
        bail!("Secret {secret_name} does not belong to QlikContext {name}, so what it holds is not its token; {more}");
    }
    let text = |key: &str| secret.data.as_ref()?.get(key).and_then(|value| String::from_utf8(value.0.clone()).ok());
    let expires_at = secret.annotations().get(EXPIRES_AT_ANNOTATION).and_then(|time| time.parse().ok());
    let now = Timestamp::now();
    if let Some(expired) = expires_at.filter(|expires| *expires <= now) {
        bail!("the token of {name} expired {}; {more}", age::relative(expired, now));
    }
    let token = text("token").ok_or_else(|| anyhow!("Secret {secret_name} has no key token; {more}"))?;
    // With the default keys, the tenant is beside the token; else it is that of the spec, which has to be the tenant of
    // the token.
    let tenant = match text("tenant-url") {
        Some(url) => url,
        None if object::is_ready(context) => context.spec.tenant_url.clone(),
        None => bail!("it is not certain which tenant the token of {name} is for, since its spec was changed; {more}"),
    };
    let tenant = tenant.parse().map_err(|error| anyhow!("the tenant of {name} is {error}"))?;
    Ok(Published { token: token.into(), tenant, expires_at })
}
