//! Own writes in flight, and what the watches have shown of their Secrets meanwhile.

use std::collections::HashMap;

use super::{ContextName, SecretKey, VersionDigest};

/// Own writes in flight, by Secret.
#[derive(Default)]
pub(super) struct Writes {
    under_way: HashMap<SecretKey, Vec<Write>>,
    begun: u64,
}

pub(super) struct Write {
    id: u64,
    pub(super) writer: ContextName,
    /// A watch has shown another version since it began.
    pub(super) overtaken: bool,
    /// Changes for which the writer was not woken: whether one is its own is known when the response arrives.
    pub(super) held: Vec<Option<VersionDigest>>,
}

impl Writes {
    pub(super) fn begin(&mut self, secret: SecretKey, writer: &ContextName) -> u64 {
        self.begun += 1;
        let write = Write { id: self.begun, writer: writer.clone(), overtaken: false, held: Vec::new() };
        self.under_way.entry(secret).or_default().push(write);
        self.begun
    }

    pub(super) fn end(&mut self, secret: SecretKey, id: u64) -> Option<Write> {
        let writes = self.under_way.get_mut(&secret)?;
        let at = writes.iter().position(|write| write.id == id)?;
        let write = writes.swap_remove(at);
        if writes.is_empty() {
            self.under_way.remove(&secret);
        }
        Some(write)
    }

    /// A version was shown that no write in flight may overwrite.
    pub(super) fn overtake(&mut self, secret: SecretKey) {
        self.under_way.get_mut(&secret).into_iter().flatten().for_each(|write| write.overtaken = true);
    }

    /// Whether this context writes the Secret, so that it is woken for the change only when its write has ended.
    pub(super) fn hold(&mut self, secret: SecretKey, context: &ContextName, version: Option<VersionDigest>) -> bool {
        let mut writes = self.under_way.get_mut(&secret).into_iter().flatten();
        let write = writes.find(|write| write.writer == *context);
        write.map(|write| write.held.push(version)).is_some()
    }
}
