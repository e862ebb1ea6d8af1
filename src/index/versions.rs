//! What one watch has shown: the version of every Secret, by hash.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet};

use super::{SecretKey, SecretVersion, Selection, VersionDigest};

/// A Secret that changed, and its version now; `None` means that it is gone.
pub(super) type Change = (SecretKey, Option<VersionDigest>);

/// What one watch has shown.
pub(super) struct Versions {
    shown: HashMap<SecretKey, Entry>,
    /// The list in progress, or the last one.
    list: u32,
    health: Health,
    breaks: u64,
    /// Changes that lists have shown and for which no context was woken yet.
    changed: HashSet<SecretKey>,
    /// Versions that were read or written and not shown yet. A list may skip one: a Secret that was created and deleted while the
    /// watch was interrupted is as absent as before, but a context may have read it.
    ahead: HashMap<SecretKey, Ahead>,
    /// A Secret that is not shown does not exist.
    shows_all: bool,
}

pub(super) struct Entry {
    version: VersionDigest,
    /// The last list that contained it.
    list: u32,
}

/// A version that was not shown yet.
struct Ahead {
    version: VersionDigest,
    /// It was read. A version that was written may have been shown, and deleted, before the response to the write.
    was_read: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Health {
    /// Not listed, or not to its end.
    Unlisted,
    Current,
    /// Events may be missing until the next one arrives.
    Broken,
}

impl Versions {
    pub(super) fn new(selection: Selection) -> Self {
        Self {
            shown: HashMap::new(),
            list: 0,
            health: Health::Unlisted,
            breaks: 0,
            changed: HashSet::new(),
            ahead: HashMap::new(),
            shows_all: selection == Selection::All,
        }
    }

    pub(super) fn get(&self, key: SecretKey) -> SecretVersion {
        match self.shown.get(&key) {
            _ if !self.is_current() => SecretVersion::Unknown,
            Some(entry) => SecretVersion::Version(entry.version),
            None if self.shows_all => SecretVersion::Absent,
            None => SecretVersion::Unknown,
        }
    }

    /// Whether only events in transit are missing.
    pub(super) fn is_current(&self) -> bool {
        self.health == Health::Current
    }

    /// Whether it shows every Secret.
    pub(super) fn shows_all(&self) -> bool {
        self.shows_all
    }

    /// This version was read.
    pub(super) fn read(&mut self, key: SecretKey, version: VersionDigest) {
        self.learned(key, Ahead { version, was_read: true });
    }

    /// This version was written.
    pub(super) fn wrote(&mut self, key: SecretKey, version: VersionDigest) {
        self.learned(key, Ahead { version, was_read: false });
    }

    fn learned(&mut self, key: SecretKey, ahead: Ahead) {
        if self.shown.get(&key).is_none_or(|entry| entry.version != ahead.version) {
            self.ahead.insert(key, ahead);
        }
    }

    /// Whether this version was read or written, and was not shown yet.
    pub(super) fn is_ahead(&self, key: SecretKey, version: VersionDigest) -> bool {
        self.is_current() && self.ahead.get(&key).is_some_and(|ahead| ahead.version == version)
    }

    /// Whether a version was read that was not shown yet.
    pub(super) fn was_read_ahead(&self, key: SecretKey) -> bool {
        self.ahead.get(&key).is_some_and(|ahead| ahead.was_read)
    }

    /// How often it broke or was listed again.
    pub(super) fn breaks(&self) -> u64 {
        self.breaks
    }

    /// True if this version was not the known one.
    pub(super) fn applied(&mut self, key: SecretKey, version: VersionDigest) -> bool {
        self.resumed();
        self.set(key, version)
    }

    /// True if the Secret was known.
    pub(super) fn deleted(&mut self, key: SecretKey) -> bool {
        self.resumed();
        self.shown.remove(&key).is_some()
    }

    pub(super) fn list_began(&mut self) {
        self.health = Health::Unlisted;
        self.breaks += 1;
        self.list = self.list.wrapping_add(1);
    }

    /// True if this version was not the known one; if a context refers to the Secret, that is kept until the list ends.
    pub(super) fn list_applied(&mut self, key: SecretKey, version: VersionDigest, is_referenced: bool) -> bool {
        let changed = self.set(key, version);
        if changed && is_referenced {
            self.changed.insert(key);
        }
        changed
    }

    /// All changes since the last complete list that were not reported yet.
    pub(super) fn list_ended(&mut self) -> Vec<Change> {
        self.health = Health::Current;
        let (list, changed) = (self.list, &mut self.changed);
        changed.extend(self.ahead.drain().map(|(key, _)| key));
        self.shown.retain(|key, entry| {
            let listed = entry.list == list;
            if !listed {
                changed.insert(*key);
            }
            listed
        });
        self.take_changed()
    }

    /// What an interrupted list has shown.
    pub(super) fn failed(&mut self) -> Vec<Change> {
        self.breaks += 1;
        if self.health == Health::Current {
            self.health = Health::Broken;
        }
        self.take_changed()
    }

    fn take_changed(&mut self) -> Vec<Change> {
        let version = |key| self.shown.get(&key).map(|entry| entry.version);
        std::mem::take(&mut self.changed).into_iter().map(|key| (key, version(key))).collect()
    }

    /// Events arrive in the order of their versions: after one, all before it have been shown.
    fn resumed(&mut self) {
        if self.health == Health::Broken {
            self.health = Health::Current;
        }
    }

    fn set(&mut self, key: SecretKey, version: VersionDigest) -> bool {
        let list = self.list;
        if self.ahead.get(&key).is_some_and(|ahead| ahead.version == version) {
            self.ahead.remove(&key);
        }
        match self.shown.entry(key) {
            Slot::Occupied(mut slot) => {
                let before = std::mem::replace(slot.get_mut(), Entry { version, list });
                before.version != version
            }
            Slot::Vacant(slot) => {
                slot.insert(Entry { version, list });
                true
            }
        }
    }
}
