//! Which Pods are annotated and which workloads are restarted: by table, and as properties of any list.

use std::collections::BTreeMap;

use super::*;
use proptest::prelude::*;

const ISSUED: i64 = 1_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn token() -> Token {
    Token { issued_at: at(ISSUED), since: at(ISSUED + 2) }
}

fn deployment(name: &str) -> WorkloadName {
    WorkloadName { kind: WorkloadKind::Deployment, name: name.into() }
}

/// A Pod whose container was started at this second, and reads the token from its environment.
fn pod(owner: &str, started: i64) -> Reader {
    Reader {
        name: format!("{owner}-{started}"),
        owner: Owner::Workload(deployment(owner)),
        environment: true,
        running: true,
        started_at: Some(at(started)),
        created_at: Some(at(started)),
        ..Reader::default()
    }
}

fn workload(name: &str) -> Workload {
    Workload {
        name: deployment(name),
        resource_version: None,
        labels: [("app".to_owned(), name.to_owned())].into(),
        paused: false,
        empty: false,
        rolls: true,
        restarted_at: None,
        restarted_for: None,
        updated: false,
        rollout: Rollout::Done,
    }
}

fn wanted() -> Workloads {
    let restart =
        Restart { selector: kube::core::Selector::default(), min_interval: Duration::from_hours(1), max_concurrent: 1 };
    Workloads { refresh_volumes: true, restart: Some(restart) }
}

fn planned(readers: &[Reader], workloads: &[Workload], wanted: &Workloads) -> Plan {
    decide(&Facts { readers, workloads, wanted, token: token(), now: at(ISSUED + 10) })
}

/// The plan for one stale Pod of `web`, with this change of `web`.
fn with(change: impl FnOnce(&mut Workload)) -> Plan {
    let mut web = workload("web");
    change(&mut web);
    planned(&[pod("web", ISSUED - 100)], &[web], &wanted())
}

#[test]
fn a_workload_with_a_stale_pod_is_restarted_and_followed() {
    let plan = with(|_| ());
    assert_eq!(plan.restart, [deployment("web")]);
    assert_eq!((plan.findings.stale, plan.again), (1, Some(FOLLOW)));
}

#[test]
fn what_started_after_the_token_was_published_is_fresh() {
    for (started, stale) in [(ISSUED - 1, 1), (ISSUED, 1), (ISSUED + 1, 1), (ISSUED + 2, 0), (ISSUED + 5, 0)] {
        let plan = planned(&[pod("web", started)], &[workload("web")], &wanted());
        assert_eq!(plan.findings.stale, stale, "{started}");
        assert_eq!(plan.restart.len(), stale, "{started}");
    }
    let nothing = planned(&[pod("web", ISSUED + 5)], &[workload("web")], &wanted());
    assert_eq!(nothing.again, None);
}

#[test]
fn a_pod_that_a_restart_for_this_token_made_is_fresh_whatever_its_nodes_clock_says() {
    let made = Reader { restarted_for: Some(token().mark()), ..pod("web", ISSUED - 100) };
    assert_eq!(planned(&[made], &[workload("web")], &wanted()).findings.stale, 0);
}

#[test]
fn a_workload_that_cannot_or_must_not_be_restarted_is_left_and_reported() {
    let left = |plan: Plan| {
        assert_eq!(plan.restart, []);
        plan.findings.left.first().map(|(_, left)| *left)
    };
    assert_eq!(left(with(|web| web.paused = true)), Some(Left::Paused));
    assert_eq!(left(with(|web| web.empty = true)), Some(Left::Empty));
    assert_eq!(left(with(|web| web.rolls = false)), Some(Left::OnDelete));
    assert_eq!(left(with(|web| web.rollout = Rollout::Rolling)), Some(Left::Rolling));
    assert_eq!(left(with(|web| web.rollout = Rollout::Failed)), Some(Left::Rolling));
    assert_eq!(left(with(|web| web.restarted_for = Some(token().mark()))), Some(Left::Restarted));
    assert_eq!(left(with(|web| web.name = deployment("other"))), Some(Left::NotAWorkload));
    let mut chosen = wanted();
    chosen.restart.as_mut().unwrap().selector = [("app".to_owned(), "api".to_owned())].into_iter().collect();
    let stale = [pod("web", 0)];
    assert_eq!(left(planned(&stale, &[workload("web")], &chosen)), Some(Left::NotSelected));
    let none = Workloads { refresh_volumes: true, restart: None };
    assert_eq!(left(planned(&stale, &[workload("web")], &none)), Some(Left::NotEnabled));
    let job = Reader { owner: Owner::Other("Job".into(), "once".into()), ..pod("web", 0) };
    assert_eq!(left(planned(&[job], &[workload("web")], &wanted())), Some(Left::NotAWorkload));
}

#[test]
fn after_a_rollout_that_ended_between_the_two_lists_the_next_round_comes_soon() {
    let plan = with(|web| web.restarted_for = Some(token().mark()));
    assert_eq!((plan.restart, plan.again), (vec![], Some(SOON)));
}

#[test]
fn a_workload_is_not_restarted_more_often_than_asked() {
    let plan = with(|web| web.restarted_at = Some(at(ISSUED - 600)));
    assert_eq!(plan.restart, []);
    assert_eq!(plan.findings.due, Some((at(ISSUED + 3000), deployment("web"))));
    assert_eq!(plan.again, Some(LATER));
    assert_eq!(with(|web| web.restarted_at = Some(at(ISSUED - 3600))).restart, [deployment("web")]);
}

#[test]
fn workloads_are_restarted_one_after_the_other() {
    let readers = [pod("a", 0), pod("b", 0), pod("c", 0)];
    let mut workloads = ["a", "b", "c"].map(workload);
    let first = planned(&readers, &workloads, &wanted());
    assert_eq!((first.restart, first.findings.waiting), (vec![deployment("a")], 2));
    workloads[0].restarted_for = Some(token().mark());
    workloads[0].rollout = Rollout::Rolling;
    let second = planned(&readers, &workloads, &wanted());
    assert_eq!((second.restart, second.findings.rolling), (vec![], vec![deployment("a")]));
    let mut more = wanted();
    more.restart.as_mut().unwrap().max_concurrent = 2;
    assert_eq!(planned(&readers, &workloads, &more).restart, [deployment("b")]);
    workloads[0].rollout = Rollout::Done;
    assert_eq!(planned(&readers[1..], &workloads, &wanted()).restart, [deployment("b")]);
}

#[test]
fn a_rollout_that_does_not_end_stops_the_rest() {
    let mut workloads = ["a", "b"].map(workload);
    workloads[0].restarted_for = Some("an earlier token".into());
    workloads[0].rollout = Rollout::Failed;
    let plan = planned(&[pod("a", 0), pod("b", 0)], &workloads, &wanted());
    assert_eq!((plan.restart, plan.findings.failed), (vec![], vec![deployment("a")]));
    assert_eq!(plan.again, Some(SOON));
}

#[test]
fn kinds_without_a_deadline_fail_ten_minutes_after_their_newest_pod() {
    let name = WorkloadName { kind: WorkloadKind::StatefulSet, name: "db".into() };
    let started = |second| Reader { owner: Owner::Workload(name.clone()), ..pod("db", second) };
    let rolling = Workload {
        name: name.clone(),
        restarted_for: Some(token().mark()),
        restarted_at: Some(at(ISSUED - 1000)),
        rollout: Rollout::Rolling,
        ..workload("db")
    };
    let plan = |newest, workload: &Workload| {
        planned(&[started(0), started(newest)], std::slice::from_ref(workload), &wanted()).findings
    };
    assert_eq!(plan(ISSUED - 100, &rolling).rolling, std::slice::from_ref(&name));
    assert_eq!(plan(ISSUED - 900, &rolling).failed, std::slice::from_ref(&name));
    // All Pods have the template and became unavailable later, perhaps because of an old token.
    let later = Workload { restarted_for: Some("an earlier token".into()), updated: true, ..rolling };
    assert_eq!(plan(ISSUED - 900, &later).failed, []);
}

fn mounting(created: i64) -> Reader {
    Reader { mounts: true, environment: false, started_at: None, ..pod("web", created) }
}

#[test]
fn pods_are_annotated_once_for_a_token_and_only_while_it_helps() {
    let refreshed = |reader: Reader, now: i64| {
        let wanted = Workloads { refresh_volumes: true, restart: None };
        let facts =
            Facts { readers: &[reader], workloads: &[], wanted: &wanted, token: token(), now: at(ISSUED + now) };
        refresh(&facts).len()
    };
    assert_eq!(refreshed(mounting(0), 3), 1);
    assert_eq!(refreshed(mounting(0), 121), 1);
    assert_eq!(refreshed(mounting(0), 122), 0, "the kubelet has updated the files anyway");
    assert_eq!(refreshed(mounting(ISSUED + 2), 3), 0, "it was created with the token");
    assert_eq!(refreshed(Reader { refreshed_for: Some(token().mark()), ..mounting(0) }, 3), 0);
    assert_eq!(refreshed(Reader { refreshed_for: Some("older".into()), ..mounting(0) }, 3), 1);
    assert_eq!(refreshed(Reader { running: false, ..mounting(0) }, 3), 0);
    assert_eq!(refreshed(Reader { mounts: false, ..mounting(0) }, 3), 0);
}

fn any_rollout() -> impl Strategy<Value = Rollout> {
    prop_oneof![Just(Rollout::Done), Just(Rollout::Rolling), Just(Rollout::Failed)]
}

prop_compose! {
    fn any_workload()(
        name in 0..4_u8, paused: bool, empty: bool, rolls: bool, updated: bool, rollout in any_rollout(),
        restarted_at in proptest::option::of(0..ISSUED + 20), marked in 0..3_u8, stateful: bool,
    ) -> Workload {
        let kind = if stateful { WorkloadKind::StatefulSet } else { WorkloadKind::Deployment };
        let restarted_for = [None, Some(token().mark()), Some("an earlier token".to_owned())][usize::from(marked)].clone();
        let name = WorkloadName { kind, name: name.to_string() };
        Workload {
            paused, empty, rolls, updated, rollout, restarted_for, name,
            restarted_at: restarted_at.map(at), ..workload("")
        }
    }
}

prop_compose! {
    fn any_pod()(name in 0..4_u8, started in proptest::option::of(ISSUED - 5..ISSUED + 9), stateful: bool, marked: bool) -> Reader {
        let kind = if stateful { WorkloadKind::StatefulSet } else { WorkloadKind::Deployment };
        Reader {
            owner: Owner::Workload(WorkloadName { kind, name: name.to_string() }),
            started_at: started.map(at),
            restarted_for: marked.then(|| token().mark()),
            ..pod("", ISSUED)
        }
    }
}

/// The lists of one round, and what happened before it.
#[derive(Clone, Debug)]
struct Seen {
    /// Seconds since the round before.
    after: i64,
    /// A new token was published.
    renewed: bool,
    /// Seconds from the request of the token until containers that start have it, as far as this process knows. After a
    /// restart of the process it is 0.
    since: i64,
    readers: Vec<Reader>,
    workloads: Vec<Workload>,
}

prop_compose! {
    fn any_round()(
        after in 1..9000_i64, renewed: bool, since in 0..4_i64,
        readers in prop::collection::vec(any_pod(), 0..8), workloads in prop::collection::vec(any_workload(), 0..6),
    ) -> Seen {
        Seen { after, renewed, since, readers, workloads }
    }
}

proptest! {
    #[test]
    fn no_history_of_lists_restarts_a_workload_without_a_new_token(
        rounds in prop::collection::vec(any_round(), 1..30),
        // Workloads that were restarted for the first token before this process started.
        restarted_before in prop::collection::hash_set((0..4_u8, any::<bool>()), 0..8),
    ) {
        let (mut now, mut token) = (ISSUED, token());
        // The annotations of the templates in any list: token and time.
        let mut marks = BTreeMap::new();
        for (name, stateful) in restarted_before {
            let kind = if stateful { WorkloadKind::StatefulSet } else { WorkloadKind::Deployment };
            marks.insert(WorkloadName { kind, name: name.to_string() }, (token.mark(), at(now)));
        }
        for Seen { after, renewed, since, readers, mut workloads } in rounds {
            now += after;
            if renewed {
                token.issued_at = at(now);
            }
            token.since = token.issued_at + SignedDuration::from_secs(since);
            for workload in &mut workloads {
                let mark = marks.get(&workload.name).cloned();
                (workload.restarted_for, workload.restarted_at) = mark.unzip();
            }
            let wanted = wanted();
            let facts =
                Facts { readers: &readers, workloads: &workloads, wanted: &wanted, token, now: at(now) };
            for name in decide(&facts).restart {
                let mark = marks.insert(name.clone(), (token.mark(), at(now)));
                prop_assert_ne!(mark.map(|(token, _)| token), Some(token.mark()), "{} a second time", name);
            }
        }
    }

    #[test]
    fn whatever_is_listed_only_what_is_stale_and_was_not_restarted_for_this_token_is_restarted(
        readers in prop::collection::vec(any_pod(), 0..8),
        workloads in prop::collection::vec(any_workload(), 0..6),
        max_concurrent in 1..10_usize,
        now in ISSUED + 2..ISSUED + 9000,
    ) {
        let mut wanted = wanted();
        wanted.restart.as_mut().unwrap().max_concurrent = max_concurrent;
        let now = at(now);
        let plan = decide(&Facts { readers: &readers, workloads: &workloads, wanted: &wanted, token: token(), now });
        let rolling = workloads.iter().filter(|workload| {
            workload.restarted_for.is_some() && workload.rollout == Rollout::Rolling
                && workload.name.kind == WorkloadKind::Deployment
        });
        prop_assert!(plan.restart.is_empty() || plan.restart.len() + rolling.count() <= max_concurrent);
        for name in &plan.restart {
            let workload = workloads.iter().find(|workload| workload.name == *name).unwrap();
            prop_assert!(!workload.paused && !workload.empty && workload.rolls);
            prop_assert_ne!(workload.restarted_for.as_ref(), Some(&token().mark()));
            prop_assert!(workload.restarted_at.is_none_or(|at| now.duration_since(at) >= SignedDuration::from_hours(1)));
            let stale = readers.iter().any(|reader| {
                reader.owner == Owner::Workload(name.clone()) && reader.started_at.is_some_and(|at| at < token().since)
            });
            prop_assert!(stale);
        }
        // Another round follows if something is stale, rolling or failed, and only then.
        let done = plan.findings.stale == 0 && plan.findings.rolling.is_empty() && plan.findings.failed.is_empty();
        prop_assert_eq!(plan.again.is_none(), done);
    }

    #[test]
    fn once_every_workload_was_restarted_for_a_token_nothing_is_restarted_for_it_again(
        readers in prop::collection::vec(any_pod(), 0..8),
        mut workloads in prop::collection::vec(any_workload(), 0..6),
        now in ISSUED + 2..ISSUED + 1_000_000,
    ) {
        for workload in &mut workloads {
            workload.restarted_for = Some(token().mark());
        }
        let facts = Facts { readers: &readers, workloads: &workloads, wanted: &wanted(), token: token(), now: at(now) };
        prop_assert_eq!(decide(&facts).restart, []);
    }
}
