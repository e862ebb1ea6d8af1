//! `refresh` and `rotate`: a new token or credential now, requested by the annotation that the operator watches.

use std::fmt::Write as _;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use qlik_context_operator::api::{QlikContext, QlikOAuthClient};
use serde_json::json;

use crate::args::{ClusterFlags, RefreshArgs, RotateArgs};
use crate::cluster::Cluster;
use crate::follow::{self, Ending, Goal};
use crate::object::{self, Reconciled};
use crate::problem::AlreadySaid;
use crate::screen::RED;
use crate::{age, screen};

/// What a request brings, in words.
trait Requested: Reconciled {
    /// The new thing.
    const THING: &'static str;
    /// Getting it.
    const DEED: &'static str;

    /// What to know of it once it is there; ends a sentence.
    fn news(&self, now: Timestamp) -> Option<String>;
}

impl Requested for QlikContext {
    const THING: &'static str = "token";
    const DEED: &'static str = "refresh";

    fn news(&self, now: Timestamp) -> Option<String> {
        let expires = self.status.as_ref()?.token.as_ref()?.expires_at.as_ref()?;
        Some(format!(", which expires {}", age::relative(expires.0, now)))
    }
}

impl Requested for QlikOAuthClient {
    const THING: &'static str = "credential";
    const DEED: &'static str = "rotation";

    fn news(&self, now: Timestamp) -> Option<String> {
        let place = format!(" in Secret {}", self.secret_name());
        // The last in the list was replaced just now.
        let Some(old) = self.status.as_ref()?.previous.last() else {
            return Some(place);
        };
        Some(format!("{place}; the old one is removed {}", age::relative(old.removal_time.0, now)))
    }
}

/// Runs `refresh`.
pub async fn refresh(flags: &ClusterFlags, args: &RefreshArgs) -> anyhow::Result<()> {
    let wait = args.wait.then_some(args.timeout);
    run::<QlikContext>(flags, &args.names, args.selector.as_deref(), wait).await
}

/// Runs `rotate`.
pub async fn rotate(flags: &ClusterFlags, args: &RotateArgs) -> anyhow::Result<()> {
    let wait = args.wait.then_some(args.timeout);
    run::<QlikOAuthClient>(flags, &args.names, args.selector.as_deref(), wait).await
}

async fn run<K: Requested>(
    flags: &ClusterFlags,
    names: &[String],
    selector: Option<&str>,
    wait: Option<Duration>,
) -> anyhow::Result<()> {
    let cluster = Cluster::connect(flags).await?;
    let names = match selector {
        Some(selector) => object::labelled::<K>(&cluster, selector).await?,
        None => names.to_vec(),
    };
    let mut failed = false;
    let mut requests = Vec::new();
    // All are requested before the first is waited for.
    for name in names {
        match annotate::<K>(&cluster, &name).await {
            Ok((before, _)) if before.is_suspended() => {
                screen::note(&format!(
                    "{name} is suspended: its {} follows when you resume it (kubectl qlik resume {}{}).",
                    K::DEED,
                    object::typed::<K>(&name),
                    cluster.flags
                ));
                failed |= wait.is_some();
            }
            Ok((before, request)) => {
                screen::result(&format!("{} {} requested", object::full_name(&before), K::DEED));
                requests.push((name, Goal::Handled { request, before: before.status().cloned().map(Box::new) }));
            }
            Err(error) => {
                screen::error(&format!("{error:#}"));
                failed = true;
            }
        }
    }
    if let Some(timeout) = wait {
        for (name, goal) in requests {
            failed |= !waited::<K>(&cluster, &name, &goal, timeout).await?;
        }
    }
    if failed { Err(AlreadySaid.into()) } else { Ok(()) }
}

/// Requests a new token; returns what to wait for.
pub async fn request<K: Reconciled>(cluster: &Cluster, name: &str) -> anyhow::Result<Goal<K>> {
    let (before, request) = annotate::<K>(cluster, name).await?;
    Ok(Goal::Handled { request, before: before.status().cloned().map(Box::new) })
}

/// Sets the annotation; returns the object as it is then, and the request.
async fn annotate<K: Reconciled>(cluster: &Cluster, name: &str) -> anyhow::Result<(K, String)> {
    // Nanoseconds: any new value is a new request.
    let request = Timestamp::now().to_string();
    let patch = json!({"metadata": {"annotations": {K::REQUESTED: request}}});
    let objects: Api<K> = cluster.objects();
    let requested = objects.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
    let kind = K::KIND.api_name();
    Ok((object::explained::<K, _>(requested, format_args!("cannot annotate {kind} {name}"))?, request))
}

async fn waited<K: Requested>(
    cluster: &Cluster,
    name: &str,
    goal: &Goal<K>,
    timeout: Duration,
) -> anyhow::Result<bool> {
    let thing = K::THING;
    let (object, over) = match follow::follow(cluster, name, goal, timeout).await? {
        Ending::Reached(object) => {
            let news = object.news(Timestamp::now()).unwrap_or_default();
            screen::note(&format!("{name} has a new {thing}{news}."));
            return Ok(true);
        }
        Ending::Failed(object) => (object, false),
        Ending::TimedOut(object) => (object, true),
    };
    let mut text = format!("{RED}✗{RED:#} {name} has no new {thing}");
    if over {
        let _ = write!(text, " after {}", age::span(timeout));
    }
    match follow::failing(&*object) {
        Some(condition) => {
            let _ =
                write!(text, " ({}): {}", screen::harmless(&condition.reason), screen::harmless(&condition.message));
        }
        None => text.push_str(": the operator has not answered yet. `kubectl qlik doctor` shows whether it runs."),
    }
    screen::note(&text);
    Ok(false)
}
