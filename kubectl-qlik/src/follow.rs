//! Follows the status of a context until the operator has processed what was written.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::Api;
use qlik_context_operator::api::condition::Class;
use qlik_context_operator::api::{ConditionType, QlikContext, QlikContextStatus, Reason};

use crate::cluster::Cluster;
use crate::problem::Explain as _;
use crate::screen::{self, GREEN};
use crate::{context, prompt};

const POLL: Duration = Duration::from_millis(250);
/// After this time an unchanged status counts as the result of a change that made no difference.
const GRACE: Duration = Duration::from_secs(5);

/// The state to wait for.
#[derive(Clone, Debug)]
pub enum Goal {
    /// A token for the written objects. `before`: the status before the write, if the write changed something.
    Verified { before: Option<Box<QlikContextStatus>> },
    /// The result of this refresh request.
    Refreshed { request: String, before: Option<Box<QlikContextStatus>> },
}

/// How the wait ended.
#[derive(Debug)]
pub enum Ending {
    /// The goal is reached.
    Reached(Box<QlikContext>),
    /// A failure that a retry does not correct.
    Failed(Box<QlikContext>),
    /// The time limit is over.
    TimedOut(Box<QlikContext>),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Reached,
    Failed,
    Pending,
}

/// Follows until the goal is reached, cannot be reached, or the time limit is over. Shows the passed stages.
pub async fn follow(cluster: &Cluster, name: &str, goal: &Goal, timeout: Duration) -> anyhow::Result<Ending> {
    let contexts: Api<QlikContext> = cluster.objects();
    let begin = Instant::now();
    let spinner = Spinner::new(&format!("waiting for the operator to process {name}"));
    let mut shown = 0;
    loop {
        let read = contexts.get(name).await;
        let context = Box::new(read.explain(format_args!("cannot follow QlikContext {name}"))?);
        let judged = verdict(&context, goal, begin.elapsed() > GRACE);
        if judged != Verdict::Pending || has_news(&context, goal) {
            for stage in passed(&context).skip(shown) {
                shown += 1;
                spinner.above(&format!("{GREEN}✓{GREEN:#} {}: {}", stage.type_, screen::harmless(&stage.message)));
            }
        }
        match judged {
            Verdict::Reached => return Ok(Ending::Reached(context)),
            Verdict::Failed => return Ok(Ending::Failed(context)),
            Verdict::Pending if begin.elapsed() > timeout => return Ok(Ending::TimedOut(context)),
            Verdict::Pending => {}
        }
        if let Some(ready) = context::condition(&context, ConditionType::Ready).filter(|ready| ready.status != "True") {
            spinner.says(&format!("{}: waiting", screen::harmless(&ready.reason)));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// True when the status differs from the one before.
fn has_news(context: &QlikContext, goal: &Goal) -> bool {
    let (Goal::Verified { before } | Goal::Refreshed { before, .. }) = goal;
    context::is_current(context) && before.as_deref() != context.status.as_ref()
}

fn verdict(context: &QlikContext, goal: &Goal, patience_over: bool) -> Verdict {
    // A refresh request leads to a new status, at least to that of one more failure.
    let patience_over = patience_over && matches!(goal, Goal::Verified { .. });
    if !context::is_current(context) || !(has_news(context, goal) || patience_over) {
        return Verdict::Pending;
    }
    let reached = match goal {
        Goal::Verified { .. } => works(context),
        Goal::Refreshed { request, .. } => {
            context.status.as_ref().and_then(|status| status.last_handled_refresh_request.as_ref()) == Some(request)
        }
    };
    if reached {
        return Verdict::Reached;
    }
    let users = cause(context).is_some_and(|reason| reason.class() == Class::User);
    if users { Verdict::Failed } else { Verdict::Pending }
}

/// Ready, according to a status about the present spec, and no renewal fails.
pub fn works(context: &QlikContext) -> bool {
    let failing = Reason::RenewalFailing.to_string();
    let ready = context::condition(context, ConditionType::Ready);
    context::is_ready(context) && ready.is_some_and(|ready| ready.reason != failing)
}

/// Why the context is not ready, or its renewal fails: the reason of the first stage that failed, else of `Ready`.
pub fn cause(context: &QlikContext) -> Option<Reason> {
    failing(context)?.reason.parse().ok()
}

/// The condition with the failure: the first stage that failed, else `Ready`.
pub fn failing(context: &QlikContext) -> Option<&Condition> {
    let stages = context::STAGES.into_iter().chain([ConditionType::Ready]);
    stages.filter_map(|stage| context::condition(context, stage)).find(|condition| condition.status != "True")
}

/// The stages that were passed, up to the first that was not.
fn passed(context: &QlikContext) -> impl Iterator<Item = &Condition> {
    let stages = context::STAGES.into_iter().map(|stage| context::condition(context, stage));
    stages.map_while(|stage| stage.filter(|stage| stage.status == "True"))
}

/// A progress line on a terminal; nothing without one.
struct Spinner(Option<ProgressBar>);

impl Spinner {
    fn new(text: &str) -> Self {
        if !prompt::possible() {
            return Self(None);
        }
        let bar = ProgressBar::new_spinner().with_message(format!("{text} …"));
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(Some(bar))
    }

    fn says(&self, text: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(format!("{text} …"));
        }
    }

    /// A permanent line.
    fn above(&self, line: &str) {
        match &self.0 {
            Some(bar) => bar.suspend(|| screen::note(line)),
            None => screen::note(line),
        }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn status(conditions: &[&str], more: &Value) -> Value {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|condition| {
                let (kind, rest) = condition.split_once('=').expect("Type=Status/Reason");
                let (status, reason) = rest.split_once('/').expect("Type=Status/Reason");
                json!({"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"})
            })
            .collect();
        let mut status = json!({"observedGeneration": 2, "conditions": conditions});
        for (key, value) in more.as_object().into_iter().flatten() {
            status[key] = value.clone();
        }
        status
    }

    fn context(status: &Value) -> QlikContext {
        serde_json::from_value(json!({
            "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext", "metadata": {"name": "acme", "generation": 2},
            "spec": {"tenantUrl": "https://acme.eu.qlikcloud.com", "auth": {}}, "status": status
        }))
        .expect("a context")
    }

    fn verified(before: Option<&Value>) -> Goal {
        Goal::Verified {
            before: before.map(|status| Box::new(serde_json::from_value(status.clone()).expect("a status"))),
        }
    }

    #[test]
    fn a_new_context_is_judged_by_its_first_status() {
        for (conditions, expected) in [
            (&["Ready=True/TokenValid"][..], Verdict::Reached),
            (&["TokenIssued=False/InvalidClient", "Ready=False/InvalidClient"], Verdict::Failed),
            (&["TokenIssued=False/TenantUnreachable", "Ready=False/TenantUnreachable"], Verdict::Pending),
            (&["Ready=True/Suspended"], Verdict::Reached),
            (&["Ready=False/Suspended"], Verdict::Failed),
        ] {
            let context = context(&status(conditions, &json!({})));
            assert_eq!(verdict(&context, &verified(None), false), expected, "{conditions:?}");
        }
        let mut old = context(&status(&["Ready=True/TokenValid"], &json!({})));
        old.metadata.generation = Some(3);
        assert_eq!(verdict(&old, &verified(None), true), Verdict::Pending, "a status of an older spec says nothing");
    }

    #[test]
    fn after_a_change_the_status_from_before_does_not_count_for_a_while() {
        let before = status(&["Ready=True/TokenValid"], &json!({"token": {"issuedAt": "2026-01-01T00:00:00Z"}}));
        let goal = verified(Some(&before));
        assert_eq!(verdict(&context(&before), &goal, false), Verdict::Pending);
        assert_eq!(verdict(&context(&before), &goal, true), Verdict::Reached);
        let after = status(&["Ready=True/TokenValid"], &json!({"token": {"issuedAt": "2026-01-01T00:00:09Z"}}));
        assert_eq!(verdict(&context(&after), &goal, false), Verdict::Reached);
    }

    #[test]
    fn a_renewal_that_fails_is_a_failure_although_the_old_token_works() {
        let before = status(&["Ready=True/TokenValid"], &json!({}));
        for (reason, expected) in [("InvalidClient", Verdict::Failed), ("TenantUnavailable", Verdict::Pending)] {
            let issued = format!("TokenIssued=False/{reason}");
            let after = context(&status(&[&issued, "Ready=True/RenewalFailing"], &json!({})));
            assert_eq!(verdict(&after, &verified(Some(&before)), false), expected);
            assert_eq!(cause(&after).map(|cause| cause.to_string()).as_deref(), Some(reason));
        }
    }

    #[test]
    fn a_refresh_is_done_when_its_own_request_is_echoed() {
        let before = status(&["Ready=True/TokenValid"], &json!({"lastHandledRefreshRequest": "1"}));
        let goal = |request: &str| Goal::Refreshed {
            request: request.into(),
            before: Some(Box::new(serde_json::from_value(before.clone()).expect("a status"))),
        };
        let after = context(&status(&["Ready=True/TokenValid"], &json!({"lastHandledRefreshRequest": "2"})));
        assert_eq!(verdict(&after, &goal("2"), false), Verdict::Reached);
        assert_eq!(verdict(&after, &goal("3"), true), Verdict::Pending);
    }
}
