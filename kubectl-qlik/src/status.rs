//! `status`: the stages of a token, what is wrong and what to do, and which Pods read it.

mod events;
mod readers;
mod report;

use k8s_openapi::jiff::Timestamp;

use crate::args::{ClusterFlags, StatusArgs};
use crate::cluster::Cluster;
use crate::problem::AlreadySaid;
use crate::{context, document};
use report::Report;

/// Runs the command.
pub async fn run(flags: &ClusterFlags, args: &StatusArgs) -> anyhow::Result<()> {
    let cluster = Cluster::connect(flags).await?;
    let context = context::read(&cluster, &args.name).await?;
    let mut report = Report::new(&context);
    let issued_at = report.token.issued_at;
    // Both are additional: without the permission for them the rest is still shown.
    match readers::read(&cluster, &context.target_name(), issued_at).await {
        Ok(pods) => report.pods = pods,
        Err(error) => report.unknown.push(format!("{error:#}")),
    }
    match events::read(&cluster, &context).await {
        Ok(events) => report.events = events,
        Err(error) => report.unknown.push(format!("{error:#}")),
    }
    match args.output {
        Some(format) => document::print(&report, format)?,
        None => report.show(Timestamp::now()),
    }
    if context::is_ready(&context) { Ok(()) } else { Err(AlreadySaid.into()) }
}
