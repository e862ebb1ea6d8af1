//! Scripted misbehaviour: which request goes wrong, and how.
//!
//! Scripts stand in a queue. A request takes the first that fits it and no other, so three scripts
//! of one time each play one after the other, and a request after them is answered rightly again.

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

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// This answer in place of the right one, which is not even worked out: a gateway in the way.
    Answer {
        /// The HTTP status.
        status: u16,
        /// The body.
        body: FaultBody,
    },
    /// These words, said to be JSON, in place of the right answer.
    Says {
        /// The HTTP status.
        status: u16,
        /// The body.
        body: String,
    },
    /// A gateway's page of so many bytes of HTML, in place of the right answer.
    Page {
        /// The HTTP status.
        status: u16,
        /// The length of the body.
        bytes: usize,
        /// Its `retry-after`, where it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<String>,
        /// How it comes.
        #[serde(default)]
        pacing: Pacing,
    },
    /// A redirect to anywhere, in place of the right answer.
    Redirect {
        /// The HTTP status.
        status: u16,
        /// The `location`.
        location: String,
    },
    /// 429 in the words of <https://qlik.dev/apis/rest/rate-limiting>.
    RateLimited(RetryAfter),
    /// The right answer, badly delivered.
    Delivery(Pacing),
    /// The right answer with a `date` that is this many seconds off, and with it nothing else: a
    /// tenant whose clock is off is one with another [`Clock`].
    DateOff(i64),
    /// The right answer with one more header.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// The right answer with so many more headers.
    ManyHeaders(u16),
    /// Token endpoint: the right answer with a field added or replaced.
    TokenField {
        /// Its name.
        name: String,
        /// Its value.
        value: Value,
    },
    /// Token endpoint: this value as `expires_in`, and no `expires_at`.
    ExpiresIn(Value),
    /// Token endpoint: the client's last token again, with what is left of its life.
    SameToken,
    /// Token endpoint: a token that the tenant itself refuses from the first moment.
    DeadToken,
    /// `users/me`: another way to the user.
    Hop(Hop),
    /// The user resource: other fields.
    User(UserShape),
}

/// Where `users/me` sends the caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Hop {
    /// Nowhere: 200 with the user.
    Direct,
    /// To the user, by absolute URL on the same host.
    Absolute,
    /// To the user on another host.
    OtherHost(String),
    /// To the user over plain HTTP.
    Downgrade,
    /// To itself.
    Loop,
    /// A redirect that does not say where.
    Nowhere,
}

/// A fault, and the requests it is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Script {
    /// The route; absent means every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Route>,
    /// The client by whom the request, or the token it carries, came; absent means anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The tenant's host name; absent means every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// For how many requests; absent means until cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// What goes wrong.
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

    /// Only for so many requests.
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

/// Takes the fault for this request off the queue.
pub(super) fn take(scripts: &mut Vec<Script>, route: Route, host: &str, client_id: Option<&str>) -> Option<Fault> {
    scripts.retain(|script| script.times != Some(0));
    let script = scripts.iter_mut().find(|script| script.fits(route, host, client_id))?;
    script.times = script.times.map(|times| times - 1);
    Some(script.fault.clone())
}

/// What of a request a wrong answer may repeat.
pub(super) struct Echoed<'a> {
    pub(super) credential: &'a str,
    pub(super) body: &'a [u8],
}

impl Fault {
    /// The answer that stands in for the right one, if this fault has one.
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

/// The status, or 500 for a number that is none.
fn status_of(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
