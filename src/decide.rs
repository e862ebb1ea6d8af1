//! Second step: what to do. Pure: no client, no clock, no waiting; the same values give the same plan.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;

use crate::api::ConditionType::{SecretSynced, TokenIssued};
use crate::api::{QlikContext, Reason};
use crate::clock::Timestamp;
use crate::desired::Desired;
use crate::error::Failure;
use crate::oauth::cache::Known;
use crate::oauth::lifetime::{renewal_time, until};
use crate::oauth::tenant::AllowedHosts;
use crate::oauth::token::{Token, VerifiedToken};
use crate::observe::Seen;
use crate::secret::Credential;
use crate::secret::derived::{Target, derived_secret};

/// What to do about one context.
pub enum Plan<'s> {
    /// It is being deleted: nothing.
    Leave,
    /// It is suspended: nothing but the status.
    Rest,
    /// Something stands in the way: say so.
    Refuse(Failure),
    /// The Secret is as it should be, with this token.
    Keep(Wish<'s>, Arc<VerifiedToken>),
    /// The Secret is to hold this token, which is known to be good.
    Publish {
        /// For whom.
        wish: Wish<'s>,
        /// The token.
        token: Arc<VerifiedToken>,
        /// The Secret as it should be.
        secret: Box<Secret>,
    },
    /// Whether the token in the Secret still works has to be asked, before anything else or because it is time.
    Verify {
        /// For whom.
        wish: Wish<'s>,
        /// The token.
        token: Token,
        /// What is left of its life, where that is known.
        left: Option<Duration>,
    },
    /// A new token is needed.
    Renew {
        /// For whom.
        wish: Wish<'s>,
        /// What is left of the token that works now.
        left: Option<Duration>,
    },
}

/// A context whose spec and credential are both understood.
#[derive(Clone, Copy)]
pub struct Wish<'s> {
    /// The spec.
    pub desired: &'s Desired,
    /// The credential.
    pub credential: &'s Credential,
    /// Where the token goes.
    pub target: &'s Target,
}

impl Wish<'_> {
    /// When a token is to be renewed for this context, if ever.
    pub fn renewal_time(&self, token: &Token) -> Option<Timestamp> {
        let percentage = self.desired.renew_before_percentage;
        let spread = self.credential.request.spread();
        token.expires_at.map(|end| renewal_time(token.issued_at, end, percentage, spread))
    }

    /// True until then.
    pub fn is_fresh(&self, token: &Token, now: Timestamp) -> bool {
        self.renewal_time(token).is_none_or(|due| now < due)
    }

    /// The derived Secret with this token, unless it is another's token or may not be written there.
    pub fn secret(
        &self,
        context: &QlikContext,
        token: &VerifiedToken,
        handled: Option<&str>,
    ) -> Result<Secret, Failure> {
        self.desired.pins.check(&token.identity)?;
        derived_secret(context, self.desired, self.credential, token, handled)
    }

    /// When a known token is to be verified again, if ever. What was found after a restart is spread over the interval.
    pub fn verification_time(&self, known: &Known) -> Option<Timestamp> {
        let interval = self.desired.verify_interval?;
        let due = match (known.verified_at, known.since) {
            (Some(verified_at), _) => verified_at.checked_add(interval),
            (None, Some(since)) => since.checked_add(interval.mul_f64(self.credential.request.spread())),
            (None, None) => return None,
        };
        due.ok()
    }
}

/// Judges what was seen.
pub fn decide<'s>(context: &QlikContext, seen: &'s Seen, allowed: &AllowedHosts) -> Plan<'s> {
    if context.metadata.deletion_timestamp.is_some() {
        return Plan::Leave;
    }
    if seen.desired.suspend {
        return Plan::Rest;
    }
    let credential = match &seen.credential {
        Ok(credential) => credential,
        Err(failure) => return Plan::Refuse(failure.clone()),
    };
    if !allowed.allows(&seen.desired.tenant) {
        return Plan::Refuse(host_not_allowed(&seen.desired, allowed));
    }
    if let Some(failure) = seen.target.refusal(&seen.desired.target_name) {
        return Plan::Refuse(failure);
    }
    let wish = Wish { desired: &seen.desired, credential, target: &seen.target };
    let (known, now) = (seen.known.as_ref(), seen.now);
    let fresh = known.and_then(|known| {
        // A refresh request that may not be served yet leaves the token as good as it was.
        let refresh_due = known.refresh_waits && known.refresh_allowed_at <= now;
        known.token.as_ref().filter(|token| !refresh_due && wish.is_fresh(&token.token, now))
    });
    let left_of = |token: &Token| token.expires_at.map(|end| until(end, now));
    let unverified = known.and_then(|known| known.unverified.as_ref());
    if let (None, Some(token)) = (fresh, unverified.filter(|token| wish.is_fresh(token, now))) {
        return Plan::Verify { wish, token: token.clone(), left: left_of(token) };
    }
    let Some(token) = fresh else {
        let held = seen.held.as_ref().filter(|held| held.fit.spec && !held.rejected);
        let left = held.and_then(|held| left_of(&held.token)).filter(|left| !left.is_zero());
        return Plan::Renew { wish, left };
    };
    let answers = known.is_some_and(|known| !known.refresh_waits);
    match (wish.secret(context, token, seen.answered(answers)), &seen.target) {
        (Err(failure), _) => Plan::Refuse(failure),
        (Ok(secret), Target::Ours(stored)) if stored.is_as(&secret) => {
            let due = known.and_then(|known| wish.verification_time(known)).is_some_and(|due| due <= now);
            if due {
                Plan::Verify { wish, token: token.token.clone(), left: left_of(&token.token) }
            } else {
                Plan::Keep(wish, token.clone())
            }
        }
        (Ok(_), Target::Ours(stored)) if stored.is_immutable() => Plan::Refuse(immutable(&seen.desired)),
        (Ok(secret), _) => Plan::Publish { wish, token: token.clone(), secret: Box::new(secret) },
    }
}

impl Seen {
    /// The refresh request that stands beside a token: the one that waits, when the token answers it, else the last one.
    pub fn answered(&self, by_this_token: bool) -> Option<&str> {
        self.refresh.as_deref().filter(|_| by_this_token).or(self.handled.as_deref())
    }
}

/// An immutable Secret cannot be written; asked again where a new token is about to be.
pub fn immutable(desired: &Desired) -> Failure {
    Failure::new(
        SecretSynced,
        Reason::WriteRejected,
        format!(
            "Secret {} is immutable, so no token can be written. Delete it, and the operator writes it anew.",
            desired.target_name
        ),
    )
}

fn host_not_allowed(desired: &Desired, allowed: &AllowedHosts) -> Failure {
    Failure::new(
        TokenIssued,
        Reason::HostNotAllowedByOperator,
        format!(
            "The operator sends credentials only to {allowed}, and {} is not among them. Correct spec.tenantUrl, or have \
             the host added to the operator's flag --allowed-tenant-hosts.",
            desired.tenant.authority()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::Fit;
    use crate::oauth::identity::Identity;
    use crate::oauth::token::AccessToken;
    use crate::observe::HeldToken;
    use crate::secret::SealedSecret;
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
        let metadata = json!({"name": "acme", "namespace": "a", "uid": "u1"});
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
    fn seen(context: &QlikContext) -> Seen {
        let desired = Desired::parse(context).unwrap();
        let secret = json!({"metadata": {"name": "oauth"}, "data": {"client-id": "aWQ=", "client-secret": "czNjcmV0"}});
        let secret: SealedSecret = serde_json::from_value(secret).unwrap();
        let credential = secret.credential(&desired);
        let known = Known {
            token: Some(verified(0)),
            unverified: None,
            now: at(0),
            verified_at: Some(at(0)),
            since: Some(at(0)),
            setback: None,
            refresh_waits: false,
            refresh_after: None,
            refresh_untried: false,
            refresh_allowed_at: at(0),
        };
        let wanted =
            derived_secret(context, &desired, credential.as_ref().unwrap(), &verified(0), Some("before")).unwrap();
        let target = stored(serde_json::to_value(wanted).unwrap());
        let handled = Some("before".to_owned());
        Seen { desired, credential, target, held: None, known: Some(known), now: at(0), refresh: None, handled }
    }

    fn stored(secret: Value) -> Target {
        Target::Ours(Box::new(serde_json::from_value(secret).unwrap()))
    }

    fn held(expires: i64, fits: bool, rejected: bool) -> HeldToken {
        let fit = Fit { spec: fits, credential: false };
        HeldToken { token: token(expires - LIFE, "held"), fit, identity: None, rejected }
    }

    /// What is done, in a word or two, with what is left of a token's life.
    fn plan(context: &QlikContext, seen: &Seen) -> String {
        let left = |left: Option<Duration>| left.map_or(String::new(), |left| format!(" {}", left.as_secs()));
        match decide(context, seen, &"*.qlikcloud.com".parse().unwrap()) {
            Plan::Leave => "leave".into(),
            Plan::Rest => "rest".into(),
            Plan::Refuse(failure) => format!("refuse {}", failure.reason),
            Plan::Keep(..) => "keep".into(),
            Plan::Publish { .. } => "publish".into(),
            Plan::Verify { token, left: rest, .. } => {
                format!("verify {}{}", token.access_token.expose_secret(), left(rest))
            }
            Plan::Renew { left: rest, .. } => format!("renew{}", left(rest)),
        }
    }

    /// The plan after a change of what was seen.
    fn when(change: impl FnOnce(&mut Seen)) -> String {
        let context = context(&json!({}));
        let mut seen = seen(&context);
        change(&mut seen);
        plan(&context, &seen)
    }

    fn when_known(change: impl FnOnce(&mut Known)) -> String {
        when(|seen| change(seen.known.as_mut().unwrap()))
    }

    #[test]
    fn what_is_as_it_should_be_is_kept() {
        assert_eq!(when(|_| ()), "keep");
    }

    #[test]
    fn a_context_that_goes_or_rests_is_left_alone() {
        let mut going = context(&json!({}));
        going.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
        assert_eq!(plan(&going, &seen(&going)), "leave");
        let resting = context(&json!({"suspend": true}));
        assert_eq!(plan(&resting, &seen(&resting)), "rest");
    }

    #[test]
    fn what_stands_in_the_way_is_said_before_anybody_is_asked() {
        assert_eq!(when(|seen| seen.credential = Err(crate::secret::not_found("oauth"))), "refuse SecretNotFound");
        let foreign = || Target::Foreign { disowned: false, of: None };
        assert_eq!(when(|seen| seen.target = foreign()), "refuse SecretNotOwned");
        for (spec, plan_of_it) in [
            (json!({"tenantUrl": "https://acme.example"}), "refuse HostNotAllowedByOperator"),
            (json!({"expectedIdentity": {"userId": "somebody-else"}}), "refuse IdentityMismatch"),
        ] {
            let other = context(&spec);
            let mut seen = seen(&other);
            seen.target = Target::Absent;
            assert_eq!(plan(&other, &seen), plan_of_it);
        }
    }

    #[test]
    fn a_secret_that_is_not_as_it_should_be_is_written_unless_it_cannot_be() {
        assert_eq!(when(|seen| seen.target = Target::Absent), "publish");
        assert_eq!(when(|seen| seen.target = stored(json!({"metadata": {}}))), "publish");
        let immutable = json!({"metadata": {}, "immutable": true});
        assert_eq!(when(|seen| seen.target = stored(immutable)), "refuse WriteRejected");
        assert_eq!(when(|seen| seen.handled = Some("other".into())), "publish", "the mark of a refresh is part of it");
    }

    #[test]
    fn a_token_is_renewed_from_its_renewal_time_on() {
        let context = context(&json!({}));
        let mut seen = seen(&context);
        let wish = Wish { desired: &seen.desired, credential: seen.credential.as_ref().unwrap(), target: &seen.target };
        let due = wish.renewal_time(&token(0, "known")).unwrap();
        assert!(due > at(LIFE * 6 / 10) && due <= at(LIFE * 67 / 100), "{due}");
        let known = seen.known.as_mut().unwrap();
        known.verified_at = Some(due);
        for (second, expected) in [(-1, "keep"), (0, "renew"), (1, "renew")] {
            seen.now = due + crate::clock::SignedDuration::from_secs(second);
            assert_eq!(plan(&context, &seen), expected, "{second}");
        }
    }

    #[test]
    fn while_a_token_is_renewed_the_life_of_one_that_works_counts() {
        for (held, expected) in [
            (None, "renew"),
            (Some(held(100, true, false)), "renew 100"),
            (Some(held(0, true, false)), "renew"),
            (Some(held(-5, true, false)), "renew"),
            (Some(held(100, false, false)), "renew"),
            (Some(held(100, true, true)), "renew"),
        ] {
            let renewed = when(|seen| {
                seen.known.as_mut().unwrap().token = None;
                seen.held = held;
            });
            assert_eq!(renewed, expected);
        }
        assert_eq!(when(|seen| seen.known = None), "renew");
    }

    #[test]
    fn a_token_is_verified_when_its_interval_is_over() {
        for (age, expected) in [(899, "keep"), (900, "verify known 21600"), (901, "verify known 21600")] {
            assert_eq!(when_known(|known| known.verified_at = Some(at(-age))), expected, "{age}");
        }
        assert_eq!(when_known(|known| (known.verified_at, known.since) = (None, None)), "keep");
        let never = context(&json!({"verifyInterval": "0s"}));
        let mut seen = seen(&never);
        seen.known.as_mut().unwrap().verified_at = Some(at(-100_000));
        assert_eq!(plan(&never, &seen), "keep");
    }

    #[test]
    fn a_token_that_nobody_vouches_for_is_verified_before_it_is_used() {
        let found = |known: &mut Known| (known.token, known.unverified) = (None, Some(token(-3600, "found")));
        assert_eq!(when_known(found), "verify found 18000");
        assert_eq!(when_known(|known| known.unverified = Some(token(0, "found"))), "keep", "another is at hand");
        let old = |known: &mut Known| (known.token, known.unverified) = (None, Some(token(-LIFE, "found")));
        assert_eq!(when_known(old), "renew");
    }

    #[test]
    fn a_refresh_waits_until_it_is_allowed_and_the_token_stays_good_meanwhile() {
        let asked = |allowed: i64| {
            when(|seen| {
                seen.refresh = Some("now".into());
                let known = seen.known.as_mut().unwrap();
                (known.refresh_waits, known.refresh_allowed_at) = (true, at(allowed));
            })
        };
        assert_eq!(asked(-1), "renew");
        assert_eq!(asked(0), "renew");
        assert_eq!(asked(1), "keep");
        assert_eq!(when(|seen| seen.refresh = Some("now".into())), "publish", "answered, but not marked yet");
    }

    proptest! {
        #[test]
        fn the_next_verification_is_within_an_interval(
            interval in 10u32..=86400, verified in prop::option::of(0i64..1_000_000), since in prop::option::of(0i64..1_000_000)
        ) {
            let context = context(&json!({"verifyInterval": format!("{interval}s")}));
            let mut seen = seen(&context);
            let known = seen.known.as_mut().unwrap();
            (known.verified_at, known.since) = (verified.map(at), since.map(at));
            let wish = Wish { desired: &seen.desired, credential: seen.credential.as_ref().unwrap(), target: &seen.target };
            let due = wish.verification_time(seen.known.as_ref().unwrap());
            match (verified, since) {
                (Some(verified), _) => prop_assert_eq!(due, Some(at(verified + i64::from(interval)))),
                (None, Some(since)) => {
                    let due = due.unwrap();
                    prop_assert!(due >= at(since) && due <= at(since + i64::from(interval)));
                }
                (None, None) => prop_assert_eq!(due, None),
            }
        }
    }
}
