//! Compares a client with its spec.

use super::mark;
use crate::oauth::clients::{Change, OAuthClient};
use crate::oauth_client::facts::{Facts, credentials};
use crate::oauth_client::mark::Mark;

/// The necessary changes. A client without a mark gets one. For a client that is taken over, the mark names its previous
/// credentials, in the same request, so that none of them is ever considered lost.
pub(super) fn differences(facts: &Facts, client: &OAuthClient, found: Option<&Mark>) -> Vec<Change> {
    let desired = &facts.desired;
    let mark = found.cloned().unwrap_or_else(|| {
        let ours = facts.current(client).map(|held| held.credential.hint.as_str());
        let before = credentials(client).map(|id| id.as_str().to_owned()).filter(|id| Some(id.as_str()) != ours);
        mark(facts, if desired.adopt.is_some() { before.collect() } else { Vec::new() })
    });
    let description = mark.write(desired.description.as_deref());
    [
        (client.name != desired.client_name).then(|| Change::Name(desired.client_name.clone())),
        (client.description.as_ref() != Some(&description)).then_some(Change::Description(description)),
        (client.scopes != desired.scopes).then(|| Change::Scopes(desired.scopes.clone())),
        (!client.has_grants(&desired.grants)).then(|| Change::Grants(desired.grants.clone())),
    ]
    .into_iter()
    .flatten()
    .collect()
}
