//! First step: what is there. Reads only; the one thing it changes is what the process remembers.

use futures::try_join;
use kube::api::Api;
use kube::{Client, ResourceExt};

use crate::api::ConditionType::Ready;
use crate::api::v1alpha1::{IdentityStatus, QlikContextStatus};
use crate::api::{QlikContext, REFRESH_REQUESTED_ANNOTATION, REFRESHED_FOR_ANNOTATION};
use crate::binding::{self, Fit};
use crate::clock::Timestamp;
use crate::desired::Desired;
use crate::error::{Error, Failure};
use crate::oauth::cache::{Asker, Known, TokenCache};
use crate::oauth::identity::{Field, Identity};
use crate::oauth::token::Token;
use crate::secret::derived::Target;
use crate::secret::{self, Credential, SealedSecret};

/// Everything that a decision is made from.
pub struct Seen {
    /// The spec.
    pub desired: Desired,
    /// The credential, or why there is none.
    pub credential: Result<Credential, Failure>,
    /// The Secret of the target's name.
    pub target: Target,
    /// The token in it.
    pub held: Option<HeldToken>,
    /// What is remembered for this request; nothing while the credential cannot be read.
    pub known: Option<Known>,
    /// The time to judge all of it by.
    pub now: Timestamp,
    /// The refresh request that stands in the annotation and was not handled yet.
    pub refresh: Option<String>,
    /// The last one that was handled.
    pub handled: Option<String>,
}

/// The token in the derived Secret, judged.
#[derive(Clone)]
pub struct HeldToken {
    /// The token.
    pub token: Token,
    /// What it belongs to.
    pub fit: Fit,
    /// Whose it is, when the status still says so.
    pub identity: Option<Identity>,
    /// The tenant no longer accepts it.
    pub rejected: bool,
}

/// Reads what the API server has, and recognises the token in the derived Secret.
pub async fn observe(
    client: &Client,
    tokens: &TokenCache,
    context: &QlikContext,
    desired: Desired,
    now: Timestamp,
) -> Result<Seen, Error> {
    let secrets: Api<SealedSecret> = Api::namespaced(client.clone(), &context.namespace().unwrap_or_default());
    let (credential, target) =
        try_join!(secrets.get_opt(&desired.credential_secret), secrets.get_opt(&desired.target_name))
            .map_err(Error::kubernetes("reading Secrets"))?;
    let credential = match credential {
        Some(secret) => secret.credential(&desired),
        None => Err(secret::not_found(&desired.credential_secret)),
    };
    let target = Target::judge(target, context);
    let mut held = held_token(context.status.as_ref(), &desired, credential.as_ref().ok(), &target, now);
    if let Some(held) = &mut held {
        held.rejected = tokens.is_rejected(&desired.tenant, &held.token.access_token);
    }
    let handled = handled(context, &target);
    let refresh = requested(context).filter(|value| Some(value) != handled.as_ref());
    let mut seen = Seen { desired, credential, target, held, known: None, now, refresh, handled };
    if let Ok(credential) = &seen.credential {
        if let Some(held) = seen.held.as_ref().filter(|held| held.fit.credential) {
            let identity = held.identity.clone().filter(|_| was_good(context));
            tokens.found(
                &credential.request,
                context.metadata.uid.as_deref().unwrap_or_default(),
                &held.token,
                identity,
            );
        }
        let known = tokens.known(&credential.request, seen.asker(context));
        seen.now = known.now.max(now);
        seen.known = Some(known);
    }
    Ok(seen)
}

impl Seen {
    /// Who asks about the request.
    pub fn asker<'a>(&'a self, context: &'a QlikContext) -> Asker<'a> {
        let held = self.held.as_ref().filter(|held| held.fit.credential);
        let metadata = &context.metadata;
        Asker {
            uid: metadata.uid.as_deref().unwrap_or_default(),
            namespace: metadata.namespace.as_deref().unwrap_or_default(),
            name: metadata.name.as_deref().unwrap_or_default(),
            failed: context.status.as_ref().is_some_and(|status| status.failure.is_some()),
            held: held.map(|held| &held.token.access_token),
            refresh: self.refresh.as_deref(),
        }
    }
}

/// The status says that the token in the Secret was good. After a restart nothing else does; where it does not, the token
/// has to be verified first.
fn was_good(context: &QlikContext) -> bool {
    let mut conditions = context.status.iter().flat_map(|status| &status.conditions);
    conditions.any(|held| held.type_ == Ready.to_string() && held.status == "True")
}

/// The value of the annotation, when it is one that can be echoed.
fn requested(context: &QlikContext) -> Option<String> {
    context.annotations().get(REFRESH_REQUESTED_ANNOTATION).filter(|value| is_refresh_request(value)).cloned()
}

/// At most 64 printable characters: what is longer is no time or counter, but somebody's text.
pub fn is_refresh_request(value: &str) -> bool {
    !value.is_empty() && value.len() <= 64 && value.chars().all(|c| (' '..='~').contains(&c))
}

/// Both places are written after the token is in the Secret; either may have been lost.
fn handled(context: &QlikContext, target: &Target) -> Option<String> {
    let status = context.status.as_ref().and_then(|status| status.last_handled_refresh_request.clone());
    match target {
        Target::Ours(secret) => secret.annotations().get(REFRESHED_FOR_ANNOTATION).cloned().or(status),
        _ => status,
    }
}

fn held_token(
    status: Option<&QlikContextStatus>,
    desired: &Desired,
    credential: Option<&Credential>,
    target: &Target,
    now: Timestamp,
) -> Option<HeldToken> {
    let Target::Ours(secret) = target else {
        return None;
    };
    let held = secret.held()?;
    let sent = credential.map(|credential| &credential.sent[..]);
    let fit = binding::check(&held.binding, &held.token, &desired.binding_inputs(), sent, now);
    let token = status.and_then(|status| status.token.as_ref());
    // The status speaks of the token in the Secret, unless another one was put there since.
    let same = token.and_then(|token| token.issued_at.as_ref()).is_some_and(|at| at.0 == held.token.issued_at);
    let identity = status.filter(|_| same).and_then(|status| status.identity.as_ref()).and_then(remembered);
    let scopes = token.filter(|_| same).and_then(|token| token.scopes.clone());
    Some(HeldToken { token: Token { scopes, ..held.token }, fit, identity, rejected: false })
}

/// The identity that a status shows, unless what it withholds may be needed to compare: then the tenant is asked again.
fn remembered(status: &IdentityStatus) -> Option<Identity> {
    let whole = [&status.user_id, &status.subject, &status.tenant_id].into_iter().all(|text| !text.is_empty());
    whole.then(|| status.into())
}

impl From<&IdentityStatus> for Identity {
    fn from(status: &IdentityStatus) -> Self {
        Self {
            user_id: status.user_id.clone(),
            name: status.name.clone(),
            subject: status.subject.clone(),
            client_id: status.client_id.clone(),
            tenant_id: status.tenant_id.clone(),
            ..Self::default()
        }
    }
}

impl From<&Identity> for IdentityStatus {
    fn from(identity: &Identity) -> Self {
        Self {
            user_id: identity.shown(Field::UserId).to_owned(),
            name: identity.shown(Field::Name).to_owned(),
            subject: identity.shown(Field::Subject).to_owned(),
            client_id: Some(identity.shown(Field::ClientId)).filter(|id| !id.is_empty()).map(str::to_owned),
            tenant_id: identity.shown(Field::TenantId).to_owned(),
        }
    }
}
