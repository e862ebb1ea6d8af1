//! Wiring: the only place that creates, connects and stops the parts.
//!
//! The control loop, the lease and the server are separate tasks on two threads, so that none delays another; when the loop or
//! the server ends, the process ends. On SIGTERM or SIGINT runs in flight are finished, for at most 25 s, and the lease is
//! released; a second signal ends the process at once. When the lease is lost, all work is dropped without draining, and the
//! process is a candidate again: an outage of the API server ends no process.

#![expect(clippy::disallowed_methods, reason = "the place that spawns tasks, and joins them")]

pub mod args;
mod kubeconfig;
pub mod panics;
pub mod server;
pub mod telemetry;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, ListParams, PartialObjectMeta};
use kube::client::ClientBuilder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use self::args::RunArgs;
use crate::api::{QlikContext, QlikOAuthClient};
use crate::clock::{Clock, Jitter};
use crate::controller::scope::Namespaces;
use crate::controller::{Parts, control};
use crate::health::Health;
use crate::lease::{Election, Leadership};
use crate::metrics::{CountRequests, Metrics};
use crate::oauth::https::{Https, SystemResolver, is_proxy};
use crate::oauth::roots;
use crate::spans::Traced;

const DRAIN: Duration = Duration::from_secs(25);

/// Runs the operator until it has to stop.
///
/// Runs on a thread of the runtime: the thread that waits for it would have to be woken for each event of the loop.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    tokio::spawn(operate(args)).await.context("the operator's main task ended early")?
}

async fn operate(args: RunArgs) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    check_proxy()?;
    let metrics = Arc::new(Metrics::new());
    let health = Arc::new(Health::new());
    let counts = CountRequests::new(metrics.clone(), health.clone());
    let (client, namespace) = connect(&args.watch_namespaces, &counts).await?;
    let oauth_clients = args.oauth_clients && knows_oauth_clients(&client, &args.watch_namespaces).await;
    let transport = Arc::new(Traced(transport(&args)?));
    let listener = server::listen(args.listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}; use another --listen", args.listen))?;
    let clock = Clock::system();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        namespaces = %args.watch_namespaces,
        allowed_hosts = %args.allowed_tenant_hosts,
        listen = %args.listen,
        "started"
    );
    let identity = identity(std::env::var("HOSTNAME").ok().as_deref());
    let instance = std::env::var("HOSTNAME").unwrap_or_else(|_| identity.clone());
    let mut election = args.leader_elect.then(|| {
        let leases: Api<Lease> = Api::namespaced(client.clone(), args.lease_namespace.as_deref().unwrap_or(&namespace));
        Election::new(leases, &args.lease_name, identity.clone(), clock.clone(), health.clone())
    });
    // A task of its own, like the lease: a busy controller must delay neither.
    let mut server = tokio::spawn(server::serve(listener, health.clone(), metrics.clone(), clock.clone()));
    let parts = || Parts {
        client: client.clone(),
        scope: args.scope(),
        transport: transport.clone(),
        allowed_hosts: args.allowed_tenant_hosts.clone(),
        limits: args.limits(),
        leadership: Leadership::undisputed(),
        instance: instance.clone(),
        metrics: metrics.clone(),
        health: health.clone(),
        clock: clock.clone(),
        jitter: Jitter::random(),
        oauth_clients,
        workloads: args.workloads,
    };
    let work = async {
        let Some(mut candidate) = election.take() else {
            metrics.leads(true);
            let stop = CancellationToken::new();
            tokio::select! {
                () = control(parts(), stop.clone()) => {}
                () = signals.stop(&stop) => {}
            }
            return Ok(());
        };
        loop {
            // A standby is as healthy as a leader.
            let stopped = tokio::select! {
                () = candidate.acquire(|| health.stand_by()) => false,
                () = health.beat_alone() => false,
                () = signals.first() => true,
            };
            if stopped {
                break;
            }
            let lost;
            let parts = Parts { leadership: candidate.leadership(), ..parts() };
            (candidate, lost) = lead(parts, candidate, &mut signals).await?;
            if !lost {
                break;
            }
            tracing::warn!("the lease was lost: all work was dropped, and this instance is a candidate again");
        }
        // After the last write, so that none is in flight when the next leader begins. (The last attempt may have succeeded.)
        candidate.release().await;
        Ok(())
    };
    tokio::select! {
        result = work => result,
        ended = &mut server => match ended.context("the server of /livez, /readyz and /metrics ended")? {},
    }
}

/// Leads until the process has to stop or the lease is lost (`true`). Active runs are then dropped without draining.
async fn lead(parts: Parts, mut election: Election, signals: &mut Signals) -> anyhow::Result<(Election, bool)> {
    let (metrics, health) = (parts.metrics.clone(), parts.health.clone());
    let (stop, done) = (CancellationToken::new(), CancellationToken::new());
    let ended = done.clone();
    let mut keep = tokio::spawn(async move {
        let lost = ended.run_until_cancelled(election.keep()).await.is_some();
        (election, lost)
    });
    metrics.leads(true);
    let lost = tokio::select! {
        () = control(parts, stop.clone()) => None,
        () = signals.stop(&stop) => None,
        kept = &mut keep => Some(kept),
    };
    metrics.leads(false);
    metrics.forget_all();
    health.watches_ended();
    done.cancel();
    match lost {
        Some(kept) => kept,
        None => keep.await,
    }
    .context("the task that keeps the lease ended")
}

/// SIGTERM and SIGINT.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let term = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
        let int = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
        Ok(Self { term, int })
    }

    async fn first(&mut self) {
        tokio::select! { _ = self.term.recv() => {}, _ = self.int.recv() => {} }
    }

    /// Stops on the first signal. Returns only when draining takes too long or a second signal comes; active runs are dropped.
    async fn stop(&mut self, stop: &CancellationToken) {
        self.first().await;
        tracing::info!("stopping; runs in flight are finished");
        stop.cancel();
        tokio::select! {
            () = self.first() => tracing::warn!("stopped at once by a second signal"),
            () = tokio::time::sleep(DRAIN) => tracing::warn!("stopped with runs in flight after {} s", DRAIN.as_secs()),
        }
    }
}

/// The Pod's name, and a random part that no other process of that name has.
fn identity(instance: Option<&str>) -> String {
    let mut random = [0; 8];
    // Without randomness the Pod's name alone still distinguishes the candidates of one Deployment.
    let _ = SystemRandom::new().fill(&mut random);
    format!("{}_{:016x}", instance.unwrap_or("operator"), u64::from_be_bytes(random))
}

/// A client and its own namespace, checked by one small request to each namespace of the list, or to the cluster: a problem with
/// cluster, CRD or permissions is reported at once. If one of several can be read, the watch reports what the others lack.
async fn connect(namespaces: &Namespaces, counts: &CountRequests) -> anyhow::Result<(Client, String)> {
    let mut config = kubeconfig::config().await?;
    config.connect_timeout = Some(Duration::from_secs(5));
    // Longer than a watch can be silent (290 s), so that a dead connection ends and a silent one does not.
    config.read_timeout = Some(Duration::from_mins(5));
    config.reset_reader_on_write = true;
    // Runs, watches and the lease retry themselves: retries of the client would hide the status code for minutes.
    config.default_retry = false;
    let (url, namespace) = (config.cluster_url.clone(), config.default_namespace.clone());
    let client = ClientBuilder::try_from(config).context("cannot use the Kubernetes configuration")?;
    let client = client.with_layer(counts).build();
    let first = ListParams::default().limit(1);
    let probe = async |contexts: Api<PartialObjectMeta<QlikContext>>| {
        tokio::time::timeout(Duration::from_secs(15), contexts.list_metadata(&first)).await
    };
    let mut probes = join_all(namespaces.apis(&client).into_iter().map(probe)).await;
    let best = probes.iter().position(|probe| matches!(probe, Ok(Ok(_)))).unwrap_or_default();
    match probes.swap_remove(best) {
        Ok(Ok(_)) => Ok((client, namespace)),
        // By its code: if no CRD of the group is installed, the response is plain text without a reason.
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Err(anyhow!(
            "the cluster does not know QlikContext; install the CRD: qlik-context-operator crd | kubectl apply -f -"
        )),
        Ok(Err(kube::Error::Api(status))) if status.is_forbidden() => Err(anyhow!(
            "the operator may not list QlikContexts; install it with the chart, which grants that ({})",
            status.message
        )),
        Ok(Err(kube::Error::Api(status))) => {
            Err(anyhow!("the Kubernetes API at {url} refuses the operator: {}", status.message))
        }
        Ok(Err(_)) | Err(_) => {
            Err(anyhow!("cannot reach the Kubernetes API at {url}; check the address and the network"))
        }
    }
}

/// Whether the cluster has the CRD of `QlikOAuthClient`. Contexts are reconciled without it; the watch reports any other
/// problem.
async fn knows_oauth_clients(client: &Client, namespaces: &Namespaces) -> bool {
    let first = ListParams::default().limit(1);
    let Some(api) = namespaces.apis::<PartialObjectMeta<QlikOAuthClient>>(client).into_iter().next() else {
        return false;
    };
    match tokio::time::timeout(Duration::from_secs(15), api.list_metadata(&first)).await {
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
            tracing::warn!(
                "the cluster does not know QlikOAuthClient, so only QlikContexts are reconciled; apply the output of \
                 qlik-context-operator crd and restart, or leave out --oauth-clients"
            );
            false
        }
        _ => true,
    }
}

/// A proxy address that cannot be parsed would be ignored, or cause a misleading error later. It may hold a password, so the
/// error does not repeat it.
fn check_proxy() -> anyhow::Result<()> {
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        let proxy = std::env::var_os(name);
        anyhow::ensure!(
            proxy.is_none_or(|value| value.to_str().is_some_and(is_proxy)),
            "{name} is not the address of a proxy; write http://HOST:PORT, with user and password percent-encoded"
        );
    }
    Ok(())
}

fn transport(args: &RunArgs) -> anyhow::Result<Https> {
    let roots = match &args.tenant_ca_file {
        Some(path) => {
            let pem =
                std::fs::read(path).with_context(|| format!("cannot read --tenant-ca-file {}", path.display()))?;
            roots::read(&pem).map_err(|problem| anyhow!("--tenant-ca-file {} {problem}", path.display()))?;
            Some(pem)
        }
        None => None,
    };
    Https::new(SystemResolver, args.address_policy(), roots.as_deref())
        .context("cannot set up TLS; check --tenant-ca-file and the system's certificates")
}
