//! When to try again: from whose fault it was, how often it failed and how long the held token still lives.

use std::time::Duration;

use crate::api::condition::Class;

const USER: Duration = Duration::from_mins(10);
const TENANT_FIRST: Duration = Duration::from_secs(1);
const TENANT_LONGEST: Duration = Duration::from_mins(5);
const CLUSTER_LONGEST: Duration = Duration::from_mins(1);
/// While a token still lives, so many tries fit into what is left of it.
const TRIES: u32 = 4;

/// The wait before the next attempt.
///
/// `count`: failures in a row, this one included. `left`: what is left of a working token's life. `jitter`: 0 up to 1.
/// A pause that the tenant asked for is never cut short.
pub fn delay(class: Class, count: u32, retry_after: Option<Duration>, left: Option<Duration>, jitter: f64) -> Duration {
    let doubled = |longest: Duration| TENANT_FIRST.saturating_mul(1 << count.saturating_sub(1).min(16)).min(longest);
    let (wait, shortest) = match class {
        Class::User => (USER, Duration::from_secs(30)),
        Class::Tenant => (doubled(TENANT_LONGEST), TENANT_FIRST),
        Class::Cluster => (doubled(CLUSTER_LONGEST), TENANT_FIRST),
    };
    let wait = match left.filter(|left| !left.is_zero()) {
        Some(left) => wait.min((left / TRIES).max(shortest)),
        None => wait,
    };
    // Up to a tenth more, never less: a wait is a promise.
    wait.max(retry_after.unwrap_or_default()).mul_f64(1.0 + 0.1 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(class: Class, count: u32, left: Option<u64>) -> u64 {
        delay(class, count, None, left.map(Duration::from_secs), 0.0).as_secs()
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
        assert_eq!(seconds(Class::Tenant, 10, Some(0)), 300, "an expired token hurries nobody");
    }

    proptest! {
        #[test]
        fn a_pause_that_was_asked_for_is_kept(pause in 0u64..3600, left in 0u64..3600, count in 1u32..40, jitter in 0.0f64..1.0) {
            let pause = Duration::from_secs(pause);
            let wait = delay(Class::Tenant, count, Some(pause), Some(Duration::from_secs(left)), jitter);
            prop_assert!(wait >= pause);
            prop_assert!(wait >= Duration::from_secs(1));
        }
    }
}
