//! `suspend` and `resume`: `spec.suspend`.

use kube::api::{Api, Patch, PatchParams};
use qlik_context_operator::api::QlikContext;
use serde_json::json;

use crate::args::{ClusterFlags, Selection};
use crate::cluster::Cluster;
use crate::problem::{AlreadySaid, Explain as _};
use crate::{context, document, screen};

/// Runs one of the two commands.
pub async fn run(flags: &ClusterFlags, selection: &Selection, suspend: bool) -> anyhow::Result<()> {
    let cluster = Cluster::connect(flags).await?;
    let contexts: Api<QlikContext> = cluster.objects();
    let done = if suspend { "suspended" } else { "resumed" };
    let mut failed = false;
    for name in context::selected(&cluster, selection).await? {
        let patch = json!({"spec": {"suspend": suspend}});
        let patched = contexts.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        match patched.explain(format_args!("{name} is not {done}")) {
            Ok(context) => screen::result(&format!("{} {done}", document::name(&context))),
            Err(error) => {
                screen::error(&format!("{error:#}"));
                failed = true;
            }
        }
    }
    if failed { Err(AlreadySaid.into()) } else { Ok(()) }
}
