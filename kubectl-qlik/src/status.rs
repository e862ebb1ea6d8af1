//! `status`: how far a token or an OAuth client came, what is wrong and what to do, and what reads the Secret.

mod events;
mod oauth_client;
mod readers;
mod report;
mod summary;

use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ListParams};
use qlik_context_operator::api::{QlikContext, QlikOAuthClient};

use crate::args::{ClusterFlags, Kind, StatusArgs};
use crate::cluster::Cluster;
use crate::problem::{AlreadySaid, Explain as _};
use crate::{document, object};
use oauth_client::ClientReport;
use report::Report;

/// Runs the command.
pub async fn run(flags: &ClusterFlags, args: &StatusArgs) -> anyhow::Result<()> {
    let cluster = Cluster::connect(flags).await?;
    let ready = match args.target.kind {
        Kind::Contexts => of_context(&cluster, args).await?,
        Kind::OAuthClients => of_oauth_client(&cluster, args).await?,
    };
    if ready { Ok(()) } else { Err(AlreadySaid.into()) }
}

/// Returns whether it is ready.
async fn of_context(cluster: &Cluster, args: &StatusArgs) -> anyhow::Result<bool> {
    let context: QlikContext = object::read(cluster, &args.target.name).await?;
    let mut report = Report::new(&context);
    let issued_at = report.token.issued_at;
    let unknown = &mut report.summary.unknown;
    report.pods = or_unknown(readers::read(cluster, &context.target_name(), issued_at).await, unknown);
    report.events = or_unknown(events::read(cluster, &context).await, unknown);
    match args.output {
        Some(format) => document::print(&report, format)?,
        None => report.show(Timestamp::now()),
    }
    Ok(report.summary.ready)
}

/// Returns whether it is ready.
async fn of_oauth_client(cluster: &Cluster, args: &StatusArgs) -> anyhow::Result<bool> {
    let client: QlikOAuthClient = object::read(cluster, &args.target.name).await?;
    let mut report = ClientReport::new(&client);
    let contexts: Api<QlikContext> = cluster.objects();
    let contexts = contexts.list(&ListParams::default()).await;
    let contexts = contexts.explain("cannot look for the QlikContexts that read the credential");
    let unknown = &mut report.summary.unknown;
    report.contexts =
        or_unknown(contexts, unknown).map(|contexts| oauth_client::readers(&contexts.items, &client.secret_name()));
    report.events = or_unknown(events::read(cluster, &client).await, unknown);
    match args.output {
        Some(format) => document::print(&report, format)?,
        None => report.show(Timestamp::now()),
    }
    Ok(report.summary.ready)
}

/// More than the object itself: without the permission for it the rest is still worth showing.
fn or_unknown<T>(part: anyhow::Result<T>, unknown: &mut Vec<String>) -> Option<T> {
    part.map_err(|error| unknown.push(format!("{error:#}"))).ok()
}
