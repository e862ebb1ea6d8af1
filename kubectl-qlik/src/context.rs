//! Reading a QlikContext: one, those selected, and the parts of its status that several commands show.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use qlik_context_operator::api::{ConditionType, QlikContext};

use crate::args::Selection;
use crate::cluster::Cluster;
use crate::problem::Explain as _;

/// The stages a token passes, in their order.
pub const STAGES: [ConditionType; 4] = [
    ConditionType::CredentialsAvailable,
    ConditionType::TokenIssued,
    ConditionType::Verified,
    ConditionType::SecretSynced,
];

/// The context of this name.
pub async fn read(cluster: &Cluster, name: &str) -> anyhow::Result<QlikContext> {
    let contexts: Api<QlikContext> = cluster.objects();
    contexts.get(name).await.explain(format_args!("cannot read QlikContext {name} in namespace {}", cluster.namespace))
}

/// The contexts of these names, or with these labels.
pub async fn selected(cluster: &Cluster, selection: &Selection) -> anyhow::Result<Vec<String>> {
    let Some(selector) = &selection.selector else {
        return Ok(selection.names.clone());
    };
    let contexts: Api<QlikContext> = cluster.objects();
    let list = contexts.list(&ListParams::default().labels(selector)).await;
    let list = list.explain(format_args!("cannot list QlikContexts in namespace {}", cluster.namespace))?;
    if list.items.is_empty() {
        anyhow::bail!("no QlikContext in namespace {} has the labels {selector}", cluster.namespace);
    }
    Ok(list.items.iter().map(ResourceExt::name_any).collect())
}

/// A condition of the context, if present.
pub fn condition(context: &QlikContext, wanted: ConditionType) -> Option<&Condition> {
    let wanted: &str = wanted.into();
    context.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == wanted)
}

/// True when a condition is present and `True`.
pub fn holds(context: &QlikContext, wanted: ConditionType) -> bool {
    condition(context, wanted).is_some_and(|condition| condition.status == "True")
}

/// True when the status is about the present spec.
pub fn is_current(context: &QlikContext) -> bool {
    let observed = context.status.as_ref().and_then(|status| status.observed_generation);
    observed.is_some() && observed == context.metadata.generation
}

/// True when the context is ready, by a status about the present spec.
pub fn is_ready(context: &QlikContext) -> bool {
    is_current(context) && holds(context, ConditionType::Ready)
}
