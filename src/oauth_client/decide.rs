//! What to do next. Pure: no client, no clock, no waiting; the same values give the same step.
//!
//! A run calls it again after each step. Every step follows from the state of the tenant and of the Secret, so the next run
//! continues one that was interrupted anywhere: a client is found by its mark, and a credential is lost if neither the Secret
//! nor the mark names it.

mod credential;
mod deletion;
mod difference;

use std::time::Duration;

use kube::ResourceExt;

use self::credential::tend;
use self::deletion::deleting;
use self::difference::differences;
use super::desired::{Desired, auth_method};
use super::facts::{Facts, Next, Outcome, Remote, Step};
use super::findings;
use super::mark::Mark;
use crate::api::v1alpha1::oauth_client::AuthMethod;
use crate::api::{OAUTH_CLIENT_FINALIZER, Reason};
use crate::clock::Timestamp;
use crate::error::Failure;
use crate::oauth::clients::{ClientAuth, NewClient, OAuthClient};
use crate::oauth::key::PublicJwk;
use crate::oauth::tenant::AllowedHosts;

/// How long a request that creates a client may still be executed after its response was lost.
const CREATION_SETTLES: Duration = Duration::from_mins(1);
/// How often the client is compared with the spec.
const COMPARE_EVERY: Duration = Duration::from_mins(15);

/// Decides from the facts.
pub fn decide(facts: &Facts, allowed: &AllowedHosts) -> Step {
    if facts.object.metadata.deletion_timestamp.is_some() {
        return deleting(facts, allowed);
    }
    if facts.desired.suspend {
        return rest(Outcome::Suspended, Next::default());
    }
    if let Some(step) = stopped(facts) {
        return step;
    }
    if let Some(failure) = facts.secret.refusal(&facts.desired.secret_name) {
        return failing(failure);
    }
    let has_finalizer = facts.object.finalizers().iter().any(|name| name == OAUTH_CLIENT_FINALIZER);
    if has_finalizer != facts.desired.delete {
        return Step::SetFinalizer(facts.desired.delete);
    }
    if let Some(failure) = unmanageable(facts, allowed) {
        return failing(failure);
    }
    if let Some(at) = backs_off(facts) {
        return rest(Outcome::Unchanged, Next { due: Some(at), ..Next::default() });
    }
    match &facts.client {
        Remote::Unknown => facts.client_id().map_or(Step::FindClient, Step::ReadClient),
        Remote::Found(id) => Step::ReadClient(id.clone()),
        // A client that was deleted in the tenant is created again only on request.
        Remote::Gone if facts.desired.adopt.is_none() && facts.requested().is_some() => Step::FindClient,
        // A client that was created a moment ago may not be listed everywhere yet.
        Remote::Gone => match creation_settles(facts) {
            Some(at) => rest(Outcome::Failing(findings::creating()), Next { due: Some(at), ..Next::default() }),
            None => failing(findings::client_gone(&facts.desired)),
        },
        Remote::Absent => create(facts),
        Remote::Known(client) => keep(facts, client),
    }
}

/// The turn has not come, or a step of this run has failed.
fn stopped(facts: &Facts) -> Option<Step> {
    if facts.so_far.wait.is_some() {
        return Some(rest(Outcome::Unchanged, Next { parked: true, ..Next::default() }));
    }
    facts.so_far.failure.clone().map(failing)
}

/// Why no request may be sent to the tenant.
fn unmanageable(facts: &Facts, allowed: &AllowedHosts) -> Option<Failure> {
    match &facts.admin {
        Err(failure) => Some(failure.clone()),
        Ok(admin) if !allowed.allows(&admin.tenant) => Some(findings::host_not_allowed(&admin.tenant, allowed)),
        Ok(_) => None,
    }
}

/// When the next request may be sent to the tenant, if its last failure still counts.
fn backs_off(facts: &Facts) -> Option<Timestamp> {
    use Reason::*;
    let status = facts.object.status.as_ref()?;
    let failure = status.failure.as_ref()?;
    let asked = matches!(
        failure.reason.parse().ok()?,
        RateLimited | TenantUnavailable | TenantUnreachable | UnexpectedResponse | AdminTokenRejected | ClientConflict
    );
    let next = failure.next_attempt_time.as_ref()?.0;
    let same = status.observed_generation == facts.object.metadata.generation;
    (asked && same && next > facts.now).then_some(next)
}

/// Until when a client may still appear that the tenant was asked to create.
fn creation_settles(facts: &Facts) -> Option<Timestamp> {
    let started = facts.object.status.as_ref()?.creation_started_at.as_ref()?;
    let settled = started.0.checked_add(CREATION_SETTLES).unwrap_or(Timestamp::MAX);
    (settled > facts.now).then_some(settled)
}

/// No client has the mark.
fn create(facts: &Facts) -> Step {
    let desired = &facts.desired;
    if !facts.so_far.creation_recorded {
        return match creation_settles(facts) {
            Some(at) => rest(Outcome::Failing(findings::creating()), Next { due: Some(at), ..Next::default() }),
            None => Step::RecordCreation,
        };
    }
    Step::CreateClient(Box::new(NewClient {
        name: desired.client_name.clone(),
        description: mark(facts, Vec::new()).write(desired.description.as_deref()),
        scopes: desired.scopes.clone(),
        grants: desired.grants.clone(),
        // `act` replaces this key by a new one.
        auth: match desired.method {
            AuthMethod::ClientSecret => ClientAuth::ClientSecret,
            AuthMethod::PrivateKeyJwt => ClientAuth::PrivateKeyJwt(PublicJwk::default()),
        },
        trusted: true,
    }))
}

fn mark(facts: &Facts, kept: Vec<String>) -> Mark {
    Mark { uid: facts.object.metadata.uid.clone().unwrap_or_default(), kept }
}

/// The client exists: first its differences are repaired, then its credential is handled.
fn keep(facts: &Facts, client: &OAuthClient) -> Step {
    if let Some(failure) = unsuitable(&facts.desired, client) {
        return failing(failure);
    }
    let found = client.description.as_deref().and_then(Mark::read);
    if found.as_ref().is_some_and(|found| Some(&found.uid) != facts.object.metadata.uid.as_ref()) {
        return failing(findings::not_owned(&client.id));
    }
    let adopts = found.is_none() && facts.desired.adopt.as_deref() == Some(client.id.as_str());
    if found.is_none() && !adopts && !is_reported(facts, client) {
        return failing(findings::not_marked(&client.id, &facts.desired.secret_name));
    }
    // What the spec itself has changed waits for nothing.
    let brake = facts.brakes.client.filter(|at| *at > facts.now && facts.is_observed());
    let changes = differences(facts, client, found.as_ref());
    if !changes.is_empty() {
        return match brake {
            _ if facts.so_far.repaired => failing(findings::not_repaired()),
            Some(at) if !adopts => contested(findings::client_contested(), at),
            _ => Step::RepairClient { changes, adopts },
        };
    }
    match (facts.trusted, brake) {
        (None, _) => Step::ReadConsent,
        (Some(false), _) if facts.so_far.consented => failing(findings::not_trusted()),
        (Some(false), Some(at)) => contested(findings::client_contested(), at),
        (Some(false), None) => Step::SetConsent,
        (Some(true), _) => tend(facts, client, &found.map(|mark| mark.kept).unwrap_or_default()),
    }
}

/// The status names this client. Only the operator writes the status, so a client whose mark was removed is still known by it;
/// the Secret can be written by others, so what it names may be anybody's.
fn is_reported(facts: &Facts, client: &OAuthClient) -> bool {
    let reported = facts.object.status.as_ref().and_then(|status| status.client_id.as_deref());
    reported == Some(client.id.as_str())
}

/// A problem that no change can repair.
fn unsuitable(desired: &Desired, client: &OAuthClient) -> Option<Failure> {
    let method = auth_method(desired.method);
    if client.app_type != "web" {
        return Some(findings::unsuitable("it is not of the type web, which cannot be changed"));
    }
    if !client.auth_methods.is_empty() && !client.auth_methods.contains(method) {
        return Some(findings::unsuitable("it does not have the authentication method of spec.authMethod"));
    }
    client.disabled.then(|| findings::unsuitable("it is disabled in the tenant"))
}

/// Somebody else keeps changing it: the next repair comes at this time.
fn contested(failure: Failure, at: Timestamp) -> Step {
    rest(Outcome::Failing(failure), Next { due: Some(at), ..Next::default() })
}

/// A failure.
fn failing(failure: Failure) -> Step {
    let retry = Some(failure.reason.class());
    rest(Outcome::Failing(failure), Next { retry, ..Next::default() })
}

fn rest(outcome: Outcome, next: Next) -> Step {
    Step::Rest { outcome, next }
}

/// Everything is in order.
fn ready(facts: &Facts, due: impl IntoIterator<Item = Timestamp>) -> Step {
    let due = due.into_iter().chain([facts.after(COMPARE_EVERY)]).min();
    rest(Outcome::Ready, Next { due, ..Next::default() })
}

#[cfg(test)]
mod tests;
