//! Executes one step, and adds its result to the facts.
//!
//! No request is sent to a tenant and nothing is written unless this instance leads. A credential that was just made is stored
//! in memory before anything else can fail.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::api::Api;
use kube::core::DeserializeGuard;
use secrecy::SecretString;

use super::Context;
use super::facts::{Candidate, CredentialId, Facts, Remote, Step};
use super::mark::Mark;
use super::prove::prove;
use super::publish::publish;
use super::turn::{NoTurn, Turn, health};
use super::{finalizer, findings, write};
use crate::api::condition::Notice;
use crate::api::v1alpha1::oauth_client::{AuthMethod, QlikOAuthClientStatus};
use crate::error::{Error, Failure};
use crate::oauth::clients::{
    Change, ClientAuth, ClientId, ClientsError, Consent, Created, Filter, KeyEncoding, NewClient, NewSecret,
    OAuthClient, OAuthClients,
};
use crate::oauth::key::{self, GeneratedKey, PublicJwk};
use crate::reconcile::events::EventDraft;
use crate::scheduler::{Caller, RequestKind, Wait};
use crate::secret::SealedSecret;
use crate::secret::oauth_credential::{CredentialSecret, IssuedCredential, Proof};
use crate::status_write::{PatchKind, StatusWrite};

/// How a step ended.
pub enum Done {
    /// Decide again.
    Next,
    /// The inputs of the run have changed: start again.
    Stale,
}

/// Why a request has no result.
pub(super) enum Stop {
    /// It is not this object's turn.
    Wait(Wait),
    /// The tenant refused or failed.
    Call(ClientsError),
    /// Another failure.
    Failure(Failure),
    /// The Kubernetes API refused to write the Secret.
    Refused(Failure),
    /// The Kubernetes API failed, or this instance does not lead.
    Error(Error),
}

impl From<NoTurn> for Stop {
    fn from(why: NoTurn) -> Self {
        match why {
            NoTurn::Parked(wait) => Self::Wait(wait),
            NoTurn::Paused(pause) => Self::Failure(findings::paused(pause)),
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// The state of a run.
pub struct Run<'a> {
    /// The state that all runs share.
    pub cx: &'a Context,
    /// The object.
    pub caller: &'a Caller,
    /// Its place at the tenant.
    pub turn: Turn,
}

impl Run<'_> {
    /// Executes a step; a failure of the tenant is added to the facts.
    pub async fn act(&mut self, facts: &mut Facts, step: Step) -> Result<Done, Error> {
        match self.step(facts, step).await {
            Ok(done) => Ok(done),
            Err(Stop::Error(error)) => Err(error),
            Err(Stop::Wait(wait)) => {
                facts.so_far.wait = Some(wait);
                Ok(Done::Next)
            }
            Err(Stop::Failure(failure)) => {
                facts.so_far.failure = Some(failure);
                Ok(Done::Next)
            }
            Err(Stop::Refused(failure)) => {
                self.cx.count_failure(&self.caller.uid);
                (facts.so_far.failure, facts.so_far.refused) = (Some(failure), true);
                Ok(Done::Next)
            }
            Err(Stop::Call(error)) => {
                facts.so_far.failure = Some(findings::of_call(&facts.desired.admin_context, &error));
                Ok(Done::Next)
            }
        }
    }

    async fn step(&mut self, facts: &mut Facts, step: Step) -> Result<Done, Stop> {
        match step {
            Step::SetFinalizer(wanted) => return self.set_finalizer(facts, wanted).await,
            Step::FindClient => self.find(facts).await?,
            Step::ReadClient(id) => self.read(facts, &id).await?,
            Step::RecordCreation => return self.record_creation(facts).await,
            Step::CreateClient(client) => self.create(facts, *client).await?,
            Step::RepairClient { changes, adopts } => self.repair(facts, &changes, adopts).await?,
            Step::ReadConsent => {
                let id = known(facts)?.id.clone();
                let consent = self.ask(facts, RequestKind::Check, async |clients| clients.consent(&id).await).await;
                facts.trusted = Some(match consent {
                    Ok(consent) => consent == Consent::Trusted,
                    // Nothing was decided yet.
                    Err(Stop::Call(ClientsError::NotFound(_))) => false,
                    Err(error) => return Err(error),
                });
            }
            Step::SetConsent => {
                let id = known(facts)?.id.clone();
                self.change(facts, async |clients| clients.set_consent(&id, Consent::Trusted).await).await?;
                // At the first time nobody has taken it back.
                if facts.secret.held().is_some() {
                    self.repaired_client(facts, "its consent method");
                }
                (facts.trusted, facts.so_far.consented) = (None, true);
            }
            Step::RemoveCredential { id, lost } => return self.remove(facts, &id, lost).await,
            Step::AddCredential(answers) => self.add(facts, answers).await?,
            Step::Prove => prove(self, facts).await?,
            Step::Publish { secret, new, repair } => return publish(self, facts, *secret, new, repair).await,
            Step::DeleteClient(id) => self.delete(facts, &id).await?,
            Step::GiveUp(why) => {
                let note = format!(
                    "The OAuth client of this QlikOAuthClient was not deleted in the tenant. {why} Delete it there if nobody \
                     needs it."
                );
                self.tell(facts, true, Notice::ClientNotDeleted, note);
                return self.set_finalizer(facts, false).await;
            }
            Step::Rest { .. } => {}
        }
        Ok(Done::Next)
    }

    /// Calls the tenant, when it is this object's turn.
    pub(super) async fn ask<T>(
        &mut self,
        facts: &Facts,
        kind: RequestKind,
        call: impl AsyncFnOnce(OAuthClients<'_>) -> Result<T, ClientsError>,
    ) -> Result<T, Stop> {
        let admin = facts.admin.as_ref().map_err(|failure| Stop::Failure(failure.clone()))?;
        self.cx.base.leadership.check()?;
        self.turn.take(self.cx, &admin.tenant.authority(), kind)?;
        let answer = call(OAuthClients::new(&*self.cx.transport, &admin.tenant, &admin.token)).await;
        let pause = answer.as_ref().err().and_then(ClientsError::retry_after);
        self.turn.ended(health(&answer), pause);
        let why = answer.as_ref().err().map(|error| findings::of_call("", error).reason);
        self.cx.base.metrics.oauth_client_request(kind, why);
        answer.map_err(Stop::Call)
    }

    /// A request that changes something.
    async fn change<T>(
        &mut self,
        facts: &Facts,
        call: impl AsyncFnOnce(OAuthClients<'_>) -> Result<T, ClientsError>,
    ) -> Result<T, Stop> {
        self.ask(facts, RequestKind::Token, call).await
    }

    /// The client with this object's mark; the oldest, if there are several.
    async fn find(&mut self, facts: &mut Facts) -> Result<(), Stop> {
        let all = self.ask(facts, RequestKind::Check, async |clients| clients.list(Filter::All).await).await?;
        let uid = facts.object.metadata.uid.clone().unwrap_or_default();
        let is_ours = |client: &&OAuthClient| {
            client.description.as_deref().and_then(Mark::read).is_some_and(|mark| mark.uid == uid)
        };
        let found = all.iter().filter(is_ours).min_by_key(|client| (client.created_at, client.id.clone()));
        facts.client = found.map_or(Remote::Absent, |client| Remote::Found(client.id.clone()));
        Ok(())
    }

    async fn read(&mut self, facts: &mut Facts, id: &ClientId) -> Result<(), Stop> {
        let answer = self.ask(facts, RequestKind::Check, async |clients| clients.get(id).await).await;
        facts.client = match answer {
            Ok(client) => Remote::Known(Box::new(client)),
            Err(Stop::Call(ClientsError::NotFound(_))) => Remote::Gone,
            Err(stop) => return Err(stop),
        };
        if let Remote::Known(client) = &facts.client
            && let Some(candidate) = facts.candidate.as_mut().filter(|made| made.credential.hint.is_empty())
        {
            // The response with the secret did not have its hint: a new client has only this one.
            match &client.secrets[..] {
                [only] => candidate.credential.hint = only.hint.to_string(),
                _ => facts.candidate = None,
            }
            self.keep(facts.candidate.clone());
        }
        Ok(())
    }

    /// Recorded before the request is sent: if the response is lost, the next run waits until the client would be listed.
    async fn record_creation(&mut self, facts: &mut Facts) -> Result<Done, Stop> {
        let started = QlikOAuthClientStatus {
            creation_started_at: Some(Time(facts.now)),
            ..facts.object.status.clone().unwrap_or_default()
        };
        match write(self.cx, &facts.object, &started, PatchKind::Apply).await? {
            StatusWrite::Done(stored) => {
                // Otherwise later writes conflict, and the next run reports that the object cannot be read.
                if let Some(DeserializeGuard(Ok(stored))) = stored {
                    facts.object = stored;
                }
                facts.so_far.creation_recorded = true;
                Ok(Done::Next)
            }
            _ => Ok(Done::Stale),
        }
    }

    async fn create(&mut self, facts: &mut Facts, mut client: NewClient) -> Result<(), Stop> {
        // Whatever the result: no second client is created without reading again.
        facts.so_far.creation_recorded = false;
        let pair = match &mut client.auth {
            ClientAuth::ClientSecret => None,
            ClientAuth::PrivateKeyJwt(public) => {
                let pair = generate()?;
                *public = pair.public_key.clone();
                Some(pair)
            }
        };
        let mut answer = self.change(facts, async |clients| clients.create(&client).await).await;
        if matches!(answer, Err(Stop::Call(ClientsError::Rejected(_)))) {
            // A tenant that does not accept the consent in the request that creates the client.
            client.trusted = false;
            answer = self.change(facts, async |clients| clients.create(&client).await).await;
        }
        let clear = match &answer {
            Err(Stop::Call(error)) => !error.may_have_been_done(),
            Err(_) => true,
            Ok(_) => false,
        };
        if clear && let Some(status) = &mut facts.object.status {
            status.creation_started_at = None;
        }
        let Created { client, secret } = answer?;
        let id = client.id.to_string();
        self.tell(facts, false, Notice::ClientCreated, format!("OAuth client {id} was created in the tenant."));
        let answers = facts.requested().cloned();
        let made = match (pair, secret) {
            (Some(pair), _) => Some((pair.public_key.kid, Proof::PrivateKey(pair.private_key))),
            (None, Some(secret)) => Some(of_secret(secret)),
            (None, None) => None,
        };
        if let Some((hint, proof)) = made {
            self.made(facts, id, hint, proof, answers);
        }
        facts.client = Remote::Found(client.id);
        Ok(())
    }

    async fn repair(&mut self, facts: &mut Facts, changes: &[Change], adopts: bool) -> Result<(), Stop> {
        let current = known(facts)?.clone();
        self.patch(facts, &current, changes).await?;
        facts.so_far.repaired = true;
        facts.client = Remote::Found(current.id.clone());
        if adopts {
            self.tell(facts, false, Notice::ClientAdopted, format!("OAuth client {} was taken over.", current.id));
        } else {
            let note =
                format!("OAuth client {} differed from the spec in {}, and was repaired.", current.id, names(changes));
            if !self.repaired_client(facts, &names(changes)) {
                self.tell(facts, false, Notice::ClientRepaired, note);
            }
        }
        Ok(())
    }

    /// Changes a client. The form of a key in a patch is not documented: when one form is refused, the other is tried.
    async fn patch(&mut self, facts: &Facts, current: &OAuthClient, changes: &[Change]) -> Result<(), Stop> {
        let has_keys = changes.iter().any(|change| matches!(change, Change::PublicKeys(_)));
        let way = async |clients: OAuthClients<'_>, keys| clients.patch(current, changes, keys).await.map(drop);
        let answer = self.change(facts, async |clients| way(clients, KeyEncoding::Object).await).await;
        match answer {
            Err(Stop::Call(ClientsError::Rejected(_))) if has_keys => {
                self.change(facts, async |clients| way(clients, KeyEncoding::Text).await).await
            }
            answer => answer,
        }
    }

    async fn add(&mut self, facts: &mut Facts, answers: Option<String>) -> Result<(), Stop> {
        let current = known(facts)?.clone();
        let (hint, proof) = match facts.desired.method {
            AuthMethod::ClientSecret => {
                let made = self.change(facts, async |clients| clients.add_secret(&current.id).await).await?;
                let unnamed = made.hint.is_none();
                let (hint, proof) = of_secret(made);
                if unnamed { (self.name_of_new(facts, &current).await?, proof) } else { (Some(hint), proof) }
            }
            AuthMethod::PrivateKeyJwt => {
                let GeneratedKey { private_key, public_key } = generate()?;
                let kid = public_key.kid.clone();
                let keys: Vec<PublicJwk> = current.public_keys.iter().cloned().chain([public_key]).collect();
                self.patch(facts, &current, &[Change::PublicKeys(keys)]).await?;
                (Some(kid), Proof::PrivateKey(private_key))
            }
        };
        // A secret without a known hint is lost, and removed as such.
        if let Some(hint) = hint {
            self.made(facts, current.id.to_string(), hint, proof, answers);
        }
        facts.client = Remote::Found(current.id);
        Ok(())
    }

    /// The hint of the only secret that did not exist before.
    async fn name_of_new(&mut self, facts: &Facts, before: &OAuthClient) -> Result<Option<String>, Stop> {
        let now = self.ask(facts, RequestKind::Check, async |clients| clients.get(&before.id).await).await?;
        let mut new = now.secrets.iter().filter(|entry| before.secrets.iter().all(|old| old.hint != entry.hint));
        Ok(new.next().map(|entry| entry.hint.to_string()).filter(|_| new.next().is_none()))
    }

    /// A credential was made: its value is only in memory until it is in the Secret.
    fn made(&self, facts: &mut Facts, client_id: String, hint: String, proof: Proof, answers: Option<String>) {
        let issued_at = self.cx.base.clock.now();
        let credential = IssuedCredential { client_id, hint, issued_at, proof };
        facts.candidate = Some(Candidate { credential, proven: false, answers });
        self.keep(facts.candidate.clone());
    }

    /// Failures of the Kubernetes API in a row, before this run.
    pub(super) fn failures(&self) -> u32 {
        self.cx.memories.with(&self.caller.uid, |memory| memory.failures).unwrap_or_default()
    }

    /// Remembers the candidate.
    pub(super) fn keep(&self, candidate: Option<Candidate>) {
        self.cx.memories.with(&self.caller.uid, |memory| memory.candidate = candidate);
    }

    /// Never while the Secret holds the credential, whatever was read at the beginning.
    async fn remove(&mut self, facts: &mut Facts, id: &CredentialId, lost: bool) -> Result<Done, Stop> {
        let secrets: Api<SealedSecret> = Api::namespaced(self.cx.base.client.clone(), &self.caller.namespace);
        let now = secrets.get_opt(&facts.desired.secret_name).await;
        let now = CredentialSecret::classify(now.map_err(Error::kubernetes("reading the Secret"))?, &facts.object);
        if now.held().is_some_and(|held| held.credential.hint == id.as_str())
            || now.held().is_none() != facts.secret.held().is_none()
        {
            return Ok(Done::Stale);
        }
        let mut client = known(facts)?.clone();
        let removed = match id {
            CredentialId::Secret(hint) => {
                let answer = self.change(facts, async |clients| clients.delete_secret(&client.id, hint).await).await;
                client.secrets.retain(|entry| entry.hint != *hint);
                answer
            }
            CredentialId::Key(kid) => {
                let keys: Vec<_> = client.public_keys.iter().filter(|key| key.kid != *kid).cloned().collect();
                let answer = self.patch(facts, &client, &[Change::PublicKeys(keys.clone())]).await;
                client.public_keys = keys;
                answer
            }
        };
        match removed {
            Ok(()) | Err(Stop::Call(ClientsError::NotFound(_))) => {}
            Err(stop) => return Err(stop),
        }
        if facts.candidate.as_ref().is_some_and(|made| made.credential.hint == id.as_str()) {
            facts.candidate = None;
            self.keep(None);
        }
        facts.client = Remote::Known(Box::new(client));
        facts.so_far.removed = true;
        let why = if lost { "whose value nobody has" } else { "which was replaced" };
        let note = format!("Credential {} of the OAuth client, {why}, was removed in the tenant.", id.as_str());
        self.tell(facts, false, Notice::CredentialRemoved, note);
        Ok(Done::Next)
    }

    async fn delete(&mut self, facts: &mut Facts, id: &ClientId) -> Result<(), Stop> {
        match self.change(facts, async |clients| clients.delete(id).await).await {
            Ok(()) => {
                let note = format!("OAuth client {id} was deleted in the tenant.");
                self.tell(facts, false, Notice::ClientDeleted, note);
            }
            Err(Stop::Call(ClientsError::NotFound(_))) => {}
            Err(stop) => return Err(stop),
        }
        facts.client = Remote::Absent;
        if let Some(status) = &mut facts.object.status {
            status.creation_started_at = None;
        }
        Ok(())
    }

    async fn set_finalizer(&mut self, facts: &mut Facts, wanted: bool) -> Result<Done, Stop> {
        self.cx.base.leadership.check()?;
        let objects = Api::namespaced(self.cx.base.client.clone(), &self.caller.namespace);
        let Some(metadata) = finalizer::set(&objects, &facts.object, wanted).await? else { return Ok(Done::Stale) };
        facts.object.metadata = metadata;
        Ok(Done::Next)
    }

    /// Queues an event.
    pub(super) fn tell(&self, facts: &Facts, warning: bool, reason: Notice, note: String) {
        self.cx.base.events.send(facts.object.object_ref(&()), EventDraft::new(warning, reason, note));
    }
}

fn known(facts: &Facts) -> Result<&OAuthClient, Stop> {
    match &facts.client {
        Remote::Known(client) => Ok(client),
        _ => Err(Stop::Failure(findings::client_gone(&facts.desired))),
    }
}

fn generate() -> Result<GeneratedKey, Stop> {
    key::generate().map_err(|_| Stop::Failure(findings::no_key()))
}

/// A hint that is missing in the response is found when the client is read.
fn of_secret(secret: NewSecret) -> (String, Proof) {
    let value: SecretString = secret.value;
    (secret.hint.map(|hint| hint.to_string()).unwrap_or_default(), Proof::ClientSecret(value))
}

fn names(changes: &[Change]) -> String {
    let name = |change: &Change| match change {
        Change::Name(_) => "its name",
        Change::Description(_) => "its description",
        Change::Scopes(_) => "its scopes",
        Change::Grants(_) => "its grant types",
        Change::PublicKeys(_) => "its keys",
    };
    changes.iter().map(name).collect::<Vec<_>>().join(", ")
}
