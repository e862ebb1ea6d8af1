//! Objects of both kinds: reading one, those selected, and the parts of a status that several commands show.

use std::fmt::{self, Debug};

use anyhow::bail;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, ListParams};
use kube::core::NamespaceResourceScope;
use kube::core::object::HasStatus;
use kube::{Resource, ResourceExt};
use qlik_context_operator::api::{
    ConditionType, GROUP, QlikContext, QlikOAuthClient, REFRESH_REQUESTED_ANNOTATION, ROTATE_REQUESTED_ANNOTATION,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::args::Kind;
use crate::cluster::Cluster;
use crate::problem::{self, Explain as _};

/// What both kinds have in common.
pub trait Reconciled:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + HasStatus<Status: PartialEq + Clone>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
{
    const KIND: Kind;
    /// The stages that are passed, in their order.
    const STAGES: &'static [ConditionType];
    /// The annotation that requests a new token or credential.
    const REQUESTED: &'static str;

    fn conditions(&self) -> &[Condition];
    fn observed_generation(&self) -> Option<i64>;
    /// The last request that was answered.
    fn handled_request(&self) -> Option<&str>;
    fn is_suspended(&self) -> bool;
}

impl Reconciled for QlikContext {
    const KIND: Kind = Kind::Contexts;
    const STAGES: &'static [ConditionType] = &[
        ConditionType::CredentialsAvailable,
        ConditionType::TokenIssued,
        ConditionType::Verified,
        ConditionType::SecretSynced,
    ];
    const REQUESTED: &'static str = REFRESH_REQUESTED_ANNOTATION;

    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map(|status| &status.conditions[..]).unwrap_or_default()
    }

    fn observed_generation(&self) -> Option<i64> {
        self.status.as_ref()?.observed_generation
    }

    fn handled_request(&self) -> Option<&str> {
        self.status.as_ref()?.last_handled_refresh_request.as_deref()
    }

    fn is_suspended(&self) -> bool {
        self.spec.suspend == Some(true)
    }
}

impl Reconciled for QlikOAuthClient {
    const KIND: Kind = Kind::OAuthClients;
    const STAGES: &'static [ConditionType] =
        &[ConditionType::ClientSynced, ConditionType::CredentialVerified, ConditionType::SecretSynced];
    const REQUESTED: &'static str = ROTATE_REQUESTED_ANNOTATION;

    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map(|status| &status.conditions[..]).unwrap_or_default()
    }

    fn observed_generation(&self) -> Option<i64> {
        self.status.as_ref()?.observed_generation
    }

    fn handled_request(&self) -> Option<&str> {
        self.status.as_ref()?.last_handled_rotate_request.as_deref()
    }

    fn is_suspended(&self) -> bool {
        self.spec.suspend == Some(true)
    }
}

/// The object of this name.
pub async fn read<K: Reconciled>(cluster: &Cluster, name: &str) -> anyhow::Result<K> {
    let (objects, kind): (Api<K>, _) = (cluster.objects(), K::KIND.api_name());
    explained::<K, _>(
        objects.get(name).await,
        format_args!("cannot read {kind} {name} in namespace {}", cluster.namespace),
    )
}

/// The names of the objects with these labels.
pub async fn labelled<K: Reconciled>(cluster: &Cluster, selector: &str) -> anyhow::Result<Vec<String>> {
    let (objects, kind): (Api<K>, _) = (cluster.objects(), K::KIND.api_name());
    let list = objects.list(&ListParams::default().labels(selector)).await;
    let list = explained::<K, _>(list, format_args!("cannot list {kind}s in namespace {}", cluster.namespace))?;
    if list.items.is_empty() {
        bail!("no {kind} in namespace {} has the labels {selector}", cluster.namespace);
    }
    Ok(list.items.iter().map(ResourceExt::name_any).collect())
}

/// As [`problem::Explain::explain`]; a cluster may have the operator without its second kind.
pub fn explained<K: Reconciled, T>(result: Result<T, kube::Error>, doing: impl fmt::Display) -> anyhow::Result<T> {
    match result {
        Err(error) if K::KIND == Kind::OAuthClients && problem::is_kind_unknown(&error) => bail!(
            "{doing}: this cluster has no QlikOAuthClients. The chart installs them unless its value oauthClients.enabled is \
             false"
        ),
        other => other.explain(doing),
    }
}

/// As commands of this program take it: QlikContexts by name alone.
pub fn typed<K: Reconciled>(name: &str) -> String {
    match K::KIND {
        Kind::Contexts => name.to_owned(),
        Kind::OAuthClients => format!("oauthclient/{name}"),
    }
}

/// As kubectl prints it with `-o name`.
pub fn full_name<K: Reconciled>(object: &K) -> String {
    format!("{}.{GROUP}/{}", K::KIND.api_name().to_lowercase(), object.name_any())
}

/// Without the managed fields, as kubectl shows an object.
pub fn shown<K: Reconciled>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

/// A condition of the object, if it is there.
pub fn condition<K: Reconciled>(object: &K, wanted: ConditionType) -> Option<&Condition> {
    let wanted: &str = wanted.into();
    object.conditions().iter().find(|condition| condition.type_ == wanted)
}

/// True when the status is about the present spec.
pub fn is_current<K: Reconciled>(object: &K) -> bool {
    let observed = object.observed_generation();
    observed.is_some() && observed == object.meta().generation
}

/// True when the object is ready, by a status about the present spec.
pub fn is_ready<K: Reconciled>(object: &K) -> bool {
    let ready = condition(object, ConditionType::Ready);
    is_current(object) && ready.is_some_and(|condition| condition.status == "True")
}
