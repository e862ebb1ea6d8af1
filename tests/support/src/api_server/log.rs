//! Every request, in order of arrival.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::call::{Call, Verb};
use super::kind::Kind;

/// A request and its response.
#[derive(Clone, Debug)]
pub struct Record {
    /// The request.
    pub call: Arc<Call>,
    /// The time of its arrival.
    pub at: Instant,
    /// The HTTP code of its response, even if that was lost; `None` if there is no response (yet).
    pub code: Option<u16>,
    id: u64,
}

impl Record {
    /// The RBAC verbs that it needs: an apply that creates an object needs both `patch` and `create`.
    pub fn verbs(&self) -> BTreeSet<Verb> {
        let creates = self.call.verb == Verb::Patch && self.code == Some(201);
        [self.call.verb].into_iter().chain(creates.then_some(Verb::Create)).collect()
    }

    /// The resource as in an RBAC rule: `qlikcontexts/status`.
    pub fn resource(&self) -> String {
        match &self.call.subresource {
            Some(subresource) => format!("{}/{subresource}", self.call.kind.plural()),
            None => self.call.kind.plural().to_owned(),
        }
    }
}

/// The requests since the start, or since the log was cleared.
#[derive(Debug, Default)]
pub struct Log {
    /// Oldest first.
    pub records: Vec<Record>,
    made: u64,
}

impl Log {
    /// Requests with this verb for this kind, `/status` included.
    pub fn count(&self, verb: Verb, kind: Kind) -> usize {
        self.count_if(|call| call.verb == verb && call.kind == kind)
    }

    /// Writes to `/status`.
    pub fn status_writes(&self) -> usize {
        self.count_if(|call| call.subresource.is_some() && call.verb != Verb::Get)
    }

    /// Requests with a verb that writes.
    pub fn writes(&self) -> usize {
        self.count_if(|call| !matches!(call.verb, Verb::Get | Verb::List | Verb::Watch))
    }

    /// Requests that match a filter.
    pub fn count_if(&self, is: impl Fn(&Call) -> bool) -> usize {
        self.records.iter().filter(|record| is(&record.call)).count()
    }

    /// The permissions that the requests needed: (group, resource, verb).
    pub fn rights(&self) -> BTreeSet<(&'static str, String, Verb)> {
        let rights = self.records.iter().flat_map(|record| {
            record.verbs().into_iter().map(|verb| (record.call.kind.group(), record.resource(), verb))
        });
        rights.collect()
    }

    pub(super) fn begin(&mut self, call: Arc<Call>) -> u64 {
        self.made += 1;
        self.records.push(Record { call, at: Instant::now(), code: None, id: self.made });
        self.made
    }

    pub(super) fn end(&mut self, id: u64, code: u16) {
        if let Some(record) = self.records.iter_mut().rev().find(|record| record.id == id) {
            record.code = Some(code);
        }
    }
}
