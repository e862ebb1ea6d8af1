//! Makes the status of a `QlikOAuthClient`. Pure: the same finding makes the same status, to the byte.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::facts::{Facts, Outcome, Remote};
use crate::api::ConditionType::{self, ClientSynced, CredentialVerified, Ready, SecretSynced};
use crate::api::v1alpha1::FailureStatus;
use crate::api::v1alpha1::oauth_client::{CredentialSecretStatus, PreviousCredential};
use crate::api::{QlikOAuthClient, QlikOAuthClientStatus, Reason};
use crate::clock::Timestamp;
use crate::conditions::{Finding, conditions};
use crate::error::{Failure, bounded};

const STAGES: [ConditionType; 3] = [ClientSynced, CredentialVerified, SecretSynced];

/// The status after a run with a result. `next_attempt`: when the tenant is called again after a failure.
pub fn status(facts: &Facts, outcome: &Outcome, next_attempt: Option<Timestamp>) -> QlikOAuthClientStatus {
    let before = facts.object.status.clone().unwrap_or_default();
    let failure = failure(outcome);
    let mut findings: Vec<_> = STAGES.iter().filter_map(|stage| stage_finding(facts, *stage, outcome)).collect();
    findings.push(readiness(facts, outcome));
    let held = facts.secret.held();
    let reported = before.secret.as_ref();
    let known = match &facts.client {
        Remote::Known(client) => Some(client.id.to_string()),
        Remote::Found(id) => Some(id.to_string()),
        _ => facts.client_id().map(|id| id.to_string()),
    };
    let is_known = matches!(facts.client, Remote::Known(_) | Remote::Found(_));
    QlikOAuthClientStatus {
        observed_generation: facts.object.metadata.generation,
        conditions: of(&facts.object, findings, failure, facts.now),
        client_id: known,
        secret: Some(CredentialSecretStatus {
            name: facts.desired.secret_name.clone(),
            issued_at: held
                .map(|held| Time(held.credential.issued_at))
                .or_else(|| reported.and_then(|reported| reported.issued_at.clone())),
            // The content of a deleted Secret is still known.
            hint: held
                .map(|held| held.credential.hint.clone())
                .or_else(|| reported.and_then(|reported| reported.hint.clone())),
        }),
        previous: held.into_iter().flat_map(|held| &held.previous).map(shown).collect(),
        rotation_time: facts.rotation_time().map(Time),
        last_handled_rotate_request: facts.handled().cloned(),
        creation_started_at: before.creation_started_at.clone().filter(|_| !is_known),
        failure: failure.filter(|_| asked(facts)).map(|failure| FailureStatus {
            count: count(&before).saturating_add(1),
            last_time: Time(facts.now),
            next_attempt_time: next_attempt.map(Time),
            reason: failure.reason.to_string(),
            trace_id: failure.trace_id.clone(),
        }),
    }
}

/// The tenant was asked, and that led to the failure.
fn asked(facts: &Facts) -> bool {
    let so_far = &facts.so_far;
    (so_far.failure.is_some() && !so_far.refused) || so_far.repaired || so_far.consented
}

/// The status while the Kubernetes API fails, from the one before: nothing else can be known.
pub fn troubled(object: &QlikOAuthClient, failure: &Failure, now: Timestamp) -> QlikOAuthClientStatus {
    let before = object.status.clone().unwrap_or_default();
    let find = |stage: ConditionType| before.conditions.iter().find(|reported| reported.type_ == stage.to_string());
    let is_good = |stage: ConditionType| find(stage).is_some_and(|reported| reported.status == "True");
    let carried = STAGES.into_iter().filter(|stage| is_good(*stage)).filter_map(|stage| {
        let reported = find(stage)?;
        Some(Finding {
            condition: stage,
            good: true,
            reason: reported.reason.parse().ok()?,
            message: reported.message.clone(),
        })
    });
    let failed =
        |condition| Finding { condition, good: false, reason: failure.reason, message: failure.message.clone() };
    let mut findings: Vec<_> = carried.filter(|reported| reported.condition != failure.condition).collect();
    findings.push(failed(failure.condition));
    // Whether the credential fits a newer spec is not known.
    let observed = before.observed_generation == object.metadata.generation;
    findings.push(if observed && is_good(Ready) {
        still_serves(&object.secret_name(), failure)
    } else {
        failed(Ready)
    });
    QlikOAuthClientStatus {
        observed_generation: object.metadata.generation,
        conditions: of(object, findings, Some(failure), now),
        ..before
    }
}

/// The status of an object whose spec is not valid.
pub fn invalid(object: &QlikOAuthClient, failure: &Failure, now: Timestamp) -> QlikOAuthClientStatus {
    let finding = Finding { condition: Ready, good: false, reason: failure.reason, message: failure.message.clone() };
    QlikOAuthClientStatus {
        observed_generation: object.metadata.generation,
        conditions: of(object, vec![finding], Some(failure), now),
        failure: None,
        ..object.status.clone().unwrap_or_default()
    }
}

/// Failures in a row, as the status says.
pub fn count(status: &QlikOAuthClientStatus) -> i32 {
    status.failure.as_ref().map_or(0, |failure| failure.count)
}

fn of(object: &QlikOAuthClient, findings: Vec<Finding>, failure: Option<&Failure>, now: Timestamp) -> Vec<Condition> {
    let before = object.status.as_ref().map(|status| &status.conditions[..]).unwrap_or_default();
    conditions(before, object.metadata.generation, findings, failure, now)
}

fn failure(outcome: &Outcome) -> Option<&Failure> {
    match outcome {
        Outcome::Failing(failure) => Some(failure),
        _ => None,
    }
}

fn shown(old: &crate::secret::oauth_credential::Previous) -> PreviousCredential {
    PreviousCredential { hint: old.hint.clone(), removal_time: Time(old.removal_time) }
}

/// One stage: failed, passed in this run, or passed before and still the basis of the content of the Secret. A stage that was
/// never reached is left out.
fn stage_finding(facts: &Facts, stage: ConditionType, outcome: &Outcome) -> Option<Finding> {
    let failed = failure(outcome);
    if let Some(failure) = failed.filter(|failure| failure.condition == stage) {
        return Some(Finding {
            condition: stage,
            good: false,
            reason: failure.reason,
            message: failure.message.clone(),
        });
    }
    let position = |wanted: ConditionType| STAGES.iter().position(|stage| *stage == wanted);
    let later = failed.is_some_and(|failure| position(failure.condition) > position(stage));
    let proven = facts.candidate.as_ref().is_some_and(|made| made.proven);
    let passed = later && if stage == CredentialVerified { proven } else { matches!(facts.client, Remote::Known(_)) };
    let holds = facts.secret.held().is_some() && stage != ClientSynced;
    (*outcome == Outcome::Ready || passed || holds).then(|| good(facts, stage))
}

fn good(facts: &Facts, stage: ConditionType) -> Finding {
    let name = &facts.desired.secret_name;
    let (reason, message) = match stage {
        ClientSynced => (
            Reason::ClientInSync,
            match facts.client_id() {
                Some(id) => format!("OAuth client {id} is as declared."),
                None => "The OAuth client is as declared.".into(),
            },
        ),
        CredentialVerified => (
            Reason::CredentialConfirmed,
            "The tenant issued a token for the credential before it was written, and confirmed it.".into(),
        ),
        _ => (Reason::SecretPublished, format!("Secret {name} holds the credential.")),
    };
    Finding { condition: stage, good: true, reason, message }
}

fn readiness(facts: &Facts, outcome: &Outcome) -> Finding {
    let name = &facts.desired.secret_name;
    let holds = facts.secret.held().is_some();
    let finding = |good, reason, message: String| Finding { condition: Ready, good, reason, message: bounded(message) };
    match outcome {
        Outcome::Suspended if holds => finding(
            true,
            Reason::Suspended,
            format!("Suspended; Secret {name} holds a credential. Set spec.suspend to false to have it kept up."),
        ),
        Outcome::Suspended => finding(
            false,
            Reason::Suspended,
            format!("Suspended, and Secret {name} holds no credential. Set spec.suspend to false to get one."),
        ),
        Outcome::Failing(failure) if holds && still_works(failure.reason) => still_serves(name, failure),
        Outcome::Failing(failure) => finding(false, failure.reason, failure.message.clone()),
        Outcome::Ready | Outcome::Unchanged => {
            let until = facts.rotation_time().map(|at| format!("; it is replaced at {at}")).unwrap_or_default();
            finding(
                true,
                Reason::ClientReady,
                format!("Secret {name} holds the credential of the OAuth client{until}."),
            )
        }
    }
}

fn still_serves(secret: &str, failure: &Failure) -> Finding {
    let message =
        format!("Secret {secret} keeps its credential, but the OAuth client cannot be kept up. {}", failure.message);
    Finding { condition: Ready, good: true, reason: Reason::SyncFailing, message: bounded(message) }
}

/// The failure does not concern the credential in the Secret.
fn still_works(reason: Reason) -> bool {
    !matches!(reason, Reason::ClientGone | Reason::ClientNotOwned | Reason::ClientNotSuitable)
}
