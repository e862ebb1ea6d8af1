//! How other tools assess every state: `kubectl wait`, kstatus (Flux, Helm 4) and Argo CD, by their own code.
//!
//! The results are the table in docs/states.md, which this test writes if `WRITE_GENERATED` is set and compares
//! otherwise.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use qlik_context_operator::api::{ConditionType, QlikContext, QlikOAuthClient, Reason};
use qlik_context_operator::clock::Timestamp;
use qlik_context_operator::desired::Desired;
use qlik_context_operator::error::Failure;
use qlik_context_operator::oauth::identity::Identity;
use qlik_context_operator::oauth_client;
use qlik_context_operator::reconcile::status::{invalid, status};
use qlik_context_operator::secret::oauth_credential::{
    CredentialSecret, Held, IssuedCredential, Proof, credential_secret,
};
use qlik_context_operator::values::{Holds, Outcome, Problem, Published};
use serde::Deserialize;
use serde_json::{Value, json};
use strum::IntoEnumIterator;

const NOW: i64 = 1_800_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn context(suspend: bool) -> QlikContext {
    let object = json!({
        "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext",
        "metadata": {"name": "acme", "namespace": "demo", "uid": "u", "generation": 2},
        "spec": {
            "tenantUrl": "https://acme.eu.qlikcloud.com",
            "auth": {"clientSecret": {"secretRef": {"name": "acme-oauth"}}}, "suspend": suspend,
        },
    });
    serde_json::from_value(object).unwrap()
}

fn published(expires_at: i64) -> Published {
    let identity = Identity {
        user_id: "63ea".into(),
        name: "m2m".into(),
        subject: "qlikbot\\82e0".into(),
        client_id: None,
        tenant_id: "7jUt".into(),
        ..Identity::default()
    };
    Published {
        identity: Some(identity),
        issued_at: at(expires_at - 21600),
        expires_at: Some(at(expires_at)),
        renewal_time: None,
        scopes: None,
    }
}

/// The condition that fails for a reason, from the table of reasons.
fn stage(reason: Reason) -> Option<ConditionType> {
    use Reason::*;
    Some(match reason {
        SecretNotFound
        | SecretNotReadable
        | KeyNotFound
        | CredentialMalformed
        | PrivateKeyInvalid
        | HostNotAllowedBySecret => ConditionType::CredentialsAvailable,
        InvalidClient
        | InvalidScope
        | RequestRejected
        | AccessDenied
        | TenantNotFound
        | HostNotAllowedByOperator
        | AddressNotPublic
        | RateLimited
        | TenantUnavailable
        | TenantUnreachable
        | UnexpectedResponse
        | LifetimeTooShort => ConditionType::TokenIssued,
        TokenRejected | UserInactive | IdentityMismatch => ConditionType::Verified,
        SecretNotOwned | TemplateInvalid | WriteRejected | SecretContested => ConditionType::SecretSynced,
        AdminContextNotFound
        | AdminContextNotReady
        | AdminTokenRejected
        | AdminNotPermitted
        | ClientCreating
        | ClientGone
        | ClientNotOwned
        | ClientNotSuitable
        | ClientRejected
        | ClientLimitReached
        | ClientConflict
        | SecretLimitReached
        | CredentialNotAccepted
        | CredentialsFound
        | ClientInSync
        | CredentialConfirmed
        | ClientReady
        | SyncFailing
        | WorkloadsFresh
        | WorkloadsStale
        | RolloutFailing
        | NotPermitted
        | ApiKeyProvided
        | IdentityConfirmed
        | SecretPublished
        | TokenValid
        | RenewalFailing
        | TokenExpired
        | Suspended
        | SpecInvalid
        | Reason::TokenIssued => return None,
    })
}

fn after(suspend: bool, outcome: &Outcome) -> Value {
    let mut context = context(suspend);
    let desired = Desired::parse(&context).unwrap();
    let failure = outcome.problem().map(|problem| &problem.failure);
    let unread = failure.filter(|failure| failure.condition == ConditionType::CredentialsAvailable);
    context.status = Some(status(&context, &desired, unread.map_or(Ok(()), Err), outcome, None, false, at(NOW)));
    serde_json::to_value(&context).unwrap()
}

fn failing(failure: Failure, holds: Holds) -> Value {
    after(false, &Outcome::Failing { holds, problem: Problem { failure, backoff: None, verified: false } })
}

fn failure(reason: Reason) -> Failure {
    Failure::new(stage(reason).unwrap(), reason, "What happened. What to do.")
}

/// Every state, in the words of a user.
fn states() -> Vec<(String, Value)> {
    let mut newborn = serde_json::to_value(context(false)).unwrap();
    newborn["status"] = json!({"observedGeneration": -1});
    let good = Outcome::Ready(published(NOW + 3600));
    let mut edited = after(false, &good);
    edited["metadata"]["generation"] = 3.into();
    let mut unreadable = context(false);
    let spec = Failure::new(ConditionType::Ready, Reason::SpecInvalid, "What happened. What to do.");
    unreadable.status = Some(invalid(&unreadable, &spec, at(NOW)));
    let (live, dead) = (|| Holds::Fitting(published(NOW + 3600)), || Holds::Fitting(published(NOW - 1)));
    let (down, wrong) = (|| failure(Reason::TenantUnavailable), || failure(Reason::InvalidClient));
    let mut states = vec![
        ("just created, not reconciled yet".into(), newborn),
        ("ready, then edited, not reconciled again yet".into(), edited),
        ("the token works".into(), after(false, &good)),
        ("the token works, its renewal fails (tenant down)".into(), failing(down(), live())),
        ("the token works, its renewal fails (wrong secret)".into(), failing(wrong(), live())),
        ("the token expired (tenant down)".into(), failing(down(), dead())),
        ("the token expired (wrong secret)".into(), failing(wrong(), dead())),
        (
            "edited, and the new spec fails (scope)".into(),
            failing(failure(Reason::InvalidScope), Holds::Other(published(NOW + 3600))),
        ),
        ("suspended, the token works".into(), after(true, &Outcome::Suspended(live()))),
        ("suspended, no token that works".into(), after(true, &Outcome::Suspended(Holds::Nothing))),
        ("the spec is of an older schema".into(), serde_json::to_value(&unreadable).unwrap()),
        (
            "created again, the old Secret is being garbage-collected".into(),
            failing(failure(Reason::SecretNotOwned).waiting(), Holds::Nothing),
        ),
        ("a new client was refused, and is retried".into(), failing(wrong().waiting(), Holds::Nothing)),
        (
            "a value is empty, for less than five minutes".into(),
            failing(failure(Reason::CredentialMalformed).waiting(), Holds::Nothing),
        ),
    ];
    let reasons = Reason::iter().filter(|reason| stage(*reason).is_some());
    states.extend(reasons.map(|reason| ("no token yet".into(), failing(failure(reason), Holds::Nothing))));
    states.extend(oauth_clients());
    states
}

/// Every state of a QlikOAuthClient.
fn oauth_clients() -> Vec<(String, Value)> {
    use Reason::*;
    let object = |suspend: bool| -> QlikOAuthClient {
        let object = json!({
            "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikOAuthClient",
            "metadata": {"name": "reporting", "namespace": "demo", "uid": "u", "generation": 2},
            "spec": {"adminContextRef": {"name": "admin"}, "scopes": ["user_default"], "suspend": suspend},
        });
        serde_json::from_value(object).unwrap()
    };
    let after = |suspend: bool, holds: bool, outcome: &oauth_client::facts::Outcome| {
        let mut object = object(suspend);
        let facts = facts_of(object.clone(), holds);
        object.status = Some(oauth_client::status::status(&facts, outcome, None));
        serde_json::to_value(object).unwrap()
    };
    let failing = |reason: Reason, holds: bool| {
        let condition = if reason == CredentialNotAccepted {
            ConditionType::CredentialVerified
        } else {
            ConditionType::ClientSynced
        };
        let failure = Failure::new(condition, reason, "What happened. What to do.");
        after(false, holds, &oauth_client::facts::Outcome::Failing(failure))
    };
    let mut newborn = serde_json::to_value(object(false)).unwrap();
    newborn["status"] = json!({"observedGeneration": -1});
    let (ready, suspended) = (oauth_client::facts::Outcome::Ready, oauth_client::facts::Outcome::Suspended);
    let mut states = vec![
        ("OAuth client: just created, not reconciled yet".to_owned(), newborn),
        ("OAuth client: the Secret holds its credential".into(), after(false, true, &ready)),
        ("OAuth client: the Secret holds its credential, the tenant is down".into(), failing(TenantUnavailable, true)),
        (
            "OAuth client: the Secret holds its credential, the permissions are gone".into(),
            failing(AdminNotPermitted, true),
        ),
        ("OAuth client: deleted in the tenant".into(), failing(ClientGone, true)),
        ("OAuth client: suspended, with a credential".into(), after(true, true, &suspended)),
        ("OAuth client: suspended, without one".into(), after(true, false, &suspended)),
    ];
    let reasons = [
        AdminContextNotFound,
        AdminContextNotReady,
        AdminTokenRejected,
        AdminNotPermitted,
        ClientCreating,
        ClientNotOwned,
        ClientNotSuitable,
        ClientRejected,
        ClientLimitReached,
        ClientConflict,
        SecretLimitReached,
        CredentialNotAccepted,
    ];
    states.extend(reasons.map(|reason| ("OAuth client: no credential yet".to_owned(), failing(reason, false))));
    states
}

fn facts_of(object: QlikOAuthClient, holds: bool) -> oauth_client::facts::Facts {
    let credential = IssuedCredential {
        client_id: "82e0".into(),
        hint: "e6815".into(),
        issued_at: at(NOW - 3600),
        proof: Proof::ClientSecret("secret".into()),
    };
    let held = Held { credential, previous: Vec::new(), rotated_for: None };
    let tenant = "https://acme.eu.qlikcloud.com".parse().unwrap();
    let written = json!(credential_secret(&object, "reporting-oauth", &tenant, &held, None));
    let read = holds.then(|| serde_json::from_value(written).unwrap());
    oauth_client::facts::Facts {
        desired: oauth_client::desired::Desired::parse(&object).unwrap(),
        now: at(NOW),
        deleting_for: Duration::ZERO,
        secret: CredentialSecret::classify(read, &object),
        admin: Err(Failure::new(ConditionType::ClientSynced, Reason::AdminContextNotFound, "No.")),
        client: oauth_client::facts::Remote::Unknown,
        trusted: None,
        candidate: None,
        brakes: oauth_client::facts::Brakes::default(),
        so_far: oauth_client::facts::SoFar::default(),
        object,
    }
}

#[derive(Deserialize)]
struct Verdict {
    kstatus: String,
    argo: String,
}

/// Calls the tools' own libraries.
fn verdicts(objects: &[&Value]) -> Vec<Verdict> {
    let mut child = support::go::run("verdicts")
        .unwrap()
        .arg("../../../deploy/argocd/health.lua")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = serde_json::to_vec(objects).unwrap();
    child.stdin.take().unwrap().write_all(&input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn condition<'v>(object: &'v Value, name: &str) -> Option<&'v Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == name)
}

/// `kubectl wait --for=condition=Ready`: `True`, for the current generation.
fn wait_returns(object: &Value) -> bool {
    condition(object, "Ready").is_some_and(|ready| {
        ready["status"] == "True" && ready["observedGeneration"] == object["metadata"]["generation"]
    })
}

#[test]
fn every_tool_agrees_on_every_state() {
    let states = states();
    let objects: Vec<_> = states.iter().map(|(_, object)| object).collect();
    let mut page = String::from(
        "# How other tools report each state\n\n\
         This page shows how kubectl, Flux, Helm and Argo CD report each state of a QlikContext. A test (`tests/states.rs`) generates it from the tools' own libraries: kstatus, which Flux and Helm 4 (`--wait`) use,\n\
         and Argo CD's Lua with `deploy/argocd/health.lua`. With `Current`, Helm and Flux continue; with `InProgress` they wait;\n\
         with `Failed` they stop at once.\n\n\
         | state | Ready | also | `kubectl wait --for=condition=Ready` | kstatus: Flux, Helm 4 | Argo CD |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for ((state, object), Verdict { kstatus, argo }) in states.iter().zip(verdicts(&objects)) {
        let ready = condition(object, "Ready");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let stalled = condition(object, "Stalled").is_some();
        let reconciling = condition(object, "Reconciling").is_some();
        let current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
        let suspended = object["spec"]["suspend"] == true;

        assert!(!(stalled && reconciling), "{state}");
        assert_eq!(kstatus == "Current", wait_returns(object) && current, "{state}");
        assert_eq!(kstatus == "Failed", stalled && current, "{state}");
        let expected = match (suspended, wait_returns(object), stalled && current) {
            (true, ..) => "Suspended",
            (_, true, _) => "Healthy",
            (_, _, true) => "Degraded",
            _ => "Progressing",
        };
        assert_eq!(argo, expected, "{state}");
        if let Some(reason) = ready.and_then(|ready| text(&ready["reason"]).parse::<Reason>().ok()) {
            let waits = ["garbage-collected", "retried", "less than five minutes"];
            assert!(!reason.stalled() || stalled || waits.iter().any(|words| state.contains(words)), "{state}");
        }

        let ready =
            ready.map_or("–".into(), |ready| format!("{}/{}", text(&ready["status"]), text(&ready["reason"])));
        let also = if stalled {
            "Stalled"
        } else if reconciling {
            "Reconciling"
        } else {
            ""
        };
        let wait = if wait_returns(object) { "returns" } else { "waits" };
        writeln!(page, "| {state} | {ready} | {also} | {wait} | {kstatus} | {argo} |").unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/states.md");
    if std::env::var_os("WRITE_GENERATED").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == page,
        "docs/states.md is out of date: run cargo xtask generate"
    );
}
