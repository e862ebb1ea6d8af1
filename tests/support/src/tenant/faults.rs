//! Scripted faults: which request fails, and how.
//!
//! Scripts are in a queue. A request takes the first one that matches and no other, so three scripts
//! for one request each run one after the other, and a later request gets the normal response again.

mod answers;

use http::StatusCode;
use http::header::RETRY_AFTER;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::answers::{FaultBody, RetryAfter};

use super::clock::Clock;
use super::reply::{Pacing, QlikError, Reply};
use super::routes::Route;
use super::users::UserShape;

/// A fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// This response, as from a gateway. The request is not processed.
    Answer {
        /// The HTTP status.
        status: u16,
        /// The body.
        body: FaultBody,
    },
    /// This text with the content type of JSON, in place of the normal response.
    Says {
        /// The HTTP status.
        status: u16,
        /// The body.
        body: String,
    },
    /// An HTML page of a gateway with this many bytes, in place of the normal response.
    Page {
        /// The HTTP status.
        status: u16,
        /// The length of the body.
        bytes: usize,
        /// The `retry-after` header, if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<String>,
        /// The pacing of the response.
        #[serde(default)]
        pacing: Pacing,
    },
    /// A redirect to any location, in place of the normal response.
    Redirect {
        /// The HTTP status.
        status: u16,
        /// The `location`.
        location: String,
    },
    /// 429 as documented at <https://qlik.dev/apis/rest/rate-limiting>.
    RateLimited(RetryAfter),
    /// The normal response with this pacing.
    Delivery(Pacing),
    /// The normal response with a `date` that is this many seconds off. Nothing else changes; for a
    /// tenant whose clock is off, use another [`Clock`].
    DateOff(i64),
    /// The normal response with an additional header.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// The normal response with this many additional headers.
    ManyHeaders(u16),
    /// Token endpoint: the normal response with a field added or replaced.
    TokenField {
        /// Its name.
        name: String,
        /// Its value.
        value: Value,
    },
    /// Token endpoint: this value as `expires_in`, and no `expires_at`.
    ExpiresIn(Value),
    /// Token endpoint: the client's latest token again, with its remaining lifetime.
    SameToken,
    /// Token endpoint: a token that the tenant itself rejects from the start.
    DeadToken,
    /// `users/me`: another redirect to the user.
    Hop(Hop),
    /// The user resource: other fields.
    User(UserShape),
}

/// The redirect of `users/me`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Hop {
    /// No redirect: 200 with the user.
    Direct,
    /// To the user, as an absolute URL on the same host.
    Absolute,
    /// To the user on another host.
    OtherHost(String),
    /// To the user over plain HTTP.
    Downgrade,
    /// To itself.
    Loop,
    /// A redirect without a location.
    Nowhere,
}

/// A fault, and the requests that it applies to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Script {
    /// The route; absent means every route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Route>,
    /// The client that sent the request or whose token it has; absent means every client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The tenant's host name; absent means every host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The number of requests; absent means until cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// The fault.
    pub fault: Fault,
}

impl Script {
    /// The fault for every request to this route, until cleared.
    pub fn at(route: Route, fault: Fault) -> Self {
        Self { at: Some(route), client: None, host: None, times: None, fault }
    }

    /// Only for this client.
    #[must_use]
    pub fn client(mut self, client_id: &str) -> Self {
        self.client = Some(client_id.to_owned());
        self
    }

    /// Only for this host name.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_ascii_lowercase());
        self
    }

    /// Only for this number of requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Only for the next request.
    #[must_use]
    pub fn once(self) -> Self {
        self.times(1)
    }

    fn fits(&self, route: Route, host: &str, client_id: Option<&str>) -> bool {
        self.at.is_none_or(|at| at == route)
            && self.host.as_deref().is_none_or(|wanted| wanted == host)
            && self.client.as_deref().is_none_or(|wanted| client_id == Some(wanted))
    }
}

/// Removes the fault for this request from the queue and returns it.
pub(super) fn take(scripts: &mut Vec<Script>, route: Route, host: &str, client_id: Option<&str>) -> Option<Fault> {
    scripts.retain(|script| script.times != Some(0));
    let script = scripts.iter_mut().find(|script| script.fits(route, host, client_id))?;
    script.times = script.times.map(|times| times - 1);
    Some(script.fault.clone())
}

/// The parts of a request that a faulty response can repeat.
pub(super) struct Echoed<'a> {
    pub(super) credential: &'a str,
    pub(super) body: &'a [u8],
}

impl Fault {
    /// The response of this fault that replaces the normal one, if it has one.
    pub(super) fn instead(&self, errors: &QlikError, echoed: &Echoed<'_>, clock: &Clock) -> Option<Reply> {
        match self {
            Self::Answer { status, body } => Some(body.answer(status_of(*status), errors, echoed)),
            Self::Says { status, body } => Some(Reply::new(status_of(*status), "application/json", body.clone())),
            Self::Page { status, bytes, retry_after, pacing } => {
                let page = format!("<html><body>{}</body></html>", "-".repeat(*bytes));
                let reply = Reply { pacing: *pacing, ..Reply::new(status_of(*status), "text/html", page) };
                Some(match retry_after {
                    Some(value) => reply.with(RETRY_AFTER, value),
                    None => reply,
                })
            }
            Self::Redirect { status, location } => Some(Reply::redirect(status_of(*status), location)),
            Self::RateLimited(after) => Some(after.answer(errors, clock)),
            _ => None,
        }
    }
}

/// The status, or 500 for an invalid number.
fn status_of(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
