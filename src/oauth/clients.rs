//! Qlik's OAuth clients API (<https://qlik.dev/apis/rest/oauth-clients/>).
//!
//! Every call is one request, except [`OAuthClients::list`], which reads page after page. Nothing is retried and no state is
//! kept: after an unclear failure ([`ClientsError::may_have_been_done`]) the caller has to read again. No redirect is followed.

mod answer;
mod body;
mod error;
mod id;
mod model;

use std::borrow::Cow;
use std::collections::BTreeSet;

use secrecy::{ExposeSecret, SecretString};
use url::form_urlencoded::Serializer;

pub use self::error::{ClientsError, Conflict};
pub use self::id::{ClientId, Hint, NotAnId};
pub use self::model::{
    Change, ClientAuth, Consent, Created, Filter, GrantType, KeyEncoding, NewClient, NewSecret, OAuthClient,
    SecretEntry,
};

use super::leak::Secrets;
use super::refusal::Refusal;
use super::tenant::TenantUrl;
use super::token::AccessToken;
use super::transport::{Answer, Method, Request, Transport};

const PATH: &str = "/api/v1/oauth-clients";
/// Size of one client: five secrets, some keys, texts.
const BODY_LIMIT: usize = 256 * 1024;
/// Size of a page of clients.
const PAGE_LIMIT: usize = 4 * 1024 * 1024;
/// The most that Qlik puts on a page.
const PAGE_SIZE: &str = "100";
/// A tenant has at most 200 clients. This allows for ten times as many; a longer list is an error.
const PAGES: usize = 20;
/// Without it nothing is deleted.
const CONFIRM_DELETE: &str = "qlik-confirm-delete";

/// The OAuth clients of one tenant, managed with one token.
#[derive(Clone, Copy)]
pub struct OAuthClients<'a> {
    transport: &'a dyn Transport,
    tenant: &'a TenantUrl,
    token: &'a AccessToken,
}

impl<'a> OAuthClients<'a> {
    /// For this tenant; the token needs the scope `admin_classic`, or is an API key of an administrator.
    pub fn new(transport: &'a dyn Transport, tenant: &'a TenantUrl, token: &'a AccessToken) -> Self {
        Self { transport, tenant, token }
    }

    /// All clients that match: the complete list, or an error. `GET /api/v1/oauth-clients`, once for each hundred.
    pub async fn list(&self, filter: Filter<'_>) -> Result<Vec<OAuthClient>, ClientsError> {
        let (mut clients, mut cursor, mut seen) = (Vec::new(), None, BTreeSet::new());
        for _ in 0..PAGES {
            let (page, next) = self.page(filter, cursor.as_deref()).await?;
            clients.extend(page);
            let Some(next) = next else { return Ok(clients) };
            if !seen.insert(next.clone()) {
                return Err(ClientsError::NotTheContract("the list of OAuth clients goes in a circle"));
            }
            cursor = Some(next);
        }
        Err(ClientsError::NotTheContract("the list of OAuth clients does not end"))
    }

    /// One page, and the mark of the next one.
    async fn page(
        &self,
        filter: Filter<'_>,
        cursor: Option<&str>,
    ) -> Result<(Vec<OAuthClient>, Option<String>), ClientsError> {
        let call = Request { limit: PAGE_LIMIT, ..self.call(Method::Get, page_path(filter, cursor)) };
        let answer = self.send(call, Conflict::Change).await?;
        answer::page(&answer, &self.secrets())
    }

    /// `POST /api/v1/oauth-clients`
    pub async fn create(&self, client: &NewClient) -> Result<Created, ClientsError> {
        let call = Request { body: Some(body::creation(client)), ..self.call(Method::Post, PATH.into()) };
        answer::created(&self.send(call, Conflict::Clients).await?, &self.secrets())
    }

    /// `GET /api/v1/oauth-clients/{id}`
    pub async fn get(&self, id: &ClientId) -> Result<OAuthClient, ClientsError> {
        let answer = self.send(self.call(Method::Get, path(id, "")), Conflict::Change).await?;
        let client = answer::client(&answer, &self.secrets())?;
        if client.id != *id {
            return Err(ClientsError::NotTheContract("the tenant returned another OAuth client than it was asked for"));
        }
        Ok(client)
    }

    /// `PATCH /api/v1/oauth-clients/{id}`: all changes or none. `current` is the client as it was just read, which decides
    /// between adding and replacing. The secret in the response, if any, was made by the tenant because of the change.
    pub async fn patch(
        &self,
        current: &OAuthClient,
        changes: &[Change],
        keys: KeyEncoding,
    ) -> Result<Option<SecretString>, ClientsError> {
        let body = body::patch(current, changes, keys);
        let call = Request { body: Some(body), ..self.call(Method::Patch, path(&current.id, "")) };
        answer::patched(&self.send(call, Conflict::Change).await?)
    }

    /// `DELETE /api/v1/oauth-clients/{id}`. Its bot and its tokens stay.
    pub async fn delete(&self, id: &ClientId) -> Result<(), ClientsError> {
        let header = Some((CONFIRM_DELETE, id.to_string()));
        let call = Request { header, ..self.call(Method::Delete, path(id, "")) };
        self.send(call, Conflict::Change).await.map(drop)
    }

    /// `POST /api/v1/oauth-clients/{id}/client-secrets`
    pub async fn add_secret(&self, id: &ClientId) -> Result<NewSecret, ClientsError> {
        let call = self.call(Method::Post, path(id, "/client-secrets"));
        answer::new_secret(&self.send(call, Conflict::Secrets).await?, &self.secrets())
    }

    /// `DELETE /api/v1/oauth-clients/{id}/client-secrets/{hint}`
    pub async fn delete_secret(&self, id: &ClientId, hint: &Hint) -> Result<(), ClientsError> {
        let call = self.call(Method::Delete, path(id, &format!("/client-secrets/{hint}")));
        self.send(call, Conflict::Change).await.map(drop)
    }

    /// `GET /api/v1/oauth-clients/{id}/connection-configs/me`
    pub async fn consent(&self, id: &ClientId) -> Result<Consent, ClientsError> {
        let call = self.call(Method::Get, path(id, "/connection-configs/me"));
        answer::consent(&self.send(call, Conflict::Change).await?)
    }

    /// `PATCH /api/v1/oauth-clients/{id}/connection-configs/me`
    pub async fn set_consent(&self, id: &ClientId, consent: Consent) -> Result<(), ClientsError> {
        let body = Some(body::consent(consent));
        let call = Request { body, ..self.call(Method::Patch, path(id, "/connection-configs/me")) };
        self.send(call, Conflict::Change).await.map(drop)
    }

    fn call(&self, method: Method, path: Cow<'static, str>) -> Request {
        Request {
            tenant: self.tenant.clone(),
            method,
            path,
            authorization: Some(self.token.authorization()),
            header: None,
            body: None,
            limit: BODY_LIMIT,
            redirects: 0,
        }
    }

    /// The response, if it is a success. The exact status does not matter.
    async fn send(&self, call: Request, conflict: Conflict) -> Result<Answer, ClientsError> {
        let answer = self.transport.send(call).await.map_err(ClientsError::Unreachable)?;
        match answer.status {
            200 | 201 | 202 | 204 => Ok(answer),
            200..300 => Err(ClientsError::NotTheContract("the status of the answer is not one of the contract")),
            _ => Err(ClientsError::of(Refusal::read(&answer, &self.secrets()), conflict)),
        }
    }

    /// The secrets that no displayed text may repeat.
    fn secrets(&self) -> Secrets {
        Secrets::new().and(self.token.expose_secret())
    }
}

/// Ids need no escaping in a path.
fn path(id: &ClientId, rest: &str) -> Cow<'static, str> {
    format!("{PATH}/{id}{rest}").into()
}

fn page_path(filter: Filter<'_>, cursor: Option<&str>) -> Cow<'static, str> {
    let mut query = Serializer::for_suffix(format!("{PATH}?"), PATH.len() + 1);
    query.append_pair("limit", PAGE_SIZE);
    if let Some(expression) = filter.expression() {
        query.append_pair("filter", &expression);
    }
    if let Some(cursor) = cursor {
        query.append_pair("next", cursor);
    }
    query.finish().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_for_is_quoted_and_encoded() {
        let id = "82e0".parse().unwrap();
        for (filter, cursor, expected) in [
            (Filter::All, None, "/api/v1/oauth-clients?limit=100"),
            (Filter::Id(&id), None, "/api/v1/oauth-clients?limit=100&filter=clientId+eq+%2282e0%22"),
            (
                Filter::Name(r#"a "b" & c=\"#),
                Some("a=&#"),
                "/api/v1/oauth-clients?limit=100&filter=clientName+eq+%22a+%5C%22b%5C%22+%26+c%3D%5C%5C%22&next=a%3D%26%23",
            ),
        ] {
            assert_eq!(page_path(filter, cursor), expected);
        }
    }

    #[test]
    fn every_call_can_be_awaited_on_any_thread() {
        fn is_send(_: impl Send) {}
        fn all(clients: OAuthClients<'_>, client: &OAuthClient, new: &NewClient, hint: &Hint) {
            is_send(clients.list(Filter::All));
            is_send(clients.create(new));
            is_send(clients.get(&client.id));
            is_send(clients.patch(client, &[], KeyEncoding::Object));
            is_send(clients.delete(&client.id));
            is_send(clients.add_secret(&client.id));
            is_send(clients.delete_secret(&client.id, hint));
            is_send(clients.consent(&client.id));
            is_send(clients.set_consent(&client.id, Consent::Trusted));
        }
        let _: fn(OAuthClients<'_>, &OAuthClient, &NewClient, &Hint) = all;
    }
}
