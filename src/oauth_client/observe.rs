//! Reads the object, its Secret and the token of its admin context from the API server for each run. The steps that follow read
//! from the tenant.

use std::time::Duration;

use kube::api::Api;
use tokio::time::Instant;

use super::Context;
use super::admin::admin;
use super::desired::Desired;
use super::facts::{Brakes, Facts, Remote, SoFar};
use crate::api::{QlikContext, QlikOAuthClient};
use crate::clock::Timestamp;
use crate::error::{Error, Failure};
use crate::scheduler::Caller;
use crate::secret::SealedSecret;
use crate::secret::oauth_credential::CredentialSecret;

/// What a run begins with.
pub enum Observed {
    /// The object is gone.
    Gone,
    /// Its spec is not valid.
    Invalid(Box<QlikOAuthClient>, Failure),
    /// The facts.
    Facts(Box<Facts>),
}

/// Reads everything again: runs are rare, and their effects cannot be undone.
pub async fn observe(cx: &Context, caller: &Caller) -> Result<Observed, Error> {
    let base = &cx.base;
    let objects: Api<QlikOAuthClient> = Api::namespaced(base.client.clone(), &caller.namespace);
    let object = objects.get_opt(&caller.name).await.map_err(Error::kubernetes("reading the QlikOAuthClient"))?;
    let Some(object) = object.filter(|object| object.metadata.uid.as_deref() == Some(&caller.uid)) else {
        return Ok(Observed::Gone);
    };
    let desired = match Desired::parse(&object) {
        Ok(desired) => desired,
        Err(failure) => return Ok(Observed::Invalid(Box::new(object), failure)),
    };
    let contexts: Api<QlikContext> = Api::namespaced(base.client.clone(), &caller.namespace);
    let secrets: Api<SealedSecret> = Api::namespaced(base.client.clone(), &caller.namespace);
    let read = Error::kubernetes("reading the QlikContext and the Secrets");
    let (context, own) =
        match futures::try_join!(contexts.get_opt(&desired.admin_context), secrets.get_opt(&desired.secret_name)) {
            Ok(read) => read,
            Err(error) => return Err(read(error)),
        };
    let names = context.as_ref().map(|context| (context.target_name(), context.credential_name().map(str::to_owned)));
    let (published, credential) = match names {
        None => (None, None),
        Some((target, credential)) => {
            let published = secrets.get_opt(&target);
            let credential = async {
                match &credential {
                    Some(name) => secrets.get_opt(name).await,
                    None => Ok(None),
                }
            };
            futures::try_join!(published, credential).map_err(read)?
        }
    };
    let now = base.clock.now();
    let admin = admin(&desired.admin_context, context.as_ref(), published, credential.as_ref(), now);
    let at = |wait: Option<Duration>| wait.map(|wait| now.checked_add(wait).unwrap_or(Timestamp::MAX));
    let secret = CredentialSecret::classify(own, &object);
    let deleted = object.metadata.deletion_timestamp.is_some();
    let remembered = cx.memories.with(&caller.uid, |memory| {
        // The response to its write may have been lost.
        memory.candidate.take_if(|made| secret.held().is_some_and(|held| made.credential.is_same(&held.credential)));
        let brakes = Brakes { secret: at(memory.secret_repairs.wait()), client: at(memory.client_repairs.wait()) };
        let deleting_since = deleted.then(|| *memory.deleting_since.get_or_insert_with(Instant::now));
        (memory.candidate.clone(), brakes, deleting_since.map(|since| since.elapsed()).unwrap_or_default())
    });
    let (candidate, brakes, deleting_for) = remembered.unwrap_or_default();
    let (client, so_far) = (Remote::Unknown, SoFar::default());
    Ok(Observed::Facts(Box::new(Facts {
        object,
        desired,
        now,
        deleting_for,
        secret,
        admin,
        client,
        trusted: None,
        candidate,
        brakes,
        so_far,
    })))
}
