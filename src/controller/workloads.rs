//! The loop that looks after workloads, beside that of contexts: the same objects, a queue and a few slots of its own.

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
use crate::workloads::{Context, error_policy, look};

/// Rounds at a time: few, so that contexts come first.
const WIDTH: u16 = 4;
/// From the write of a Secret to the first round: a kubelet that was woken before its own watch has shown the Secret would write
/// the old one again.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs until it is stopped; without calls there is nothing to run. A round is dropped where it is: the next one finds everything in the cluster.
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
    // Its own trigger says nothing: the runs call.
    let rounds = Controller::for_stream(futures::stream::pending(), contexts)
        .reconcile_on(called)
        .with_config(controller::Config::default().concurrency(WIDTH).debounce(PAUSE))
        .run(look, error_policy, cx.clone())
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
