//! One line of text for each event.

use std::fmt;

use super::Event;
use crate::fields::{of_contexts, of_oauth_clients};

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { replica, seconds } => {
                write!(formatter, "replica {replica} is killed, and starts again after {seconds} s")
            }
            Self::Stop { replica, seconds } => {
                write!(formatter, "replica {replica} is stopped, and starts again after {seconds} s")
            }
            Self::KillAtRequest { replica, done, any } => {
                let when = if *done { "after" } else { "before" };
                let request = if *any { "request" } else { "write or request to the tenant" };
                write!(formatter, "replica {replica} is killed {when} its next {request}, and starts again")
            }
            Self::ClockJump { seconds } if *seconds < 0 => {
                write!(formatter, "the wall clock is set back by {} s", seconds.unsigned_abs())
            }
            Self::ClockJump { seconds } => write!(formatter, "the wall clock is set ahead by {seconds} s"),
            Self::ApiFault { verb, kind, fault, times } => {
                write!(formatter, "the next {times} requests to {verb} {} fail: {fault:?}", kind.plural())
            }
            Self::ApiDown { seconds } => write!(formatter, "the API server is unreachable for {seconds} s"),
            Self::EndWatches => write!(formatter, "every watch ends"),
            Self::Compact => write!(formatter, "the API server drops its history (410 for older watches)"),
            Self::DelayWatches { millis } => write!(formatter, "watches are delayed by {millis} ms from now on"),
            Self::RepeatWatches { lines } => {
                write!(formatter, "watches repeat their last {lines} changes before each change from now on")
            }
            Self::DeleteLease => write!(formatter, "the Lease is deleted by hand"),
            Self::TenantFault { route, fault, times } => {
                write!(formatter, "the next {times} requests to {route:?} fail: {fault:?}")
            }
            Self::TenantDown { seconds } => write!(formatter, "the tenant responds with 503 for {seconds} s"),
            Self::Disable { client, disabled: true } => write!(formatter, "OAuth client {client} is disabled"),
            Self::Disable { client, disabled: false } => write!(formatter, "OAuth client {client} is enabled"),
            Self::Revoke { context } => write!(formatter, "the token of context {context} is revoked"),
            Self::RevokeAll => write!(formatter, "every token is revoked"),
            Self::Refresh { context } => write!(formatter, "a refresh of context {context} is requested"),
            Self::Edit { context, edit } => write!(formatter, "the spec of context {context} is edited: {edit:?}"),
            Self::EditField { context, field, value } => {
                write!(formatter, "the spec of context {context} is edited: {}", of_contexts(*field).shown(*value))
            }
            Self::Label { context } => write!(formatter, "context {context} gets a label"),
            Self::Delete { context } => write!(formatter, "context {context} is deleted"),
            Self::Create { context } => write!(formatter, "context {context} is created, if it does not exist"),
            Self::Rotate { client } => write!(formatter, "the secret of OAuth client {client} is rotated"),
            Self::LabelCredential { client } => write!(formatter, "the Secret of OAuth client {client} gets a label"),
            Self::WrongSecret { client } => write!(formatter, "the Secret of OAuth client {client} gets a wrong value"),
            Self::MalformedSecret { client } => {
                write!(formatter, "the Secret of OAuth client {client} gets a value with a space")
            }
            Self::RestrictCredential { client } => {
                write!(formatter, "the Secret of OAuth client {client} may only be sent to another host")
            }
            Self::DeleteCredential { client } => write!(formatter, "the Secret of OAuth client {client} is deleted"),
            Self::RightSecret { client } => write!(formatter, "the Secret of OAuth client {client} is corrected"),
            Self::Tamper { context } => {
                write!(formatter, "another client changes the token Secret of context {context}")
            }
            Self::Contest { context, seconds } => {
                write!(
                    formatter,
                    "another client changes the token Secret of context {context} each second for {seconds} s"
                )
            }
            Self::DeleteTarget { context } => write!(formatter, "the token Secret of context {context} is deleted"),
            Self::Orphan { context } => {
                write!(formatter, "the token Secret of context {context} loses its owner reference")
            }
            Self::Foreign { context } => {
                write!(formatter, "a Secret of another owner replaces the token Secret of context {context}")
            }
            Self::ReplacePod { context } => {
                write!(formatter, "the Pod that reads the token of context {context} is replaced")
            }
            Self::ReadSecret { context, own: true } => {
                write!(formatter, "the Deployment of context {context} reads its token")
            }
            Self::ReadSecret { context, own: false } => {
                write!(formatter, "the Deployment of context {context} reads another Secret")
            }
            Self::RotateObject { object } => write!(formatter, "a rotation of QlikOAuthClient {object} is requested"),
            Self::EditInTenant { object } => {
                write!(formatter, "the client of QlikOAuthClient {object} is edited in the tenant")
            }
            Self::DeleteInTenant { object } => {
                write!(formatter, "the client of QlikOAuthClient {object} is deleted in the tenant")
            }
            Self::EditObjectField { object, field, value } => {
                let shown = of_oauth_clients(*field).shown(*value);
                write!(formatter, "the spec of QlikOAuthClient {object} is edited: {shown}")
            }
            Self::DeleteObject { object } => write!(formatter, "QlikOAuthClient {object} is deleted"),
        }
    }
}
