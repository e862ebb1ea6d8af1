//! When a token is due for renewal and verification, from the spec and the state of the token.

use crate::clock::Timestamp;
use crate::desired::Desired;
use crate::oauth::lifetime::renewal_time;
use crate::oauth::token::Token;
use crate::values::TokenSnapshot;

/// The fields of the spec that determine these times.
#[derive(Clone, Copy)]
pub(super) struct Terms<'f> {
    /// The spec.
    pub(super) desired: &'f Desired,
    /// Spreads tokens that would otherwise be due at the same time.
    pub(super) spread: f64,
}

impl Terms<'_> {
    /// When a token is due for renewal for this context, if ever.
    pub(super) fn renewal_time(self, token: &Token) -> Option<Timestamp> {
        let percentage = self.desired.renew_before_percentage;
        token.expires_at.map(|end| renewal_time(token.issued_at, end, percentage, self.spread))
    }

    /// True until then.
    pub(super) fn is_fresh(self, token: &Token, now: Timestamp) -> bool {
        self.renewal_time(token).is_none_or(|due| now < due)
    }

    /// When a known token is due for verification, if ever. Tokens that were found after a restart are spread over the interval.
    pub(super) fn verification_time(self, tokens: &TokenSnapshot) -> Option<Timestamp> {
        let interval = self.desired.verify_interval?;
        let due = match (tokens.confirmed_at, tokens.since) {
            (Some(confirmed_at), _) => confirmed_at.checked_add(interval),
            (None, Some(since)) => since.checked_add(interval.mul_f64(self.spread)),
            (None, None) => return None,
        };
        due.ok()
    }
}
