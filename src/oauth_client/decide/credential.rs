//! Decides about the credentials of a client without other differences: a lost one is removed, one that is due is replaced, and
//! a replaced one is removed after the overlap.

use std::time::Duration;

use super::{contested, failing, ready, rest};
use crate::clock::Timestamp;
use crate::oauth::clients::OAuthClient;
use crate::oauth_client::facts::{Candidate, CredentialId, Facts, Next, Outcome, Step, credentials};
use crate::oauth_client::findings;
use crate::secret::oauth_credential::{Held, Previous, credential_secret};

/// Qlik allows five. One stays free, so that a person can add a secret in an emergency.
const MOST: usize = 4;
/// After this time a new credential is listed.
const SETTLES: Duration = Duration::from_mins(5);
/// After this time a credential that the tenant does not accept is given up.
const GIVE_UP: Duration = Duration::from_mins(10);

/// `kept`: credentials that a client had before it was taken over.
pub(super) fn tend(facts: &Facts, client: &OAuthClient, kept: &[String]) -> Step {
    let all: Vec<_> = credentials(client).collect();
    let held = facts.current(client);
    let current = held.filter(|held| {
        // One that is new may not be listed everywhere yet.
        let young = held.credential.issued_at.checked_add(SETTLES).unwrap_or(Timestamp::MAX) > facts.now;
        young || all.iter().any(|id| id.as_str() == held.credential.hint)
    });
    let candidate = facts.candidate.as_ref().filter(|made| made.credential.client_id == client.id.as_str());
    let previous = held.map(|held| facts.previous(held)).unwrap_or_default();
    let previous = &previous[..];
    // Never the last one: a tenant refuses to leave a client that only has keys without a key, so a new one is added first.
    let lost = all.iter().find(|id| is_lost(facts, id, held, previous, candidate, kept));
    if let Some(id) = lost.filter(|_| all.len() > 1) {
        return Step::RemoveCredential { id: id.clone(), lost: true };
    }
    let over = |id: &&CredentialId| {
        let ended = previous.iter().any(|old| old.hint == id.as_str() && old.removal_time <= facts.now);
        ended && current.is_some_and(|held| held.credential.hint != id.as_str())
    };
    if let Some(id) = all.iter().find(over) {
        return Step::RemoveCredential { id: id.clone(), lost: false };
    }
    if let Some(candidate) = candidate {
        return bring_in(facts, candidate, client, &all, previous, kept);
    }
    let rotation = facts.rotation_time();
    let due = facts.requested().is_some() || rotation.is_some_and(|at| at <= facts.now);
    let Some(current) = current.filter(|_| !due) else {
        return replace(facts, current, &all, previous);
    };
    let there = |old: &&Previous| all.iter().any(|id| id.as_str() == old.hint);
    let wanted = Held { previous: previous.iter().filter(there).cloned().collect(), ..current.clone() };
    if let Some(step) = publish(facts, &wanted, false) {
        return step;
    }
    ready(facts, rotation.into_iter().chain(wanted.previous.iter().map(|old| old.removal_time)))
}

/// Its value is lost: it is not in the Secret, was not replaced by the credential there, and did not exist before.
fn is_lost(
    facts: &Facts,
    id: &CredentialId,
    held: Option<&Held>,
    previous: &[Previous],
    candidate: Option<&Candidate>,
    kept: &[String],
) -> bool {
    let id = id.as_str();
    let in_secret = held.is_some_and(|held| held.credential.hint == id) || previous.iter().any(|old| old.hint == id);
    let made = candidate.is_some_and(|made| made.credential.hint == id);
    // It was in a Secret that is gone or was changed: programs that have read it can use it during the overlap.
    let reported = facts.object.status.as_ref().and_then(|status| status.secret.as_ref()?.hint.as_deref());
    let published = held.is_none() && reported == Some(id);
    !in_secret && !made && !published && !kept.iter().any(|old| old == id)
}

/// A new credential, unless there are too many, or somebody else has just changed the last one.
fn replace(facts: &Facts, current: Option<&Held>, all: &[CredentialId], previous: &[Previous]) -> Step {
    if let Some(step) = fought_over(facts) {
        return step;
    }
    if all.len() < MOST {
        return Step::AddCredential(facts.requested().cloned());
    }
    // The next removal makes room. Until then the credential in the Secret still works.
    let removal = previous.iter().map(|old| old.removal_time).filter(|at| *at > facts.now).min();
    match (removal, current) {
        (Some(at), Some(_)) => ready(facts, [at]),
        (Some(at), None) => {
            let next = Next { due: Some(at), ..Next::default() };
            rest(Outcome::Failing(findings::secret_limit()), next)
        }
        (None, _) => failing(findings::secret_limit()),
    }
}

/// The Secret was deleted or changed, again and again: the next new credential comes later.
fn fought_over(facts: &Facts) -> Option<Step> {
    let at = facts.brakes.secret.filter(|at| *at > facts.now && facts.lost_secret())?;
    Some(contested(findings::secret_contested(&facts.desired.secret_name), at))
}

/// A new credential is proven, then written; one that is never accepted, or that somebody removed, is given up.
fn bring_in(
    facts: &Facts,
    candidate: &Candidate,
    client: &OAuthClient,
    all: &[CredentialId],
    older: &[Previous],
    kept: &[String],
) -> Step {
    let made = &candidate.credential;
    let is_over = |wait| made.issued_at.checked_add(wait).unwrap_or(Timestamp::MAX) <= facts.now;
    let held = facts.current(client);
    let listed = all.iter().find(|id| id.as_str() == made.hint);
    let given_up = !candidate.proven && is_over(GIVE_UP);
    let removed = listed.is_none() && is_over(SETTLES);
    match listed {
        Some(id) if given_up && all.len() > 1 => return Step::RemoveCredential { id: id.clone(), lost: true },
        _ if given_up || removed => return replace(facts, held, all, older),
        _ if !candidate.proven => return Step::Prove,
        _ => {}
    }
    if let Some(step) = fought_over(facts) {
        return step;
    }
    let removal_time = facts.after(facts.desired.overlap);
    let replaced = all.iter().filter(|id| {
        let id = id.as_str();
        // A credential from before the object is replaced by a rotation, not by the first credential beside it.
        let keeps = held.is_none() && kept.iter().any(|old| old == id);
        id != made.hint && !keeps && !older.iter().any(|old| old.hint == id)
    });
    let replaced = replaced.map(|id| Previous { hint: id.as_str().to_owned(), removal_time });
    let there = |old: &&Previous| all.iter().any(|id| id.as_str() == old.hint);
    let mut previous: Vec<_> = older.iter().filter(there).cloned().chain(replaced).collect();
    previous.sort_by_key(|old| old.removal_time);
    let rotated_for = candidate.answers.clone().or_else(|| facts.handled().cloned());
    let wanted = Held { credential: made.clone(), previous, rotated_for };
    publish(facts, &wanted, true).unwrap_or_else(|| failing(findings::secret_limit()))
}

/// Writes the Secret, unless it is as wanted.
fn publish(facts: &Facts, wanted: &Held, new: bool) -> Option<Step> {
    let tenant = &facts.admin.as_ref().ok()?.tenant;
    let name = &facts.desired.secret_name;
    let secret = credential_secret(&facts.object, name, tenant, wanted, facts.secret.allowed_hosts());
    if facts.secret.is_as(&secret) {
        return None;
    }
    if facts.secret.is_immutable() {
        return Some(failing(findings::immutable(name)));
    }
    let repair = if new { facts.lost_secret() } else { !facts.so_far.removed };
    if let Some(at) = facts.brakes.secret.filter(|at| repair && !new && *at > facts.now) {
        // The credential in it works meanwhile.
        return Some(ready(facts, [at]));
    }
    Some(Step::Publish { secret: Box::new(secret), new, repair })
}
