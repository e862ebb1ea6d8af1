//! Writes the two objects: creates them, or patches those that an earlier run of `init` created, the Secret in the version that
//! was read and the context with the spec that was read, so that no concurrent change is lost.

use std::cell::RefCell;

use anyhow::bail;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Resource, ResourceExt as _};
use qlik_context_operator::api::{QlikContext, QlikContextStatus};
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::manifests::{Answers, CredentialSecret, MADE_BY};
use super::present;
use crate::cluster::Cluster;
use crate::problem::Explain as _;
use crate::screen::{self, GREEN};

/// The objects that this run has written, in case it is interrupted.
#[derive(Default)]
pub struct Written(RefCell<Vec<String>>);

impl Written {
    fn add(&self, object: &str, verb: &str) {
        screen::note(&format!("{GREEN}✓{GREEN:#} {object} {verb}"));
        let mut written = self.0.borrow_mut();
        if !written.iter().any(|other| other == object) {
            written.push(object.to_owned());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Lists the objects of a run that ended early (`how`), and how to continue or to remove them.
    pub fn report(&self, how: &str, name: &str, flags: &str) {
        let written = self.0.borrow();
        // The terminal's own ^C is on the line.
        screen::note("");
        if written.is_empty() {
            screen::note(&format!("{how}: nothing was written."));
            return;
        }
        screen::note(&format!("{how}. Written so far: {}.", written.join(", ")));
        screen::note("To continue, or to correct an answer:");
        screen::verbatim(&format!("  kubectl qlik init {name}{flags}"));
        screen::note("To remove it:");
        screen::verbatim(&format!("  kubectl delete {}{flags}", written.join(" ")));
    }
}

/// The effect of a write on the context.
pub enum Change {
    /// It is new.
    Created,
    /// It or its credential has changed, so the earlier status does not apply to it.
    Changed(Option<Box<QlikContextStatus>>),
    /// There is no difference.
    None(Box<QlikContext>),
}

/// Writes Secret and context. A dry run of the context comes first, so that no Secret is written for one that is refused.
pub async fn write(cluster: &Cluster, answers: &Answers, written: &Written) -> anyhow::Result<Change> {
    let before = present::context(cluster, &answers.name).await?;
    let contexts: Api<QlikContext> = cluster.objects();
    let name = format!("qlikcontext/{}", answers.name);
    let put = async |dry_run| match &before {
        None => create(&contexts, answers.context(), &name, dry_run).await,
        Some(before) => patch(&contexts, by_uid(before), before, answers.context_patch(), &name, dry_run).await,
    };
    put(true).await?;
    let secret_changed = write_secret(cluster, answers, written).await?;
    if let (Some(before), Some(now)) = (&before, present::context(cluster, &answers.name).await?)
        && before.metadata.generation != now.metadata.generation
    {
        bail!("cannot change {name}: its spec was changed meanwhile. Run the command again.");
    }
    let after = put(false).await?;
    let Some(before) = before else {
        written.add(&name, "created");
        return Ok(Change::Created);
    };
    // Not by the version: the operator may have written the status meanwhile.
    let spec_changed = before.metadata.generation != after.metadata.generation;
    let changed = spec_changed || before.metadata.labels != after.metadata.labels;
    written.add(&name, if changed { "changed" } else { "unchanged" });
    Ok(if secret_changed || spec_changed {
        Change::Changed(before.status.map(Box::new))
    } else {
        Change::None(Box::new(after))
    })
}

/// Returns whether a value has changed.
async fn write_secret(cluster: &Cluster, answers: &Answers, written: &Written) -> anyhow::Result<bool> {
    let (CredentialSecret::Ours(values), Some(manifest)) = (&answers.secret, answers.secret()) else {
        return Ok(false);
    };
    let secrets: Api<Secret> = cluster.objects();
    let name = format!("secret/{}", answers.secret_name());
    let Some(before) = present::secret(cluster, &answers.secret_name(), &answers.name).await? else {
        create(&secrets, manifest, &name, false).await?;
        written.add(&name, "created");
        return Ok(true);
    };
    let differs = values.iter().any(|(key, value)| {
        let found = before.data.as_ref().and_then(|data| data.get(*key));
        found.is_none_or(|found| found.0 != value.expose_secret().as_bytes())
    });
    if differs {
        patch(&secrets, by_version(&before), &before, manifest, &name, false).await?;
        written.add(&name, "changed");
    }
    Ok(differs)
}

async fn create<K>(objects: &Api<K>, manifest: Value, name: &str, dry_run: bool) -> anyhow::Result<K>
where
    K: Resource + Clone + serde::de::DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    let object: K = serde_json::from_value(manifest)?;
    let params = PostParams { field_manager: Some(MADE_BY.into()), dry_run };
    objects.create(&params, &object).await.explain(format_args!("cannot create {name}"))
}

/// Only the object that was read, in any version: the operator writes the status of a context as soon as its credential
/// changes.
fn by_uid<K: Resource>(before: &K) -> (&'static str, Option<String>) {
    ("uid", before.meta().uid.clone())
}

/// Only the version that was read.
fn by_version<K: Resource>(before: &K) -> (&'static str, Option<String>) {
    ("resourceVersion", before.meta().resource_version.clone())
}

async fn patch<K>(
    objects: &Api<K>,
    (guard, value): (&'static str, Option<String>),
    before: &K,
    mut manifest: Value,
    name: &str,
    dry_run: bool,
) -> anyhow::Result<K>
where
    K: Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    manifest["metadata"][guard] = value.into();
    let params = PatchParams { field_manager: Some(MADE_BY.into()), dry_run, ..PatchParams::default() };
    let patched = objects.patch(&before.name_any(), &params, &Patch::Merge(&manifest)).await;
    patched.explain(format_args!("cannot change {name}"))
}
