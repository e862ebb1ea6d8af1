use std::collections::VecDeque;

use futures::FutureExt;
use futures::StreamExt;
use proptest::prelude::*;

use super::SecretVersion::{Absent, Unknown, Version};
use super::*;

type Woken = UnboundedReceiver<Arc<ContextName>>;

fn context(name: &str) -> ContextName {
    ContextName { kind: Kind::Context, namespace: "ns".into(), name: name.into() }
}

fn version(number: &str) -> SecretVersion {
    Version(VersionDigest::of(number))
}

fn names(contexts: &[Arc<ContextName>]) -> Vec<&str> {
    contexts.iter().map(|context| context.name.as_str()).collect()
}

fn late(woken: &mut Woken) -> Vec<String> {
    std::iter::from_fn(|| woken.next().now_or_never().flatten()).map(|context| context.name.clone()).collect()
}

fn list(index: &Index, watch: WatchId, secrets: &[(&str, &str)]) -> Vec<Arc<ContextName>> {
    index.list_began(watch);
    secrets.iter().for_each(|(name, version)| index.list_applied(watch, "ns", name, version));
    index.list_ended(watch)
}

/// The context `one` with its Secrets `one` and `one-token`, listed.
fn listed() -> (Arc<Index>, WatchId, Woken) {
    let (index, woken) = Index::new();
    let watch = index.watch(None, Selection::All);
    index.context_applied(&context("one"), Some("one"), "one-token");
    list(&index, watch, &[("one", "7"), ("one-token", "8")]);
    (index, watch, woken)
}

#[test]
fn a_change_wakes_the_contexts_that_use_the_secret_and_a_known_version_none() {
    let (index, watch, _) = listed();
    index.context_applied(&context("two"), Some("one"), "two-token");
    let cases = [
        (("one", "7"), vec![]),
        (("one", "9"), vec!["one", "two"]),
        (("one", "9"), vec![]),
        (("one-token", "10"), vec!["one"]),
        (("two-token", "11"), vec!["two"]),
        (("stranger", "12"), vec![]),
    ];
    for ((name, version), woken) in cases {
        assert_eq!(names(&index.secret_applied(watch, "ns", name, version)), woken, "{name} {version}");
        assert_eq!(index.secret_applied(watch, "elsewhere", name, version), [], "another namespace");
    }
    index.context_deleted(&context("one"));
    assert_eq!(names(&index.secret_deleted(watch, "ns", "one")), ["two"]);
    assert_eq!(names(&index.secret_deleted(watch, "ns", "one")), [""; 0], "it was gone already");
    index.context_applied(&context("two"), Some("new"), "two-token");
    assert_eq!(names(&index.secret_applied(watch, "ns", "one", "13")), [""; 0], "it refers to another Secret now");
    assert_eq!(names(&index.secret_applied(watch, "ns", "new", "14")), ["two"]);
}

#[test]
fn a_list_wakes_for_what_changed_or_vanished_and_for_nothing_else() {
    let (index, watch, _) = listed();
    index.context_applied(&context("two"), Some("one"), "two-token");
    let same = [("one", "7"), ("one-token", "8"), ("stranger", "9")];
    list(&index, watch, &same);
    assert_eq!(names(&list(&index, watch, &same)), [""; 0]);
    assert_eq!(names(&list(&index, watch, &[("one", "7"), ("one-token", "8")])), [""; 0], "a stranger vanished");
    assert_eq!(names(&list(&index, watch, &[("one", "7"), ("one-token", "10")])), ["one"]);
    assert_eq!(names(&list(&index, watch, &[("one-token", "10")])), ["one", "two"]);
    assert_eq!((index.credential("ns", "one"), index.target("ns", "one-token")), (Absent, version("10")));
}

#[test]
fn a_target_that_was_read_and_is_not_shown_yet_is_not_known_to_be_absent() {
    let (index, watch, _) = listed();
    assert_eq!(index.target("ns", "new"), Absent);
    assert!(index.secret_read("ns", "new", "11", index.epoch("ns")));
    assert_eq!(index.target("ns", "new"), Unknown);
    index.secret_applied(watch, "ns", "new", "11");
    assert_eq!(index.target("ns", "new"), version("11"));
    index.secret_deleted(watch, "ns", "new");
    assert_eq!(index.target("ns", "new"), Absent);
    assert!(index.secret_read("ns", "skipped", "12", index.epoch("ns")));
    list(&index, watch, &[]);
    assert_eq!(index.target("ns", "skipped"), Absent, "it was deleted before the list");
}

#[test]
fn what_a_list_that_broke_off_has_shown_wakes_once() {
    let (index, watch, _) = listed();
    index.list_began(watch);
    index.list_applied(watch, "ns", "one", "9");
    assert_eq!(names(&index.watch_failed(watch)), ["one"]);
    assert_eq!(names(&list(&index, watch, &[("one", "9"), ("one-token", "8")])), [""; 0]);
    index.list_began(watch);
    index.list_applied(watch, "ns", "one", "10");
    assert_eq!(
        names(&list(&index, watch, &[("one", "10"), ("one-token", "8")])),
        ["one"],
        "begun anew without a failure"
    );
}

#[test]
fn nothing_is_said_before_the_first_list_and_while_a_watch_is_broken() {
    let (index, _) = Index::new();
    assert_eq!(index.credential("ns", "one"), Unknown, "no watch");
    let watch = index.watch(Some("ns"), Selection::All);
    assert_eq!(index.credential("ns", "one"), Unknown);
    index.list_began(watch);
    index.list_applied(watch, "ns", "one", "7");
    assert_eq!(index.credential("ns", "one"), Unknown);
    index.list_ended(watch);
    assert_eq!([index.credential("ns", "one"), index.target("ns", "one")], [version("7"); 2]);
    assert_eq!((index.credential("ns", "two"), index.credential("other", "one")), (Absent, Unknown));

    let epoch = index.epoch("ns");
    index.secret_applied(watch, "ns", "one", "8");
    assert_eq!(index.epoch("ns"), epoch);
    index.watch_failed(watch);
    assert_eq!((index.credential("ns", "one"), index.epoch("ns") == epoch), (Unknown, false));
    index.secret_applied(watch, "ns", "other", "9");
    assert_eq!((index.credential("ns", "one"), index.epoch("ns") == epoch), (version("8"), false), "it has resumed");
    let epoch = index.epoch("ns");
    index.list_began(watch);
    assert_eq!((index.credential("ns", "one"), index.epoch("ns") == epoch), (Unknown, false));
    index.watch_failed(watch);
    index.secret_applied(watch, "ns", "one", "10");
    assert_eq!(index.credential("ns", "one"), Unknown, "the list was never completed");
}

#[test]
fn a_secret_that_a_selector_may_hide_is_unknown_and_never_absent() {
    let (index, _) = Index::new();
    let credentials = index.watch(None, Selection::Credentials);
    let derived = index.watch(None, Selection::Derived);
    list(&index, credentials, &[("one", "7")]);
    list(&index, derived, &[("one-token", "8")]);
    assert_eq!((index.credential("ns", "one"), index.credential("ns", "one-token")), (version("7"), Unknown));
    assert_eq!((index.target("ns", "one-token"), index.target("ns", "one")), (version("8"), Unknown));
    index.watch_failed(derived);
    assert_eq!((index.credential("ns", "one"), index.target("ns", "one-token")), (version("7"), Unknown));
}

#[test]
fn the_watch_event_of_an_own_write_wakes_no_context_in_either_order() {
    let (index, watch, mut woken) = listed();
    let one = context("one");
    let writing = index.writing(&one, "one-token");
    writing.written("9");
    assert_eq!(index.target("ns", "one-token"), version("9"), "it counts as seen");
    assert_eq!(names(&index.secret_applied(watch, "ns", "one-token", "9")), [""; 0]);
    let writing = index.writing(&one, "one-token");
    assert_eq!(names(&index.secret_applied(watch, "ns", "one-token", "10")), [""; 0], "the echo may come first");
    writing.written("10");
    assert_eq!((index.target("ns", "one-token"), late(&mut woken)), (version("10"), vec![]));
}

#[test]
fn a_foreign_change_around_an_own_write_wakes_the_writer() {
    let (index, watch, mut woken) = listed();
    let one = context("one");
    index.writing(&one, "one-token").written("9");
    assert_eq!(names(&index.secret_applied(watch, "ns", "one-token", "9")), [""; 0]);
    assert_eq!(names(&index.secret_applied(watch, "ns", "one-token", "10")), ["one"], "after it");

    let writing = index.writing(&one, "one-token");
    index.secret_applied(watch, "ns", "one-token", "11");
    index.secret_applied(watch, "ns", "one-token", "12");
    writing.written("11");
    assert_eq!(
        (index.target("ns", "one-token"), late(&mut woken)),
        (version("12"), vec!["one".into()]),
        "seen before the answer"
    );

    let writing = index.writing(&one, "one-token");
    index.secret_deleted(watch, "ns", "one-token");
    drop(writing);
    assert_eq!((index.target("ns", "one-token"), late(&mut woken)), (Absent, vec!["one".into()]), "no answer");
}

#[test]
fn an_own_write_wakes_the_others_who_refer_to_the_secret_once() {
    let (index, watch, mut woken) = listed();
    index.context_applied(&context("reader"), Some("one-token"), "reader-token");
    index.writing(&context("one"), "one-token").written("9");
    assert_eq!(late(&mut woken), ["reader"]);
    assert_eq!(names(&index.secret_applied(watch, "ns", "one-token", "9")), [""; 0]);
    let writing = index.writing(&context("one"), "one-token");
    assert_eq!(names(&index.secret_applied(watch, "ns", "one-token", "10")), ["reader"]);
    writing.written("10");
    assert_eq!(late(&mut woken), [""; 0]);
}

#[test]
fn a_write_does_not_count_as_seen_by_a_watch_that_broke_meanwhile() {
    type Break = fn(&Index, WatchId);
    let breaks: [Break; 2] = [
        |index, watch| drop(index.watch_failed(watch)),
        |index, watch| {
            // The Secret was written and deleted before the list was made.
            index.list_began(watch);
            index.list_applied(watch, "ns", "one", "7");
        },
    ];
    for broken in breaks {
        let (index, watch, mut woken) = listed();
        let epoch = index.epoch("ns");
        let writing = index.writing(&context("one"), "one-token");
        broken(&index, watch);
        writing.written("9");
        assert_eq!((index.target("ns", "one-token"), late(&mut woken)), (Unknown, vec!["one".into()]));
        assert!(!index.secret_read("ns", "one-token", "9", epoch), "a read that took as long is repeated, too");
        index.list_ended(watch);
        assert_ne!(index.target("ns", "one-token"), version("9"));
    }
}

#[test]
fn a_version_that_was_read_is_ahead_until_the_watch_shows_it() {
    let (index, watch, _woken) = listed();
    let epoch = index.epoch("ns");
    let read = |name: &str, version: &str| assert!(index.secret_read("ns", name, version, epoch));
    let ahead = |name: &str, version: &str| index.credential_is_ahead("ns", name, version);
    read("one", "7");
    assert!(!ahead("one", "7"), "it is shown already");
    read("one", "9");
    read("new", "10");
    assert!(ahead("one", "9") && ahead("new", "10") && !ahead("one", "7"));
    index.secret_applied(watch, "ns", "one", "8");
    assert!(ahead("one", "9"), "an older version is shown first");
    index.secret_applied(watch, "ns", "one", "9");
    index.secret_applied(watch, "ns", "new", "10");
    index.secret_deleted(watch, "ns", "new");
    assert!(!ahead("one", "9") && !ahead("new", "10"));
    read("one", "11");
    index.watch_failed(watch);
    assert!(!ahead("one", "11"), "of a watch that broke nothing is expected");
}

#[test]
fn a_secret_that_came_and_went_while_the_watch_was_away_is_missed_by_those_who_have_read_or_written_it() {
    type Knowledge = fn(&Arc<Index>, WatchId);
    let known: [Knowledge; 3] = [
        |index, _| assert!(index.secret_read("ns", "new-token", "9", index.epoch("ns"))),
        |index, _| index.writing(&context("new"), "new-token").written("9"),
        // Written before, answered after the list began.
        |index, watch| {
            let writing = index.writing(&context("new"), "new-token");
            index.list_began(watch);
            writing.written("9");
        },
    ];
    for known in known {
        let (index, watch, _woken) = listed();
        index.context_applied(&context("new"), None, "new-token");
        index.watch_failed(watch);
        known(&index, watch);
        assert_eq!(names(&list(&index, watch, &[("one", "7"), ("one-token", "8")])), ["new"]);
        assert_eq!(names(&list(&index, watch, &[("one", "7"), ("one-token", "8")])), [""; 0], "once");
    }
}

#[test]
fn ten_thousand_who_share_a_credential_come_and_go_quickly_and_leave_nothing() {
    let (index, _woken) = Index::new();
    let watch = index.watch(None, Selection::All);
    let contexts: Vec<_> = (0..10_000).map(|number| context(&format!("context-{number:05}"))).collect();
    contexts.iter().for_each(|context| index.context_applied(context, Some("shared"), &context.name));
    assert_eq!(index.secret_applied(watch, "ns", "shared", "7").len(), 10_000);
    contexts.iter().for_each(|context| index.context_deleted(context));
    assert_eq!(index.secret_applied(watch, "ns", "shared", "8").len(), 0);
    assert!(index.state.lock().references.is_empty());
}

#[test]
fn a_foreign_secret_costs_under_fifty_bytes() {
    assert!(size_of::<(SecretKey, versions::Entry)>() <= 24);
}

// The interleavings: one Secret, its writer, a reader of it, one watch.

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Another client writes.
    Foreign,
    ForeignDeletion,
    /// The writer reads, and sends a write based on what it read.
    Begin,
    /// The server has the write.
    Arrive,
    /// The writer has the answer, or never gets it.
    Answer,
    Lose,
    /// The watch shows the next event.
    Deliver,
    Fail,
    ListBegins,
    ListShows,
    ListEnds,
}

fn step() -> impl Strategy<Value = Step> {
    use Step::*;
    prop_oneof![
        2 => Just(Foreign),
        2 => Just(ForeignDeletion),
        2 => Just(Begin),
        2 => Just(Arrive),
        2 => Just(Answer),
        2 => Just(Deliver),
        1 => Just(Lose),
        1 => Just(Fail),
        1 => Just(ListBegins),
        1 => Just(ListShows),
        2 => Just(ListEnds),
    ]
}

/// A version of the Secret; its number is its place in the server's order.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Made {
    deleted: bool,
    own: bool,
}

struct Sent {
    writing: Writing,
    based_on: usize,
    /// Once the server has it: the version it made.
    result: Option<Result<usize, Conflict>>,
}

struct Conflict;

struct Listing {
    snapshot: usize,
    shown: bool,
}

struct World {
    index: Arc<Index>,
    watch: WatchId,
    late: Woken,
    /// The server's order.
    made: Vec<Made>,
    /// The events on their way, by version.
    events: VecDeque<usize>,
    /// What the watch has shown.
    delivered: usize,
    sent: Option<Sent>,
    listing: Option<Listing>,
    /// The newest version that the writer read, wrote, or was woken for; the reader as well.
    writer: usize,
    reader: usize,
    writer_woken: usize,
    disturbed: bool,
}

impl World {
    fn new() -> Self {
        let (index, late) = Index::new();
        let watch = index.watch(None, Selection::All);
        index.context_applied(&context("writer"), None, "secret");
        index.context_applied(&context("reader"), Some("secret"), "other");
        list(&index, watch, &[("secret", "0")]);
        let made = vec![Made { deleted: false, own: false }];
        Self {
            index,
            watch,
            late,
            made,
            events: VecDeque::new(),
            delivered: 0,
            sent: None,
            listing: None,
            writer: 0,
            reader: 0,
            writer_woken: 0,
            disturbed: false,
        }
    }

    fn last(&self) -> usize {
        self.made.len() - 1
    }

    fn make(&mut self, deleted: bool, own: bool) {
        self.made.push(Made { deleted, own });
        let last = self.last();
        self.events.push_back(last);
    }

    /// A woken context reads what there is: at once, which leaves the most to be missed later.
    fn wakes(&mut self, woken: &[Arc<ContextName>]) {
        for context in woken {
            if context.name == "writer" {
                self.writer_woken += 1;
                self.writer = self.read();
            } else {
                self.reader = self.read();
            }
        }
    }

    fn read(&self) -> usize {
        if !self.made[self.last()].deleted {
            let epoch = self.index.epoch("ns");
            assert!(self.index.secret_read("ns", "secret", &self.last().to_string(), epoch));
        }
        self.last()
    }

    fn late_wakes(&mut self) {
        let woken: Vec<_> = std::iter::from_fn(|| self.late.next().now_or_never().flatten()).collect();
        self.wakes(&woken);
    }

    fn shows(&mut self, version: usize) -> Vec<Arc<ContextName>> {
        self.delivered = self.delivered.max(version);
        if self.made[version].deleted {
            self.index.secret_deleted(self.watch, "ns", "secret")
        } else {
            self.index.secret_applied(self.watch, "ns", "secret", &version.to_string())
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Foreign => {
                self.disturbed = true;
                self.make(false, false);
            }
            Step::ForeignDeletion if !self.made[self.last()].deleted => {
                self.disturbed = true;
                self.make(true, false);
            }
            Step::Begin if self.sent.is_none() => {
                let based_on = self.last();
                // An echo that is late meets a newer version.
                self.disturbed |= !self.events.is_empty();
                self.writer = self.read();
                let writing = self.index.writing(&context("writer"), "secret");
                self.sent = Some(Sent { writing, based_on, result: None });
            }
            Step::Arrive => {
                let last = self.last();
                let Some(sent) = self.sent.as_mut().filter(|sent| sent.result.is_none()) else { return };
                if sent.based_on == last {
                    sent.result = Some(Ok(last + 1));
                    self.make(false, true);
                } else {
                    sent.result = Some(Err(Conflict));
                }
            }
            Step::Answer => {
                let Some(Sent { writing, result: Some(result), .. }) = self.sent.take_if(|sent| sent.result.is_some())
                else {
                    return;
                };
                match result {
                    Ok(version) => {
                        writing.written(&version.to_string());
                        self.writer = self.writer.max(version);
                        self.late_wakes();
                    }
                    // It reads again.
                    Err(Conflict) => {
                        drop(writing);
                        self.late_wakes();
                        self.writer = self.read();
                    }
                }
            }
            Step::Lose => {
                if let Some(sent) = self.sent.take_if(|sent| sent.result.is_some()) {
                    self.disturbed = true;
                    drop(sent);
                    self.late_wakes();
                    self.writer = self.read();
                }
            }
            Step::Deliver if self.listing.is_none() => {
                if let Some(version) = self.events.pop_front() {
                    let woken = self.shows(version);
                    self.wakes(&woken);
                }
            }
            Step::Fail => {
                self.disturbed = true;
                let woken = self.index.watch_failed(self.watch);
                self.wakes(&woken);
                if self.listing.take().is_some() {
                    // Only a list can follow.
                    self.take(Step::ListBegins);
                }
            }
            Step::ListBegins => {
                self.disturbed = true;
                self.index.list_began(self.watch);
                self.listing = Some(Listing { snapshot: self.last(), shown: false });
                self.events.clear();
            }
            Step::ListShows => {
                let Some(listing) = self.listing.as_mut().filter(|listing| !listing.shown) else { return };
                listing.shown = true;
                if !self.made[listing.snapshot].deleted {
                    self.delivered = self.delivered.max(listing.snapshot);
                    self.index.list_applied(self.watch, "ns", "secret", &listing.snapshot.to_string());
                }
            }
            Step::ListEnds => {
                if self.listing.as_ref().is_some_and(|listing| !listing.shown) {
                    self.take(Step::ListShows);
                }
                if let Some(listing) = self.listing.take() {
                    self.delivered = self.delivered.max(listing.snapshot);
                    let woken = self.index.list_ended(self.watch);
                    self.wakes(&woken);
                }
            }
            Step::ForeignDeletion | Step::Begin | Step::Deliver => {}
        }
    }

    /// What the index says of the Secret, as a version that was made.
    fn says(&self) -> Option<Vec<usize>> {
        let all = 0..self.made.len();
        match self.index.target("ns", "secret") {
            Unknown => None,
            Absent => Some(all.filter(|number| self.made[*number].deleted).collect()),
            Version(digest) => Some(all.filter(|number| digest == VersionDigest::of(&number.to_string())).collect()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn no_interleaving_of_own_and_foreign_writes_events_and_lists_hides_a_change(
        steps in proptest::collection::vec(step(), 1..40)
    ) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
            if let Some(versions) = world.says() {
                let newest = versions.into_iter().max();
                prop_assert!(newest >= Some(world.delivered), "{newest:?} is older than what was shown, after {step:?}");
            }
        }
        for step in [Step::Arrive, Step::Answer, Step::ListEnds] {
            world.take(step);
        }
        while !world.events.is_empty() {
            world.take(Step::Deliver);
        }
        // Any event of the watch shows that it continues.
        world.index.secret_applied(world.watch, "ns", "another", "1");
        let last = world.last();
        prop_assert_eq!(world.says().and_then(|versions| versions.into_iter().max()), Some(last));
        // A Secret that was made and deleted while the watch was away is as absent as before.
        let is_up_to_date = |known: usize, version: usize| {
            known >= version || (world.made[known].deleted && world.made[last].deleted)
        };
        prop_assert!(is_up_to_date(world.reader, last), "the reader was not woken for {last}");
        let foreign = world.made.iter().rposition(|made| !made.own).unwrap_or_default();
        prop_assert!(is_up_to_date(world.writer, foreign), "the writer was not woken for {foreign}");
        if !world.disturbed {
            prop_assert_eq!(world.writer_woken, 0, "echoes wake nobody");
        }
    }
}
