//! Lists that several rounds share. A round uses the list of another round if that list began after the round was
//! requested.
//!
//! Rounds begin a second after they are requested, so a namespace is listed about once a second at most, with any
//! number of contexts.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::Error;

/// For how long a list is kept and shared.
pub const SHARED: Duration = Duration::from_secs(5);

/// The newest list of each place: a namespace, or a kind in a namespace.
pub struct Shared<P, K>(Mutex<HashMap<P, Place<K>>>);

/// Locked during a list, so that other rounds wait for the same list.
type Place<K> = Arc<tokio::sync::Mutex<Option<Listed<K>>>>;

struct Listed<K> {
    begun: Instant,
    ended: Instant,
    objects: Arc<[K]>,
}

impl<P: Eq + Hash, K> Shared<P, K> {
    /// The objects from a list that began after this time; lists them now if there is none.
    pub async fn after(
        &self,
        moment: Instant,
        place: P,
        list: impl Future<Output = Result<Vec<K>, Error>>,
    ) -> Result<Arc<[K]>, Error> {
        let place = self.0.lock().entry(place).or_default().clone();
        let mut listed = place.lock().await;
        if let Some(listed) = listed.as_ref().filter(|listed| listed.begun > moment && !listed.is_old()) {
            return Ok(listed.objects.clone());
        }
        let begun = Instant::now();
        let objects: Arc<[K]> = list.await?.into();
        *listed = Some(Listed { begun, ended: Instant::now(), objects: objects.clone() });
        Ok(objects)
    }

    /// Removes lists that are too old.
    pub fn sweep(&self) {
        let is_new = |listed: &Option<Listed<K>>| listed.as_ref().is_some_and(|listed| !listed.is_old());
        // If a place is locked, its list is in progress.
        self.0.lock().retain(|_, place| place.try_lock().map_or(true, |listed| is_new(&listed)));
    }
}

impl<K> Listed<K> {
    fn is_old(&self) -> bool {
        self.ended.elapsed() >= SHARED
    }
}

impl<P, K> Default for Shared<P, K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join_all;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::time::sleep;

    const SECOND: Duration = Duration::from_secs(1);

    /// Counts lists. Each takes a second and returns its own number.
    #[derive(Default)]
    struct Counted(Shared<&'static str, usize>, AtomicUsize);

    impl Counted {
        async fn after(&self, moment: Instant, place: &'static str) -> usize {
            let list = async {
                let number = self.1.fetch_add(1, Ordering::Relaxed);
                sleep(SECOND).await;
                Ok(vec![number])
            };
            self.0.after(moment, place, list).await.unwrap()[0]
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rounds_that_were_requested_before_a_list_began_share_it() {
        let lists = Counted::default();
        let called = Instant::now();
        sleep(SECOND).await;
        assert_eq!(join_all((0..50).map(|_| lists.after(called, "a"))).await, [0; 50]);
        assert_eq!(lists.after(called, "b").await, 1, "another namespace is listed for itself");
        assert_eq!(lists.after(called, "a").await, 0);
        // Requested during the list, which may not contain a change that was made since it began.
        assert_eq!(lists.after(called + SECOND + SECOND / 2, "a").await, 2);
        assert_eq!(lists.after(called, "a").await, 2);
        sleep(SHARED).await;
        assert_eq!(lists.after(called, "a").await, 3, "the last one is too old");
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_failed_is_not_shared() {
        let lists = Shared::<&str, usize>::default();
        let called = Instant::now();
        sleep(SECOND).await;
        let failed = lists.after(called, "a", async { Err(Error::NotLeader) });
        assert!(failed.await.is_err());
        assert_eq!(&*lists.after(called, "a", async { Ok(vec![1]) }).await.unwrap(), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn lists_that_are_too_old_are_removed() {
        let lists = Counted::default();
        lists.after(Instant::now(), "a").await;
        sleep(SHARED / 2).await;
        lists.0.sweep();
        assert_eq!(lists.0.0.lock().len(), 1);
        let listing = async {
            sleep(SHARED / 2).await;
            lists.after(Instant::now(), "b").await
        };
        let swept = async {
            sleep(SHARED / 2 + SECOND / 2).await;
            lists.0.sweep();
            lists.0.0.lock().keys().copied().collect::<Vec<_>>()
        };
        let (_, left) = futures::join!(listing, swept);
        assert_eq!(left, ["b"], "b is being listed");
    }
}
