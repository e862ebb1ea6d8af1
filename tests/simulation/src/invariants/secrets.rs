//! The writes of Secrets: the owner, and the content before and after.

use std::time::Duration;

use qlik_context_operator::api::{
    CONTEXT_LABEL, EXPIRES_AT_ANNOTATION, ISSUED_AT_ANNOTATION, MANAGED_BY_LABEL, OPERATOR_NAME,
    TOKEN_BINDING_ANNOTATION,
};
use serde_json::Value;
use support::api_server::Committed;
use tokio::time::Instant;

use super::{Checker, Invariant, KnownSecret, annotation, name_of, value};

/// The operator may not know an edit of the spec for this time, in addition to the delay of watches.
const UNAWARE: Duration = Duration::from_secs(15);

impl Checker {
    pub(super) fn on_foreign_write(&self, change: &Committed<'_>) {
        let name = name_of(change);
        let mut state = self.lock();
        match change.after {
            // Its last expiry is kept: the operator may not know yet.
            None => {
                if let Some(secret) = state.secrets.get_mut(&name) {
                    (secret.touched, secret.is_deleted) = (Some(Instant::now()), true);
                }
            }
            Some(after) => {
                let (token, expires_at) = (value(after, "token"), annotation(after, EXPIRES_AT_ANNOTATION));
                let touched = Some(Instant::now());
                state.secrets.insert(name, KnownSecret { token, expires_at, touched, is_deleted: false });
            }
        }
    }

    pub(super) fn on_own_write(&self, change: &Committed<'_>) {
        let name = name_of(change);
        let shown = format!("Secret {}/{}", name.0, name.1);
        let Some(after) = change.after else {
            return self.violated(Invariant::OnlyOwnSecrets, format!("{shown} was deleted by the operator"));
        };
        if let Some(before) = change.before
            && !self.may_write(&name.1, before)
        {
            let owner = &before["metadata"];
            return self.violated(Invariant::OnlyOwnSecrets, format!("{shown} belongs to another owner: {owner}"));
        }
        if name.1.ends_with("-token") {
            self.check_token(change, after, &shown);
        } else {
            self.check_credential(change, after, &shown);
        }
    }

    fn check_token(&self, change: &Committed<'_>, after: &Value, shown: &str) {
        let name = name_of(change);
        let context = name.1.strip_suffix("-token").map(|context| (name.0.clone(), context.to_owned()));
        let (token, old) = (value(after, "token"), change.before.map(|before| value(before, "token")));
        if token.is_empty() {
            return self.violated(Invariant::GoodTokensStay, format!("{shown} has no token any more"));
        }
        let is_new = old.as_ref() != Some(&token);
        let mut state = self.lock();
        let known = context.as_ref().and_then(|context| state.contexts.get(context).cloned()).unwrap_or_default();
        let touched = state.secrets.get(&name).and_then(|secret| secret.touched);
        let expires_at = annotation(after, EXPIRES_AT_ANNOTATION);
        let touched = touched.filter(|_| !is_new);
        let known_secret = KnownSecret { token: token.clone(), expires_at, touched, is_deleted: false };
        state.secrets.insert(name.clone(), known_secret);
        state.published.insert(token.clone());
        state.publishes += u64::from(is_new);
        // The time of issue of an API key is when it was read.
        let (begun, issued) = (state.requests.begun_at(&token), state.requests.issued_at(&token));
        let at = annotation(after, ISSUED_AT_ANNOTATION);
        state.workloads.publish(name.clone(), at, begun.unwrap_or(self.begun));
        let writer = state.leader.clone().zip(context);
        let written_for = writer.and_then(|writer| state.received.get(&writer).cloned());
        let before = written_for.clone().and_then(|spec| state.written_for.insert(name, spec));
        let is_edited = before.zip(written_for).is_some_and(|(before, now)| now.is_later_than(&before));
        let (verified, rejected) = (state.verified.contains(&token), state.rejected.contains(&token));
        let old_is_good = old.as_ref().is_some_and(|old| state.verified.contains(old) && !state.revoked.contains(old));
        let origin = state.requests.origin(&token).cloned();
        let kind = |token: &str| state.requests.origin(token).map(|requester| (&requester.client, &requester.scopes));
        // After an edit of the spec, the right token may be older than one that was written before the edit was received.
        let same_kind = old.as_ref().is_some_and(|old| kind(old) == kind(&token));
        let old_issued = old.as_ref().and_then(|old| state.requests.issued_at(old));
        let aware = UNAWARE + state.lag;
        drop(state);
        if !verified {
            return self.violated(
                Invariant::OnlyVerifiedTokens,
                format!("{shown} has a token that the tenant never confirmed"),
            );
        }
        let authorization = value(after, "authorization");
        if !authorization.is_empty() && authorization != format!("Bearer {token}") {
            return self.violated(Invariant::TokensFitTheSpec, format!("{shown} has two different tokens"));
        }
        if is_new && rejected {
            return self.violated(Invariant::GoodTokensStay, format!("{shown} got a token that the tenant rejected"));
        }
        if old_is_good
            && is_new
            && !is_edited
            && same_kind
            && let (Some(new), Some(old)) = (issued, old_issued)
            && new < old
        {
            let older = (old - new).as_secs();
            self.violated(
                Invariant::GoodTokensStay,
                format!("{shown}: a token was replaced by one that was issued {older} s earlier"),
            );
        }
        if !is_new || known.edited.is_none_or(|since| since.elapsed() < aware) {
            return;
        }
        if known.has_pin() {
            let pins = &known.spec["expectedIdentity"];
            return self.violated(
                Invariant::TokensFitTheSpec,
                format!("{shown} got a token although the spec expects {pins}"),
            );
        }
        let wrong = match &origin {
            Some(request) => known.is_other_request(request),
            // No request issues an API key.
            None => (!known.spec["auth"]["apiKey"].is_object()).then(|| "that is an API key".to_owned()),
        };
        if let Some(wrong) = wrong {
            self.violated(Invariant::TokensFitTheSpec, format!("{shown} got a token {wrong}"));
        }
    }

    /// A credential of a client that the operator created was used for a confirmed token before it is published.
    fn check_credential(&self, change: &Committed<'_>, after: &Value, shown: &str) {
        let of = |secret: &Value| (value(secret, "client-id"), value(secret, "client-secret"));
        let now = of(after);
        if change.before.map(of).as_ref() == Some(&now) || now.1.is_empty() {
            return;
        }
        if !self.lock().requests.proven.contains(&now) {
            let client = now.0;
            self.violated(
                Invariant::OnlyVerifiedTokens,
                format!("{shown} has a credential of {client} that was never proven"),
            );
        }
    }

    /// Whether the operator may write this Secret: its controller is the object that it is for, or it has no controller and all three
    /// marks.
    fn may_write(&self, name: &str, secret: &Value) -> bool {
        let object = name.strip_suffix("-token").or_else(|| name.strip_suffix("-oauth")).unwrap_or(name);
        let owners = secret["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        let controller = owners.iter().find(|owner| owner["controller"] == true);
        if let Some(controller) = controller {
            let uid = controller["uid"].as_str().unwrap_or_default();
            return self.lock().owners.get(uid).is_some_and(|owner| owner == object);
        }
        let labels = &secret["metadata"]["labels"];
        labels[MANAGED_BY_LABEL] == OPERATOR_NAME
            && labels[CONTEXT_LABEL] == object
            && !annotation(secret, TOKEN_BINDING_ANNOTATION).is_empty()
    }
}
