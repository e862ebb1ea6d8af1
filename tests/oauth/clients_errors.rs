//! Rejections by the OAuth clients API, and how they are reported.

use std::time::Duration;

use futures::future::BoxFuture;
use qlik_context_operator::oauth::clients::{
    Change, ClientsError, Conflict, Consent, Filter, KeyEncoding, OAuthClient, OAuthClients,
};
use qlik_context_operator::oauth::token::AccessToken;
use support::tenant::{Client, Fault, FaultBody, RetryAfter, Route, UserStatus};

use crate::clients::wanted;
use crate::world::{PLANTED, Row, World};

type Outcome<'a> = BoxFuture<'a, Result<(), ClientsError>>;

/// Every call, for an existing client.
fn calls<'a>(clients: OAuthClients<'a>, client: &'a OAuthClient) -> Vec<(Route, Outcome<'a>)> {
    let id = &client.id;
    vec![
        (Route::ListClients, Box::pin(async move { clients.list(Filter::All).await.map(drop) })),
        (Route::CreateClient, Box::pin(async move { clients.create(&wanted("another")).await.map(drop) })),
        (Route::GetClient, Box::pin(async move { clients.get(id).await.map(drop) })),
        (
            Route::PatchClient,
            Box::pin(async move {
                let changes = [Change::Name("renamed".into())];
                clients.patch(client, &changes, KeyEncoding::Object).await.map(drop)
            }),
        ),
        (Route::AddSecret, Box::pin(async move { clients.add_secret(id).await.map(drop) })),
        (Route::DeleteSecret, Box::pin(async move { clients.delete_secret(id, &"00000".parse().unwrap()).await })),
        (Route::GetConsent, Box::pin(async move { clients.consent(id).await.map(drop) })),
        (Route::SetConsent, Box::pin(async move { clients.set_consent(id, Consent::Trusted).await })),
        (Route::DeleteClient, Box::pin(async move { clients.delete(id).await })),
    ]
}

/// The kind of an error, by a name.
fn kind(error: &ClientsError) -> &'static str {
    match error {
        ClientsError::Unreachable(_) => "unreachable",
        ClientsError::Unauthorized(_) => "unauthorized",
        ClientsError::Forbidden(_) => "forbidden",
        ClientsError::NotFound(_) => "not found",
        ClientsError::Conflict(..) => "conflict",
        ClientsError::RateLimited(_) => "rate limited",
        ClientsError::Unavailable(_) => "unavailable",
        ClientsError::Rejected(_) => "rejected",
        ClientsError::NotTheContract(_) => "not the contract",
    }
}

async fn made(row: &Row<'_>, admin: &AccessToken) -> OAuthClient {
    let url = row.url();
    OAuthClients::new(&row.world.https, &url, admin).create(&wanted("reporting")).await.unwrap().client
}

fn leaks_nothing(error: &ClientsError) {
    assert_eq!(PLANTED.found(&format!("{error:?}")), None);
    if let Some(refusal) = error.refusal() {
        for text in [&refusal.code, &refusal.title, &refusal.trace_id].into_iter().flatten() {
            assert_eq!(PLANTED.found(text), None, "{text}");
        }
    }
}

#[tokio::test]
async fn each_status_of_each_call_has_its_error_with_the_tenants_code_and_trace_id() {
    let world = World::new().await;
    let row = world.row();
    let (url, admin) = (row.url(), row.admin());
    let client = made(&row, &admin).await;
    for (status, expected) in [
        (400, "rejected"),
        (401, "unauthorized"),
        (403, "forbidden"),
        (404, "not found"),
        (409, "conflict"),
        (429, "rate limited"),
        (500, "unavailable"),
        (503, "unavailable"),
    ] {
        for (route, call) in calls(OAuthClients::new(&world.https, &url, &admin), &client) {
            world.cloud.clear_scripts();
            row.script(route, Fault::Answer { status, body: FaultBody::Qlik });
            let done = world.cloud.ledger(|ledger| ledger.done(route));
            let error = call.await.unwrap_err();
            assert_eq!(kind(&error), expected, "{route:?} {status}: {error:?}");
            let refusal = error.refusal().unwrap();
            assert_eq!((refusal.status, refusal.code.as_deref()), (status, Some(&*format!("HTTP-{status}"))));
            assert!(refusal.trace_id.is_some() && refusal.title.is_some(), "{route:?} {status}");
            assert_eq!(error.may_have_been_done(), status >= 500, "{route:?} {status}");
            assert_eq!(
                world.cloud.ledger(|ledger| ledger.done(route)),
                done,
                "the request was rejected and not processed"
            );
            if let ClientsError::Conflict(conflict, _) = error {
                let expected = match route {
                    Route::CreateClient => Conflict::Clients,
                    Route::AddSecret => Conflict::Secrets,
                    _ => Conflict::Change,
                };
                assert_eq!(conflict, expected, "{route:?}");
            }
        }
    }
}

#[tokio::test]
async fn no_part_of_the_token_is_in_an_error_or_a_result() {
    let world = World::new().await;
    let row = world.row();
    let (url, admin) = (row.url(), row.admin());
    let client = made(&row, &admin).await;
    for (status, body, expected) in [
        (400, FaultBody::Echo, "rejected"),
        (401, FaultBody::Html, "unauthorized"),
        (403, FaultBody::Echo, "forbidden"),
        (500, FaultBody::Empty, "unavailable"),
        (502, FaultBody::Html, "unavailable"),
        (503, FaultBody::Huge, "unavailable"),
        (503, FaultBody::NotUtf8, "unavailable"),
        (404, FaultBody::Truncated, "not found"),
        (401, FaultBody::Rfc6749, "unauthorized"),
    ] {
        for (route, call) in calls(OAuthClients::new(&world.https, &url, &admin), &client) {
            world.cloud.clear_scripts();
            row.script(route, Fault::Answer { status, body });
            let error = call.await.unwrap_err();
            assert_eq!(kind(&error), expected, "{route:?} {status} {body:?}");
            leaks_nothing(&error);
        }
    }
}

#[tokio::test]
async fn retry_after_is_reported() {
    let world = World::new().await;
    let row = world.row();
    let (url, admin) = (row.url(), row.admin());
    let client = made(&row, &admin).await;
    for (after, pause) in [
        (RetryAfter::Seconds(13), Some(Duration::from_secs(13))),
        (RetryAfter::Absent, None),
        (RetryAfter::Text("soon".into()), None),
    ] {
        for (route, call) in calls(OAuthClients::new(&world.https, &url, &admin), &client) {
            world.cloud.clear_scripts();
            row.script(route, Fault::RateLimited(after.clone()));
            let error = call.await.unwrap_err();
            assert_eq!((kind(&error), error.retry_after()), ("rate limited", pause), "{route:?} {after:?}");
        }
    }
    // The tenant limits writes, not reads.
    world.cloud.clear_scripts();
    row.tenant.choose(|choices| choices.writes_per_minute = Some(0));
    let clients = OAuthClients::new(&world.https, &url, &admin);
    let error = clients.add_secret(&client.id).await.unwrap_err();
    let pause = error.retry_after().unwrap().as_secs();
    assert!(kind(&error) == "rate limited" && (1..=60).contains(&pause), "{error:?} {pause}");
    assert!(clients.get(&client.id).await.is_ok());
}

#[tokio::test]
async fn only_a_token_of_an_administrator_is_accepted() {
    let world = World::new().await;
    let row = world.row();
    let url = row.url();
    let admin = row.admin();
    let key = |subject: &str| AccessToken::parse(&row.tenant.api_key(subject, Duration::from_hours(1))).unwrap();
    let (nobody, person) = (AccessToken::parse("planted-token-of-nobody").unwrap(), key("auth0|person"));
    let disabled = key("auth0|disabled");
    row.tenant.edit_user("auth0|disabled", |user| (user.admin, user.status) = (true, UserStatus::Disabled));
    let revoked = key("auth0|admin");
    row.tenant.revoke(secrecy::ExposeSecret::expose_secret(&revoked));
    let narrow = row.issue().await.unwrap().access_token;
    row.tenant.edit_client(crate::world::CLIENT_ID, |client| client.allowed_scopes.push("admin_classic".into()));
    let mut request = row.request();
    request.scopes.insert("admin_classic".into());
    let now = qlik_context_operator::clock::Clock::system().now();
    let wide = crate::world::request_token(&world.https, &request, now).await.unwrap().access_token;
    let client = made(&row, &admin).await;
    for (token, expected) in [
        (&nobody, "unauthorized"),
        (&revoked, "unauthorized"),
        (&disabled, "unauthorized"),
        (&person, "forbidden"),
        (&narrow, "forbidden"),
    ] {
        for (route, call) in calls(OAuthClients::new(&world.https, &url, token), &client) {
            let error = call.await.unwrap_err();
            assert_eq!(kind(&error), expected, "{route:?}");
            leaks_nothing(&error);
        }
    }
    for token in [&admin, &wide] {
        let clients = OAuthClients::new(&world.https, &url, token);
        assert!(clients.add_secret(&client.id).await.is_ok());
    }
    row.tenant.edit_user("auth0|admin", |user| user.admin = false);
    let clients = OAuthClients::new(&world.https, &url, &admin);
    assert_eq!(clients.get(&client.id).await.err().as_ref().map(kind), Some("forbidden"), "the permission was removed");
}

#[tokio::test]
async fn a_sixth_secret_and_a_two_hundred_and_first_client_are_conflicts() {
    let world = World::new().await;
    let row = world.row();
    let (url, admin) = (row.url(), row.admin());
    let clients = OAuthClients::new(&world.https, &url, &admin);
    let client = made(&row, &admin).await;
    for _ in 0..4 {
        clients.add_secret(&client.id).await.unwrap();
    }
    let error = clients.add_secret(&client.id).await.unwrap_err();
    let ClientsError::Conflict(Conflict::Secrets, refusal) = error else { panic!("{error:?}") };
    assert_eq!(refusal.title.as_deref(), Some("max number of client secrets is 5"));
    assert_eq!(clients.get(&client.id).await.unwrap().secrets.len(), 5);
    for n in 0..198 {
        row.tenant.add_client(Client::new(&format!("other-{n}")));
    }
    let error = clients.create(&wanted("one too many")).await.unwrap_err();
    assert!(matches!(error, ClientsError::Conflict(Conflict::Clients, _)), "{error:?}");
    assert_eq!(row.tenant.clients().len(), 200);
}

#[tokio::test]
async fn a_missing_client_or_secret_is_not_found() {
    let world = World::new().await;
    let row = world.row();
    let (url, admin) = (row.url(), row.admin());
    let client = made(&row, &admin).await;
    row.tenant.remove_client(client.id.as_str());
    for (route, call) in calls(OAuthClients::new(&world.https, &url, &admin), &client) {
        let outcome = call.await;
        let expected = match route {
            Route::ListClients | Route::CreateClient => None,
            _ => Some("not found"),
        };
        assert_eq!(outcome.err().as_ref().map(kind), expected, "{route:?}");
    }
    let clients = OAuthClients::new(&world.https, &url, &admin);
    let client = made(&row, &admin).await;
    let error = clients.delete_secret(&client.id, &"00000".parse().unwrap()).await.unwrap_err();
    assert_eq!(kind(&error), "not found");
}
