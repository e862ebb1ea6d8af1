//! What one watch has shown: the version of every Secret, by hash.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet};

use super::{SecretKey, SecretVersion, Selection, VersionDigest};

/// A Secret that changed, and its version now; `None` means that it is gone.
pub(super) type Change = (SecretKey, Option<VersionDigest>);

/// What one watch has shown.
pub(super) struct Versions {
    shown: HashMap<SecretKey, Entry>,
    /// The list that is under way, or was the last.
    list: u32,
    health: Health,
    breaks: u64,
    /// What lists have shown that nobody was woken for yet.
    changed: HashSet<SecretKey>,
    /// What was read or written and not shown yet. A list may skip it: a Secret that was made and deleted while the watch was
    /// away is as absent as before, but not for those who have read it.
    ahead: HashMap<SecretKey, VersionDigest>,
    /// What is not shown is not there.
    shows_all: bool,
}

pub(super) struct Entry {
    version: VersionDigest,
    /// The list that had it last.
    list: u32,
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

    /// Whether nothing is missing but what is on its way.
    pub(super) fn is_current(&self) -> bool {
        self.health == Health::Current
    }

    /// Whether it shows every Secret.
    pub(super) fn shows_all(&self) -> bool {
        self.shows_all
    }

    /// This version was read or written.
    pub(super) fn read_or_wrote(&mut self, key: SecretKey, version: VersionDigest) {
        if self.shown.get(&key).is_none_or(|entry| entry.version != version) {
            self.ahead.insert(key, version);
        }
    }

    /// Whether this version was read or written, and is still to be shown.
    pub(super) fn is_ahead(&self, key: SecretKey, version: VersionDigest) -> bool {
        self.is_current() && self.ahead.get(&key) == Some(&version)
    }

    /// How often it broke or was listed anew.
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

    /// True if this version was not the known one; that is kept until the list ends if somebody refers to the Secret.
    pub(super) fn list_applied(&mut self, key: SecretKey, version: VersionDigest, is_referenced: bool) -> bool {
        let changed = self.set(key, version);
        if changed && is_referenced {
            self.changed.insert(key);
        }
        changed
    }

    /// All that changed since the last complete list and was not told.
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

    /// What a list that broke off has shown.
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
        if self.ahead.get(&key) == Some(&version) {
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
