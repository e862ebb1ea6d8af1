//! Merges the watches of one kind, one for each namespace or a single one, into one consistent stream of events.
//!
//! A store assumes that a list has all objects, so two watches that feed one store would erase each other's objects. Here a list
//! of one namespace is turned into the changes that it makes: deletions of objects that disappeared while the watch was
//! interrupted, and the objects that it has. Objects of other watches stay untouched, and a namespace that cannot be listed
//! delays no other.
//!
//! A list takes effect when it is complete, and an object is in the store before it is passed on. The first list is passed on
//! as a list, which makes the store ready.

use std::collections::HashSet;
use std::future::ready;
use std::iter::once;
use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::Stream;
use futures::stream::{self, BoxStream, StreamExt};
use kube::Resource;
use kube::runtime::reflector::Store;
use kube::runtime::watcher::{Event, Result};

/// The events of kube's watcher.
type Watch<K> = BoxStream<'static, Result<Event<K>>>;

/// The events that replace one event.
type Events<K> = Box<dyn Iterator<Item = Result<Event<K>>> + Send>;

/// Merges watches, each with its namespace or `None` for the whole cluster, for `store`, which only this stream may feed: an
/// event is in the store before the next is polled.
pub fn union<K>(
    watches: Vec<(Option<String>, Watch<K>)>,
    store: &Store<K>,
) -> impl Stream<Item = Result<Event<K>>> + Send + 'static + use<K>
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let is_ready = Arc::new(AtomicBool::new(false));
    let events = watches
        .into_iter()
        .map(|(namespace, events)| whole_lists(events, namespace, store.clone(), is_ready.clone()).boxed());
    stream::select_all(events).flat_map(stream::iter)
}

fn whole_lists<K>(
    events: Watch<K>,
    namespace: Option<String>,
    store: Store<K>,
    is_ready: Arc<AtomicBool>,
) -> impl Stream<Item = Events<K>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let mut list = Vec::new();
    events.filter_map(move |event| {
        let events: Option<Events<K>> = match event {
            Ok(Event::Init) => {
                list.clear();
                None
            }
            Ok(Event::InitApply(object)) => {
                list.push(object);
                None
            }
            Ok(Event::InitDone) => Some(complete(take(&mut list), namespace.as_deref(), &store, &is_ready)),
            other => Some(Box::new(once(other))),
        };
        ready(events)
    })
}

/// The events for a complete list of a namespace, or of the cluster.
fn complete<K>(list: Vec<K>, namespace: Option<&str>, store: &Store<K>, is_ready: &AtomicBool) -> Events<K>
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let is_here = |object: &K| object.meta().namespace.as_deref() == namespace;
    if namespace.is_some() && is_ready.swap(true, Ordering::Relaxed) {
        let listed: HashSet<_> = list.iter().map(identity).collect();
        let vanished = store.state_filter(|object| is_here(object) && !listed.contains(&identity(object)));
        let deletions: Vec<_> = vanished.iter().map(|object| Event::Delete(K::clone(object))).collect();
        return Box::new(deletions.into_iter().chain(list.into_iter().map(Event::Apply)).map(Ok));
    }
    // Events of other namespaces may have come before.
    let others = store.state_filter(|object| namespace.is_some() && !is_here(object));
    let all = others.into_iter().map(|object| K::clone(&object)).chain(list).map(Event::InitApply);
    Box::new(once(Event::Init).chain(all).chain(once(Event::InitDone)).map(Ok))
}

/// An object that was deleted and created again is a different one.
fn identity<K: Resource>(object: &K) -> (Option<&str>, Option<&str>) {
    (object.meta().name.as_deref(), object.meta().uid.as_deref())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures::FutureExt;
    use futures::channel::mpsc::{UnboundedSender, unbounded};
    use k8s_openapi::api::core::v1::Secret;
    use kube::api::ObjectMeta;
    use kube::runtime::reflector::store;
    use kube::runtime::{WatchStreamExt, watcher};
    use proptest::prelude::*;

    use super::*;

    const NAMESPACES: [&str; 3] = ["a", "b", "c"];

    /// An action of a server, or an event in the life of a watch.
    #[derive(Clone, Debug)]
    enum Happening {
        Applied(u8),
        Deleted(u8),
        /// The watch was interrupted; this is the list that it gets.
        Listed(Vec<u8>),
        /// A list that is interrupted after these.
        BrokenOff(Vec<u8>),
        Failed,
    }

    fn happening() -> impl Strategy<Value = Happening> {
        let names = || proptest::collection::vec(0..4_u8, 0..4);
        prop_oneof![
            (0..4_u8).prop_map(Happening::Applied),
            (0..4_u8).prop_map(Happening::Deleted),
            names().prop_map(Happening::Listed),
            names().prop_map(Happening::BrokenOff),
            Just(Happening::Failed),
        ]
    }

    type Events = UnboundedSender<Result<Event<Secret>>>;

    /// The present version of each object.
    type There = BTreeMap<(&'static str, u8), usize>;

    fn secret(namespace: &str, name: u8, version: usize) -> Secret {
        let metadata = ObjectMeta {
            namespace: Some(namespace.into()),
            name: Some(name.to_string()),
            resource_version: Some(version.to_string()),
            ..ObjectMeta::default()
        };
        Secret { metadata, ..Secret::default() }
    }

    /// Sends an event to one watch, and records the present versions.
    fn tell(events: &Events, namespace: &'static str, happening: &Happening, version: usize, there: &mut There) {
        let send = |event| events.unbounded_send(Ok(event)).unwrap();
        let list = |names: &[u8]| {
            send(Event::Init);
            names.iter().for_each(|name| send(Event::InitApply(secret(namespace, *name, version))));
        };
        match happening {
            Happening::Applied(name) => {
                send(Event::Apply(secret(namespace, *name, version)));
                there.insert((namespace, *name), version);
            }
            Happening::Deleted(name) => {
                send(Event::Delete(secret(namespace, *name, version)));
                there.remove(&(namespace, *name));
            }
            Happening::Listed(names) => {
                list(names);
                send(Event::InitDone);
                there.retain(|(of, _), _| *of != namespace);
                there.extend(names.iter().map(|name| ((namespace, *name), version)));
            }
            Happening::BrokenOff(names) => list(names),
            Happening::Failed => events.unbounded_send(Err(watcher::Error::NoResourceVersion)).unwrap(),
        }
    }

    fn held(store: &Store<Secret>) -> There {
        let held = store.state().into_iter().map(|secret| {
            let meta = secret.meta();
            let namespace = NAMESPACES.into_iter().find(|name| Some(*name) == meta.namespace.as_deref()).unwrap();
            let name = meta.name.as_ref().unwrap().parse().unwrap();
            ((namespace, name), meta.resource_version.as_ref().unwrap().parse().unwrap())
        });
        held.collect()
    }

    #[tokio::test]
    async fn an_object_that_was_created_again_while_the_watch_was_away_is_reported_as_deleted_first() {
        let made = |uid: &str| {
            let mut secret = secret("a", 0, 1);
            secret.metadata.uid = Some(uid.into());
            secret
        };
        let (events, receiver) = unbounded();
        let (reader, writer) = store::<Secret>();
        let stream = union(vec![(Some("a".into()), receiver.boxed())], &reader).reflect(writer);
        for uid in ["first", "first", "second"] {
            for event in [Event::Init, Event::InitApply(made(uid)), Event::InitDone] {
                events.unbounded_send(Ok(event)).unwrap();
            }
        }
        drop(events);
        let events = stream.map(|event| match event.unwrap() {
            Event::Init | Event::InitDone => String::new(),
            Event::Delete(secret) => format!("deleted {}", secret.metadata.uid.unwrap()),
            Event::Apply(secret) | Event::InitApply(secret) => secret.metadata.uid.unwrap(),
        });
        assert_eq!(events.collect::<Vec<_>>().await, ["", "first", "", "first", "deleted first", "second"]);
        assert_eq!(reader.state().len(), 1);
    }

    proptest! {
        #[test]
        fn whatever_happens_in_whatever_order_the_store_holds_what_is_there(
            // Several events are in transit when the stream is polled.
            rounds in proptest::collection::vec(proptest::collection::vec((0..3_usize, happening()), 1..6), 1..20)
        ) {
            let (senders, receivers): (Vec<_>, Vec<_>) = NAMESPACES.map(|_| unbounded()).into_iter().unzip();
            let watches = NAMESPACES.iter().zip(receivers).map(|(name, events)| (Some((*name).to_owned()), events.boxed()));
            let (reader, writer) = store::<Secret>();
            let mut stream = union(watches.collect(), &reader).reflect(writer).boxed();
            let (mut there, mut listed, mut version) = (There::new(), false, 0);
            for round in rounds {
                let (mut failures, mut seen) = (0, 0);
                for (namespace, happening) in round {
                    version += 1;
                    failures += usize::from(matches!(happening, Happening::Failed));
                    listed |= matches!(happening, Happening::Listed(_));
                    tell(&senders[namespace], NAMESPACES[namespace], &happening, version, &mut there);
                }
                while let Some(Some(event)) = stream.next().now_or_never() {
                    seen += usize::from(event.is_err());
                }
                prop_assert_eq!(held(&reader), there.clone());
                prop_assert_eq!(seen, failures, "errors pass");
                prop_assert_eq!(reader.wait_until_ready().now_or_never().is_some(), listed, "one list makes it ready");
            }
        }
    }
}
