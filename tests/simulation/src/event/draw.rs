//! Random events.

use strum::IntoEnumIterator;
use support::api_server::{Kind, Verb};
use support::tenant::Route;

use super::{ApiFault, Edit, Event, TenantFault};
use crate::fields;
use crate::history::History;
use crate::random::Random;

/// The operator's requests to the API server.
const REQUESTS: [(Verb, Kind); 10] = [
    (Verb::Get, Kind::Secret),
    (Verb::Patch, Kind::Secret),
    (Verb::Patch, Kind::QlikContext),
    (Verb::Get, Kind::QlikContext),
    (Verb::List, Kind::Secret),
    (Verb::Watch, Kind::QlikContext),
    (Verb::Update, Kind::Lease),
    (Verb::Get, Kind::Lease),
    (Verb::Create, Kind::Event),
    (Verb::Patch, Kind::QlikOAuthClient),
];
/// The operator's requests to a tenant for a QlikContext.
const FOR_CONTEXTS: [Route; 5] = [Route::Token, Route::Token, Route::UsersMe, Route::UsersMe, Route::User];
/// The operator's requests to a tenant for a QlikOAuthClient.
const FOR_OAUTH_CLIENTS: [Route; 10] = [
    Route::CreateClient,
    Route::PatchClient,
    Route::AddSecret,
    Route::DeleteSecret,
    Route::ListClients,
    Route::GetClient,
    Route::DeleteClient,
    Route::GetConsent,
    Route::SetConsent,
    Route::RemoveConsent,
];

impl Event {
    /// A random event, with numbers that exist in the history.
    pub fn draw(random: &mut Random, history: &History) -> Self {
        let (replica, context) = (random.index(history.replicas), random.index(history.contexts.len()));
        let (client, object) = (random.index(history.clients()), random.index(history.oauth_clients.max(1)));
        let seconds = random.between(1, 90);
        let times = u32::try_from(random.between(1, 6)).unwrap_or(1);
        match random.below(if history.oauth_clients > 0 { 45 } else { 38 }) {
            0 => Self::Kill { replica, seconds: random.between(0, 40) },
            1 => Self::Stop { replica, seconds: random.between(0, 40) },
            2 | 3 => Self::KillAtRequest { replica, done: random.percent(50), any: random.percent(30) },
            4 => {
                let seconds = i64::try_from(random.between(5, 600)).unwrap_or_default();
                Self::ClockJump { seconds: if random.percent(40) { -seconds } else { seconds } }
            }
            5..9 => {
                let (verb, kind) = REQUESTS[random.index(REQUESTS.len())];
                Self::ApiFault { verb, kind, fault: any(random, ApiFault::Slow), times }
            }
            9 => Self::ApiDown { seconds },
            10 => Self::EndWatches,
            11 => Self::Compact,
            12 => Self::DelayWatches { millis: random.pick(&[0, 100, 1000, 5000, 20_000]) },
            13 => Self::RepeatWatches { lines: random.pick(&[0, 1, 3]) },
            14 => Self::DeleteLease,
            15..20 => {
                let for_client = history.oauth_clients > 0 && random.percent(60);
                let routes = if for_client { &FOR_OAUTH_CLIENTS[..] } else { &FOR_CONTEXTS[..] };
                let route = routes[random.index(routes.len())];
                Self::TenantFault { route, fault: any(random, TenantFault::Unavailable), times }
            }
            20 => Self::TenantDown { seconds: random.between(1, 400) },
            21 => Self::Disable { client, disabled: random.percent(50) },
            22 => Self::Revoke { context },
            23 => Self::RevokeAll,
            24 => Self::Refresh { context },
            25 => Self::Edit { context, edit: any(random, Edit::NoPin) },
            26 | 27 => {
                let (field, value) = (random.index(fields::CONTEXTS.len()), random.index(usize::MAX));
                Self::EditField { context, field, value }
            }
            28 => Self::Label { context },
            29 => Self::Delete { context },
            30 => Self::Create { context },
            31 => Self::Rotate { client },
            32 => Self::LabelCredential { client },
            33 => match random.below(3) {
                0 => Self::MalformedSecret { client },
                1 => Self::RestrictCredential { client },
                _ => Self::WrongSecret { client },
            },
            34 => Self::DeleteCredential { client },
            35 => Self::RightSecret { client },
            36 => Self::Tamper { context },
            37 => match random.below(4) {
                0 => Self::DeleteTarget { context },
                1 => Self::Orphan { context },
                2 => Self::Contest { context, seconds },
                _ => Self::Foreign { context },
            },
            38 | 39 => Self::RotateObject { object },
            40 => Self::EditInTenant { object },
            41 => Self::DeleteInTenant { object },
            42 | 43 => {
                let (field, value) = (random.index(fields::OAUTH_CLIENTS.len()), random.index(usize::MAX));
                Self::EditObjectField { object, field, value }
            }
            _ => Self::DeleteObject { object },
        }
    }
}

/// The operator's requests about workloads.
const OF_WORKLOADS: [(Verb, Kind); 5] = [
    (Verb::List, Kind::Pod),
    (Verb::Patch, Kind::Pod),
    (Verb::List, Kind::Deployment),
    (Verb::Get, Kind::Deployment),
    (Verb::Patch, Kind::Deployment),
];

impl Event {
    /// A random event about the workloads of these contexts.
    pub fn draw_of_workloads(random: &mut Random, contexts: &[usize]) -> Self {
        let (context, times) = (random.pick(contexts), u32::try_from(random.between(1, 4)).unwrap_or(1));
        match random.below(6) {
            0 => Self::ReplacePod { context },
            1 => Self::ReadSecret { context, own: random.percent(60) },
            2 => Self::Refresh { context },
            _ => {
                let (verb, kind) = OF_WORKLOADS[random.index(OF_WORKLOADS.len())];
                Self::ApiFault { verb, kind, fault: any(random, ApiFault::Slow), times }
            }
        }
    }
}

fn any<T: IntoEnumIterator>(random: &mut Random, otherwise: T) -> T {
    let index = random.index(T::iter().count());
    T::iter().nth(index).unwrap_or(otherwise)
}
