//! The writes of a status: it agrees with itself, the spec and the Secret.

use std::time::Duration;

use qlik_context_operator::api::FIELD_MANAGER;
use qlik_context_operator::clock::Timestamp;
use serde_json::Value;
use support::api_server::Committed;
use tokio::time::Instant;

use super::{Checker, Invariant, KnownSecret, Name, name_of, text};

/// The operator may not know changes by others for this time, in addition to the delay of watches.
const UNAWARE: Duration = Duration::from_mins(1);

/// Two runs that get no response, with the pause between them.
const DEADLINES: Duration = Duration::from_mins(5);

/// A write may arrive this long after it was sent.
const SENT: Duration = Duration::from_secs(8);

impl Checker {
    pub(super) fn on_context(&self, change: &Committed<'_>) {
        let name = name_of(change);
        let Some(after) = change.after else {
            self.lock().contexts.remove(&name);
            return;
        };
        let generation = after["metadata"]["generation"].as_i64().unwrap_or_default();
        {
            let mut state = self.lock();
            let known = state.contexts.entry(name).or_default();
            if known.generation != generation || known.edited.is_none() {
                (known.generation, known.edited) = (generation, Some(Instant::now()));
                known.spec = after["spec"].clone();
            }
        }
        self.on_status(change);
    }

    pub(super) fn on_status(&self, change: &Committed<'_>) {
        let Some(after) = change.after else { return };
        let changed = change.before.is_none_or(|before| before["status"] != after["status"]);
        if change.manager == FIELD_MANAGER && changed {
            self.check_status(&name_of(change), change.before, after);
        }
    }

    fn check_status(&self, name: &Name, before: Option<&Value>, object: &Value) {
        let status = &object["status"];
        let generation = object["metadata"]["generation"].as_i64().unwrap_or_default();
        let wrong = |seen: String| self.violated(Invariant::TrueStatus, format!("{}/{}: {seen}", name.0, name.1));
        let observed = status["observedGeneration"].as_i64().unwrap_or_default();
        // A status without conditions reports nothing yet.
        let Some(conditions) = status["conditions"].as_array() else { return };
        let reasons = conditions.iter().filter_map(|condition| condition["reason"].as_str().map(str::to_owned));
        self.lock().reasons.extend(reasons);
        let is =
            |kind: &str| conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == "True");
        if is("Ready") && (is("Stalled") || is("Reconciling")) || is("Stalled") && is("Reconciling") {
            wrong(format!("conditions that exclude each other: {conditions:?}"));
        }
        // A write about workloads repeats what the status says of the token.
        let repeats = before.is_some_and(|before| without_workloads(&before["status"]) == without_workloads(status));
        let of_others = conditions.iter().filter_map(|condition| condition["observedGeneration"].as_i64());
        let newest = of_others.chain([observed]).max().unwrap_or_default();
        // So does one that records the beginning of a creation.
        let same_conditions = before.is_some_and(|before| before["status"]["conditions"] == status["conditions"]);
        if newest > generation || !repeats && !same_conditions && observed != generation {
            wrong(format!("observedGeneration {observed}, at most {newest}, of generation {generation}"));
        }
        if is("Ready") && object["kind"] == "QlikContext" && !repeats {
            // A leader that cannot read the Secret keeps what the status says.
            let failing =
                conditions.iter().any(|found| found["type"] == "Ready" && found["reason"] == "RenewalFailing");
            let keeps = failing && before.is_some_and(|before| before["status"]["token"] == status["token"]);
            self.check_ready(name, object, (observed == generation, keeps), &wrong);
        }
    }

    /// With `Ready=True`, the token of the status is in the Secret, has not expired and matches the spec.
    fn check_ready(&self, name: &Name, context: &Value, (current, keeps): (bool, bool), wrong: &dyn Fn(String)) {
        let reported = text(context, &["status", "token", "expiresAt"]);
        let now = (self.clock)();
        if reported.parse::<Timestamp>().is_ok_and(|expires| expires.saturating_add(SENT).is_ok_and(|end| end <= now)) {
            wrong(format!("Ready at {now} with a token that expired at {reported}"));
        }
        let target = (name.0.clone(), format!("{}-token", name.1));
        let state = self.lock();
        let touched = |secret: &KnownSecret| secret.touched.is_some_and(|at| at.elapsed() < UNAWARE + state.lag);
        // A run that gets no response for the credential drops what it read of the token Secret.
        let cannot_know =
            state.unknown.contains(&target) || state.unread.contains(&target) || state.lacks_responses(DEADLINES);
        let excused = keeps && cannot_know || state.unclear.contains(&target);
        let secret = match state.secrets.get(&target) {
            None => Some("there is no Secret".to_owned()),
            Some(secret) if secret.is_deleted && !touched(secret) && !excused => {
                Some("the Secret was deleted".to_owned())
            }
            Some(secret) if !state.verified.contains(&secret.token) && !touched(secret) && !excused => {
                Some("the Secret has a token that the tenant never confirmed".to_owned())
            }
            Some(secret) if secret.expires_at != reported && !excused && !touched(secret) => {
                Some(format!("the Secret's token expires at {:?}, the status says {reported:?}", secret.expires_at))
            }
            Some(_) => None,
        };
        let pinned = state.contexts.get(name).is_some_and(super::KnownContext::has_pin);
        drop(state);
        if let Some(problem) = secret {
            wrong(format!("Ready=True, and {problem}"));
        }
        if current && pinned {
            wrong(format!("Ready=True, and the spec expects {}", context["spec"]["expectedIdentity"]));
        }
    }
}

/// A status without what it says of workloads.
fn without_workloads(status: &Value) -> Value {
    let mut status = status.clone();
    if let Some(status) = status.as_object_mut() {
        status.remove("workloads");
    }
    if let Some(conditions) = status["conditions"].as_array_mut() {
        conditions.retain(|condition| condition["type"] != "WorkloadsSynced");
    }
    status
}
