//! The token that manages OAuth clients: the published one of the admin QlikContext, under the same checks as in its own
//! controller.
//!
//! Pure. The token is taken from the Secret at the time of the run, and only if the Secret belongs to that context, its binding
//! matches the context's spec, the status confirms this token, and its credential may be sent to its tenant.

use super::facts::Admin;
use super::findings::{context_not_found, context_not_ready};
use crate::api::ConditionType::Ready;
use crate::api::{QlikContext, Reason};
use crate::binding;
use crate::clock::Timestamp;
use crate::desired::Desired;
use crate::error::Failure;
use crate::secret::SealedSecret;
use crate::secret::derived::Target;

/// Checks the token. `secret`: the context's token Secret; `credential`: its credential Secret.
pub fn admin(
    name: &str,
    context: Option<&QlikContext>,
    secret: Option<SealedSecret>,
    credential: Option<&SealedSecret>,
    now: Timestamp,
) -> Result<Admin, Failure> {
    let Some(context) = context.filter(|context| context.metadata.deletion_timestamp.is_none()) else {
        return Err(context_not_found(name));
    };
    let unready = |why: &str| context_not_ready(name, why);
    let desired = Desired::parse(context).map_err(|_| unready("its spec is not valid"))?;
    let refused = credential.and_then(|secret| secret.credential(&desired).err());
    if refused.is_some_and(|failure| failure.reason == Reason::HostNotAllowedBySecret) {
        return Err(unready("its credential may not be sent to its tenant"));
    }
    let Target::Ours(stored) = Target::classify(secret, context) else {
        return Err(unready("its Secret does not exist or is not its own"));
    };
    let held = stored.held().filter(|_| !stored.is_orphan()).ok_or_else(|| unready("its Secret holds no token"))?;
    if !binding::check(&held.binding, &held.token, &desired.binding_inputs(), None, now).spec {
        return Err(unready("the token in its Secret does not belong to its spec"));
    }
    if !held.token.is_live(now) {
        return Err(unready("the token in its Secret has expired"));
    }
    let status = context.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().any(|held| held.type_ == Ready.to_string() && held.status == "True");
    let reported = status.token.and_then(|token| token.issued_at).map(|time| time.0);
    if !ready || reported != Some(held.token.issued_at) {
        return Err(unready("it is not ready"));
    }
    let tenant_id = status.identity.map(|identity| identity.tenant_id).filter(|id| !id.is_empty());
    Ok(Admin { tenant: desired.tenant, token: held.token.access_token, tenant_id })
}
