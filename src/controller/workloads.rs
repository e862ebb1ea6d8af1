//! The control loop of workloads. It has the same objects as that of contexts, and its own queue and concurrency.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc::UnboundedReceiver;
use kube::runtime::controller::{self, Controller};
use kube::runtime::reflector::ObjectRef;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::reconcile::context::{self, StoredContext};
use crate::workloads::list::Listings;
use crate::workloads::shared::SHARED;
use crate::workloads::write::Pace;
use crate::workloads::{Context, error_policy, reconcile};

/// Concurrent rounds: few, so that reconciliations of contexts have priority.
const WIDTH: u16 = 4;
/// The delay from the write of a Secret to the first round. If a kubelet synchronizes a Pod before its own watch has
/// received the new Secret, it writes the old token again.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs until it is stopped; returns at once without a channel. A stop drops rounds in flight: the next round reads
/// everything from the cluster.
pub async fn control(
    base: Arc<context::Context>,
    called: Option<UnboundedReceiver<ObjectRef<StoredContext>>>,
    stop: &CancellationToken,
) {
    let Some(called) = called else { return };
    let contexts = base.contexts.clone();
    let cx = Arc::new(Context { base, pace: Pace::default(), listings: Listings::default() });
    let sweep = async {
        loop {
            sleep(SHARED).await;
            cx.listings.sweep();
        }
    };
    // Reconciliations of contexts trigger the rounds through the channel, so it watches nothing itself.
    let rounds = Controller::for_stream(futures::stream::pending(), contexts)
        .reconcile_on(called)
        .with_config(controller::Config::default().concurrency(WIDTH).debounce(PAUSE))
        .run(reconcile, error_policy, cx.clone())
        .for_each(|result| async move {
            if let Ok((object, action)) = result {
                tracing::trace!(%object, ?action, "round ended");
            }
        });
    stop.run_until_cancelled(async {
        tokio::select! {
            () = rounds => {}
            () = sweep => {}
        }
    })
    .await;
}
