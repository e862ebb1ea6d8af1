//! Follows the status of an object until the operator has processed what was written.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::Api;
use qlik_context_operator::api::condition::Class;
use qlik_context_operator::api::{ConditionType, Reason};

use crate::cluster::Cluster;
use crate::object::{self, Reconciled};
use crate::prompt;
use crate::screen::{self, GREEN};

const POLL: Duration = Duration::from_millis(250);
/// After this time an unchanged status counts as the result of a change that made no difference.
const GRACE: Duration = Duration::from_secs(5);

/// The state to wait for.
#[derive(Clone, Debug)]
pub enum Goal<K: Reconciled> {
    /// What was written works. `before`: the status when it was written, where that changed something.
    Verified { before: Option<Box<K::Status>> },
    /// The answer to this request for a new token or credential.
    Handled { request: String, before: Option<Box<K::Status>> },
}

/// How the wait ended.
#[derive(Debug)]
pub enum Ending<K> {
    /// The goal is reached.
    Reached(Box<K>),
    /// Something is wrong that waiting does not correct.
    Failed(Box<K>),
    /// The time is over.
    TimedOut(Box<K>),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Reached,
    Failed,
    Pending,
}

/// Follows until the goal is reached, cannot be reached, or the time is over. Shows the stages that are passed.
pub async fn follow<K: Reconciled>(
    cluster: &Cluster,
    name: &str,
    goal: &Goal<K>,
    timeout: Duration,
) -> anyhow::Result<Ending<K>> {
    let (objects, kind): (Api<K>, _) = (cluster.objects(), K::KIND.api_name());
    let begin = Instant::now();
    let spinner = Spinner::new(&format!("waiting for the operator to process {name}"));
    let mut shown = 0;
    loop {
        let read = objects.get(name).await;
        let object = Box::new(object::explained::<K, _>(read, format_args!("cannot follow {kind} {name}"))?);
        let found = verdict(&*object, goal, begin.elapsed() > GRACE);
        if found != Verdict::Pending || has_news(&*object, goal) {
            for stage in passed(&*object).skip(shown) {
                shown += 1;
                spinner.above(&format!("{GREEN}✓{GREEN:#} {}: {}", stage.type_, screen::harmless(&stage.message)));
            }
        }
        match found {
            Verdict::Reached => return Ok(Ending::Reached(object)),
            Verdict::Failed => return Ok(Ending::Failed(object)),
            Verdict::Pending if begin.elapsed() > timeout => return Ok(Ending::TimedOut(object)),
            Verdict::Pending => {}
        }
        if let Some(ready) = object::condition(&*object, ConditionType::Ready).filter(|ready| ready.status != "True") {
            spinner.says(&format!("{}: waiting", screen::harmless(&ready.reason)));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// True when the status differs from the one before.
fn has_news<K: Reconciled>(object: &K, goal: &Goal<K>) -> bool {
    let (Goal::Verified { before } | Goal::Handled { before, .. }) = goal;
    object::is_current(object) && before.as_deref() != object.status()
}

fn verdict<K: Reconciled>(object: &K, goal: &Goal<K>, patience_over: bool) -> Verdict {
    // A request is answered by a new status, if only by that of one more failure.
    let patience_over = patience_over && matches!(goal, Goal::Verified { .. });
    if !object::is_current(object) || !(has_news(object, goal) || patience_over) {
        return Verdict::Pending;
    }
    let reached = match goal {
        Goal::Verified { .. } => works(object),
        Goal::Handled { request, .. } => object.handled_request() == Some(request),
    };
    if reached {
        return Verdict::Reached;
    }
    let users = cause(object).is_some_and(|reason| reason.class() == Class::User);
    if users { Verdict::Failed } else { Verdict::Pending }
}

/// Ready, by a status that speaks of the present spec, and no renewal fails.
pub fn works<K: Reconciled>(object: &K) -> bool {
    let failing = [Reason::RenewalFailing, Reason::SyncFailing];
    let ready = object::condition(object, ConditionType::Ready);
    object::is_ready(object)
        && ready.is_some_and(|ready| !failing.iter().any(|reason| reason.to_string() == ready.reason))
}

/// Why the object is not ready, or its renewal fails: the reason of the first stage that failed, else of `Ready`.
pub fn cause<K: Reconciled>(object: &K) -> Option<Reason> {
    failing(object)?.reason.parse().ok()
}

/// The condition that says what is wrong: the first stage that failed, else `Ready`.
pub fn failing<K: Reconciled>(object: &K) -> Option<&Condition> {
    let stages = K::STAGES.iter().copied().chain([ConditionType::Ready]);
    stages.filter_map(|stage| object::condition(object, stage)).find(|condition| condition.status != "True")
}

/// The stages that were passed, up to the first that was not.
fn passed<K: Reconciled>(object: &K) -> impl Iterator<Item = &Condition> {
    let stages = K::STAGES.iter().map(|stage| object::condition(object, *stage));
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
    use qlik_context_operator::api::{QlikContext, QlikOAuthClient};
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

    fn verified(before: Option<&Value>) -> Goal<QlikContext> {
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
        let goal = |request: &str| Goal::Handled {
            request: request.into(),
            before: Some(Box::new(serde_json::from_value(before.clone()).expect("a status"))),
        };
        let after = context(&status(&["Ready=True/TokenValid"], &json!({"lastHandledRefreshRequest": "2"})));
        assert_eq!(verdict(&after, &goal("2"), false), Verdict::Reached);
        assert_eq!(verdict(&after, &goal("3"), true), Verdict::Pending);
    }

    #[test]
    fn a_rotation_is_done_when_its_own_request_is_echoed_and_fails_for_a_reason_of_the_user() {
        let client = |status: &Value| -> QlikOAuthClient {
            serde_json::from_value(json!({
                "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikOAuthClient",
                "metadata": {"name": "reporting", "generation": 2},
                "spec": {"adminContextRef": {"name": "admin"}, "scopes": ["user_default"]}, "status": status
            }))
            .expect("a client")
        };
        let before = client(&status(&["Ready=True/ClientReady"], &json!({})));
        let goal = Goal::Handled { request: "1".into(), before: before.status.clone().map(Box::new) };
        assert_eq!(verdict(&before, &goal, true), Verdict::Pending);
        for (conditions, handled, expected) in [
            (&["Ready=True/ClientReady"][..], "1", Verdict::Reached),
            (&["Ready=True/ClientReady"], "0", Verdict::Pending),
            (&["ClientSynced=False/SecretLimitReached", "Ready=False/SecretLimitReached"], "0", Verdict::Failed),
            (&["ClientSynced=False/ClientConflict", "Ready=True/SyncFailing"], "0", Verdict::Pending),
        ] {
            let after = client(&status(conditions, &json!({"lastHandledRotateRequest": handled})));
            assert_eq!(verdict(&after, &goal, false), expected, "{conditions:?}");
        }
    }
}
