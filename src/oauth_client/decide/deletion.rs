//! Decides about an object that is being deleted: with `deletionPolicy: Delete` its client is deleted as well, within bounds.

use std::time::Duration;

use kube::ResourceExt;

use super::{backs_off, creation_settles, rest, unmanageable};
use crate::api::{OAUTH_CLIENT_FINALIZER, Reason};
use crate::clock::Timestamp;
use crate::oauth::tenant::AllowedHosts;
use crate::oauth_client::facts::{Facts, Next, Outcome, Remote, Step};
use crate::oauth_client::mark::Mark;

/// After this time the object is released, whatever the tenant answers. It begins when a process first sees the deletion, so that one
/// that starts later, or whose clock is ahead of the API server's, asks the tenant as well.
const GIVE_UP: Duration = Duration::from_mins(5);

pub(super) fn deleting(facts: &Facts, allowed: &AllowedHosts) -> Step {
    if !facts.object.finalizers().iter().any(|name| name == OAUTH_CLIENT_FINALIZER) {
        return rest(Outcome::Unchanged, Next::default());
    }
    if !facts.desired.delete {
        return Step::SetFinalizer(false);
    }
    let deadline = facts.now.checked_add(GIVE_UP.saturating_sub(facts.deleting_for)).unwrap_or(Timestamp::MAX);
    let failure = facts.so_far.failure.clone().or_else(|| unmanageable(facts, allowed));
    if let Some(failure) = failure {
        // Without its context or its tenant there is nothing to wait for.
        let hopeless = matches!(failure.reason, Reason::AdminContextNotFound | Reason::TenantNotFound);
        if hopeless || deadline <= facts.now {
            return Step::GiveUp(failure.message);
        }
        let retry = Some(failure.reason.class());
        return rest(Outcome::Failing(failure), Next { due: Some(deadline), retry, ..Next::default() });
    }
    if deadline <= facts.now {
        return Step::GiveUp("The tenant could not be asked in time.".into());
    }
    if facts.so_far.wait.is_some() {
        return rest(Outcome::Unchanged, Next { due: Some(deadline), parked: true, ..Next::default() });
    }
    if let Some(at) = backs_off(facts) {
        return rest(Outcome::Unchanged, Next { due: Some(at.min(deadline)), ..Next::default() });
    }
    match &facts.client {
        Remote::Unknown => facts.client_id().map_or(Step::FindClient, Step::ReadClient),
        Remote::Found(id) => Step::ReadClient(id.clone()),
        // It may have been created again, and the new id was not recorded yet.
        Remote::Gone => Step::FindClient,
        Remote::Absent => absent(facts, deadline),
        Remote::Known(client) => {
            let mark = client.description.as_deref().and_then(Mark::read);
            if mark.is_some_and(|mark| Some(&mark.uid) == facts.object.metadata.uid.as_ref()) {
                Step::DeleteClient(client.id.clone())
            } else {
                Step::GiveUp(format!("OAuth client {} does not carry the mark of this object.", client.id))
            }
        }
    }
}

/// There is no client, unless one is being created at this moment.
fn absent(facts: &Facts, deadline: Timestamp) -> Step {
    match creation_settles(facts) {
        Some(settled) => rest(Outcome::Unchanged, Next { due: Some(settled.min(deadline)), ..Next::default() }),
        None => Step::SetFinalizer(false),
    }
}
