//! The garbage collector and the namespace controller, run when a test calls them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::kind::Kind;
use super::ownership::Writer;
use super::store::{Key, Store};
use super::write::Write;

/// The field manager of these writes.
const COLLECTOR: &str = "garbage-collector";

/// Deletes the objects of terminating namespaces and of deleted owners until none is left. Returns their number.
///
/// An owner of a kind that is not served here counts as existing.
pub(super) fn collect(store: &mut Store) -> usize {
    let mut collected = 0;
    loop {
        let garbage = find(store);
        if garbage.is_empty() {
            return collected;
        }
        let before = store.version;
        for (kind, key) in garbage {
            if kind == Kind::Namespace {
                store.commit(COLLECTOR, kind, key, None);
            } else {
                let writer = Writer { manager: COLLECTOR.to_owned(), subresource: None };
                // It may already be deleted.
                let _ = Write { store, kind, key, writer }.delete(&json!({}));
            }
            collected += 1;
        }
        // The remaining objects wait for finalizers.
        if store.version == before {
            return collected;
        }
    }
}

fn find(store: &Store) -> Vec<(Kind, Key)> {
    let all = || Kind::ALL.into_iter().flat_map(|kind| store.objects(kind, None).map(move |object| (kind, object)));
    let is_leaving = |object: &Value| !object["metadata"]["deletionTimestamp"].is_null();
    let uids: BTreeSet<&str> = all().filter_map(|(_, (_, object))| object["metadata"]["uid"].as_str()).collect();
    let ending: BTreeSet<&str> = store
        .objects(Kind::Namespace, None)
        .filter(|(_, namespace)| is_leaving(namespace))
        .map(|(key, _)| key.1.as_str())
        .collect();
    let is_abandoned = |object: &Value| {
        let owners = object["metadata"]["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_gone = |owner: &Value| {
            super::service::kind_of(owner).is_some() && !owner["uid"].as_str().is_some_and(|uid| uids.contains(uid))
        };
        !owners.is_empty() && owners.iter().all(is_gone)
    };
    let inside = all().filter(|(kind, (key, object))| {
        let is_garbage = kind.is_namespaced() && (ending.contains(key.0.as_str()) || is_abandoned(object));
        is_garbage && !is_leaving(object)
    });
    let inside: Vec<_> = inside.map(|(kind, (key, _))| (kind, key.clone())).collect();
    if !inside.is_empty() {
        return inside;
    }
    let is_empty = |namespace: &str| {
        let mut kinds = Kind::ALL.into_iter().filter(|kind| kind.is_namespaced());
        kinds.all(|kind| store.objects(kind, Some(namespace)).next().is_none())
    };
    let empty = ending.into_iter().filter(|namespace| is_empty(namespace));
    empty.map(|namespace| (Kind::Namespace, (String::new(), namespace.to_owned()))).collect()
}
