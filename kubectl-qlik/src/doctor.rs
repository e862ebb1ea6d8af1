//! `doctor`: checks that a cluster is ready for QlikContexts; one line for each finding, with advice.

mod checks;

use k8s_openapi::jiff::Timestamp;
use qlik_context_operator::api::{QlikContext, QlikOAuthClient, crd};
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
    let findings = match Cluster::connect(flags).await {
        Ok(cluster) => examine(&cluster, args).await,
        Err(error) => vec![checks::kubeconfig(&error)],
    };
    match args.output {
        Some(format) => document::print(&findings, format)?,
        None => findings.iter().for_each(show),
    }
    let failed = findings.iter().any(|finding| finding.verdict == Verdict::Failed);
    if failed { Err(AlreadySaid.into()) } else { Ok(()) }
}

/// Runs the checks in order. Without an API server the rest is skipped, without a CRD the objects of its kind are.
async fn examine(cluster: &Cluster, args: &DoctorArgs) -> Vec<Finding> {
    let reached = checks::api_server(cluster).await;
    if reached.verdict == Verdict::Failed {
        return vec![reached];
    }
    let contexts = checks::definition::<QlikContext>(cluster, &crd::qlik_contexts()).await;
    let contexts = contexts.unwrap_or_else(checks::missing);
    // It can be left out of an installation.
    let clients = checks::definition::<QlikOAuthClient>(cluster, &crd::qlik_oauth_clients()).await;
    let usable = |finding: &Finding| finding.verdict != Verdict::Failed;
    let (has_contexts, has_clients) = (usable(&contexts), clients.as_ref().is_some_and(usable));
    let mut findings = vec![reached, contexts];
    findings.extend(clients);
    findings.extend(checks::operator(cluster, &args.operator_namespace, Timestamp::now()).await);
    findings.push(checks::permissions(cluster, has_clients).await);
    if has_contexts {
        findings.push(checks::objects::<QlikContext>(cluster, "QlikContexts", "").await);
    }
    if has_clients {
        findings.push(checks::objects::<QlikOAuthClient>(cluster, "OAuth clients", "oauthclients ").await);
    }
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
