//! The values that the steps of a run exchange: facts for `decide`, a step for `act`, its result, which is added to the facts,
//! and at the end an outcome for `status`. Data only.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use super::desired::Desired;
use crate::api::condition::Class;
use crate::api::{QlikOAuthClient, ROTATE_REQUESTED_ANNOTATION};
use crate::clock::Timestamp;
use crate::desired::is_refresh_request;
use crate::error::Failure;
use crate::oauth::clients::{Change, ClientId, Hint, NewClient, OAuthClient};
use crate::oauth::tenant::TenantUrl;
use crate::oauth::token::AccessToken;
use crate::scheduler::Wait;
use crate::secret::oauth_credential::{CredentialSecret, Held, IssuedCredential, Previous};

/// All inputs of a decision.
pub struct Facts {
    /// The object, as it was read for this run.
    pub object: QlikOAuthClient,
    /// Its spec.
    pub desired: Desired,
    /// The wall clock.
    pub now: Timestamp,
    /// How long this process knows that the object is being deleted.
    pub deleting_for: Duration,
    /// The Secret of the credential's name.
    pub secret: CredentialSecret,
    /// The token that may manage the client.
    pub admin: Result<Admin, Failure>,
    /// The client, as far as it was read from the tenant.
    pub client: Remote,
    /// Whether the tenant trusts it, as far as that was read.
    pub trusted: Option<bool>,
    /// A credential that was made and is not in the Secret yet.
    pub candidate: Option<Candidate>,
    /// Somebody else keeps changing what is ours.
    pub brakes: Brakes,
    /// What this run has led to so far.
    pub so_far: SoFar,
}

/// When a repair may be made, where that is not now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Brakes {
    /// Of the Secret.
    pub secret: Option<Timestamp>,
    /// Of the client in the tenant.
    pub client: Option<Timestamp>,
}

/// The published token of the admin QlikContext, after the checks.
#[derive(Clone)]
pub struct Admin {
    /// Its tenant, and the only one that the token is sent to.
    pub tenant: TenantUrl,
    /// The token.
    pub token: AccessToken,
    /// Id of the tenant, from the context's status.
    pub tenant_id: Option<String>,
}

/// The OAuth client in the tenant.
#[derive(Clone)]
pub enum Remote {
    /// It was not read yet.
    Unknown,
    /// No client has this object's mark.
    Absent,
    /// There is no client with the id that is known.
    Gone,
    /// There is one with this id, which has to be read completely.
    Found(ClientId),
    /// It exists.
    Known(Box<OAuthClient>),
}

/// A credential that was made and is not in the Secret yet. Its value is only in memory: if it is lost, the credential is
/// removed by its hint.
#[derive(Clone)]
pub struct Candidate {
    /// The credential.
    pub credential: IssuedCredential,
    /// The tenant accepted it.
    pub proven: bool,
    /// The rotate request that it was made for.
    pub answers: Option<String>,
}

/// What a run has led to so far.
#[allow(clippy::struct_excessive_bools, reason = "each is a step of its own")]
#[derive(Default)]
pub struct SoFar {
    /// It is not this object's turn at the tenant.
    pub wait: Option<Wait>,
    /// A step failed.
    pub failure: Option<Failure>,
    /// It was a write that the Kubernetes API refused.
    pub refused: bool,
    /// The creation of the client was recorded in the status.
    pub creation_recorded: bool,
    /// Differences were repaired.
    pub repaired: bool,
    /// Consent was set.
    pub consented: bool,
    /// A credential was removed.
    pub removed: bool,
    /// The Secret was written.
    pub wrote: bool,
}

/// Qlik's name of a credential of a client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CredentialId {
    /// A secret.
    Secret(Hint),
    /// A key.
    Key(String),
}

impl CredentialId {
    /// As text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Secret(hint) => hint.as_str(),
            Self::Key(id) => id,
        }
    }
}

/// Every credential of a client.
pub fn credentials(client: &OAuthClient) -> impl Iterator<Item = CredentialId> + '_ {
    let secrets = client.secrets.iter().map(|entry| CredentialId::Secret(entry.hint.clone()));
    secrets.chain(client.public_keys.iter().map(|key| CredentialId::Key(key.kid.clone())))
}

/// What to do next about one object.
pub enum Step {
    /// Set or remove the finalizer.
    SetFinalizer(bool),
    /// Look for the client by its mark.
    FindClient,
    /// Read the client of this id.
    ReadClient(ClientId),
    /// Record that the client is about to be created.
    RecordCreation,
    /// Create it.
    CreateClient(Box<NewClient>),
    /// Repair differences.
    RepairClient {
        /// Which.
        changes: Vec<Change>,
        /// The client is taken over by it.
        adopts: bool,
    },
    /// Ask whether the tenant trusts the client.
    ReadConsent,
    /// Make the tenant trust it.
    SetConsent,
    /// Remove a credential from the client.
    RemoveCredential {
        /// Which.
        id: CredentialId,
        /// Its value was never in the Secret.
        lost: bool,
    },
    /// Add a credential to the client, for this rotate request.
    AddCredential(Option<String>),
    /// Request a token with the candidate, and verify it.
    Prove,
    /// Write the Secret.
    Publish {
        /// As it should be.
        secret: Box<Secret>,
        /// It holds a new credential.
        new: bool,
        /// Somebody else has changed or deleted what was there.
        repair: bool,
    },
    /// Delete the client.
    DeleteClient(ClientId),
    /// Release the object without deleting its client.
    GiveUp(String),
    /// Nothing more in this run.
    Rest {
        /// The result for the object.
        outcome: Outcome,
        /// When the next run is due.
        next: Next,
    },
}

/// The result of a run for its object.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Everything is as it should be.
    Ready,
    /// There is a failure.
    Failing(Failure),
    /// `spec.suspend`.
    Suspended,
    /// There is nothing new to say.
    Unchanged,
}

/// When the next run is due without a change.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Next {
    /// At this time.
    pub due: Option<Timestamp>,
    /// As is usual for this class of failure.
    pub retry: Option<Class>,
    /// The scheduler wakes the object when it is its turn.
    pub parked: bool,
}

impl Facts {
    /// The content of the Secret, if it belongs to the known client.
    pub fn current(&self, client: &OAuthClient) -> Option<&Held> {
        self.secret.held().filter(|held| held.credential.client_id == client.id.as_str())
    }

    /// What the credential in the Secret has replaced. The Secret says so and the status as well: where they differ, each is kept
    /// for longer rather than removed too early.
    pub fn previous(&self, held: &Held) -> Vec<Previous> {
        let status = self.object.status.as_ref();
        let same = status.is_some_and(|status| status.client_id.as_ref() == Some(&held.credential.client_id));
        let reported = status.filter(|_| same).map(|status| &status.previous[..]).unwrap_or_default();
        let mut all = held.previous.clone();
        for old in reported.iter().filter(|old| old.hint != held.credential.hint) {
            match all.iter_mut().find(|known| known.hint == old.hint) {
                Some(known) => known.removal_time = known.removal_time.max(old.removal_time.0),
                None => all.push(Previous { hint: old.hint.clone(), removal_time: old.removal_time.0 }),
            }
        }
        all.sort_by_key(|old| old.removal_time);
        all
    }

    /// The Secret held a credential and does not any more: it was deleted or changed.
    pub fn lost_secret(&self) -> bool {
        let reported = self.object.status.as_ref().and_then(|status| status.secret.as_ref()?.hint.as_ref());
        // One that is ours was written with a credential, whether or not the status says so yet.
        let written = reported.is_some() || self.so_far.wrote || matches!(self.secret, CredentialSecret::Ours(_));
        self.secret.held().is_none() && written
    }

    /// The status speaks of the spec as it is.
    pub fn is_observed(&self) -> bool {
        let status = self.object.status.as_ref();
        status.and_then(|status| status.observed_generation) == self.object.metadata.generation
    }

    /// The id of the client, if it was recorded.
    pub fn client_id(&self) -> Option<ClientId> {
        let held = self.secret.held().map(|held| &held.credential.client_id);
        let reported = self.object.status.as_ref().and_then(|status| status.client_id.as_ref());
        held.or(reported).or(self.desired.adopt.as_ref()).and_then(|id| id.parse().ok())
    }

    /// The last rotate request whose credential is in the Secret.
    pub fn handled(&self) -> Option<&String> {
        let reported = self.object.status.as_ref().and_then(|status| status.last_handled_rotate_request.as_ref());
        self.secret.held().and_then(|held| held.rotated_for.as_ref()).or(reported)
    }

    /// The rotate request, if it is not handled yet.
    pub fn requested(&self) -> Option<&String> {
        let value = self.object.annotations().get(ROTATE_REQUESTED_ANNOTATION)?;
        Some(value).filter(|value| is_refresh_request(value) && Some(*value) != self.handled())
    }

    /// When the credential in the Secret is due to be replaced.
    pub fn rotation_time(&self) -> Option<Timestamp> {
        let issued_at = self.secret.held()?.credential.issued_at;
        issued_at.checked_add(self.desired.interval?).ok()
    }

    /// Whether the run will probably change something in the tenant, as far as is known before the first request.
    pub fn expects_change(&self) -> bool {
        let Some(held) = self.secret.held() else { return true };
        let rotates = self.rotation_time().is_some_and(|at| at <= self.now) || self.requested().is_some();
        let removes = held.previous.iter().any(|old| old.removal_time <= self.now);
        let deleted = self.object.metadata.deletion_timestamp.is_some();
        !self.is_observed() || rotates || removes || deleted || self.candidate.is_some()
    }

    /// A wait from now.
    pub fn after(&self, wait: Duration) -> Timestamp {
        self.now.checked_add(wait).unwrap_or(Timestamp::MAX)
    }
}
