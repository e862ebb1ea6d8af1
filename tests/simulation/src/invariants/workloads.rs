//! The restarts of workloads: each has a new token as its cause.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use qlik_context_operator::api::{FIELD_MANAGER, RESTARTED_FOR_ANNOTATION};
use serde_json::Value;
use support::api_server::Committed;
use tokio::time::Instant;

use super::{Checker, Invariant, Name, name_of, text};

/// A Pod that started within this time after the write of a token may have read the token before it: times are in whole seconds.
const UNCLEAR: Duration = Duration::from_secs(2);
/// The operator may use a list of Pods that is five seconds old.
const UNAWARE: Duration = Duration::from_secs(6);

#[derive(Debug, Default)]
pub(super) struct Workloads {
    /// The tokens that were written to each Secret, in this order. A token that another one replaced may be written again.
    published: HashMap<Name, Vec<Published>>,
    /// The restarts so far: workload, the time of issue of the token, and how often that was written.
    restarts: HashSet<(Name, String, usize)>,
    /// When each Pod started.
    pods: HashMap<Name, Instant>,
}

#[derive(Debug)]
struct Published {
    /// The time of issue by the wall clock.
    issued_at: String,
    issued: Instant,
    /// When it replaced the one before.
    written: Instant,
    /// When another one replaced it.
    replaced: Option<Instant>,
}

impl Workloads {
    /// A token that was issued then is in this Secret.
    pub(super) fn publish(&mut self, secret: Name, issued_at: String, issued: Instant) {
        let (tokens, now) = (self.published.entry(secret).or_default(), Instant::now());
        match tokens.last_mut() {
            Some(last) if last.issued_at == issued_at => return,
            Some(last) => last.replaced = Some(now),
            None => {}
        }
        tokens.push(Published { issued_at, issued, written: now, replaced: None });
    }

    /// Why this restart has no cause. `set_back`: when the wall clock was set back. A Pod that starts afterwards looks older than it is.
    fn needless(&mut self, workload: &Name, secrets: &[&str], issued_at: &str, set_back: &[Instant]) -> Option<String> {
        let tokens =
            secrets.iter().filter_map(|secret| self.published.get(&(workload.0.clone(), (*secret).to_owned())));
        let tokens: Vec<_> = tokens.flatten().filter(|known| known.issued_at == issued_at).collect();
        if tokens.is_empty() {
            return Some(format!(
                "for the token of {issued_at:?}, which is in none of the Secrets {secrets:?} that it reads"
            ));
        }
        if !self.restarts.insert((workload.clone(), issued_at.to_owned(), tokens.len())) {
            return Some(format!("a second time for the token of {issued_at}"));
        }
        let pod = (workload.0.clone(), format!("{}-0", workload.1));
        let has_token = self.pods.get(&pod).is_some_and(|started| {
            let has = |token: &&Published| {
                let looks_older = set_back.iter().any(|at| (token.issued..=*started).contains(at));
                let is_later = token.replaced.is_some_and(|replaced| *started >= replaced);
                *started >= token.written + UNCLEAR && !is_later && !looks_older
            };
            started.elapsed() > UNAWARE && tokens.iter().any(has)
        });
        has_token.then(|| format!("for the token of {issued_at}, and its Pod started after that was written"))
    }
}

impl Checker {
    pub(super) fn on_pod(&self, change: &Committed<'_>) {
        let (mut state, name) = (self.lock(), name_of(change));
        match (change.before, change.after) {
            (_, None) => {
                state.workloads.pods.remove(&name);
            }
            (None, Some(_)) => {
                state.workloads.pods.insert(name, Instant::now());
            }
            _ => {}
        }
    }

    /// The operator changed a Deployment.
    pub(super) fn on_restart(&self, change: &Committed<'_>) {
        if change.manager != FIELD_MANAGER {
            return;
        }
        let name = name_of(change);
        let shown = format!("Deployment {}/{}", name.0, name.1);
        let (Some(before), Some(after)) = (change.before, change.after) else {
            return self.violated(Invariant::NoNeedlessRestart, format!("{shown} was created or deleted"));
        };
        let issued_at = text(after, &["spec", "template", "metadata", "annotations", RESTARTED_FOR_ANNOTATION]);
        let secrets = secrets_of(before);
        let needless = if before["spec"]["template"] == after["spec"]["template"] {
            Some("in another place than its template".to_owned())
        } else {
            let state = &mut *self.lock();
            state.workloads.needless(&name, &secrets, &issued_at, &state.set_back)
        };
        if let Some(why) = needless {
            self.violated(Invariant::NoNeedlessRestart, format!("{shown} was changed {why}"));
        }
    }
}

/// The Secrets that the containers read from the environment.
fn secrets_of(workload: &Value) -> Vec<&str> {
    let containers = workload["spec"]["template"]["spec"]["containers"].as_array().into_iter().flatten();
    let variables = containers.flat_map(|container| container["env"].as_array().into_iter().flatten());
    variables.filter_map(|variable| variable["valueFrom"]["secretKeyRef"]["name"].as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_started_between_two_writes_of_a_token_has_the_token_that_was_there() {
        let name = |name: &str| ("a".to_owned(), name.to_owned());
        let (secret, workload) = (name("token"), name("reader"));
        let mut workloads = Workloads::default();
        let publish = |workloads: &mut Workloads, issued_at: &str| {
            workloads.publish(secret.clone(), issued_at.to_owned(), Instant::now());
        };
        let needless = |workloads: &mut Workloads, issued_at| workloads.needless(&workload, &["token"], issued_at, &[]);
        publish(&mut workloads, "10:00");
        assert_eq!(needless(&mut workloads, "10:00"), None);
        tokio::time::sleep(10 * SECOND).await;
        publish(&mut workloads, "10:10");
        tokio::time::sleep(10 * SECOND).await;
        workloads.pods.insert(name("reader-0"), Instant::now());
        tokio::time::sleep(10 * SECOND).await;
        assert!(needless(&mut workloads, "10:10").is_some_and(|why| why.contains("its Pod started after")));
        publish(&mut workloads, "10:00");
        tokio::time::sleep(10 * SECOND).await;
        publish(&mut workloads, "10:00");
        assert_eq!(needless(&mut workloads, "10:00"), None, "the Pod has the other token");
        assert!(needless(&mut workloads, "10:00").is_some_and(|why| why.contains("a second time")));
        assert!(needless(&mut workloads, "10:20").is_some_and(|why| why.contains("none of the Secrets")));
    }
}
