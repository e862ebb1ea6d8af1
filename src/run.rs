//! Wiring: the parts are made, joined and ended here, and nowhere else.
//!
//! Everything runs as one future on two threads; the end of any part is the end of the process. On SIGTERM or SIGINT runs
//! in flight are finished, for at most 25 s; a second signal ends at once.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use futures::{Stream, StreamExt};
use kube::api::{Api, ListParams};
use kube::runtime::controller::{self, Controller};
use kube::runtime::reflector;
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::api::QlikContext;
use crate::args::RunArgs;
use crate::clock::{Clock, Jitter};
use crate::metrics::Metrics;
use crate::oauth::cache::TokenCache;
use crate::oauth::https::{Https, SystemResolver};
use crate::oauth::transport::Transport;
use crate::reconcile::{Context, Guarded, error_policy, reconcile};
use crate::server::{self, Health};
use crate::watch;

const DEBOUNCE: Duration = Duration::from_millis(50);
const DRAIN: Duration = Duration::from_secs(25);
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Runs the operator until it is told to stop.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    let client = connect().await?;
    let transport = Arc::new(transport(&args)?);
    let listener = server::listen(args.listen).await;
    let listener = listener
        .with_context(|| format!("cannot listen on {}; use another --listen", args.listen))?;
    let metrics = Arc::new(Metrics::new());
    let health = Arc::new(Health::new());
    let stop = CancellationToken::new();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        allowed_hosts = %args.allowed_tenant_hosts,
        listen = %args.listen,
        "started"
    );
    let operator = Operator {
        client,
        transport,
        metrics: metrics.clone(),
        health: health.clone(),
    };
    let controller = operator.control(&args, stop.clone());
    let stopping = stop_on_signal(stop.clone());
    let served = stop.child_token();
    tokio::select! {
        () = controller => Ok(()),
        result = server::serve(listener, health, metrics, served) => result.context("the metrics server ended"),
        result = stopping => result,
    }
}

/// The parts of the controller; tests put their own transport and client in.
pub struct Operator {
    /// The Kubernetes API.
    pub client: Client,
    /// The way to tenants.
    pub transport: Arc<dyn Transport>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How the process is.
    pub health: Arc<Health>,
}

impl Operator {
    /// The control loop; ends when it is stopped and the runs in flight are done.
    pub async fn control(self, args: &RunArgs, stop: CancellationToken) {
        let Self {
            client,
            transport,
            metrics,
            health,
        } = self;
        let (clock, jitter) = (Clock::system(), Jitter::random());
        let context = Arc::new(Context {
            client: client.clone(),
            tokens: TokenCache::new(transport, clock.clone(), jitter.clone(), metrics.clone()),
            allowed_hosts: args.allowed_tenant_hosts.clone(),
            clock,
            jitter,
            metrics: metrics.clone(),
        });
        let (contexts, writer) = reflector::store::<Guarded>();
        let config = controller::Config::default()
            .debounce(DEBOUNCE)
            .concurrency(args.concurrency.get());
        let runs =
            Controller::for_stream(watch::contexts(&client, writer, &metrics), contexts.clone())
                .watches_stream(
                    watch::credentials(&client, &metrics),
                    watch::contexts_using(contexts.clone()),
                )
                .owns_stream(watch::derived(&client, &metrics))
                .reconcile_on(heartbeat(health.clone()))
                .with_config(config)
                .graceful_shutdown_on(stop.cancelled_owned())
                .run(reconcile, error_policy, context)
                .for_each(|result| async move {
                    // What failed was logged by the error policy; an object that is gone is nothing to tell.
                    if let Ok((object, action)) = result {
                        tracing::trace!(%object, ?action, "run ended");
                    }
                });
        let ready = async {
            if contexts.wait_until_ready().await.is_ok() {
                health.set_ready();
            }
        };
        tokio::join!(runs, ready);
    }
}

/// Marks the loop as alive whenever it is polled, and wakes nobody.
fn heartbeat(health: Arc<Health>) -> impl Stream<Item = reflector::ObjectRef<Guarded>> {
    let beats = futures::stream::unfold(tokio::time::interval(HEARTBEAT), |mut interval| async {
        interval.tick().await;
        Some(((), interval))
    });
    beats.filter_map(move |()| {
        health.beat();
        std::future::ready(None)
    })
}

/// A client, proven by one small request: what is wrong with cluster, CRD or rights is said at once.
async fn connect() -> anyhow::Result<Client> {
    let mut config = Config::infer().await.map_err(|_| {
        anyhow!("no Kubernetes cluster is configured; run inside a cluster, or set KUBECONFIG to a file that names one")
    })?;
    // The environment's proxy is for tenants; the API server is called directly, as in a cluster.
    config.proxy_url = None;
    config.connect_timeout = Some(Duration::from_secs(5));
    // Above the longest quiet time of a watch (290 s), so that a dead connection ends and a quiet one does not.
    config.read_timeout = Some(Duration::from_mins(5));
    config.reset_reader_on_write = true;
    let url = config.cluster_url.clone();
    let client = Client::try_from(config).context("cannot use the Kubernetes configuration")?;
    let contexts: Api<kube::api::PartialObjectMeta<QlikContext>> = Api::all(client.clone());
    let first = ListParams::default().limit(1);
    let probe = tokio::time::timeout(Duration::from_secs(15), contexts.list_metadata(&first)).await;
    match probe {
        Ok(Ok(_)) => Ok(client),
        Ok(Err(kube::Error::Api(status))) if status.is_not_found() => Err(anyhow!(
            "the cluster does not know QlikContext; install the CRD: qlik-context-operator crd | kubectl apply -f -"
        )),
        Ok(Err(kube::Error::Api(status))) if status.is_forbidden() => Err(anyhow!(
            "the operator may not list QlikContexts; install it with the chart, which grants that"
        )),
        Ok(Err(kube::Error::Api(status))) => Err(anyhow!(
            "the Kubernetes API at {url} refuses the operator: {}",
            status.message
        )),
        Ok(Err(_)) | Err(_) => Err(anyhow!(
            "cannot reach the Kubernetes API at {url}; check the address and the network"
        )),
    }
}

fn transport(args: &RunArgs) -> anyhow::Result<Https> {
    let roots = match &args.tenant_ca_file {
        Some(path) => {
            let pem = std::fs::read(path)
                .with_context(|| format!("cannot read --tenant-ca-file {}", path.display()))?;
            anyhow::ensure!(
                pem.windows(11).any(|window| window == b"-----BEGIN "),
                "--tenant-ca-file {} holds no PEM certificate",
                path.display()
            );
            Some(pem)
        }
        None => None,
    };
    Https::new(SystemResolver, args.address_policy(), roots.as_deref())
        .context("cannot set up TLS; check --tenant-ca-file and the system's certificates")
}

/// Stops on the first SIGTERM or SIGINT. Returns only when draining takes too long or a second signal comes.
async fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    tracing::info!("stopping; runs in flight are finished");
    stop.cancel();
    tokio::select! {
        _ = term.recv() => tracing::warn!("stopped at once by a second signal"),
        _ = int.recv() => tracing::warn!("stopped at once by a second signal"),
        () = tokio::time::sleep(DRAIN) => tracing::warn!("stopped with runs in flight after {} s", DRAIN.as_secs()),
    }
    Err(anyhow!("not all runs were finished"))
}
