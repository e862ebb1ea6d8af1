//! Writing the two objects: created where there is nothing, patched where an earlier run of `init` made them, and with the
//! version that was looked at, so that nobody's change is lost.

use std::cell::RefCell;

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

/// What this run has written, for the case that it is interrupted.
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

    /// Says what an interrupted run leaves behind, and how to go on or to take it away.
    pub fn report(&self, name: &str, flags: &str) {
        let written = self.0.borrow();
        // The terminal's own ^C is on the line.
        screen::note("");
        if written.is_empty() {
            screen::note("Interrupted: nothing was written.");
            return;
        }
        screen::note(&format!("Interrupted. Written so far: {}.", written.join(", ")));
        screen::note("To go on, or to correct an answer:");
        screen::verbatim(&format!("  kubectl qlik init {name}{flags}"));
        screen::note("To take it away:");
        screen::verbatim(&format!("  kubectl delete {}{flags}", written.join(" ")));
    }
}

/// What writing did to the context.
pub enum Change {
    /// It is new.
    Created,
    /// It, or its credential, was another: the status from before says nothing of what is there now.
    Changed(Option<Box<QlikContextStatus>>),
    /// Nothing is different.
    None(Box<QlikContext>),
}

/// Writes Secret and context.
pub async fn write(cluster: &Cluster, answers: &Answers, written: &Written) -> anyhow::Result<Change> {
    let before = present::context(cluster, &answers.name).await?;
    let secret_changed = write_secret(cluster, answers, written).await?;
    let contexts: Api<QlikContext> = cluster.objects();
    let name = format!("qlikcontext/{}", answers.name);
    let Some(before) = before else {
        create(&contexts, answers.context(), &name, written).await?;
        return Ok(Change::Created);
    };
    let after = patch(&contexts, &before, answers.context_patch(), &name, written).await?;
    let spec_changed = before.metadata.generation != after.metadata.generation;
    Ok(if secret_changed || spec_changed {
        Change::Changed(before.status.map(Box::new))
    } else {
        Change::None(Box::new(after))
    })
}

/// Returns whether a value is another than before.
async fn write_secret(cluster: &Cluster, answers: &Answers, written: &Written) -> anyhow::Result<bool> {
    let (CredentialSecret::Ours(values), Some(manifest)) = (&answers.secret, answers.secret()) else {
        return Ok(false);
    };
    let secrets: Api<Secret> = cluster.objects();
    let name = format!("secret/{}", answers.secret_name());
    let Some(before) = present::secret(cluster, &answers.secret_name(), &answers.name).await? else {
        create(&secrets, manifest, &name, written).await?;
        return Ok(true);
    };
    let differs = values.iter().any(|(key, value)| {
        let found = before.data.as_ref().and_then(|data| data.get(*key));
        found.is_none_or(|found| found.0 != value.expose_secret().as_bytes())
    });
    if differs {
        patch(&secrets, &before, manifest, &name, written).await?;
    }
    Ok(differs)
}

async fn create<K>(objects: &Api<K>, manifest: Value, name: &str, written: &Written) -> anyhow::Result<K>
where
    K: Resource + Clone + serde::de::DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    let object: K = serde_json::from_value(manifest)?;
    let params = PostParams { field_manager: Some(MADE_BY.into()), ..PostParams::default() };
    let created = objects.create(&params, &object).await.explain(format_args!("cannot create {name}"))?;
    written.add(name, "created");
    Ok(created)
}

async fn patch<K>(objects: &Api<K>, before: &K, mut manifest: Value, name: &str, written: &Written) -> anyhow::Result<K>
where
    K: Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    manifest["metadata"]["resourceVersion"] = before.resource_version().into();
    let params = PatchParams { field_manager: Some(MADE_BY.into()), ..PatchParams::default() };
    let patched = objects.patch(&before.name_any(), &params, &Patch::Merge(&manifest)).await;
    let patched = patched.explain(format_args!("cannot change {name}"))?;
    let changed = patched.resource_version() != before.resource_version();
    written.add(name, if changed { "changed" } else { "unchanged" });
    Ok(patched)
}
