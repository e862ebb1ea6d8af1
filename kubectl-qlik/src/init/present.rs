//! The objects that exist under the names that `init` would use; an error when `init` did not create them.

use anyhow::bail;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::ResourceExt as _;
use kube::api::{Api, PartialObjectMeta};
use qlik_context_operator::api::{CONTEXT_LABEL, MANAGED_BY_LABEL, QlikContext};

use super::manifests::MADE_BY;
use crate::args::AuthMethod;
use crate::cluster::Cluster;
use crate::problem::{self, Explain as _};

/// An error when the namespace does not exist. Without the permission to read it, the first write fails instead.
pub async fn namespace(cluster: &Cluster) -> anyhow::Result<()> {
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let name = &cluster.namespace;
    match namespaces.get_metadata(name).await {
        Err(error) if problem::is_not_there(&error) => bail!(
            "there is no namespace {name}: create it (kubectl create namespace {name}), or name another one with -n"
        ),
        _ => Ok(()),
    }
}

/// The context of this name, if an earlier run of `init` created it; `None` when there is none.
pub async fn context(cluster: &Cluster, name: &str) -> anyhow::Result<Option<QlikContext>> {
    let contexts: Api<QlikContext> = cluster.objects();
    let context = match contexts.get(name).await {
        Ok(context) => context,
        Err(error) if problem::is_not_there(&error) => return Ok(None),
        Err(error) => return Err(error).explain(format_args!("cannot read QlikContext {name}")),
    };
    if context.metadata.deletion_timestamp.is_some() {
        bail!("QlikContext {name} is being deleted: try again when it is gone");
    }
    if context.labels().get(MANAGED_BY_LABEL).map(String::as_str) != Some(MADE_BY) {
        let place = &cluster.namespace;
        bail!(
            "the name {name} is taken: namespace {place} has a QlikContext {name} that was not made by kubectl qlik init. \
             Choose another name, or change that one where it comes from; `kubectl qlik status {name} -n {place}` shows it"
        );
    }
    Ok(Some(context))
}

/// The credential Secret of this name, if `init` created it for this context; an error when another program did.
pub async fn secret(cluster: &Cluster, name: &str, context: &str) -> anyhow::Result<Option<Secret>> {
    let secrets: Api<Secret> = cluster.objects();
    let secret = secrets.get_opt(name).await.explain(format_args!("cannot read Secret {name}"))?;
    let Some(secret) = secret else {
        return Ok(None);
    };
    let has = |label: &str, value: &str| secret.labels().get(label).is_some_and(|found| found == value);
    if !(has(MANAGED_BY_LABEL, MADE_BY) && has(CONTEXT_LABEL, context)) {
        bail!(
            "there is a Secret {name} in namespace {} that was not made by kubectl qlik init for {context}. It is left alone: \
             to use it as it is, give --existing-secret {name}; else choose another name for the QlikContext",
            cluster.namespace
        );
    }
    Ok(Some(secret))
}

/// An error when the Secret for the token exists and does not belong to this context.
pub async fn token_secret_is_free(cluster: &Cluster, name: &str, context: Option<&QlikContext>) -> anyhow::Result<()> {
    let secrets: Api<Secret> = cluster.objects();
    let found = secrets.get_metadata_opt(name).await.explain(format_args!("cannot read Secret {name}"))?;
    let ours = |found: &PartialObjectMeta<Secret>| {
        let uid = context.and_then(|context| context.metadata.uid.as_ref());
        let controller = found.owner_references().iter().find(|owner| owner.controller == Some(true));
        controller.is_some_and(|owner| Some(&owner.uid) == uid)
    };
    match found {
        Some(found) if !ours(&found) => bail!(
            "there is a Secret {name} in namespace {} already, and the token would have to be written there. It is left alone: \
             name another one with --token-secret",
            cluster.namespace
        ),
        _ => Ok(()),
    }
}

/// How a context authenticates, and the Secret it names.
pub fn method(context: &QlikContext) -> Option<AuthMethod> {
    let auth = &context.spec.auth;
    None.or_else(|| auth.client_secret.as_ref().map(|_| AuthMethod::Oauth))
        .or_else(|| auth.private_key_jwt.as_ref().map(|_| AuthMethod::PrivateKey))
        .or_else(|| auth.api_key.as_ref().map(|_| AuthMethod::ApiKey))
}
