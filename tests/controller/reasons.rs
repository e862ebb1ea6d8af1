//! Each reason of the tables in docs/reference.md, reached through the whole controller, with its status, events and
//! metrics.

use std::sync::Arc;
use std::time::Duration;

use qlik_context_operator::api::ConditionType::{
    self, CredentialsAvailable, Ready, Reconciling, SecretSynced, Stalled, Verified,
};
use qlik_context_operator::api::Reason;
use qlik_context_operator::oauth::transport::TransportFailure;
use serde_json::{Value, json};
use strum::IntoEnumIterator;
use support::api_server::{self, Kind, Verb};
use support::tenant::{Consent, Fault, FaultBody, Pacing, RetryAfter, Route, Script, UserShape, UserStatus};

use crate::world::{HOUR, LIFE, World, pass};

/// The conditions in the status.
struct Shown {
    condition: ConditionType,
    good: bool,
    /// The condition that kstatus reads, if there is one.
    kstatus: Option<ConditionType>,
}

/// No action is needed.
fn good(condition: ConditionType) -> Shown {
    Shown { condition, good: true, kstatus: None }
}

/// A person has to change something.
fn stalls(condition: ConditionType) -> Shown {
    Shown { condition, good: false, kstatus: Some(Stalled) }
}

/// A retry may succeed.
fn waits(condition: ConditionType) -> Shown {
    Shown { condition, good: false, kstatus: Some(Reconciling) }
}

/// A context with these changes to its spec, and a tenant without failures.
async fn with(world: &mut World, changes: Value) {
    world.add("a", "acme", LIFE, &changes);
    begin(world).await;
}

async fn begin(world: &mut World) {
    world.start();
    pass(Duration::from_secs(5)).await;
}

/// The same with a tenant that has this failure.
async fn at(world: &mut World, route: Route, fault: Fault) {
    world.cloud.script(Script::at(route, fault));
    with(world, json!({})).await;
}

/// The same with this content of the credential Secret.
async fn reading(world: &mut World, content: Value, auth: Value) {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "k", "namespace": "a"}, "stringData": content,
    });
    world.api.put(secret).unwrap();
    world.put_context("a", "acme", "k", &json!({ "auth": auth }));
    begin(world).await;
}

fn client_secret() -> Value {
    json!({"clientSecret": {"secretRef": {"name": "k"}}})
}

/// Brings a context to this reason. A new reason without a scenario does not compile.
#[expect(clippy::too_many_lines, reason = "a table, with a row for each reason")]
async fn scene(reason: Reason, world: &mut World) -> Shown {
    use Reason::*;
    match reason {
        CredentialsFound => in_order(world, CredentialsAvailable).await,
        Reason::TokenIssued => in_order(world, ConditionType::TokenIssued).await,
        IdentityConfirmed => in_order(world, Verified).await,
        SecretPublished => in_order(world, SecretSynced).await,
        TokenValid => in_order(world, Ready).await,
        ApiKeyProvided => {
            world.tenant.add_user("auth0|ada", "Ada");
            let key = world.tenant.api_key("auth0|ada", LIFE);
            reading(world, json!({"api-key": key}), json!({"apiKey": {"secretRef": {"name": "k"}}})).await;
            good(ConditionType::TokenIssued)
        }
        SecretNotFound => {
            world.put_context("a", "acme", "k", &json!({}));
            begin(world).await;
            waits(CredentialsAvailable)
        }
        KeyNotFound => {
            reading(world, json!({"client-id": "acme"}), client_secret()).await;
            waits(CredentialsAvailable)
        }
        CredentialMalformed => {
            reading(world, json!({"client-id": "acme", "client-secret": "two words"}), client_secret()).await;
            stalls(CredentialsAvailable)
        }
        PrivateKeyInvalid => {
            let auth = json!({"privateKeyJwt": {"secretRef": {"name": "k"}}});
            reading(world, json!({"client-id": "acme", "private-key": "not a key"}), auth).await;
            stalls(CredentialsAvailable)
        }
        HostNotAllowedBySecret => {
            with(world, json!({})).await;
            world.api.delete(Kind::Secret, "a", "acme-token");
            allow_only(world, "elsewhere.eu.qlikcloud.com");
            pass(Duration::from_secs(5)).await;
            stalls(CredentialsAvailable)
        }
        InvalidClient => {
            world.add("a", "acme", LIFE, &json!({}));
            world.put_credential("a", "acme", "acme", "planted-wrong-secret");
            begin(world).await;
            // A client that never worked is retried at first, because it may have been created a moment ago.
            pass(Duration::from_mins(3)).await;
            stalls(ConditionType::TokenIssued)
        }
        InvalidScope => {
            with(world, json!({"scopes": ["admin.apps"]})).await;
            stalls(ConditionType::TokenIssued)
        }
        RequestRejected => {
            at(world, Route::Token, Fault::Answer { status: 400, body: FaultBody::Qlik }).await;
            stalls(ConditionType::TokenIssued)
        }
        AccessDenied => {
            world.add("a", "acme", LIFE, &json!({}));
            world.tenant.edit_client("acme", |client| client.consent = Consent::Required);
            begin(world).await;
            stalls(ConditionType::TokenIssued)
        }
        TenantNotFound => {
            with(world, json!({"tenantUrl": "https://nobody.eu.qlikcloud.com"})).await;
            stalls(ConditionType::TokenIssued)
        }
        HostNotAllowedByOperator => {
            with(world, json!({"tenantUrl": "https://acme.evilqlikcloud.com"})).await;
            stalls(ConditionType::TokenIssued)
        }
        AddressNotPublic => {
            // The name resolves to a private address.
            world.transport_faults = Some(Arc::new(|_, _, _| Some(TransportFailure::AddressNotPublic)));
            world.add("a", "acme", LIFE, &json!({}));
            world.start();
            pass(Duration::from_secs(5)).await;
            stalls(ConditionType::TokenIssued)
        }
        RateLimited => {
            at(world, Route::Token, Fault::RateLimited(RetryAfter::Seconds(60))).await;
            waits(ConditionType::TokenIssued)
        }
        TenantUnavailable => {
            at(world, Route::Token, Fault::Answer { status: 503, body: FaultBody::Html }).await;
            waits(ConditionType::TokenIssued)
        }
        TenantUnreachable => {
            at(world, Route::Token, Fault::Delivery(Pacing::Hangup)).await;
            waits(ConditionType::TokenIssued)
        }
        UnexpectedResponse => {
            at(world, Route::Token, Fault::Answer { status: 200, body: FaultBody::Html }).await;
            waits(ConditionType::TokenIssued)
        }
        LifetimeTooShort => {
            at(world, Route::Token, Fault::ExpiresIn(5.into())).await;
            waits(ConditionType::TokenIssued)
        }
        TokenRejected => {
            at(world, Route::Token, Fault::DeadToken).await;
            waits(Verified)
        }
        UserInactive => {
            at(world, Route::User, Fault::User(UserShape::Status(UserStatus::Disabled))).await;
            stalls(Verified)
        }
        IdentityMismatch => {
            with(world, json!({"expectedIdentity": {"tenantId": "somebody-elses"}})).await;
            stalls(Verified)
        }
        SecretNotOwned => {
            let name = json!({"name": "acme-token", "namespace": "a"});
            world.api.put(json!({"apiVersion": "v1", "kind": "Secret", "metadata": name})).unwrap();
            with(world, json!({})).await;
            stalls(SecretSynced)
        }
        TemplateInvalid => {
            with(world, json!({"target": {"data": {"KEY": "$(nonsense)"}}})).await;
            stalls(SecretSynced)
        }
        WriteRejected => {
            let forbidden = api_server::Script::on(Verb::Patch, Kind::Secret, api_server::Fault::Forbidden);
            world.api.script(forbidden);
            with(world, json!({})).await;
            waits(SecretSynced)
        }
        SecretContested => {
            with(world, json!({})).await;
            for n in 0..60 {
                let tamper =
                    |secret: &mut Value| secret["data"]["token"] = if n % 2 == 0 { "eA==" } else { "eQ==" }.into();
                world.api.edit(Kind::Secret, "a", "acme-token", tamper).unwrap();
                pass(Duration::from_millis(500)).await;
            }
            waits(SecretSynced)
        }
        SecretNotReadable => {
            world.api.script(api_server::Script::on(Verb::Get, Kind::Secret, api_server::Fault::Forbidden));
            with(world, json!({})).await;
            pass(Duration::from_secs(30)).await;
            waits(CredentialsAvailable)
        }
        RenewalFailing => {
            with(world, json!({})).await;
            world.put_credential("a", "acme", "acme", "planted-wrong-secret");
            pass(Duration::from_mins(1)).await;
            good(Ready)
        }
        TokenExpired => {
            with(world, json!({})).await;
            world.cloud.script(Script::at(Route::Token, Fault::Answer { status: 503, body: FaultBody::Html }));
            pass(7 * HOUR).await;
            waits(Ready)
        }
        Suspended => {
            with(world, json!({"suspend": true})).await;
            Shown { condition: Ready, good: false, kstatus: None }
        }
        SpecInvalid => {
            with(world, json!({"tenantUrl": "https://ACME.eu.qlikcloud.com"})).await;
            stalls(Ready)
        }
        reason => unreachable!("{reason} is not a reason of a QlikContext"),
    }
}

/// The reasons that only QlikOAuthClients have. Their scenarios are in `oauth_clients`.
pub const OF_OAUTH_CLIENTS: [Reason; 17] = [
    Reason::ClientInSync,
    Reason::CredentialConfirmed,
    Reason::ClientReady,
    Reason::AdminContextNotFound,
    Reason::AdminContextNotReady,
    Reason::AdminTokenRejected,
    Reason::AdminNotPermitted,
    Reason::ClientCreating,
    Reason::ClientGone,
    Reason::ClientNotOwned,
    Reason::ClientNotSuitable,
    Reason::ClientRejected,
    Reason::ClientLimitReached,
    Reason::ClientConflict,
    Reason::SecretLimitReached,
    Reason::CredentialNotAccepted,
    Reason::SyncFailing,
];

/// The reasons of `WorkloadsSynced`, which does not affect `Ready`. Their scenarios are in `workloads`.
pub const OF_WORKLOADS: [Reason; 4] =
    [Reason::WorkloadsFresh, Reason::WorkloadsStale, Reason::RolloutFailing, Reason::NotPermitted];

async fn in_order(world: &mut World, condition: ConditionType) -> Shown {
    with(world, json!({})).await;
    good(condition)
}

fn allow_only(world: &World, hosts: &str) {
    let annotate =
        |secret: &mut Value| secret["metadata"]["annotations"]["qlikcontext.dev/allowed-hosts"] = hosts.into();
    world.api.edit(Kind::Secret, "a", "acme", annotate).unwrap();
}

#[test]
fn every_reason_is_reached_and_shown_as_documented() {
    let others = [&OF_OAUTH_CLIENTS[..], &OF_WORKLOADS].concat();
    for reason in Reason::iter().filter(|reason| !others.contains(reason)) {
        // Each scenario has its own runtime. Otherwise the controllers of all earlier scenarios would run through its
        // hours, too.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(play(reason));
    }
}

async fn play(reason: Reason) {
    let mut world = World::new();
    let shown = scene(reason, &mut world).await;
    let context = world.api.get(Kind::QlikContext, "a", "acme").unwrap();
    let conditions = context["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let find = |kind: ConditionType| {
        let found = conditions.iter().find(|condition| condition["type"] == kind.to_string())?;
        let text = |field: &str| found[field].as_str().unwrap().to_owned();
        assert!(!text("message").is_empty() && text("message").ends_with('.'), "{reason}: {found}");
        Some((text("status"), text("reason")))
    };
    let status = if shown.good { "True" } else { "False" };
    let expected = Some((status.to_owned(), reason.to_string()));
    assert_eq!(find(shown.condition), expected, "{reason}: {conditions:#?}");
    if !shown.good {
        assert_eq!(find(Ready), Some(("False".to_owned(), reason.to_string())), "{reason}: {conditions:#?}");
    }
    let said = [Stalled, Reconciling].into_iter().filter_map(|kind| Some((kind, find(kind)?))).collect::<Vec<_>>();
    let expected = shown.kstatus.map(|kind| (kind, ("True".to_owned(), reason.to_string())));
    assert_eq!(said, Vec::from_iter(expected), "{reason}: {conditions:#?}");
    assert_eq!(context["status"]["observedGeneration"], context["metadata"]["generation"], "{reason}");
}
