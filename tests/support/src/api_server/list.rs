//! Lists, in pages of one consistent snapshot.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use super::form::{Form, Shown};
use super::kind::Kind;
use super::refusal::Refusal;
use super::selector::Selector;
use super::store::Store;

/// The maximum number of unfinished lists. The oldest expires first.
const SNAPSHOTS: usize = 64;

/// Lists that were not read to their end.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    open: VecDeque<Snapshot>,
    made: u64,
}

#[derive(Debug)]
struct Snapshot {
    id: u64,
    version: u64,
    objects: Vec<Arc<Value>>,
}

/// The parameters of a list.
pub(super) struct Listing<'q> {
    pub(super) kind: Kind,
    pub(super) namespace: Option<&'q str>,
    pub(super) selector: Selector,
    pub(super) limit: Option<usize>,
    pub(super) token: Option<&'q str>,
    pub(super) form: Form,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    kind: String,
    api_version: &'static str,
    metadata: PageMetadata,
    items: Vec<Shown<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageMetadata {
    resource_version: String,
    #[serde(rename = "continue", skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining_item_count: Option<usize>,
}

impl Listing<'_> {
    /// One page, as JSON.
    pub(super) fn page(&self, store: &mut Store) -> Result<Bytes, Refusal> {
        let (snapshot, begin) = match self.token {
            Some(token) => store.snapshots.resume(token)?,
            None => {
                let objects = store.objects(self.kind, self.namespace).map(|(_, object)| object);
                let objects = objects.filter(|object| self.selector.selects(object)).cloned().collect();
                store.snapshots.made += 1;
                (Snapshot { id: store.snapshots.made, version: store.version, objects }, 0)
            }
        };
        let end = self.limit.map_or(usize::MAX, |limit| begin.saturating_add(limit)).min(snapshot.objects.len());
        let left = snapshot.objects.len() - end;
        let shown = |object| Shown { form: self.form, object, is_bare: !self.kind.is_custom() };
        let (kind, api_version) = self.form.of_list(self.kind);
        // The last page of a custom kind has an empty continue token. Other kinds omit it.
        let no_token = (self.kind.is_custom() && self.form == Form::Full).then(String::new);
        let page = Page {
            kind,
            api_version,
            metadata: PageMetadata {
                resource_version: snapshot.version.to_string(),
                token: (left > 0).then(|| format!("{}.{end}", snapshot.id)).or(no_token),
                // With a selector the API server does not count the remaining items.
                remaining_item_count: (left > 0 && self.selector.is_empty()).then_some(left),
            },
            items: snapshot.objects.get(begin..end).into_iter().flatten().map(|object| shown(object)).collect(),
        };
        let json = serde_json::to_vec(&page).map_err(|error| Refusal::new(500, "InternalError", error.to_string()))?;
        if left > 0 {
            store.snapshots.keep(snapshot);
        }
        Ok(json.into())
    }
}

impl Snapshots {
    fn resume(&mut self, token: &str) -> Result<(Snapshot, usize), Refusal> {
        let parse = |(id, begin): (&str, &str)| Some((id.parse::<u64>().ok()?, begin.parse::<usize>().ok()?));
        let Some((id, begin)) = token.split_once('.').and_then(parse) else {
            return Err(Refusal::bad_request("invalid continue token: continue key is not valid"));
        };
        let at = self.open.iter().position(|snapshot| snapshot.id == id);
        let snapshot = at.and_then(|at| self.open.remove(at)).ok_or_else(|| {
            Refusal::expired(
                "The provided continue parameter is too old to display a consistent list result. You must start a new \
                 list without the continue parameter.",
            )
        })?;
        Ok((snapshot, begin))
    }

    fn keep(&mut self, snapshot: Snapshot) {
        if self.open.len() == SNAPSHOTS {
            self.open.pop_front();
        }
        self.open.push_back(snapshot);
    }
}
