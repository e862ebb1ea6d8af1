//! `refresh`: requests a new token from the operator, with the annotation that it watches.

use std::fmt::Write as _;

use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use qlik_context_operator::api::{QlikContext, REFRESH_REQUESTED_ANNOTATION};
use serde_json::json;

use crate::args::{ClusterFlags, RefreshArgs};
use crate::cluster::Cluster;
use crate::follow::{self, Ending, Goal};
use crate::problem::{AlreadySaid, Explain as _};
use crate::screen::RED;
use crate::{age, context, document, screen};

/// Runs the command.
pub async fn run(flags: &ClusterFlags, args: &RefreshArgs) -> anyhow::Result<()> {
    let cluster = Cluster::connect(flags).await?;
    let mut failed = false;
    let mut requests = Vec::new();
    // All requests are made before the first wait.
    for name in context::selected(&cluster, &args.selection).await? {
        match annotate(&cluster, &name).await {
            Ok((before, request)) => {
                if before.spec.suspend == Some(true) {
                    screen::note(&format!(
                        "{name} is suspended: it is refreshed when you resume it (kubectl qlik resume {name}{}).",
                        cluster.flags
                    ));
                    failed |= args.wait;
                    continue;
                }
                screen::result(&format!("{} refresh requested", document::name(&before)));
                requests.push((name, before, request));
            }
            Err(error) => {
                screen::error(&format!("{error:#}"));
                failed = true;
            }
        }
    }
    if args.wait {
        for (name, before, request) in requests {
            failed |= !wait(&cluster, &name, before, request, args).await?;
        }
    }
    if failed { Err(AlreadySaid.into()) } else { Ok(()) }
}

/// Requests a new token; returns the goal to wait for.
pub async fn request(cluster: &Cluster, name: &str) -> anyhow::Result<Goal> {
    let (before, request) = annotate(cluster, name).await?;
    Ok(Goal::Refreshed { request, before: before.status.map(Box::new) })
}

/// Sets the annotation; returns the resulting context, and the request.
async fn annotate(cluster: &Cluster, name: &str) -> anyhow::Result<(QlikContext, String)> {
    // Nanoseconds: any new value is a new request.
    let request = Timestamp::now().to_string();
    let patch = json!({"metadata": {"annotations": {REFRESH_REQUESTED_ANNOTATION: request}}});
    let contexts: Api<QlikContext> = cluster.objects();
    let asked = contexts.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
    Ok((asked.explain(format_args!("cannot ask for a new token of {name}"))?, request))
}

async fn wait(
    cluster: &Cluster,
    name: &str,
    before: QlikContext,
    request: String,
    args: &RefreshArgs,
) -> anyhow::Result<bool> {
    let goal = Goal::Refreshed { request, before: before.status.map(Box::new) };
    let (context, over) = match follow::follow(cluster, name, &goal, args.timeout).await? {
        Ending::Reached(context) => {
            let expires = context.status.and_then(|status| status.token).and_then(|token| token.expires_at);
            let until = expires.map(|time| format!(", which expires {}", age::relative(time.0, Timestamp::now())));
            screen::note(&format!("{name} has a new token{}.", until.unwrap_or_default()));
            return Ok(true);
        }
        Ending::Failed(context) => (context, false),
        Ending::TimedOut(context) => (context, true),
    };
    let mut text = format!("{RED}✗{RED:#} {name} has no new token");
    if over {
        let _ = write!(text, " after {}", age::span(args.timeout));
    }
    match follow::failing(&context) {
        Some(condition) => {
            let _ =
                write!(text, " ({}): {}", screen::harmless(&condition.reason), screen::harmless(&condition.message));
        }
        None => text.push_str(": the operator has not answered yet. `kubectl qlik doctor` shows whether it runs."),
    }
    screen::note(&text);
    Ok(false)
}
