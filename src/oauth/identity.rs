//! The identity of a token, as `users/me` reports it (<https://qlik.dev/apis/rest/users/>).

use std::collections::BTreeSet;
use std::fmt;

use secrecy::ExposeSecret;
use serde::Deserialize;

use super::leak::Secrets;
use super::refusal::Refusal;
use super::request::TokenRequest;
use super::tenant::TenantUrl;
use super::token::AccessToken;
use super::transport::{Method, Request, Transport, TransportFailure};

const BODY_LIMIT: usize = 256 * 1024;
/// One redirect is documented: from `users/me` to `users/{id}`.
const REDIRECTS: u8 = 3;
const FIELD_LIMIT: usize = 256;

/// The user of a token: bounded text from the tenant, for comparison. For display, see [`Identity::shown`].
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Identity {
    /// `id`.
    pub user_id: String,
    /// `name`.
    pub name: String,
    /// `subject`.
    pub subject: String,
    /// `clientId`, only present for a client's own bot.
    pub client_id: Option<String>,
    /// `tenantId`.
    pub tenant_id: String,
    /// The fields that repeat a part of the token or of the client's secret, which are never shown.
    pub withheld: BTreeSet<Field>,
}

/// A field of an identity.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs)]
pub enum Field {
    UserId,
    Name,
    Subject,
    ClientId,
    TenantId,
}

impl Identity {
    const FIELDS: [Field; 5] = [Field::UserId, Field::Name, Field::Subject, Field::ClientId, Field::TenantId];

    /// A field, for comparison; empty if the tenant reports none.
    pub fn field(&self, field: Field) -> &str {
        match field {
            Field::UserId => &self.user_id,
            Field::Name => &self.name,
            Field::Subject => &self.subject,
            Field::ClientId => self.client_id.as_deref().unwrap_or_default(),
            Field::TenantId => &self.tenant_id,
        }
    }

    /// Whether all fields are equal, whether or not they may be shown.
    pub fn says_as(&self, other: &Self) -> bool {
        Self::FIELDS.into_iter().all(|field| self.field(field) == other.field(field))
    }

    /// A field for display: empty if it repeats a secret, which may contain the name of its client or user.
    pub fn shown(&self, field: Field) -> &str {
        if self.withheld.contains(&field) { "" } else { self.field(field) }
    }

    /// `name (id)`, if both may be shown.
    pub fn in_words(&self) -> Option<String> {
        match (self.shown(Field::Name), self.shown(Field::UserId)) {
            ("", "") => None,
            (name, "") => Some(name.to_owned()),
            ("", id) => Some(id.to_owned()),
            (name, id) => Some(format!("{name} ({id})")),
        }
    }
}

/// Only fields that may be shown.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(Self::FIELDS.map(|field| self.shown(field))).finish()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct User {
    id: String,
    name: String,
    subject: String,
    tenant_id: String,
    client_id: Option<String>,
    status: Option<String>,
}

/// Why the tenant confirmed no identity.
#[derive(Debug, Eq, PartialEq)]
pub enum VerificationError {
    /// The tenant answered with another status than success.
    Refused(Refusal),
    /// No response.
    Unreachable(TransportFailure),
    /// A successful response that does not follow the contract, and what is wrong with it.
    NotTheContract(&'static str),
    /// The token's user is not active; the user's status, if it is one that Qlik documents.
    UserInactive(Option<&'static str>),
}

/// The token to verify: with its request, or without.
#[derive(Clone, Copy)]
pub enum Subject<'a> {
    /// A token of this request, with its credential.
    Request(&'a TokenRequest),
    /// A token that was verified before. The credential was not read, so no text of the tenant is quoted.
    Token(&'a TenantUrl),
}

/// Asks the tenant for the identity of a token.
///
/// The response is untrusted and is shown in the status, so a field that repeats the token or the client's secret is withheld.
/// (The identity may contain the client id, as that of a client's own user does.)
pub async fn who_is(
    transport: &dyn Transport,
    subject: Subject<'_>,
    token: &AccessToken,
) -> Result<Identity, VerificationError> {
    let tenant = match subject {
        Subject::Request(request) => &request.tenant,
        Subject::Token(tenant) => tenant,
    };
    let call = Request {
        tenant: tenant.clone(),
        method: Method::Get,
        path: "/api/v1/users/me".into(),
        authorization: Some(token.authorization()),
        header: None,
        body: None,
        limit: BODY_LIMIT,
        redirects: REDIRECTS,
    };
    let answer = transport.send(call).await.map_err(VerificationError::Unreachable)?;
    if answer.status != 200 {
        let secrets = match subject {
            Subject::Request(request) => request.secrets().and(token.expose_secret()),
            Subject::Token(_) => Secrets::everything(),
        };
        return Err(VerificationError::Refused(Refusal::read(&answer, &secrets)));
    }
    let secrets = match subject {
        Subject::Request(request) => request.client_secrets(),
        Subject::Token(_) => Secrets::new(),
    };
    read(answer.object(), &secrets.and(token.expose_secret()))
}

fn read(body: &[u8], secrets: &Secrets) -> Result<Identity, VerificationError> {
    let user: User = serde_json::from_slice(body)
        .map_err(|_| VerificationError::NotTheContract("users/me did not return a user"))?;
    // A missing status is accepted: only an explicit status counts against a user.
    if let Some(status) = user.status.as_deref().filter(|status| *status != "active") {
        let known = ["invited", "disabled", "deleted", "provisioned"].into_iter().find(|known| *known == status);
        return Err(VerificationError::UserInactive(known));
    }
    let identity = Identity {
        user_id: bounded(&user.id),
        name: bounded(&user.name),
        subject: bounded(&user.subject),
        client_id: user.client_id.as_deref().map(bounded),
        tenant_id: bounded(&user.tenant_id),
        withheld: BTreeSet::new(),
    };
    if identity.user_id.is_empty() || identity.tenant_id.is_empty() {
        return Err(VerificationError::NotTheContract("users/me names no user or no tenant"));
    }
    // Checked in the truncated form that is shown: the rest cannot leak, and a long text costs nothing. A search is the most
    // expensive step of reading a response, so there is one for all fields, and one for each only when it finds something.
    if !secrets.leak_in(&Identity::FIELDS.map(|field| identity.field(field)).join("\n")) {
        return Ok(identity);
    }
    let withheld = Identity::FIELDS.into_iter().filter(|field| secrets.leak_in(identity.field(*field))).collect();
    Ok(Identity { withheld, ..identity })
}

fn bounded(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(FIELD_LIMIT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOT: &str = r#"{"id":"63ea","name":"m2m","subject":"qlikbot\\82e0","tenantId":"7jUt","clientId":"82e0",
        "status":"active","assignedRoles":[{"name":"TenantAdmin"}],"added":"later"}"#;

    #[test]
    fn a_bot_is_read_and_unknown_fields_are_let_pass() {
        let identity = read(BOT.as_bytes(), &Secrets::new()).unwrap();
        assert_eq!(identity.subject, "qlikbot\\82e0");
        assert_eq!(identity.client_id.as_deref(), Some("82e0"));
    }

    #[test]
    fn a_user_that_is_not_active_is_refused_with_the_reason() {
        use VerificationError::{NotTheContract, UserInactive};
        for (body, error) in [
            (BOT.replace("active", "disabled"), UserInactive(Some("disabled"))),
            (BOT.replace("active", "something <b>new</b>"), UserInactive(None)),
            (BOT.replace("63ea", ""), NotTheContract("users/me names no user or no tenant")),
            ("<html>".into(), NotTheContract("users/me did not return a user")),
            ("{}".into(), NotTheContract("users/me did not return a user")),
        ] {
            assert_eq!(read(body.as_bytes(), &Secrets::new()), Err(error), "{body}");
        }
    }

    #[test]
    fn text_that_repeats_a_secret_is_withheld_and_still_compared() {
        let secrets = Secrets::new().and("reporting-robot-secret-0123456789");
        let body = BOT.replace("m2m", "reporting-robot").replace("63ea", "reporting-robot");
        let identity = read(body.as_bytes(), &secrets).unwrap();
        assert_eq!(identity.withheld, [Field::UserId, Field::Name].into());
        assert_eq!((identity.shown(Field::UserId), identity.shown(Field::Name)), ("", ""));
        assert_eq!((identity.user_id.as_str(), identity.field(Field::Name)), ("reporting-robot", "reporting-robot"));
        assert_eq!(identity.shown(Field::Subject), "qlikbot\\82e0");
        assert!(!format!("{identity:?}").contains("robot"));
        assert_eq!(identity.in_words(), None);
        let identity = read(BOT.as_bytes(), &secrets).unwrap();
        assert!(identity.withheld.is_empty());
        assert_eq!(identity.in_words().as_deref(), Some("m2m (63ea)"));
        assert!(format!("{identity:?}").contains("m2m"));
    }
}
