//! When to retry: depends on the kind of failure, the number of failures in a row and the remaining lifetime of the held token.

use std::time::Duration;

use crate::api::condition::Class;
use crate::values::Serving;

const USER: Duration = Duration::from_mins(10);
const TENANT_FIRST: Duration = Duration::from_secs(1);
const TENANT_LONGEST: Duration = Duration::from_mins(5);
/// With its jitter under a minute, so that everything recovers within a minute after an outage.
const CLUSTER_LONGEST: Duration = Duration::from_secs(45);
/// While a token is valid, so many attempts fit into its remaining lifetime.
const TRIES: u32 = 4;

/// While a Secret serves an expired token, the tenant is tried at least this often, within budgets and circuit breaker.
const SERVING_EXPIRED: Duration = Duration::from_secs(15);

/// The wait before the next attempt.
///
/// `count`: failures in a row, including this one. `serving`: the token that workloads have meanwhile. `jitter`: 0 up to 1.
/// A pause that the tenant requested is never shortened.
pub fn delay(class: Class, count: u32, retry_after: Option<Duration>, serving: Serving, jitter: f64) -> Duration {
    let doubled = |longest: Duration| TENANT_FIRST.saturating_mul(1 << count.saturating_sub(1).min(16)).min(longest);
    let (wait, shortest) = match class {
        Class::User => (USER, Duration::from_secs(30)),
        Class::Tenant => (doubled(TENANT_LONGEST), TENANT_FIRST),
        Class::Cluster => (doubled(CLUSTER_LONGEST), TENANT_FIRST),
    };
    let wait = match serving {
        Serving::Working(Some(left)) if !left.is_zero() => wait.min((left / TRIES).max(shortest)),
        Serving::Expired if class == Class::Tenant => wait.min(SERVING_EXPIRED),
        _ => wait,
    };
    // Up to a tenth more, never less.
    wait.max(retry_after.unwrap_or_default()).mul_f64(1.0 + 0.1 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(class: Class, count: u32, left: Option<u64>) -> u64 {
        let serving = left.map_or(Serving::Nothing, |left| Serving::Working(Some(Duration::from_secs(left))));
        delay(class, count, None, serving, 0.0).as_secs()
    }

    #[test]
    fn the_tenants_faults_back_off_and_the_users_wait_for_the_user() {
        let waits: Vec<_> = (1..=11).map(|count| seconds(Class::Tenant, count, None)).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(seconds(Class::User, 1, None), 600);
        assert_eq!(seconds(Class::User, 9, None), 600);
    }

    #[test]
    fn several_tries_fit_into_what_is_left_of_a_token() {
        assert_eq!(seconds(Class::Tenant, 10, Some(400)), 100);
        assert_eq!(seconds(Class::User, 1, Some(1200)), 300);
        assert_eq!(seconds(Class::User, 1, Some(8)), 30);
        assert_eq!(delay(Class::User, 1, None, Serving::Expired, 0.0).as_secs(), 600, "it is the user's turn");
    }

    #[test]
    fn a_tenant_is_tried_every_fifteen_seconds_while_an_expired_token_is_served() {
        let waits: Vec<_> =
            (1..=8).map(|count| delay(Class::Tenant, count, None, Serving::Expired, 0.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 15, 15, 15, 15]);
    }

    proptest! {
        #[test]
        fn a_pause_that_was_asked_for_is_kept(pause in 0u64..3600, left in 0u64..3600, count in 1u32..40, jitter in 0.0f64..1.0) {
            let pause = Duration::from_secs(pause);
            let wait = delay(Class::Tenant, count, Some(pause), Serving::Working(Some(Duration::from_secs(left))), jitter);
            prop_assert!(wait >= pause);
            prop_assert!(wait >= Duration::from_secs(1));
        }
    }
}
