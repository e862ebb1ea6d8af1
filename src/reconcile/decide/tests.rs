//! Every decision, from values.

use super::*;
use crate::binding::Fit;
use crate::desired::Desired;
use crate::oauth::identity::Identity;
use crate::oauth::request::RequestKey;
use crate::oauth::token::AccessToken;
use crate::secret::SealedSecret;

use crate::scheduler::Wait;
use crate::secret::derived::{Stored, Target, derived_secret};
use crate::values::{Backoff, HeldToken, RefreshState, SoFar};
use proptest::prelude::*;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

const BEGIN: i64 = 1_795_305_600;
const LIFE: i64 = 21600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(BEGIN + second).unwrap()
}

fn context(changes: &Value) -> QlikContext {
    let auth = json!({"clientSecret": {"secretRef": {"name": "oauth"}}});
    let mut spec = json!({"tenantUrl": "https://acme.eu.qlikcloud.com", "auth": auth, "verifyInterval": "15m"});
    spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let metadata = json!({"name": "acme", "namespace": "a", "uid": "u1", "generation": 1});
    let context = json!({
        "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext", "metadata": metadata, "spec": spec
    });
    serde_json::from_value(context).unwrap()
}

fn token(issued_at: i64, text: &str) -> Token {
    let access_token = AccessToken::parse(text).unwrap();
    Token { access_token, issued_at: at(issued_at), expires_at: Some(at(issued_at + LIFE)), scopes: None }
}

fn verified(issued_at: i64) -> Arc<VerifiedToken> {
    let identity = Identity {
        user_id: "u".into(),
        name: "bot".into(),
        subject: "qlikbot\\id".into(),
        client_id: None,
        tenant_id: "t".into(),
        ..Identity::default()
    };
    Arc::new(VerifiedToken { token: token(issued_at, "known"), identity: identity.into() })
}

/// A process that has just been given a token and published it.
struct Scene<'c> {
    facts: Facts<'c>,
    tokens: Option<TokenSnapshot>,
}

impl<'c> Scene<'c> {
    fn of(context: &'c QlikContext) -> Self {
        let desired = Desired::parse(context).unwrap();
        let secret = json!({"metadata": {"name": "oauth"}, "data": {"client-id": "aWQ=", "client-secret": "czNjcmV0"}});
        let secret: SealedSecret = serde_json::from_value(secret).unwrap();
        let credential = secret.credential(&desired);
        let tokens = TokenSnapshot {
            token: Some(verified(0)),
            unverified: None,
            candidate: None,
            now: at(0),
            confirmed_at: Some(at(0)),
            since: Some(at(0)),
            held_last: false,
            backoff: None,
            refresh: None,
            held_rejected: false,
            held_identity: None,
            rechecked_at: None,
        };
        let wanted =
            derived_secret(context, &desired, credential.as_ref().unwrap(), &verified(0), Some("before")).unwrap();
        let target = stored(serde_json::to_value(wanted).unwrap());
        let read = SecretsRead { credential, key: Some(RequestKey::numbered(1)), target, held: None, repair_at: None };
        let facts = Facts {
            context,
            seen: 0,
            unwritten: None,
            host: desired.tenant.authority(),
            desired,
            secrets: Secrets::Read(Box::new(read)),
            now: at(0),
            brake_until: None,
            target_changed: false,
            refresh: None,
            handled: Some("before".to_owned()),
            wanted: None,
            recovered_at: None,
            watched: true,
            selector: None,
            so_far: SoFar::default(),
        };
        Self { facts, tokens: Some(tokens) }
    }

    fn read(&mut self) -> &mut SecretsRead {
        match &mut self.facts.secrets {
            Secrets::Read(read) => read,
            _ => panic!("not read"),
        }
    }

    fn tokens(&mut self) -> &mut TokenSnapshot {
        self.tokens.as_mut().unwrap()
    }

    fn later(&mut self, second: i64) {
        self.facts.now = at(second);
        self.tokens().now = at(second);
    }

    /// Everything was in order, and nothing has changed since.
    fn settled(&mut self) {
        let spread = self.read().credential.as_ref().unwrap().request.spread();
        let settled = Settled { key: RequestKey::numbered(1), spread, token: verified(0), handled: None };
        self.facts.secrets = Secrets::Unchanged(settled);
    }

    fn step(&self) -> Step {
        decide(&self.facts, self.tokens.as_ref(), &"*.qlikcloud.com".parse().unwrap())
    }

    /// The step, in a word or two.
    fn plan(&self) -> String {
        let serving = |serving: Serving| match serving {
            Serving::Nothing => String::new(),
            Serving::Expired => " (expired)".into(),
            Serving::Working(left) => format!(" ({})", left.map_or(String::new(), |left| left.as_secs().to_string())),
        };
        match self.step() {
            Step::Read { wanted, .. } => format!("read{}", if wanted.is_some() { " to renew" } else { "" }),
            Step::Call(call) => match &call.kind {
                CallKind::Issue { .. } => format!("issue{}", serving(call.serving)),
                CallKind::Verify(token) => format!("verify {}", token.access_token.expose_secret()),
                CallKind::Recheck(token) => format!("recheck {}", token.access_token.expose_secret()),
            },
            Step::Publish { repair, .. } => if repair { "repair" } else { "publish" }.into(),
            Step::Rest { outcome, next, .. } => {
                let outcome = match *outcome {
                    Outcome::Ready(_) => "ready".into(),
                    Outcome::Failing { problem, .. } => format!("failing {}", problem.failure.reason),
                    Outcome::Suspended(_) => "suspended".into(),
                    Outcome::Deleting(_) => "deleting".into(),
                    Outcome::Unchanged => "unchanged".to_owned(),
                };
                format!("{outcome}{}", if next.parked { " (parked)" } else { "" })
            }
        }
    }
}

fn stored(secret: Value) -> Target {
    Target::Ours(Stored::Read { secret: Box::new(serde_json::from_value(secret).unwrap()), orphan: false })
}

fn held(expires: i64, fits: bool, rejected: bool) -> HeldToken {
    let fit = Fit { spec: fits, credential: false };
    HeldToken { token: token(expires - LIFE, "held"), fit, identity: None, rejected }
}

fn waiting(reason: WaitReason) -> Wait {
    Wait { reason, expected: Duration::from_secs(1) }
}

fn failed(reason: Reason, next: i64) -> Backoff {
    Backoff { failure: Failure::new(TokenIssued, reason, "It failed."), count: 1, last: at(-1), next: at(next) }
}

/// The plan after a change of the scene.
fn when(change: impl FnOnce(&mut Scene<'_>)) -> String {
    let context = context(&json!({}));
    let mut scene = Scene::of(&context);
    change(&mut scene);
    scene.plan()
}

#[test]
fn a_secret_that_is_as_it_should_be_is_kept() {
    assert_eq!(when(|_| ()), "ready");
}

#[test]
fn a_context_that_is_deleted_or_suspended_is_left_alone() {
    let mut going = context(&json!({}));
    going.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    assert_eq!(Scene::of(&going).plan(), "unchanged", "nothing was ever said");
    let reported = json!({
        "token": {"issuedAt": at(0).to_string(), "expiresAt": at(LIFE).to_string()},
        "conditions": [{"type": "Ready", "status": "True", "reason": "TokenValid", "message": "",
            "lastTransitionTime": at(0).to_string()}],
    });
    going.status = Some(serde_json::from_value(reported).unwrap());
    assert_eq!(Scene::of(&going).plan(), "deleting");
    assert_eq!(Scene::of(&context(&json!({"suspend": true}))).plan(), "suspended");
}

#[test]
fn an_obstacle_is_reported_before_the_tenant_is_asked() {
    let missing = |scene: &mut Scene<'_>| scene.read().credential = Err(crate::secret::not_found("oauth"));
    assert_eq!(when(missing), "failing SecretNotFound");
    let foreign = || Target::Foreign { disowned: false, of: None };
    assert_eq!(when(|scene| scene.read().target = foreign()), "failing SecretNotOwned");
    for (spec, expected) in [
        (json!({"tenantUrl": "https://acme.example"}), "failing HostNotAllowedByOperator"),
        (json!({"expectedIdentity": {"userId": "somebody-else"}}), "failing IdentityMismatch"),
    ] {
        let other = context(&spec);
        let mut scene = Scene::of(&other);
        scene.read().target = Target::Absent;
        assert_eq!(scene.plan(), expected);
    }
}

#[test]
fn a_secret_that_is_not_as_it_should_be_is_written_unless_it_cannot_be() {
    assert_eq!(when(|scene| scene.read().target = Target::Absent), "publish");
    assert_eq!(when(|scene| scene.read().target = stored(json!({"metadata": {}}))), "publish");
    let immutable = json!({"metadata": {}, "immutable": true});
    assert_eq!(when(|scene| scene.read().target = stored(immutable)), "failing WriteRejected");
    assert_eq!(
        when(|scene| scene.facts.handled = Some("other".into())),
        "publish",
        "the mark of a refresh is part of it"
    );
    let refused = Failure::new(SecretSynced, Reason::WriteRejected, "It was refused.");
    assert_eq!(when(|scene| scene.facts.so_far.refused = Some(refused)), "failing WriteRejected");
}

#[test]
fn a_token_from_memory_is_new_to_a_secret_that_did_not_hold_it_and_is_verified_first() {
    let absent = |age: i64, held_last: bool| {
        when(|scene| {
            scene.read().target = Target::Absent;
            scene.later(age);
            scene.tokens().held_last = held_last;
        })
    };
    assert_eq!(absent(30, false), "publish", "the tenant has just confirmed it");
    assert_eq!(absent(31, false), "verify known");
    assert_eq!(absent(31, true), "repair", "the Secret that held it gets it back at once");
    let restored = when(|scene| {
        scene.later(31);
        scene.facts.so_far.wrote = true;
    });
    assert_eq!(restored, "verify known", "and it is verified right after");
}

#[test]
fn a_secret_that_somebody_else_keeps_changing_is_repaired_less_and_less_often() {
    let fought = |repair_at: i64, change: &dyn Fn(&mut Scene<'_>)| {
        when(|scene| {
            scene.read().target = stored(json!({"metadata": {}}));
            scene.read().repair_at = Some(at(repair_at));
            scene.tokens().held_last = true;
            change(scene);
        })
    };
    assert_eq!(fought(1, &|_| ()), "failing SecretContested", "the token is not in it");
    assert_eq!(fought(0, &|_| ()), "repair");
    let token_is_there = |scene: &mut Scene<'_>| {
        let token = verified(0).token.clone();
        let fit = Fit { spec: true, credential: true };
        scene.read().held = Some(HeldToken { token, fit, identity: None, rejected: false });
    };
    assert_eq!(fought(1, &token_is_there), "ready");
    assert_eq!(fought(1, &|scene| scene.tokens().held_last = false), "publish", "a new token waits for no repair");
}

#[test]
fn a_token_is_renewed_from_its_renewal_time_on() {
    let context = context(&json!({}));
    let mut scene = Scene::of(&context);
    let spread = scene.read().credential.as_ref().unwrap().request.spread();
    let due = Terms { desired: &scene.facts.desired, spread }.renewal_time(&token(0, "known")).unwrap();
    assert!(due > at(LIFE * 6 / 10) && due <= at(LIFE * 67 / 100), "{due}");
    let due = due.as_second() - BEGIN;
    scene.tokens().confirmed_at = Some(at(due));
    for (second, expected) in [(-1, "ready"), (0, "issue"), (1, "issue")] {
        scene.later(due + second);
        assert_eq!(scene.plan(), expected, "{second}");
    }
    scene.settled();
    for (second, expected) in [(-1, "unchanged"), (0, "read to renew"), (1, "read to renew")] {
        scene.later(due + second);
        assert_eq!(scene.plan(), expected, "{second}");
    }
}

#[test]
fn a_request_knows_what_is_served_meanwhile() {
    for (held, expected) in [
        (None, "issue"),
        (Some(held(100, true, false)), "issue (100)"),
        (Some(held(0, true, false)), "issue (expired)"),
        (Some(held(-5, true, false)), "issue (expired)"),
        (Some(held(100, false, false)), "issue"),
        (Some(held(100, true, true)), "issue (expired)"),
    ] {
        let renewed = when(|scene| {
            scene.tokens().token = None;
            scene.read().held = held;
        });
        assert_eq!(renewed, expected);
    }
}

#[test]
fn a_token_is_verified_when_its_interval_is_over_with_or_without_reading_the_secrets() {
    for (age, due) in [(899, false), (900, true), (901, true)] {
        for settled in [false, true] {
            let plan = when(|scene| {
                scene.tokens().confirmed_at = Some(at(-age));
                if settled {
                    scene.settled();
                }
            });
            let kept = if settled { "unchanged" } else { "ready" };
            assert_eq!(plan, if due { "verify known" } else { kept }, "{age}");
        }
    }
    let never = context(&json!({"verifyInterval": "0s"}));
    let mut scene = Scene::of(&never);
    scene.tokens().confirmed_at = Some(at(-100_000));
    assert_eq!(scene.plan(), "ready");
}

#[test]
fn nothing_is_read_while_nothing_has_changed() {
    let settled = |change: &dyn Fn(&mut Scene<'_>)| {
        when(|scene| {
            scene.settled();
            change(scene);
        })
    };
    assert_eq!(settled(&|_| ()), "unchanged");
    assert_eq!(settled(&|scene| scene.tokens().token = None), "read", "it was rejected");
    assert_eq!(settled(&|scene| scene.tokens().backoff = Some(failed(Reason::RateLimited, 9))), "read");
    assert_eq!(settled(&|scene| scene.tokens = None), "read");
    let asked = RefreshState { waits: true, allowed_at: at(0), untried: true };
    assert_eq!(settled(&|scene| scene.tokens().refresh = Some(asked)), "read");
}

#[test]
fn a_token_that_was_not_confirmed_is_verified_before_it_is_used() {
    let found = |scene: &mut Scene<'_>| {
        let tokens = scene.tokens();
        (tokens.token, tokens.unverified) = (None, Some(token(-3600, "found")));
    };
    assert_eq!(when(found), "verify found");
    assert_eq!(when(|scene| scene.tokens().unverified = Some(token(0, "found"))), "ready", "another is at hand");
    let old = |scene: &mut Scene<'_>| {
        let tokens = scene.tokens();
        (tokens.token, tokens.unverified) = (None, Some(token(-LIFE, "found")));
    };
    assert_eq!(when(old), "issue");
    let issued = |scene: &mut Scene<'_>| {
        let tokens = scene.tokens();
        (tokens.token, tokens.candidate) = (None, Some(token(0, "issued")));
    };
    assert_eq!(when(issued), "verify issued", "a token that was issued is not asked for again");
}

#[test]
fn the_status_has_the_times_of_the_secret_while_the_same_token_issued_again_waits_for_its_verification() {
    let context = context(&json!({}));
    let reported = |held_since: i64| {
        let mut scene = Scene::of(&context);
        scene.later(LIFE - 60);
        let identity = Some((*verified(0).identity).clone());
        let fit = Fit { spec: true, credential: true };
        scene.read().held = Some(HeldToken { token: token(held_since, "known"), fit, identity, rejected: false });
        scene.tokens().candidate = Some(token(0, "known"));
        assert_eq!(scene.plan(), "verify known");
        scene.facts.so_far.wait = Some(waiting(WaitReason::Flight));
        let Step::Rest { outcome, .. } = scene.step() else { panic!("{}", scene.plan()) };
        let Outcome::Ready(published) = *outcome else { panic!("{outcome:?}") };
        (published.issued_at, published.expires_at)
    };
    assert_eq!(reported(0), (at(0), Some(at(LIFE))));
    assert_eq!(reported(-1), (at(-1), Some(at(LIFE - 1))));
}

#[test]
fn a_back_off_is_kept_unless_a_refresh_or_the_scheduler_cuts_it_short() {
    let failing = |next: i64, change: &dyn Fn(&mut Scene<'_>)| {
        when(|scene| {
            scene.tokens().token = None;
            scene.tokens().backoff = Some(failed(Reason::TenantUnavailable, next));
            change(scene);
        })
    };
    assert_eq!(failing(1, &|_| ()), "failing TenantUnavailable");
    assert_eq!(failing(0, &|_| ()), "issue");
    let refresh = |untried| Some(RefreshState { waits: true, allowed_at: at(0), untried });
    assert_eq!(failing(1, &|scene| scene.tokens().refresh = refresh(true)), "issue");
    assert_eq!(failing(1, &|scene| scene.tokens().refresh = refresh(false)), "failing TenantUnavailable", "once");
    assert_eq!(failing(1, &|scene| scene.facts.recovered_at = Some(at(-1))), "issue", "the host has recovered");
    let failed_since = |scene: &mut Scene<'_>| scene.facts.recovered_at = Some(at(-2));
    assert_eq!(failing(1, &failed_since), "failing TenantUnavailable", "and failed again");
    let pause = |scene: &mut Scene<'_>| {
        scene.tokens().refresh = refresh(true);
        scene.tokens().backoff.as_mut().unwrap().failure.retry_after = Some(Duration::from_secs(9));
    };
    assert_eq!(failing(1, &pause), "failing TenantUnavailable", "a pause that was asked for is kept");
}

#[test]
fn a_token_whose_identity_and_credential_nobody_knows_is_not_called_working() {
    let planted = |identity: Option<Identity>, credential: bool| {
        let context = context(&json!({}));
        let mut scene = Scene::of(&context);
        let fit = Fit { spec: true, credential };
        scene.read().held = Some(HeldToken { fit, identity, ..held(LIFE, true, false) });
        scene.read().credential = Err(crate::secret::not_found("oauth"));
        scene.tokens = None;
        let Step::Rest { outcome, .. } = scene.step() else { panic!() };
        matches!(outcome.holds(), Some(Holds::Fitting(_)))
    };
    let identity = (*verified(0).identity).clone();
    assert!(!planted(None, false), "part a of the binding can be made by anyone who knows a token");
    assert!(planted(Some(identity), false) && planted(None, true));
}

#[test]
fn a_held_token_that_this_process_knows_to_be_of_another_identity_is_not_called_working() {
    let works = |known: bool| {
        let context = context(&json!({"expectedIdentity": {"userId": "another"}}));
        let mut scene = Scene::of(&context);
        let fit = Fit { spec: true, credential: true };
        scene.read().held = Some(HeldToken { fit, ..held(LIFE, true, false) });
        scene.tokens().held_identity = known.then(|| verified(0).identity.clone());
        let Step::Rest { outcome, .. } = scene.step() else { panic!() };
        matches!(outcome.holds(), Some(Holds::Fitting(_)))
    };
    assert!(works(false) && !works(true));
}

#[test]
fn a_held_token_is_verified_each_interval_while_its_renewal_fails() {
    let serving = |rechecked: i64| {
        when(|scene| {
            let identity = Some((*verified(0).identity).clone());
            scene.read().held = Some(HeldToken { identity, ..held(LIFE, true, false) });
            scene.tokens().token = None;
            scene.tokens().backoff = Some(failed(Reason::InvalidClient, 100));
            scene.tokens().rechecked_at = Some(at(rechecked));
        })
    };
    assert_eq!(serving(-899), "failing InvalidClient");
    assert_eq!(serving(-900), "recheck held");
}

#[test]
fn a_wait_is_reported_when_it_is_long_or_caused_by_the_tenant() {
    let new = |wait: Wait| {
        when(|scene| {
            scene.tokens().token = None;
            scene.facts.so_far.wait = Some(wait);
        })
    };
    assert_eq!(new(waiting(WaitReason::Flight)), "unchanged (parked)");
    assert_eq!(new(waiting(WaitReason::Slot)), "unchanged (parked)");
    assert_eq!(new(waiting(WaitReason::Budget)), "unchanged (parked)");
    let long = Wait { expected: Duration::from_secs(61), ..waiting(WaitReason::Budget) };
    assert_eq!(new(long), "failing RateLimited (parked)");
    assert_eq!(new(waiting(WaitReason::Pause)), "failing RateLimited (parked)");
    assert_eq!(new(waiting(WaitReason::Circuit)), "failing TenantUnavailable (parked)");
    let unread = when(|scene| {
        scene.facts.secrets = Secrets::Unread;
        scene.facts.so_far.wait = Some(waiting(WaitReason::Slot));
    });
    assert_eq!(unread, "unchanged (parked)");
}

#[test]
fn a_changed_token_secret_is_read_during_a_long_wait_but_not_while_its_repairs_back_off() {
    let waits = |reason: WaitReason, changed: bool, brake: Option<i64>| {
        let context = context(&json!({}));
        let mut scene = Scene::of(&context);
        scene.facts.secrets = Secrets::Unread;
        scene.facts.so_far.wait = Some(waiting(reason));
        scene.facts.target_changed = changed;
        scene.facts.brake_until = brake.map(at);
        let due = match scene.step() {
            Step::Rest { next, .. } => next.due,
            _ => None,
        };
        (scene.plan(), due)
    };
    let parked = |due| ("unchanged (parked)".to_owned(), due);
    for reason in [WaitReason::Budget, WaitReason::Pause, WaitReason::Circuit] {
        assert_eq!(waits(reason, true, None), ("read".to_owned(), None), "{reason:?}");
        assert_eq!(waits(reason, true, Some(3)), parked(Some(at(3))), "{reason:?}");
        assert_eq!(waits(reason, false, Some(3)), parked(None), "{reason:?}");
    }
    assert_eq!(waits(WaitReason::Slot, true, None), parked(None), "its turn comes soon");
}

#[test]
fn a_refresh_waits_until_it_is_allowed_and_the_token_stays_good_meanwhile() {
    let asked = |allowed: i64| {
        when(|scene| {
            scene.facts.refresh = Some("now".into());
            scene.tokens().refresh = Some(RefreshState { waits: true, allowed_at: at(allowed), untried: true });
        })
    };
    assert_eq!(asked(-1), "issue");
    assert_eq!(asked(0), "issue");
    assert_eq!(asked(1), "ready");
    assert_eq!(when(|scene| scene.facts.refresh = Some("now".into())), "publish", "answered, but not marked yet");
}

#[test]
fn an_empty_value_may_be_about_to_be_filled_and_stalls_after_five_minutes() {
    let malformed = || Failure::new(CredentialsAvailable, Reason::CredentialMalformed, "It is empty.").waiting();
    for (since, stalled) in [(0, false), (-299, false), (-300, true)] {
        let mut context = context(&json!({}));
        let reported = json!({"conditions": [{"type": "CredentialsAvailable", "status": "False",
            "reason": "CredentialMalformed", "message": "", "lastTransitionTime": at(since).to_string()}]});
        context.status = Some(serde_json::from_value(reported).unwrap());
        let mut scene = Scene::of(&context);
        scene.read().credential = Err(malformed());
        let Step::Rest { outcome, next, .. } = scene.step() else { panic!() };
        let problem = outcome.problem().unwrap().clone();
        assert_eq!(problem.failure.stalled, stalled, "{since}");
        assert_eq!(next.due, (!stalled).then(|| at(since + 300)), "{since}");
    }
}

#[test]
fn a_credential_that_no_watch_shows_is_looked_at_every_minute_and_the_message_names_the_label() {
    let context = context(&json!({}));
    let mut scene = Scene::of(&context);
    scene.read().credential = Err(crate::secret::not_found("oauth"));
    (scene.facts.watched, scene.facts.selector) = (false, Some("mark=yes".into()));
    let Step::Rest { outcome, next, .. } = scene.step() else { panic!() };
    let problem = outcome.problem().unwrap().clone();
    assert!(problem.failure.message.contains("--credential-selector"), "{}", problem.failure.message);
    assert_eq!(next.within, Some(UNWATCHED));
}

proptest! {
    #[test]
    fn the_next_verification_is_within_an_interval(
        interval in 10u32..=86400, confirmed in prop::option::of(0i64..1_000_000), since in prop::option::of(0i64..1_000_000)
    ) {
        let context = context(&json!({"verifyInterval": format!("{interval}s")}));
        let mut scene = Scene::of(&context);
        (scene.tokens().confirmed_at, scene.tokens().since) = (confirmed.map(at), since.map(at));
        let spread = scene.read().credential.as_ref().unwrap().request.spread();
        let tokens = scene.tokens.clone().unwrap();
        let due = Terms { desired: &scene.facts.desired, spread }.verification_time(&tokens);
        match (confirmed, since) {
            (Some(confirmed), _) => prop_assert_eq!(due, Some(at(confirmed + i64::from(interval)))),
            (None, Some(since)) => {
                let due = due.unwrap();
                prop_assert!(due >= at(since) && due <= at(since + i64::from(interval)));
            }
            (None, None) => prop_assert_eq!(due, None),
        }
    }
}
