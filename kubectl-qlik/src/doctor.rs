//! `doctor`: checks that a cluster is ready for QlikContexts; one line for each finding, with advice.

mod checks;

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use crate::args::{ClusterFlags, DoctorArgs};
use crate::cluster::Cluster;
use crate::problem::AlreadySaid;
use crate::screen::{GREEN, RED, YELLOW};
use crate::{document, screen};

/// The result of one check.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub verdict: Verdict,
    pub message: String,
    /// Absent when nothing has to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// The severity.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    Warning,
    Failed,
}

impl Finding {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, message: message.into(), advice: None }
    }

    fn warning(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warning, message: message.into(), advice: Some(advice.into()) }
    }

    fn failed(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Failed, message: message.into(), advice: Some(advice.into()) }
    }
}

/// Runs the command.
pub async fn run(flags: &ClusterFlags, args: &DoctorArgs) -> anyhow::Result<()> {
    let cluster = Cluster::connect(flags).await?;
    let findings = examine(&cluster, args).await;
    match args.output {
        Some(format) => document::print(&findings, format)?,
        None => findings.iter().for_each(show),
    }
    let failed = findings.iter().any(|finding| finding.verdict == Verdict::Failed);
    if failed { Err(AlreadySaid.into()) } else { Ok(()) }
}

/// Runs the checks in order. Without an API server the rest is skipped, without the CRD the contexts are.
async fn examine(cluster: &Cluster, args: &DoctorArgs) -> Vec<Finding> {
    let reached = checks::api_server(cluster).await;
    if reached.verdict == Verdict::Failed {
        return vec![reached];
    }
    let known = checks::definition(cluster).await;
    let contexts = if known.verdict == Verdict::Failed { None } else { Some(checks::contexts(cluster).await) };
    let mut findings = vec![reached, known];
    findings.extend(checks::operator(cluster, &args.operator_namespace, Timestamp::now()).await);
    findings.push(checks::permissions(cluster).await);
    findings.extend(contexts);
    findings
}

fn show(finding: &Finding) {
    let mark = match finding.verdict {
        Verdict::Ok => format!("{GREEN}✓{GREEN:#}"),
        Verdict::Warning => format!("{YELLOW}!{YELLOW:#}"),
        Verdict::Failed => format!("{RED}✗{RED:#}"),
    };
    let label = format!("{mark} {:14}", finding.check);
    let advice = finding.advice.as_ref().map(|advice| format!(" {advice}")).unwrap_or_default();
    screen::labelled(&label, &format!("{}{advice}", finding.message));
}
