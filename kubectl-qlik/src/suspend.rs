//! `suspend` and `resume`: `spec.suspend`.

use anyhow::anyhow;
use kube::api::{Api, Patch, PatchParams};
use qlik_context_operator::api::{QlikContext, QlikOAuthClient};
use serde_json::json;

use crate::args::{ClusterFlags, Kind, Selected, Selection, Target};
use crate::cluster::Cluster;
use crate::object::{self, Reconciled};
use crate::problem::AlreadySaid;
use crate::screen;

/// Runs one of the two commands.
pub async fn run(flags: &ClusterFlags, selection: &Selection, suspend: bool) -> anyhow::Result<()> {
    let selected = selection.selected().map_err(|problem| anyhow!(problem))?;
    let cluster = Cluster::connect(flags).await?;
    let mut failed = false;
    for target in targets(&cluster, selected).await? {
        let set = match target.kind {
            Kind::Contexts => set::<QlikContext>(&cluster, &target.name, suspend).await,
            Kind::OAuthClients => set::<QlikOAuthClient>(&cluster, &target.name, suspend).await,
        };
        if let Err(error) = set {
            screen::error(&format!("{error:#}"));
            failed = true;
        }
    }
    if failed { Err(AlreadySaid.into()) } else { Ok(()) }
}

async fn targets(cluster: &Cluster, selected: Selected) -> anyhow::Result<Vec<Target>> {
    let (kind, names) = match selected {
        Selected::Named(targets) => return Ok(targets),
        Selected::Labelled(kind @ Kind::Contexts, labels) => {
            (kind, object::labelled::<QlikContext>(cluster, &labels).await?)
        }
        Selected::Labelled(kind @ Kind::OAuthClients, labels) => {
            (kind, object::labelled::<QlikOAuthClient>(cluster, &labels).await?)
        }
    };
    Ok(names.into_iter().map(|name| Target { kind, name }).collect())
}

async fn set<K: Reconciled>(cluster: &Cluster, name: &str, suspend: bool) -> anyhow::Result<()> {
    let objects: Api<K> = cluster.objects();
    let patch = json!({"spec": {"suspend": suspend}});
    let patched = objects.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
    let verb = if suspend { "suspend" } else { "resume" };
    let patched = object::explained::<K, _>(patched, format_args!("cannot {verb} {name}"))?;
    let done = if suspend { "suspended" } else { "resumed" };
    screen::result(&format!("{} {done}", object::full_name(&patched)));
    Ok(())
}
