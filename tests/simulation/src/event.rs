//! The events: of processes, the cluster, the tenant and users.
//!
//! `draw`: random events; `display`: their text.

mod display;
mod draw;

use strum::{EnumIter, IntoStaticStr};
use support::api_server::{Kind, Verb};
use support::tenant::Route;

/// An event. Replicas, contexts, clients and QlikOAuthClients are numbered from 0.
#[derive(Clone, Copy, Debug, IntoStaticStr)]
pub enum Event {
    /// `kill -9`; a new process starts after `seconds`.
    Kill { replica: usize, seconds: u64 },
    /// SIGTERM; a new process starts after `seconds`.
    Stop { replica: usize, seconds: u64 },
    /// `kill -9` at the next request, before it is sent or after it is done. `any`: also at a read, a watch or a request for the Lease,
    /// and not only at a write or a request to the tenant.
    KillAtRequest { replica: usize, done: bool, any: bool },
    /// The wall clock of every process is set ahead, or back.
    ClockJump { seconds: i64 },

    /// A number of requests of one type fail.
    ApiFault { verb: Verb, kind: Kind, fault: ApiFault, times: u32 },
    /// The API server is unreachable for `seconds`.
    ApiDown { seconds: u64 },
    /// Every watch ends, as when the server restarts.
    EndWatches,
    /// The API server drops its history: watches get 410.
    Compact,
    /// From now on, watches repeat their last changes before each new one.
    RepeatWatches { lines: usize },
    /// From now on, watches are delayed.
    DelayWatches { millis: u64 },
    /// The Lease is deleted by hand.
    DeleteLease,

    /// A number of requests to the tenant fail.
    TenantFault { route: Route, fault: TenantFault, times: u32 },
    /// The tenant responds with 503 for `seconds`.
    TenantDown { seconds: u64 },
    /// An OAuth client is disabled or enabled.
    Disable { client: usize, disabled: bool },
    /// The token in this context's Secret is revoked.
    Revoke { context: usize },
    /// Every token of the tenant is revoked.
    RevokeAll,

    /// A user requests a refresh.
    Refresh { context: usize },
    /// A user edits the spec.
    Edit { context: usize, edit: Edit },
    /// A user changes a field that the schema has, to a value of its type.
    EditField { context: usize, field: usize, value: usize },
    /// A user adds a label and an annotation to the context.
    Label { context: usize },
    /// A user deletes the context.
    Delete { context: usize },
    /// A user creates the context again, if it was deleted.
    Create { context: usize },
    /// The client secret is rotated: added in the tenant, written to the Secret, and the old one removed in the tenant.
    Rotate { client: usize },
    /// The credential Secret gets a label.
    LabelCredential { client: usize },
    /// The credential Secret gets a wrong value.
    WrongSecret { client: usize },
    /// The credential Secret gets a value with a space.
    MalformedSecret { client: usize },
    /// The credential Secret may only be sent to another host.
    RestrictCredential { client: usize },
    /// The credential Secret is deleted.
    DeleteCredential { client: usize },
    /// The credential Secret has the right value again.
    RightSecret { client: usize },
    /// Another client writes into the token Secret.
    Tamper { context: usize },
    /// Another client writes into the token Secret each second.
    Contest { context: usize, seconds: u64 },
    /// The token Secret is deleted.
    DeleteTarget { context: usize },
    /// The token Secret loses its owner reference, as after a restore.
    Orphan { context: usize },
    /// Another client creates a Secret with the name of the token Secret.
    Foreign { context: usize },

    /// The Pod of the Deployment that reads this context's token is replaced.
    ReplacePod { context: usize },
    /// That Deployment reads another Secret, or the token again.
    ReadSecret { context: usize, own: bool },

    /// A user requests a rotation.
    RotateObject { object: usize },
    /// The OAuth client of the object is edited in the tenant.
    EditInTenant { object: usize },
    /// The OAuth client of the object is deleted in the tenant.
    DeleteInTenant { object: usize },
    /// A user changes a field of the object, to a value of its type.
    EditObjectField { object: usize, field: usize, value: usize },
    /// A user deletes the object.
    DeleteObject { object: usize },
}

/// A fault of a request to the API server.
#[derive(Clone, Copy, Debug, EnumIter, IntoStaticStr)]
pub enum ApiFault {
    Unavailable,
    InternalError,
    TooManyRequests,
    Forbidden,
    Conflict,
    Broken,
    /// The request is done, and the connection breaks before the response.
    DoneThenBroken,
    /// The request is done, and there is no response.
    DoneThenSilence,
    Silence,
    Slow,
    /// 200 with a body that is not JSON.
    Malformed,
}

/// A fault of a request to the tenant.
#[derive(Clone, Copy, Debug, EnumIter, IntoStaticStr)]
pub enum TenantFault {
    Unavailable,
    InternalError,
    /// 429 with seconds, with a date, and without `Retry-After`.
    RateLimited,
    RateLimitedUntil,
    RateLimitedSilently,
    /// 503 with `Retry-After`.
    Pause,
    Refused,
    Unauthorized,
    BadRequest,
    /// LOGIN-2.
    NoSuchTenant,
    Truncated,
    NotUtf8,
    Empty,
    Huge,
    /// A token that the tenant itself rejects.
    DeadToken,
    /// The client's previous token.
    SameToken,
    /// A token that expires in five seconds.
    ShortLife,
    UserDisabled,
    OtherSubject,
    ForeignTenant,
    /// A user with the required fields only, and one with fields that are not in the schema.
    UserMinimal,
    UserExtended,
    /// `users/me` responds with the user, without a redirect, or redirects with an absolute URL.
    NoRedirect,
    RedirectAbsolute,
    RedirectLoop,
    RedirectElsewhere,
    RedirectToHttp,
    RedirectNowhere,
    /// The `date` header is an hour ahead.
    DateAhead,
    /// Not a bearer token.
    OtherTokenType,
    /// A token with fewer scopes than requested.
    FewerScopes,
    /// An HTML page as a success.
    HtmlSuccess,
    /// The request is done, and the response is lost.
    AnswerLost,
    /// There is no response.
    Silence,
    Late,
    NoConnection,
    NameUnknown,
    ResolverFails,
    CertificateExpired,
    CertificateName,
    CertificateAuthority,
    TlsFails,
    NoProxy,
    ProxyCredentials,
    AddressNotPublic,
    NotHttp,
}

/// An edit of the spec.
#[derive(Clone, Copy, Debug, EnumIter, IntoStaticStr)]
pub enum Edit {
    Scopes,
    RenewBefore,
    VerifyInterval,
    TargetLabel,
    TargetData,
    /// A pin that does not match.
    WrongPin,
    NoPin,
    Suspend,
    Resume,
}

impl Event {
    /// Whether it names a replica other than the first.
    pub fn needs_many_replicas(self) -> bool {
        match self {
            Self::Kill { replica, .. } | Self::Stop { replica, .. } | Self::KillAtRequest { replica, .. } => {
                replica > 0
            }
            _ => false,
        }
    }

    /// The context that it names.
    pub fn context(self) -> Option<usize> {
        use Event::*;
        match self {
            Revoke { context }
            | Refresh { context }
            | Edit { context, .. }
            | EditField { context, .. }
            | Label { context }
            | Delete { context }
            | Create { context }
            | Tamper { context }
            | Contest { context, .. }
            | DeleteTarget { context }
            | Orphan { context }
            | Foreign { context }
            | ReplacePod { context }
            | ReadSecret { context, .. } => Some(context),
            _ => None,
        }
    }

    /// Whether it concerns a workload.
    pub fn needs_workloads(self) -> bool {
        matches!(self, Self::ReplacePod { .. } | Self::ReadSecret { .. })
    }

    /// Whether it concerns a QlikOAuthClient.
    pub fn needs_objects(self) -> bool {
        use Event::*;
        matches!(
            self,
            RotateObject { .. }
                | EditInTenant { .. }
                | DeleteInTenant { .. }
                | EditObjectField { .. }
                | DeleteObject { .. }
        )
    }

    /// Its kind, for the summary: `TenantFault RateLimited`.
    pub fn kind(self) -> String {
        let event: &str = self.into();
        let detail: &str = match self {
            Self::ApiFault { fault, .. } => fault.into(),
            Self::TenantFault { fault, .. } => fault.into(),
            Self::Edit { edit, .. } => edit.into(),
            Self::EditField { field, .. } => return format!("{event} {}", crate::fields::of_contexts(field).path),
            Self::EditObjectField { field, .. } => {
                return format!("{event} {}", crate::fields::of_oauth_clients(field).path);
            }
            _ => return event.to_owned(),
        };
        format!("{event} {detail}")
    }
}
