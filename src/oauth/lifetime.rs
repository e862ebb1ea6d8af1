//! The lifetime of a token and the time of its renewal: arithmetic on times only.

use std::time::{Duration, SystemTime};

use crate::clock::{SignedDuration, Timestamp};
use serde_json::Value;

/// Assumed when the tenant reports none: the shortest lifetime that Qlik documents is an hour.
const UNSTATED: SignedDuration = SignedDuration::from_hours(1);
/// A longer lifetime is treated as this.
const LONGEST: SignedDuration = SignedDuration::from_hours(30 * 24);
/// A shorter lifetime is of no use to a workload, since a mounted Secret takes some time to arrive.
const SHORTEST: SignedDuration = SignedDuration::from_secs(10);
/// Time a mounted Secret is given to reach its Pods.
const MARGIN: SignedDuration = SignedDuration::from_mins(3);
/// No tenant issues a token that expired this long ago: an earlier expiry is ignored, such as the one in Qlik's own example,
/// which is in January 1970 (<https://qlik.dev/apis/rest/oauth/>). Clocks differ by less.
const IMPLAUSIBLE: SignedDuration = SignedDuration::from_hours(-24);
/// No two renewals of one request are closer than this.
const SPACING: SignedDuration = SignedDuration::from_secs(10);

/// Why a lifetime is not valid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoLifetime {
    /// Neither a number nor a time.
    #[error("the tenant's answer states a lifetime that is no number")]
    Unreadable,
    /// Under 10 s, zero or negative.
    #[error("the token would live less than 10 s")]
    TooShort,
}

/// The lifetime of a token: `expires_in`, else `expires_at` by the tenant's own clock, else an hour, as also for an expiry long
/// ago (the tenant verifies the token before it is published).
///
/// `expires_in` comes first because it does not need two clocks to agree. A number in quotes is accepted; Qlik's own schema has
/// only `expires_at`, its examples only numbers (<https://qlik.dev/apis/rest/oauth/>).
pub fn lifetime(
    expires_in: Option<&Value>,
    expires_at: Option<&Value>,
    tenant_now: SystemTime,
) -> Result<SignedDuration, NoLifetime> {
    let life = match (expires_in, expires_at) {
        (Some(value), _) => seconds(value).ok_or(NoLifetime::Unreadable)?,
        (None, Some(value)) => {
            let text = value.as_str().ok_or(NoLifetime::Unreadable)?;
            let end: Timestamp = text.parse().map_err(|_| NoLifetime::Unreadable)?;
            let now = Timestamp::try_from(tenant_now).map_err(|_| NoLifetime::Unreadable)?;
            let life = end.duration_since(now);
            if life < IMPLAUSIBLE { UNSTATED } else { life }
        }
        (None, None) => UNSTATED,
    };
    if life < SHORTEST { Err(NoLifetime::TooShort) } else { Ok(life.min(LONGEST)) }
}

#[allow(clippy::cast_possible_truncation, reason = "a float out of range saturates, and is then bounded")]
fn seconds(value: &Value) -> Option<SignedDuration> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| number.is_finite()).map(|number| SignedDuration::from_secs(number as i64))
}

/// When a token is renewed.
///
/// `percentage` of its lifetime is left then, less up to a tenth of the wait (`spread`, 0 up to 1); never later than 3 min before
/// it expires (half its lifetime if that is under 6 min), never sooner than 10 s after it was issued.
pub fn renewal_time(issued_at: Timestamp, expires_at: Timestamp, percentage: u8, spread: f64) -> Timestamp {
    let life = expires_at.duration_since(issued_at);
    let wait = life * (100 - i32::from(percentage.min(100))) / 100;
    let latest = if life >= MARGIN * 2 { life - MARGIN } else { life / 2 };
    let wait = wait.min(latest);
    let jitter = wait.as_secs_f64() * 0.1 * spread.clamp(0.0, 1.0);
    let wait = wait - SignedDuration::try_from_secs_f64(jitter).unwrap_or_default();
    // Whole seconds, as Kubernetes writes times: else a time would differ from its stored form.
    let wait = SignedDuration::from_secs(wait.as_secs());
    issued_at.saturating_add(wait.max(SPACING)).unwrap_or(expires_at)
}

/// The time left until `deadline`; zero when it has passed.
pub fn until(deadline: Timestamp, now: Timestamp) -> Duration {
    deadline.duration_since(now).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_lifetime_is_the_first_that_the_tenant_states() {
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let iso = |second| json!(at(second).to_string());
        for (expires_in, expires_at, expected) in [
            (Some(json!(21600)), Some(iso(1)), Ok(21600)),
            (Some(json!("3600")), None, Ok(3600)),
            (Some(json!(3600.9)), None, Ok(3600)),
            (None, Some(iso(1_000_600)), Ok(600)),
            (None, None, Ok(3600)),
            (Some(json!(1_000_000_000)), None, Ok(30 * 24 * 3600)),
            (Some(json!(1e300)), None, Ok(30 * 24 * 3600)),
            (Some(json!(10)), None, Ok(10)),
            (Some(json!(9)), None, Err(NoLifetime::TooShort)),
            (Some(json!(0)), None, Err(NoLifetime::TooShort)),
            (Some(json!(-5)), None, Err(NoLifetime::TooShort)),
            (None, Some(iso(999_000)), Err(NoLifetime::TooShort)),
            (None, Some(iso(1_000_000 - 24 * 3600)), Err(NoLifetime::TooShort)),
            (None, Some(iso(1_000_000 - 24 * 3600 - 1)), Ok(3600)),
            (None, Some(json!("1970-01-01T00:00:00.000Z")), Ok(3600)),
            (Some(json!(0)), Some(json!("1970-01-01T00:00:00.000Z")), Err(NoLifetime::TooShort)),
            (Some(json!(null)), None, Err(NoLifetime::Unreadable)),
            (Some(json!("soon")), None, Err(NoLifetime::Unreadable)),
            (Some(json!([6])), None, Err(NoLifetime::Unreadable)),
            (Some(json!("1e300")), None, Ok(30 * 24 * 3600)),
            (Some(json!("99999999999999999999")), None, Ok(30 * 24 * 3600)),
            (Some(json!("inf")), None, Err(NoLifetime::Unreadable)),
            (Some(json!("NaN")), None, Err(NoLifetime::Unreadable)),
            (Some(json!("")), None, Err(NoLifetime::Unreadable)),
            (Some(json!(3600)), Some(json!({})), Ok(3600)),
            (None, Some(json!("tomorrow")), Err(NoLifetime::Unreadable)),
            (None, Some(json!(1_000_600)), Err(NoLifetime::Unreadable)),
        ] {
            let life = lifetime(expires_in.as_ref(), expires_at.as_ref(), date);
            assert_eq!(life.map(|life| life.as_secs()), expected, "{expires_in:?} {expires_at:?}");
        }
    }

    #[test]
    fn a_six_hour_token_is_renewed_after_four_hours_at_the_latest() {
        assert_eq!(renewal_time(at(0), at(21600), 33, 0.0), at(14472));
        assert_eq!(renewal_time(at(0), at(21600), 33, 1.0), at(13024));
        assert_eq!(renewal_time(at(0), at(600), 5, 0.0), at(420), "3 min are kept");
        assert_eq!(renewal_time(at(0), at(60), 5, 0.0), at(30), "or half the life");
        assert_eq!(renewal_time(at(0), at(12), 80, 1.0), at(10), "but never within 10 s");
    }

    proptest! {
        #[test]
        fn a_renewal_lies_inside_the_life_and_leaves_the_margin(
            life in 10i64..=30 * 24 * 3600, percentage in 5u8..=80, spread in 0.0f64..1.0
        ) {
            let renewal = renewal_time(at(0), at(life), percentage, spread).as_second();
            prop_assert!(renewal >= 10);
            prop_assert!(renewal <= life);
            if life >= 360 {
                prop_assert!(renewal <= life - 180);
            } else if life >= 20 {
                prop_assert!(renewal <= life / 2 + 1);
            }
        }

        #[test]
        fn any_stated_life_gives_a_usable_one_or_none(seconds in any::<i64>()) {
            if let Ok(life) = lifetime(Some(&json!(seconds)), None, SystemTime::UNIX_EPOCH) {
                prop_assert!(life >= SHORTEST && life <= LONGEST);
            }
        }
    }

    /// Any representable time.
    fn time() -> impl Strategy<Value = Timestamp> {
        let seconds = Timestamp::MIN.as_second()..=Timestamp::MAX.as_second();
        prop_oneof![seconds, Just(Timestamp::MIN.as_second()), Just(Timestamp::MAX.as_second())].prop_map(at)
    }

    proptest! {
        #[test]
        fn no_times_percentage_or_spread_overflow(
            (issued, end) in (time(), time()), percentage in any::<u8>(), spread in any::<f64>()
        ) {
            let renewal = renewal_time(issued, end, percentage, spread);
            prop_assert!(renewal > issued || renewal == end, "{renewal}");
            prop_assert_eq!(until(issued, end).is_zero(), issued <= end);
        }

        #[test]
        fn the_spread_takes_a_tenth_of_the_wait_at_most_and_a_larger_share_is_never_later(
            issued in 0i64..4_000_000_000, life in 10i64..=30 * 24 * 3600, percentage in 5u8..=79, spread in 0.0f64..1.0
        ) {
            let end = at(issued + life);
            let renewal = |percentage, spread| renewal_time(at(issued), end, percentage, spread).as_second();
            let (latest, spread_out) = (renewal(percentage, 0.0), renewal(percentage, spread));
            let wait = latest - issued;
            prop_assert!(spread_out <= latest);
            // A second for the rounding.
            prop_assert!(spread_out >= latest - wait / 10 - 1);
            prop_assert!(renewal(percentage + 1, spread) <= spread_out);
        }
    }

    #[test]
    fn under_six_minutes_half_of_the_life_is_the_latest() {
        for (life, latest) in [(359, 179), (360, 180), (361, 181), (200, 100)] {
            assert_eq!(renewal_time(at(0), at(life), 5, 0.0), at(latest), "{life}");
        }
    }
}
