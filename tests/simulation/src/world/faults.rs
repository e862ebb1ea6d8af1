//! Faults of processes, the API server and the tenant.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use qlik_context_operator::oauth::transport::TransportFailure;
use serde_json::json;
use support::api_server::{self, Kind, Verb};
use support::tenant::{self, FaultBody, Hop, RetryAfter, Route, UserShape, UserStatus};
use tokio::time::Instant;

use super::World;
use super::objects::{USERS, client_id, target};
use crate::event::{ApiFault, Event, TenantFault};
use crate::invariants::value;
use crate::replica::{LEASE, NAMESPACE, READ_TIMEOUT};
use crate::transport::Loss;

/// The longest time until a watch that gets no response is started again: the read timeout, and the pause of the back-off.
const SILENT_WATCH: Duration = READ_TIMEOUT.saturating_add(Duration::from_mins(1));

impl World {
    /// Applies a fault; false if the event is an action of users.
    pub(super) fn fault(&mut self, event: Event) -> bool {
        match event {
            Event::Kill { replica, seconds } => {
                self.replicas[replica].kill();
                self.starts[replica] = Some(after(seconds));
            }
            Event::Stop { replica, seconds } => {
                self.replicas[replica].stop();
                self.starts[replica] = Some(after(seconds));
            }
            Event::KillAtRequest { replica, done, any } => {
                self.replicas[replica].kill_at_request(done, any);
            }
            Event::ClockJump { seconds } => {
                self.ahead.fetch_add(seconds, Ordering::Relaxed);
                if seconds < 0 {
                    self.checker.clock_set_back();
                } else {
                    self.set_ahead = Some(Instant::now());
                }
                self.need_all();
            }
            Event::ApiFault { verb, kind, fault, times } => {
                if verb == Verb::Watch && matches!(fault, ApiFault::Silence | ApiFault::DoneThenSilence) {
                    self.checker.watches_lag(SILENT_WATCH * times);
                }
                self.api.script(api_server::Script::on(verb, kind, of_api(fault)).times(times));
            }
            Event::ApiDown { seconds } => {
                self.api_up = self.api_up.max(Some(after(seconds)));
                self.api.intercept(Some(Arc::new(|_| Some(api_server::Fault::Broken))));
                self.api.end_watches();
            }
            Event::EndWatches => self.api.end_watches(),
            Event::Compact => {
                self.api.compact();
                self.api.end_watches();
            }
            Event::RepeatWatches { lines } => self.api.repeat_watches(lines),
            Event::DelayWatches { millis } => {
                self.checker.watches_lag(Duration::from_millis(millis));
                self.api.delay_watches(Duration::from_millis(millis));
            }
            Event::DeleteLease => drop(self.api.delete(Kind::Lease, NAMESPACE, LEASE)),
            Event::TenantFault { route, fault, times } => self.tenant_fault(route, fault, times),
            Event::TenantDown { seconds } => {
                self.tenant_up = self.tenant_up.max(Some(after(seconds)));
                let fault = tenant::Fault::Answer { status: 503, body: FaultBody::Html };
                self.cloud.script(tenant::Script { at: None, client: None, host: None, times: None, fault });
            }
            Event::Disable { client, disabled } => {
                self.tenant.edit_client(&client_id(client), |client| client.disabled = disabled);
            }
            Event::Revoke { context } => {
                if let Some(secret) = self.api.get(Kind::Secret, USERS, &target(context)) {
                    let token = value(&secret, "token");
                    self.tenant.revoke(&token);
                    self.checker.revoked(&token);
                }
                self.need(context);
            }
            Event::RevokeAll => {
                self.tenant.revoke_all();
                self.checker.revoked_all();
                self.need_all();
            }
            _ => return false,
        }
        true
    }

    fn tenant_fault(&self, route: Route, fault: TenantFault, times: u32) {
        // The operator leaves the clients of a tenant that does not exist, and believes any success.
        if route == Route::DeleteClient || matches!(fault, TenantFault::NoSuchTenant) {
            self.checker.deletes_fail();
        }
        let fault = match of_tenant(fault) {
            Ok(fault) => fault,
            Err(loss) => return self.losses.add(loss, times),
        };
        self.cloud.script(tenant::Script::at(route, fault).times(times));
    }
}

fn after(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

fn of_api(fault: ApiFault) -> api_server::Fault {
    use api_server::Fault;
    match fault {
        ApiFault::Unavailable => Fault::unavailable(),
        ApiFault::InternalError => Fault::internal_error(),
        ApiFault::TooManyRequests => Fault::too_many_requests(3),
        ApiFault::Forbidden => Fault::Forbidden,
        ApiFault::Conflict => Fault::Status { code: 409, reason: "Conflict", retry_after: None },
        ApiFault::Broken => Fault::Broken,
        ApiFault::DoneThenBroken => Fault::DoneThenBroken,
        ApiFault::DoneThenSilence => Fault::DoneThenSilence,
        ApiFault::Silence => Fault::Silence,
        ApiFault::Slow => Fault::Delay(Duration::from_secs(7)),
        ApiFault::Malformed => Fault::Malformed,
    }
}

/// A fault of the tenant, or of the connection to it.
fn of_tenant(fault: TenantFault) -> Result<tenant::Fault, Loss> {
    use tenant::Fault;
    let answer = |status, body| Fault::Answer { status, body };
    let fails = |failure| Err(Loss::Failure(failure));
    Ok(match fault {
        TenantFault::Unavailable => answer(503, FaultBody::Html),
        TenantFault::InternalError => answer(500, FaultBody::Qlik),
        TenantFault::RateLimited => Fault::RateLimited(RetryAfter::Seconds(13)),
        TenantFault::RateLimitedUntil => Fault::RateLimited(RetryAfter::Date(40)),
        TenantFault::RateLimitedSilently => Fault::RateLimited(RetryAfter::Absent),
        TenantFault::Pause => {
            let pacing = tenant::Pacing::AtOnce;
            Fault::Page { status: 503, bytes: 100, retry_after: Some("20".into()), pacing }
        }
        TenantFault::Refused => answer(403, FaultBody::Echo),
        TenantFault::Unauthorized => answer(401, FaultBody::Qlik),
        TenantFault::BadRequest => answer(400, FaultBody::Rfc6749),
        TenantFault::NoSuchTenant => {
            let body =
                json!({"errors": [{"title": "No authentication configured for this hostname", "code": "LOGIN-2"}]});
            Fault::Says { status: 401, body: body.to_string() }
        }
        TenantFault::Truncated => answer(200, FaultBody::Truncated),
        TenantFault::NotUtf8 => answer(200, FaultBody::NotUtf8),
        TenantFault::Empty => answer(200, FaultBody::Empty),
        TenantFault::Huge => answer(200, FaultBody::Huge),
        TenantFault::DeadToken => Fault::DeadToken,
        TenantFault::SameToken => Fault::SameToken,
        TenantFault::ShortLife => Fault::ExpiresIn(json!(5)),
        TenantFault::UserDisabled => Fault::User(UserShape::Status(UserStatus::Disabled)),
        TenantFault::OtherSubject => Fault::User(UserShape::Subject("another".into())),
        TenantFault::ForeignTenant => Fault::User(UserShape::ForeignTenant("another".into())),
        TenantFault::UserMinimal => Fault::User(UserShape::Minimal),
        TenantFault::UserExtended => Fault::User(UserShape::Extended),
        TenantFault::NoRedirect => Fault::Hop(Hop::Direct),
        TenantFault::RedirectAbsolute => Fault::Hop(Hop::Absolute),
        TenantFault::RedirectToHttp => Fault::Hop(Hop::Downgrade),
        TenantFault::RedirectNowhere => Fault::Hop(Hop::Nowhere),
        TenantFault::DateAhead => Fault::DateOff(3600),
        TenantFault::OtherTokenType => Fault::TokenField { name: "token_type".into(), value: json!("mac") },
        TenantFault::FewerScopes => Fault::TokenField { name: "scope".into(), value: json!("another") },
        TenantFault::HtmlSuccess => answer(200, FaultBody::Html),
        TenantFault::RedirectLoop => Fault::Hop(Hop::Loop),
        TenantFault::RedirectElsewhere => Fault::Hop(Hop::OtherHost("elsewhere.eu.qlikcloud.com".into())),
        TenantFault::Late => Fault::Delivery(tenant::Pacing::Late { millis: 7000 }),
        TenantFault::AnswerLost => return Err(Loss::Answer),
        TenantFault::Silence => return Err(Loss::Silence),
        TenantFault::NoConnection => return fails(TransportFailure::Connection),
        TenantFault::NameUnknown => return fails(TransportFailure::Name),
        TenantFault::ResolverFails => return fails(TransportFailure::Resolver),
        TenantFault::CertificateExpired => return fails(TransportFailure::CertificateExpired),
        TenantFault::CertificateName => return fails(TransportFailure::CertificateName),
        TenantFault::CertificateAuthority => return fails(TransportFailure::CertificateAuthority),
        TenantFault::TlsFails => return fails(TransportFailure::Tls),
        TenantFault::NoProxy => return fails(TransportFailure::Proxy),
        TenantFault::ProxyCredentials => return fails(TransportFailure::ProxyCredentials),
        TenantFault::AddressNotPublic => return fails(TransportFailure::AddressNotPublic),
        TenantFault::NotHttp => return fails(TransportFailure::NotHttp),
    })
}
